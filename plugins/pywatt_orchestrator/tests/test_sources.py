"""The orchestrator's secret sources: watched, read again, exchanged while somebody reads from them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.config import load, references
from pywatt_core.errors import ConfigError, SecretError, SecretNotFound
from pywatt_core.registry import Registry
from pywatt_orchestrator import sources
from pywatt_orchestrator.lines import Record
from pywatt_orchestrator.logs import Journal
from pywatt_orchestrator.sources import SecretSources


class Changes:
    """What was told, and how to wait for it."""

    def __init__(self) -> None:
        self.told: list[frozenset[str] | None] = []

    def __call__(self, names: frozenset[str] | None) -> None:
        self.told.append(names)

    async def until(self, wanted: frozenset[str] | None) -> None:
        async with asyncio.timeout(30):
            while wanted not in self.told:
                await asyncio.sleep(0.01)
        self.told.clear()


def write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(0o600)
    fresh.replace(path)


@asynccontextmanager
async def configured(folder: Path, secrets: dict[str, Any]) -> AsyncIterator[tuple[SecretSources, Changes, list[Record]]]:
    settings = load(init={"secrets": secrets, "folder": str(folder)}, environ={})
    registry, records, changes = Registry(settings.plugins), list[Record](), Changes()
    found = SecretSources(
        lambda stack: registry.open_secret_sources(stack, settings, "pywatt"),
        Journal(records.append),
        depends=frozenset(name for section in settings.secrets.values() for _, name in references(section.options)),
    )
    await found.open()
    found.watch(changes)
    assert changes.told == [None]
    changes.told.clear()
    try:
        yield found, changes, records
    finally:
        await found.close()


async def test_what_a_file_changes_is_told_by_name(tmp_path: Path) -> None:
    write(tmp_path / ".env", "A=a-value\nB=b-value\n")
    async with configured(tmp_path, {"only": {"use": "dotenv", "poll": 0.02}}) as (found, changes, _):
        write(tmp_path / ".env", "A=a-value\nB=b-other\n")
        await changes.until(frozenset({"B"}))
        assert (await found.fetch("A"), await found.fetch("B")) == ("a-value", "b-other")


async def test_sources_that_can_are_told_to_look_and_everything_is_in_doubt_then(tmp_path: Path) -> None:
    write(tmp_path / ".env", "A=a-value\n")
    async with configured(tmp_path, {"only": {"use": "dotenv", "poll": 3600.0}}) as (found, changes, _):
        write(tmp_path / ".env", "A=a-other\n")
        before = found.changes
        await found.refresh()
        assert await found.fetch("A") == "a-other"
        assert None in changes.told
        assert found.changes > before


async def test_where_a_secret_names_the_place_of_another_the_sources_are_opened_anew(tmp_path: Path) -> None:
    write(tmp_path / "first.toml", 'KEY = "first-value"\n')
    write(tmp_path / "second.toml", 'KEY = "second-value"\n')
    write(tmp_path / ".env", "WHERE=first.toml\n")
    config = {"dot": {"use": "dotenv", "poll": 0.02}, "file": {"use": "file", "path": "secret:WHERE", "poll": 0.02}}
    async with configured(tmp_path, config) as (found, changes, records):
        assert await found.fetch("KEY") == "first-value"
        write(tmp_path / ".env", "WHERE=second.toml\n")
        await changes.until(None)
        assert await found.fetch("KEY") == "second-value"
        write(tmp_path / "second.toml", 'KEY = "third-value"\n')  # the new ones are watched
        await changes.until(frozenset({"KEY"}))
        write(tmp_path / ".env", "WHERE=nowhere.toml\n")
        async with asyncio.timeout(30):
            while not any("the values known before stay in use" in record.message for record in records):
                await asyncio.sleep(0.01)
        assert await found.fetch("KEY") == "third-value"


class Fixed:
    """A source of somebody else's that reads once, when it is opened."""

    def __init__(self, value: str, held: asyncio.Event | None) -> None:
        self.value, self.held, self.closed = value, held, False

    async def get(self, name: str) -> str | None:
        assert not self.closed
        if self.held is not None:
            await self.held.wait()
        assert not self.closed
        return self.value if name == "KEY" else None


