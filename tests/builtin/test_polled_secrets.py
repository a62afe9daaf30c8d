"""What stands on the disk is believed with caution: half-written, missing for a moment, unreadable, hanging."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.builtin import polled_secrets
from pywatt_core.builtin.polled_secrets import LOOKS, PolledSecrets, Reading, Stamp
from pywatt_core.errors import ConfigError, SecretError

if TYPE_CHECKING:
    from collections.abc import Mapping

OFTEN = 0.001
"""A `poll` that makes every look due."""


YOUNG = time.time() + 1_000_000.0
"""A time of change that no stamp can be trusted with."""


class Scripted:
    """A place whose looks find what the test says, one after the other; the last of them again and again."""

    place = "/scripted"

    def __init__(self, *looks: Mapping[str, str] | Exception) -> None:
        self.looks = list(looks)
        self.reads = 0
        self.at = Stamp(0, YOUNG)

    def where(self, name: str) -> str:
        return f"/scripted/{name}"

    def stamp(self) -> Stamp:
        return self.at

    def read(self) -> Reading:
        self.reads += 1
        found = self.looks[0]
        if len(self.looks) > 1:
            del self.looks[0]
        if isinstance(found, Exception):
            raise found
        return Reading(found, dict.fromkeys(found, 1_000_000.0))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polled_secrets, "SETTLED", 0.0)


async def opened(reader: Scripted, *, poll: float = 3600.0) -> PolledSecrets:
    source = PolledSecrets(reader, poll=poll)
    await source.open()
    return source


async def values(source: PolledSecrets) -> dict[str, str | None]:
    return {name: await source.get(name) for name in await source.names()}


async def test_a_value_is_taken_once_two_looks_agree() -> None:
    reader = Scripted({"A": "old"}, {"A": "n"}, {"A": "ne"}, {"A": "new"}, {"A": "new"}, {"A": "never"})
    source = await opened(reader)
    changes = source.changes()
    await source.refresh()
    assert await values(source) == {"A": "new"}
    assert await anext(changes) == {"A"}
    assert reader.reads == 5


async def test_what_never_settles_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    reader = Scripted({"A": "old"}, *({"A": f"{number}"} for number in range(LOOKS + 1)))
    source = await opened(reader)
    await source.refresh()
    assert await values(source) == {"A": "old"}
    assert caplog.messages == ["/scripted: it keeps changing while it is read. The values known before stay in use"]
    await source.refresh()
    assert await values(source) == {"A": f"{LOOKS}"}


async def test_a_change_while_everything_is_read_is_read_again() -> None:
    class Swapped(Scripted):
        """Somebody changes something during the first two readings."""

        def stamp(self) -> Stamp:
            return Stamp(min(self.reads, 2), 1.0)

    reader = Swapped({"A": "old", "B": "old"}, {"A": "new", "B": "old"}, {"A": "new", "B": "new"})
    source = await opened(reader)
    assert await values(source) == {"A": "new", "B": "new"}


async def test_what_changes_while_it_is_opened_is_given_up() -> None:
    class Restless(Scripted):
        def stamp(self) -> Stamp:
            self.reads += 1
            return Stamp(self.reads, 1.0)

    with pytest.raises(SecretError, match="/scripted: it keeps changing while it is read"):
        await opened(Restless({"A": "old"}))


async def test_what_is_missing_once_is_not_gone() -> None:
    both, one = {"A": "a-value", "B": "b-value"}, {"A": "a-value"}
    source = await opened(Scripted(both, one, one, both, one))
    changes = source.changes()
    await source.refresh()
    assert await values(source) == both, "missing for the first time"
    await source.refresh()
    assert await values(source) == both, "there again"
    await source.refresh()
    assert await values(source) == both, "missing for the first time, again"
    await source.refresh()
    assert await values(source) == one
    assert await anext(changes) == {"B"}


async def test_what_is_missing_is_looked_for_again_though_nothing_else_changed() -> None:
    class Trusted(Scripted):
        """Each state has a stamp of its own, and an old one."""

        def stamp(self) -> Stamp:
            return Stamp(str(self.looks[0]), 1.0)

    source = await opened(Trusted({"A": "a-value", "B": "b-value"}))
    source._reader = Trusted({"A": "a-value"})
    await source.refresh()
    assert await source.get("B") == "b-value"
    await source.refresh()
    assert await source.get("B") is None


async def test_an_emptied_file_that_fills_again_is_a_change_and_no_loss() -> None:
    source = await opened(Scripted({"A": "old", "B": "same"}, {}, {}, {"A": "new", "B": "same"}))
    changes = source.changes()
    await source.refresh()
    assert await values(source) == {"A": "old", "B": "same"}
    await source.refresh()
    assert await values(source) == {"A": "new", "B": "same"}
    assert await anext(changes) == {"A"}


@pytest.mark.parametrize("error", [SecretError("/scripted: broken"), ConfigError("/scripted:3: not valid TOML")])
async def test_what_cannot_be_read_leaves_the_values_and_is_logged_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = await opened(Scripted({"A": "old"}, error, error, error, {"A": "new"}))
    for _ in range(3):
        await source.refresh()
        assert await values(source) == {"A": "old"}
    assert caplog.messages == [f"{error}. The values known before stay in use"]
    await source.refresh()
    assert await values(source) == {"A": "new"}
    assert caplog.messages[1:] == ["/scripted: it can be read again"]


async def test_what_cannot_be_read_at_first_is_not_opened() -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        await opened(Scripted(ConfigError("/scripted:3: not valid TOML")))


async def test_the_stamp_saves_reading_where_it_can_be_trusted() -> None:
    reader = Scripted({"A": "a-value"})
    reader.at = Stamp("one", 1_000.0)
    source = await opened(reader)
    for _ in range(5):
        await source.refresh()
    assert reader.reads == 1
    reader.at = Stamp("other", 2_000.0)
    await source.refresh()
    assert reader.reads == 2


@pytest.mark.parametrize("ahead", [3600.0, 0.0])
async def test_two_changes_of_one_stamp_are_both_noticed(ahead: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polled_secrets, "YOUNG", 3600.0)
    reader = Scripted({"A": "first"}, {"A": "second"})
    reader.at = Stamp("one", time.time() + ahead)
    source = await opened(reader)
    await source.refresh()
    assert await values(source) == {"A": "second"}


async def test_nobody_looks_before_it_is_due_and_many_share_one_look() -> None:
    reader = Scripted({"A": "a-value"})
    source = await opened(reader)
    assert await asyncio.gather(*(source.get("A") for _ in range(50))) == ["a-value"] * 50
    assert reader.reads == 1
    source._due = 0.0
    await asyncio.gather(*(source.get("A") for _ in range(50)))
    assert reader.reads == 2


async def test_a_caller_that_gives_up_leaves_no_complaint(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()

    class Slow(Scripted):
        def read(self) -> Reading:
            if self.reads:
                gate.wait(30)
            return super().read()

    reader = Slow({"A": "old"}, {"A": "new"})
    source = await opened(reader)
    source._due = 0.0
    asking = asyncio.create_task(source.get("A"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    gate.set()
    assert await source.get("A") == "new"
    assert caplog.messages == []


async def test_a_file_system_that_hangs_holds_one_thread_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    waiting = []

    class Hanging(Scripted):
        def stamp(self) -> Stamp:
            if self.reads and not gate.is_set():
                waiting.append(threading.get_ident())
                gate.wait(30)
            return super().stamp()

    reader = Hanging({"A": "old"}, {"A": "new"})
    gate.set()
    source = await opened(reader, poll=OFTEN)
    gate.clear()
    monkeypatch.setattr(polled_secrets, "LOOK_TIMEOUT", 0.02)
    try:
        for _ in range(5):
            assert await source.get("A") == "old"
            await source.refresh()
        assert caplog.messages == ["/scripted: the file system does not answer within 0.02 s. The values known before stay in use"]
        assert len(waiting) == 1
    finally:
        gate.set()
    monkeypatch.setattr(polled_secrets, "LOOK_TIMEOUT", 30.0)
    while await source.get("A") != "new":
        await asyncio.sleep(OFTEN)


def test_a_file_system_that_hangs_keeps_no_process_from_ending() -> None:
    program = """
