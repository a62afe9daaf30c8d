"""A watch tells the difference between what a loop was told and what is, whatever gets lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.errors import ChannelClosed, RemoteError
from pywatt_core.protocol.values import ProviderInfo, ServiceType
from pywatt_core.services import watching
from pywatt_core.services.answering import deadline
from pywatt_core.services.watching import Gone, Note, ProviderChange, State, Watch

KIND = ServiceType.custom("search")


def info(id: str, address: str = "a", healthy: bool = True, kind: ServiceType = KIND) -> ProviderInfo:
    return ProviderInfo(provider_id=id, module_id="m", service_type=kind, name=id, address=address, is_healthy=healthy)


class Orchestrator:
    """The other end: what is there, and the notes that it has written."""

    def __init__(self) -> None:
        self.present: dict[str, ProviderInfo] = {}
        self.serial = 0
        self.notes: list[Note] = []
        self.asked: list[tuple[str, Any]] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask_orchestrator(self, endpoint: str, value: Any, *, timeout: float | None = None, response_type: Any = Any) -> Any:
        assert deadline.get() is None
        self.asked.append((endpoint, value))
        if self.error is not None:
            raise self.error
        if endpoint == "unwatch":
            return True
        serial, present = self.serial, list(self.present.values())
        await self.gate.wait()
        return State(serial) if value["serial"] == serial else State(serial, present)

    def set(self, *providers: ProviderInfo) -> Note:
        self.present.update({one.provider_id: one for one in providers})
        return self._note(changed=list(providers))

    def remove(self, *ids: str) -> Note:
        for id in ids:
            self.present.pop(id, None)
        return self._note(removed=[Gone(KIND, id) for id in ids])

    def _note(self, **what: Any) -> Note:
        self.serial += 1
        note = Note(self.serial, **what)
        self.notes.append(note)
        return note


class Loop:
    """One loop over a watch, and what it was told."""

    def __init__(self, watch: Watch) -> None:
        self.view = watch.open()
        self.told: dict[str, ProviderInfo] = {}
        self.events: list[tuple[ProviderChange, str]] = []

    async def take(self) -> None:
        """Everything that can be told now."""
        while self.view.dirty:
            try:
                async with asyncio.timeout(0):
                    change, provider = await self.view.next()
            except TimeoutError:
                return
            id = provider.provider_id
            self.events.append((change, id))
            if change is ProviderChange.REMOVED:
                del self.told[id]
            else:
                assert (id in self.told) is (change is ProviderChange.CHANGED)
                self.told[id] = info(id, provider.address, provider.is_healthy)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def begun(end: Orchestrator) -> tuple[Watch, Loop]:
    watch = Watch(end, KIND)  # type: ignore[arg-type]
    loop = Loop(watch)
    await watch.started()
    return watch, loop


async def test_what_is_there_is_added_then_what_changes_is_told() -> None:
    end = Orchestrator()
    end.set(info("a"), info("b"))
    watch, loop = await begun(end)
    await loop.take()
    watch.hear(end.set(info("a", "elsewhere"), info("x", kind=ServiceType.CACHE)))
    watch.hear(end.remove("b"))
    await loop.take()
    assert loop.events == [
        (ProviderChange.ADDED, "a"), (ProviderChange.ADDED, "b"), (ProviderChange.CHANGED, "a"), (ProviderChange.REMOVED, "b")
    ]  # fmt: skip
    await watch.end()
    assert end.asked[-1] == ("unwatch", {"service_type": KIND})


async def test_a_slow_loop_hears_of_the_latest_state_alone_and_nothing_piles_up() -> None:
    end = Orchestrator()
    watch, loop = await begun(end)
    for number in range(1000):
        watch.hear(end.set(info("a", str(number))))
        watch.hear(end.set(info("brief")))
        watch.hear(end.remove("brief"))
    assert len(loop.view.dirty) == 2
    await loop.take()
    assert loop.events == [(ProviderChange.ADDED, "a")]
    assert loop.told["a"].address == "999"
    await watch.end()


async def test_a_gap_in_the_numbers_is_closed_by_asking_and_an_old_note_changes_nothing() -> None:
    end = Orchestrator()
    watch, loop = await begun(end)
    lost = end.set(info("a"))
    watch.hear(end.set(info("b")))
    await until(lambda: len(end.asked) == 2)
    await until(lambda: len(loop.view.dirty) == 2)
    await loop.take()
    assert loop.told == end.present
    watch.hear(lost)
    assert not loop.view.dirty
    await watch.end()


async def test_a_note_that_says_that_more_was_lost_is_followed_by_asking() -> None:
    end = Orchestrator()
    watch, loop = await begun(end)
    end.present["a"] = info("a")
    end.serial += 1
    watch.hear(Note(end.serial, lost=True))
    await until(lambda: loop.view.dirty)
    await loop.take()
    assert loop.told == end.present
    await watch.end()


async def test_notes_that_come_while_the_state_is_asked_for_are_applied_to_it_in_order() -> None:
    end = Orchestrator()
    end.gate.clear()
    end.set(info("a", "1"))
    watch = Watch(end, KIND)  # type: ignore[arg-type]
    loop = Loop(watch)
    await until(lambda: end.asked)
    watch.hear(end.notes[0])  # older than the state
    watch.hear(end.set(info("a", "2")))  # newer
    watch.hear(end.remove("a"))
    watch.hear(end.set(info("b")))
    end.gate.set()
    await watch.started()
    await loop.take()
    assert loop.told == end.present == {"b": info("b")}
    assert len(end.asked) == 1
    await watch.end()


async def test_more_notes_than_are_kept_meanwhile_make_it_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "KEPT", 3)
    end = Orchestrator()
    end.gate.clear()
    watch = Watch(end, KIND)  # type: ignore[arg-type]
    loop = Loop(watch)
    await until(lambda: end.asked)
    for number in range(6):
        watch.hear(end.set(info(str(number))))
    assert len(watch._kept) <= 3
    end.gate.set()
    await until(lambda: len(watch.present) == 6)
    await loop.take()
    assert loop.told == end.present
    await watch.end()


async def test_it_asks_from_time_to_time_whether_it_missed_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RENEW", 0.01)
    end = Orchestrator()
    watch, loop = await begun(end)
    end.set(info("a"))
    await until(lambda: loop.view.dirty)
    await loop.take()
    assert loop.told == end.present
    before = len(end.asked)
    await until(lambda: len(end.asked) > before + 1)
    assert end.asked[-1] == ("watch", {"service_type": KIND, "serial": 1})
    await watch.end()


async def test_an_orchestrator_that_cannot_be_asked_at_the_beginning_ends_the_watch_later_it_is_only_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    end = Orchestrator()
    end.error = RemoteError("no")
    watch = Watch(end, KIND)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(RemoteError, match="no"):
            await watch.started()
    monkeypatch.setattr(watching, "RENEW", 0.01)
    end.error = None
    watch, loop = await begun(end)
    end.error = ChannelClosed("cut")
    await until(lambda: "whether providers of custom:search have changed cannot be asked: cut" in caplog.text)
    end.set(info("a"))
    end.error = None
    await until(lambda: loop.view.dirty)
    assert end.asked[-1] == ("watch", {"service_type": KIND, "serial": -1})
    await watch.end()


async def test_it_outlives_the_deadline_of_the_request_in_which_it_began() -> None:
    deadline.set(asyncio.get_running_loop().time() + 5)
    end = Orchestrator()
    watch = Watch(end, KIND)  # type: ignore[arg-type]
    await watch.started()
    watch._task.cancel()


DEEDS = st.sampled_from(["set", "set", "remove", "deliver", "deliver", "lose", "swap", "take"])
STEPS = st.lists(st.tuples(DEEDS, st.sampled_from("abcd"), st.booleans()))


@settings(max_examples=60)
@given(STEPS)
def test_in_the_end_every_loop_knows_what_is_there_whatever_was_lost_or_came_late(steps: list[tuple[str, str, bool]]) -> None:
    async def live() -> None:
        end = Orchestrator()
        watch, early = await begun(end)
        queue: list[Note] = []
        for number, (step, id, healthy) in enumerate(steps):
            if step == "set":
                queue.append(end.set(info(id, str(number), healthy)))
            elif step == "remove" and id in end.present:
                queue.append(end.remove(id))
            elif step == "deliver" and queue:
                watch.hear(queue.pop(0))
            elif step == "lose" and queue:
                queue.pop(0)
            elif step == "swap" and len(queue) > 1:
                queue[0], queue[1] = queue[1], queue[0]
            elif step == "take":
                await asyncio.sleep(0)
                await early.take()
        watch._missed.set()  # what a renewal does in time
        await until(lambda: watch.present == end.present)
        late = Loop(watch)
        for loop in (early, late):
            await loop.take()
            assert loop.told == end.present
        watch._task.cancel()

    asyncio.run(live())