class Opening:
    """Opens such a source with the value of the moment."""

    def __init__(self) -> None:
        self.value: str | None = "first-value"
        self.held: asyncio.Event | None = None
        self.opened: list[Fixed] = []

    async def __call__(self, stack: AsyncExitStack) -> list[tuple[str, Any]]:
        if self.value is None:
            raise SecretError("the server is down")
        source = Fixed(self.value, self.held)
        self.opened.append(source)
        stack.callback(setattr, source, "closed", True)
        return [("fixed", source)]


async def test_sources_that_read_once_are_opened_anew_and_the_old_ones_closed_after_their_last_reader() -> None:
    opening, records = Opening(), list[Record]()
    opening.held = held = asyncio.Event()
    found = SecretSources(opening, Journal(records.append))
    await found.open()
    reading = asyncio.create_task(found.fetch("KEY"))
    await asyncio.sleep(0)
    opening.value, opening.held = "second-value", None
    await found.refresh()
    first, second = opening.opened
    assert (first.closed, second.closed) == (False, False)
    assert await found.fetch("KEY") == "second-value"
    held.set()
    assert await reading == "first-value"
    assert (first.closed, second.closed) == (True, False)

    opening.value = None
    await found.refresh()
    assert records[-1].message == "the secret sources could not be read again, the values known before stay in use: the server is down"
    assert await found.fetch("KEY") == "second-value"
    await found.close()
    await found.close()
    assert second.closed


async def test_who_misses_a_secret_learns_where_it_was_looked_for(tmp_path: Path) -> None:
    config = {"env": {"use": "env", "prefix": "APP_"}, "dot": {"use": "dotenv", "required": False}}
    async with configured(tmp_path, config) as (found, _, _):
        assert found.places("KEY") == f"env: the variable APP_KEY, dot: {tmp_path / '.env'}"
        with pytest.raises(SecretNotFound, match=r"no source knows the secret 'KEY' \(asked: env: the variable APP_KEY, dot: "):
            await found.fetch("KEY")


async def test_a_source_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sources.SOURCE_TIMEOUT < sources.FETCH_TIMEOUT
    monkeypatch.setattr(sources, "SOURCE_TIMEOUT", 0.05)
    opening = Opening()
    opening.held = asyncio.Event()
    found = SecretSources(opening, Journal())
    await found.open()
    with pytest.raises(SecretError, match=r"^\[secrets\.fixed\]: it did not answer within 0\.05 s$"):
        await found.fetch("KEY")
    await found.close()


async def test_a_source_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "FETCH_TIMEOUT", 0.05)
    opening = Opening()
    opening.held = asyncio.Event()
    found = SecretSources(opening, Journal())
    await found.open()
    with pytest.raises(SecretError, match=r"^the sources did not answer within 0\.05 s$"):
        await found.fetch("KEY")
    await found.close()
    with pytest.raises(SecretError, match="the secret sources are closed"):
        await found.fetch("KEY")


@pytest.mark.parametrize("error", [ValueError("source-canary"), TimeoutError("source-canary"), ConfigError("source-canary")], ids=repr)
async def test_a_fault_in_a_source_is_an_error_like_others_and_stops_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(Fixed):
        fails = False

        async def get(self, name: str) -> str | None:
            if self.fails:
                raise error
            return await super().get(name)

        async def refresh(self) -> None:
            if self.fails:
                raise error

    source, records, changes = Faulty("value", None), list[Record](), Changes()

    async def opening(_stack: AsyncExitStack) -> list[tuple[str, Any]]:
        return [("faulty", source)]

    found = SecretSources(opening, Journal(records.append))
    await found.open()
    found.watch(changes)
    assert await found.fetch("KEY") == "value"
    source.fails, changes.told = True, []
    known = isinstance(error, ConfigError)
    text = "source-canary" if known else f"a secret source failed: {type(error).__name__}"
    with pytest.raises(SecretError) as caught:
        await found.fetch("KEY")
    await found.refresh()
    assert (str(caught.value), changes.told) == (text, [None])
    assert [record.message for record in records] == [
        f"the secret sources could not be read again, the values known before stay in use: {text}"
    ]
    assert ("in get" in caplog.text) is not known, "somebody has to find it"
    await found.close()
