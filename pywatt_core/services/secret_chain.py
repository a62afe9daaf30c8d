"""Several sources of secrets as one: asked in order, the first that knows a name wins (protocol 9.7)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from ..access import ListedSource, SecretInfo, WatchedSource, WritableSource
from ..errors import SecretError, SecretNotFound
from ..redaction import register
from .secret_versions import version_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
    from typing import TypeVar

    from ..interfaces import SecretSource

    T = TypeVar("T")

SOURCE_TIMEOUT: Final = 10.0
"""Seconds that one source may take for one answer."""


class SecretChain:
    """Named sources, asked in order. Iterating gives the pairs ``(label, source)``.

    It is a source itself, one that lists, tells changes and can be set, as far as its members can. `timeout` is in seconds and
    holds for each question to each source. The label of ``[secrets.NAME]`` is NAME.
    """

    def __init__(self, sources: Iterable[tuple[str, SecretSource]] = (), *, timeout: float = SOURCE_TIMEOUT) -> None:
        self._sources = tuple(sources)
        self._timeout = timeout

    def __iter__(self) -> Iterator[tuple[str, SecretSource]]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def __repr__(self) -> str:
        return f"SecretChain({self.labels})"

    @property
    def labels(self) -> str:
        """The sources by name, in order: ``env, dotenv``; ``none configured`` where there are none."""
        return ", ".join(label for label, _ in self._sources) or "none configured"

    async def get(self, name: str) -> str | None:
        """The first source's answer that is one, None where no source knows the secret.

        A source that fails ends the search, because a later one must not stand in for it: its `SecretError` names the source.
        """
        for label, source in self._sources:
            value = await self._ask(label, source, name)
            if isinstance(value, str):
                return value
        return None

    async def fetch(self, name: str) -> str:
        """The value. Raises `SecretNotFound` that names every place looked in, and what the sources there said; else as `get` does."""
        places = []
        for label, source in self._sources:
            value = await self._ask(label, source, name)
            if isinstance(value, str):
                return value
            if value is not None and len(self._sources) == 1:
                raise value
            place = str(value) if value is not None else place_of(source, name)
            places.append(f"{label}: {place}" if place else label)
        asked = ", ".join(places) or "none configured"
        labels = {label for label, _ in self._sources}
        way_out = "; set it in the environment or in the .env file beside pywatt.toml" if {"env", "dotenv"} <= labels else ""
        raise SecretNotFound(f"no source knows the secret {name!r} (asked: {asked}){way_out}")

    async def names(self) -> frozenset[str]:
        """What the sources that can tell hold now, all together."""
        found: set[str] = set()
        for label, source in self._sources:
            if isinstance(source, ListedSource):
                found.update(await self._within(label, source.names()))
        return frozenset(found)

    async def describe(self, name: str) -> SecretInfo | None:
        """What is known about the secret that `get` would give. Its attribute ``source`` is the label of the source that has it."""
        for label, source in self._sources:
            if isinstance(source, ListedSource):
                info = await self._within(label, source.describe(name))
            else:
                value = await self._ask(label, source, name)
                info = SecretInfo(version_of(name, value)) if isinstance(value, str) else None
            if info is not None:
                return info._replace(attributes={**info.attributes, "source": label})
        return None

    async def set(self, name: str, value: str) -> None:
        """Store it in the first source that can be set.

        Raises `SecretError` where none can, and where a source before it has the secret: `get` would go on to answer with that one.
        """
        register(value, name=name)
        for label, source in self._sources:
            if isinstance(source, WritableSource):
                await self._within(label, source.set(name, value))
                return
            if isinstance(await self._ask(label, source, name), str):
                raise SecretError(f"the secret {name!r} comes from [secrets.{label}], which cannot be set: change it there")
        raise SecretError(f"no source can be set (asked: {self.labels}): add one that can, such as [secrets.memory]")

    def changes(self) -> AsyncIterator[frozenset[str]]:
        """The names whose answer changed, whichever source noticed; what an earlier source answers hides those after it.

        Begins with this call. Close it (`aclose`, or use `following`): what it uses is given back then.
        """
        from .secret_changes import ChainChanges

        return ChainChanges(self)

    async def refresh(self) -> None:
        """Have every source that keeps what it read look now whether it changed, without waiting for its next turn."""
        for label, source in self._sources:
            refresh = getattr(source, "refresh", None)
            if refresh is not None:
                await self._within(label, refresh())

    def before(self, label: str) -> SecretChain:
        """The sources that are asked before the one with this label."""
        labels = [each for each, _ in self._sources]
        return SecretChain(self._sources[: labels.index(label)], timeout=self._timeout)

    async def _ask(self, label: str, source: SecretSource, name: str) -> str | SecretNotFound | None:
        """The value, or None or the source's own words where it does not know the secret."""
        try:
            value: object = await self._within(label, source.get(name))
        except SecretNotFound as error:
            return error
        if value is None or isinstance(value, str):
            return value
        kind, value = type(value).__name__, None  # this frame goes out with the error
        raise SecretError(f"[secrets.{label}]: its answer for {name!r} is not text but {kind}")

    async def _within(self, label: str, answer: Awaitable[T]) -> T:
        """The answer in time; what goes wrong is told with the section's name."""
        try:
            async with asyncio.timeout(self._timeout) as limit:
                return await answer
        except SecretNotFound:
            raise
        except SecretError as error:
            raise SecretError(f"[secrets.{label}]: {error}") from error
        except TimeoutError:
            if not limit.expired():
                raise
            raise SecretError(f"[secrets.{label}]: it did not answer within {self._timeout:g} s") from None


def place_of(source: SecretSource, name: str) -> str:
    """Where a source looks for a secret, as far as it says: its member `place`, a text or a function of the name."""
    place: Any = getattr(source, "place", "")
    return str(place(name) if callable(place) else place)


@asynccontextmanager
async def following(source: WatchedSource) -> AsyncIterator[AsyncIterator[frozenset[str]]]:
    """The changes of a source from now on, closed at the end of the block."""
    changes = source.changes()
    try:
        yield changes
    finally:
        close = getattr(changes, "aclose", None)
        if close is not None:
            await close()