import asyncio, time
from pywatt_core.builtin import polled_secrets
from pywatt_core.builtin.polled_secrets import PolledSecrets, Reading, Stamp
polled_secrets.LOOK_TIMEOUT = 0.05

class Hanging:
    place = "/hanging"
    reads = 0
    def stamp(self):
        return Stamp(self.reads, 1.0)
    def read(self):
        if self.reads:
            time.sleep(3600)
        self.reads += 1
        return Reading({"A": "value"}, {})

async def main():
    source = PolledSecrets(Hanging(), poll=0.01)
    try:
        await source.open()
    except Exception as error:
        print(error)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("/hanging: the file system does not answer within 0.05 s\n", "")


async def test_names_and_descriptions_are_as_fresh_as_values() -> None:
    source = await opened(Scripted({"A": "old"}, {"A": "new", "B": "b"}))
    before = await source.describe("A")
    source._due = 0.0
    assert await source.describe("A") != before
    source._reader = Scripted({"C": "c", "A": "new", "B": "b"})
    source._due = 0.0
    assert await source.names() == {"A", "B", "C"}


async def test_a_time_beyond_the_calendar_is_left_out() -> None:
    class Far(Scripted):
        def read(self) -> Reading:
            return Reading({"A": "a-value"}, {"A": 1e18})

    info = await (await opened(Far({}))).describe("A")
    assert info is not None
    assert info.changed is None


