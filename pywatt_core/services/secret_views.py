"""What a module holds of a secret beside its value of the moment: one that stays current, and the values as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from ..redaction import Secret

if TYPE_CHECKING:
    from .secrets import SecretClient


class CurrentSecret(Secret):
    """The secret of a name, whatever its value is at the time: `expose_secret` gives the one that is in use."""

    __slots__ = ("_client", "_name")

    _client: SecretClient
    _name: str

    def __init__(self, client: SecretClient, name: str) -> None:
        object.__setattr__(self, "_client", client)
        object.__setattr__(self, "_name", name)

    @property
    def _text(self) -> str:  # type: ignore[override]
        return self._client[self._name].expose_secret()

    __hash__ = None  # type: ignore[assignment]  # its value changes


class Watching(AsyncIterator[tuple[str, Secret]]):
    """What `SecretClient.watch` gives: at most one value for each name waits to be taken."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._waiting: dict[str, Secret] = {}
        self._ready = asyncio.Event()
        self._closed = False

    def add(self, name: str, secret: Secret) -> None:
        """A value has come into use."""
        if self._closed or (self._names and name not in self._names):
            return
        self._waiting[name] = secret
        self._ready.set()

    def __aiter__(self) -> Watching:
        return self

    async def __anext__(self) -> tuple[str, Secret]:
        while not self._waiting:  # somebody else may have taken it meanwhile
            if self._closed:
                raise StopAsyncIteration
            await self._ready.wait()
        name = next(iter(self._waiting))
        secret = self._waiting.pop(name)
        if not self._waiting:
            self._ready.clear()
        return name, secret

    async def aclose(self) -> None:
        """Whoever waits is told that there is nothing to come."""
        self._closed = True
        self._waiting.clear()
        self._ready.set()
