"""Values of secrets that a source holds, and who is told that they are others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

from ..access import SecretInfo
from ..services.secret_versions import version_of


class SecretValues:
    """Secrets by name, as they are now. The mapping is never changed, only replaced, so that whoever holds it can compare."""

    def __init__(self) -> None:
        self._values: Mapping[str, str] = {}
        self._changed: Mapping[str, float] = {}
        self._next: asyncio.Event | None = None
        """Set when the values are replaced."""

    async def get(self, name: str) -> str | None:
        """The value as of now."""
        return self._values.get(name)

    async def names(self) -> frozenset[str]:
        """What is there now."""
        return frozenset(self._values)

    async def describe(self, name: str) -> SecretInfo | None:
        """Its version, and when it changed last."""
        value = self._values.get(name)
        if value is None:
            return None
        return SecretInfo(version_of(name, value), _moment(self._changed.get(name)), self._attributes(name))

    def changes(self) -> AsyncIterator[frozenset[str]]:
        """The names that have another value than when this was called, each time some have."""
        return ValueChanges(self)

    def replace(self, values: Mapping[str, str], changed: Mapping[str, float]) -> None:
        """These are the values from now on; `changed` are seconds since 1970, for the names of which it is known."""
        self._changed = changed
        if values == self._values:
            return
        self._values = values
        if self._next is not None:
            self._next.set()
            self._next = None

    async def wait(self) -> None:
        """Return once the values may have been replaced."""
        if self._next is None:
            self._next = asyncio.Event()
        await self._next.wait()

    def _attributes(self, name: str) -> Mapping[str, str]:
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._values)} secrets)"


def _moment(seconds: float | None) -> datetime | None:
    """A time of the file system, as far as a calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None
    except (ValueError, OverflowError, OSError):
        return None


class ValueChanges(AsyncIterator[frozenset[str]]):
    """What changed since this was made, each change once; whoever stops waiting can go on later and has missed nothing."""

    def __init__(self, source: SecretValues) -> None:
        self._source = source
        self._seen = source._values
        self._closed = False

    def __aiter__(self) -> ValueChanges:
        return self

    async def __anext__(self) -> frozenset[str]:
        while not self._closed:
            before, now = self._seen, self._source._values
            self._seen = now
            if before is not now:
                names = frozenset(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
                if names:
                    return names
            await self._source.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """The end of it; what was begun to wait for is not told any more."""
        self._closed = True