async def test_who_stops_waiting_for_changes_can_wait_again() -> None:
    source = await opened(Scripted({"A": "old"}))
    changes = source.changes()
    for _ in range(3):
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    source._reader = Scripted({"A": "new"})
    await source.refresh()
    assert await anext(changes) == {"A"}
    await changes.aclose()  # type: ignore[attr-defined]
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_a_value_that_did_not_change_keeps_its_time() -> None:
    class Later(Scripted):
        def read(self) -> Reading:
            found = super().read()
            return Reading(found.values, dict.fromkeys(found.values, 1_000_000.0 + self.reads))

    source = await opened(Later({"A": "same", "B": "old"}, {"A": "same", "B": "new"}))
    await source.refresh()
    same, changed = await source.describe("A"), await source.describe("B")
    assert same is not None and same.changed is not None
    assert changed is not None and changed.changed is not None
    assert (same.changed.timestamp(), changed.changed.timestamp()) == (1_000_001.0, 1_000_003.0)
    assert same.attributes == {"file": "/scripted/A"}


def test_a_reading_does_not_show_its_values() -> None:
    assert repr(Reading({"A": "reading-canary"}, {})) == "Reading(1 secrets)"


STATES = st.dictionaries(st.sampled_from("ABC"), st.sampled_from(["one", "two", "three"]), max_size=3)
LOOKED = st.one_of(STATES, st.just(SecretError("/scripted: broken")))


@given(STATES, st.lists(st.tuples(LOOKED, st.integers(1, 3)), max_size=8))
def test_whatever_was_found_the_values_are_good_and_the_last_state_wins(
    first: dict[str, str], looks: list[tuple[dict[str, str] | Exception, int]]
) -> None:
    """Each state is found by one to three looks. Nothing is ever answered that stood in no state, and followers learn all of it."""

    async def run() -> None:
        reader = Scripted(first, *(state for state, times in looks for _ in range(times)))
        source = await opened(reader)
        changes, believed = source.changes(), dict(first)
        seen = [first]
        while len(reader.looks) > 1:
            await source.refresh()
        seen += [state for state, _ in looks if not isinstance(state, Exception)]
        for _ in range(3):
            await source.refresh()
            for name, value in (await values(source)).items():
                assert value in {state.get(name) for state in seen}
        last = looks[-1][0] if looks else first
        now = await values(source)
        if not isinstance(last, Exception):
            assert now == last
        if now != believed:
            names = await anext(changes)
            assert names == {name for name in now.keys() | believed.keys() if now.get(name) != believed.get(name)}

    logging.disable()
    try:
        asyncio.run(run())
    finally:
        logging.disable(logging.NOTSET)
