"""What the contract of a secret source is tested with: values, names, and what a test file gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeAlias

import pytest

from pywatt_core.access import SecretSource
from pywatt_core.errors import SecretError, SecretNotFound
from pywatt_core.services.secret_chain import following

from ..leaks import assert_no_secret_in

OpenWith: TypeAlias = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Any]]
Replace: TypeAlias = Callable[[Any, Mapping[str, str]], Awaitable[None] | None]

SECRETS = {
    "PLAIN": "plain-contract-value",
    "SPACES": "  inside and around  ",
    "QUOTES": "a'b\"c`d\\e$HOME ${HOME} #no comment",
    "EQUALS": "key=value=more",
    "UNICODE": "Grüße 😀",
    "LOOKS_LIKE_A_REFERENCE": "secret:PLAIN",
    "NUMBER": "0123",
}
EMPTY = {"EMPTY": ""}
MULTILINE = {"MULTILINE": "-----BEGIN-----\nline one\nline two\r\n\ttabbed\n-----END-----\n"}

ODD_NAMES = [
    "",
    " ",
    "plain",
    "PLAIN ",
    " PLAIN",
    "PLAIN\n",
    "PLAIN\r\nX: y",
    "PLAIN\x00",
    "PLAIN=x",
    "PLAIN.",
    "../PLAIN",
    "./PLAIN",
    "a/b",
    "/etc/hostname",
    "..",
    ".",
    "..data",
    "-",
    "*",
    "P*",
    "P_AIN",
    "%50LAIN",
    "\x1b[31mPLAIN",
    "\u202ePLAIN",
    "ü",
    "\ud800",
    "A" * 10_000,
]

PATIENCE = 30.0
"""Seconds for what happens by itself, such as a change that is noticed."""


class SourceUnderTest:
    """What a test file says about its source, and the fixtures that it gives."""

    holds_empty = True
    """Whether a secret may be the empty text. If not, the source says None for it."""
    holds_several_lines = True
    """Whether a secret may have several lines."""
    longest = 64 * 1024
    """Characters that one secret may have."""
    lists = False
    """Whether it is a `ListedSource`."""
    watches = False
    """Whether it is a `WatchedSource`. If so, the fixture `replace` is needed."""
    removes = True
    """Whether `replace` can take secrets away."""
    writes = False
    """Whether it is a `WritableSource`."""

    @pytest.fixture
    def replace(self) -> Replace:
        """``replace(source, secrets)`` makes what the source reads hold these secrets and no others, the way its users do that.

        It may be a coroutine function. A source whose secrets cannot be taken away (`removes`) keeps the others.
        """
        pytest.fail(f"{type(self).__name__} says that it watches: it needs a fixture `replace`")

    def secrets(self) -> dict[str, str]:
        """Everything that this source can hold."""
        return {**SECRETS, **(EMPTY if self.holds_empty else {}), **(MULTILINE if self.holds_several_lines else {})}


async def found(source: SecretSource, name: str) -> str | None:
    """The value, None where the source says in either way that it does not know the secret."""
    try:
        return await source.get(name)
    except SecretNotFound:
        return None


async def found_or_refused(source: SecretSource, name: str) -> str | None:
    """The same for a name that a source may also refuse; what it says then shows no value."""
    try:
        return await source.get(name)
    except SecretError as error:
        assert_no_secret_in(error, secrets=_shown(SECRETS))
        return None


async def replaced(replace: Replace, source: Any, secrets: Mapping[str, str]) -> None:
    """Call the fixture, whichever kind of function it is."""
    outcome = replace(source, secrets)
    if outcome is not None:
        await outcome


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for something that happens by itself."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                if await condition():
                    return
                await asyncio.sleep(0.01)
    pytest.fail(f"after {PATIENCE:g} s: {what}")


def _shown(secrets: Mapping[str, str]) -> dict[str, str]:
    """Those among the values whose appearance can be no coincidence."""
    return {name: value for name, value in secrets.items() if len(value.strip()) > 4}


class Told:
    """What somebody who follows a source has been told so far."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._more = asyncio.Event()

    async def read(self, changes: AsyncIterator[frozenset[str]]) -> None:
        async for names in changes:
            self.names |= names
            self._more.set()

    async def of(self, expected: set[str]) -> None:
        """Wait until all of these were told."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not expected <= self.names:
                    self._more.clear()
                    await self._more.wait()
                return
        pytest.fail(f"after {PATIENCE:g} s nobody was told of {sorted(expected - self.names)}; told: {sorted(self.names)}")


@asynccontextmanager
async def told_by(source: Any) -> AsyncIterator[Told]:
    """Follow a source for the length of the block. Raises what following it raised."""
    told = Told()
    async with following(source) as changes:
        reading = asyncio.create_task(told.read(changes))
        try:
            yield told
        finally:
            ended = reading.done()
            reading.cancel()
            results = await asyncio.gather(reading, return_exceptions=True)
        if ended:
            raise AssertionError("changes() ended by itself") from (results[0] if isinstance(results[0], Exception) else None)
