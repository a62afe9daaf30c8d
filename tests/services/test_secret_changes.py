"""The changes of a chain: merged, without what nobody would notice, and alive when one source's watching fails."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.builtin.secrets import MemorySecrets
from pywatt_core.errors import SecretError
from pywatt_core.services import secret_changes
from pywatt_core.services.secret_chain import SecretChain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Plain:
    """A source that cannot be watched."""

    def __init__(self, **values: str) -> None:
        self.values = values
        self.error: Exception | None = None

    async def get(self, name: str) -> str | None:
        if self.error is not None:
            raise self.error
        return self.values.get(name)


class Fragile(MemorySecrets):
    """A source whose watching ends, or fails, each time after one word."""

    error: Exception | None = None
    watched = 0
    closed = 0

    def changes(self) -> AsyncIterator[frozenset[str]]:
        self.watched += 1
        return self._changes(super().changes())

    async def _changes(self, changes: AsyncIterator[frozenset[str]]) -> AsyncIterator[frozenset[str]]:
        try:
            yield await anext(changes)
            if self.error is not None:
                raise self.error
        finally:
            self.closed += 1


def changes_of(**sources: Any) -> Any:
    return aclosing(SecretChain(sources.items()).changes())


async def soon(changes: Any) -> frozenset[str]:
    async with asyncio.timeout(20):
        return await anext(changes)


async def test_changes_of_all_sources_are_merged_until_somebody_takes_them() -> None:
    first, second = MemorySecrets({"A": "a"}), MemorySecrets({"B": "b"})
    async with changes_of(first=first, plain=Plain(), second=second) as changes:
        waiting = asyncio.ensure_future(soon(changes))
        await asyncio.sleep(0)
        await first.set("A", "other")
        assert await waiting == {"A"}
        for number in range(3):
            await first.set("A", f"{number}")
            await second.set("B", f"{number}")
            await second.set("C", f"{number}")
        told = await soon(changes)
        while told != {"A", "B", "C"}:
            told |= await soon(changes)


async def test_what_an_earlier_source_answers_hides_a_change_behind_it() -> None:
    second = MemorySecrets({"A": "a"})
    first = Plain(A="always this")
    async with changes_of(first=first, second=second) as changes:
        await second.set("A", "nobody sees it")
        await second.set("B", "everybody sees it")
        assert await soon(changes) == {"B"}
        first.error = SecretError("cannot tell")
        await second.set("A", "perhaps somebody sees it")
        assert await soon(changes) == {"A"}, "better told once too often"


async def test_what_changes_before_the_first_wait_is_told() -> None:
    source = MemorySecrets({"A": "a"})
    async with changes_of(source=source) as changes:
        await source.set("A", "other")
        assert await soon(changes) == {"A"}


@pytest.mark.parametrize("error", [None, SecretError("lost the server"), ValueError("watch-canary")])
async def test_a_source_whose_watching_fails_is_watched_anew(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(secret_changes, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(secret_changes, "LONGEST_PAUSE", 0.0)
    fragile, other = Fragile({"A": "a", "B": "b"}), MemorySecrets({})
    fragile.error = error
    async with changes_of(fragile=fragile, other=other) as changes:
        await fragile.set("A", "first")
        told = await soon(changes)
        assert "A" in told
        while told != {"A", "B"}:  # what was missed meanwhile is not known, so everything may have changed
            told |= await soon(changes)
        await other.set("C", "the other goes on")
        told = await soon(changes)
        while "C" not in told:
            told |= await soon(changes)
        await fragile.set("B", "second")
        told = await soon(changes)
        while "B" not in told:
            told |= await soon(changes)
        assert fragile.watched >= 2
    reason = {None: "its changes ended", "SecretError": "lost the server", "ValueError": "ValueError"}
    assert caplog.messages[0] == (
        f"[secrets.fragile] cannot be watched, which is tried again in 0 s: {reason[type(error).__name__ if error else None]}"
    )
    assert "watch-canary" not in caplog.text
    assert fragile.closed >= 2


async def test_a_source_that_fails_again_when_it_is_watched_anew_is_not_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(secret_changes, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(secret_changes, "LONGEST_PAUSE", 0.0)

    class Failing(Fragile):
        async def names(self) -> frozenset[str]:
            if self.watched == 2:
                raise OSError("lost the server")
            return await super().names()

        def changes(self) -> AsyncIterator[frozenset[str]]:
            if self.watched == 2:
                self.watched += 1
                raise ConnectionError("lost the server")
            return super().changes()

    failing = Failing({"A": "a", "B": "b"})
    async with changes_of(failing=failing) as changes:
        await failing.set("A", "first")
        told = await soon(changes)
        while told != {"A", "B"}:
            told |= await soon(changes)
    assert failing.watched >= 4
    assert [text.rpartition(": ")[2] for text in caplog.messages][:3] == ["its changes ended", "OSError", "ConnectionError"]


async def test_a_change_is_told_although_an_earlier_source_fails() -> None:
    earlier, source = Plain(), MemorySecrets({"A": "a"})
    earlier.error = OSError("lost the server")
    async with changes_of(earlier=earlier, memory=source) as changes:
        await source.set("A", "another")
        assert await soon(changes) == {"A"}


async def test_pauses_grow_while_watching_fails(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pauses: list[float] = []
    enough = asyncio.Event()
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 9:
            enough.set()
            await asyncio.Event().wait()
        await real(0)

    class Broken(Plain):
        def changes(self) -> AsyncIterator[frozenset[str]]:
            return self._broken()

        async def _broken(self) -> AsyncIterator[frozenset[str]]:
            raise SecretError("broken")
            yield frozenset()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    async with changes_of(broken=Broken()) as changes:
        waiting = asyncio.ensure_future(anext(changes))
        async with asyncio.timeout(20):
            await enough.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert len(caplog.records) == 9


async def test_closing_ends_whoever_waits_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with changes_of(one=MemorySecrets({}), other=MemorySecrets({})) as changes:
        waiting = asyncio.ensure_future(anext(changes, None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks() - before) == 3
        await changes.aclose()
        assert await waiting is None
        assert await anext(changes, None) is None
        await changes.aclose()
    assert asyncio.all_tasks() == before


async def test_where_nothing_can_be_watched_nothing_is_told_and_it_does_not_end() -> None:
    async with changes_of(plain=Plain()) as changes:
        waiting = asyncio.ensure_future(anext(changes, None))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        await changes.aclose()
        assert await waiting is None
