"""Requests that are held back for a while: here those to a module that has not announced its paths yet."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import ClientConnection


class HeldBack(ABC):
    """A request that waits for something: nothing more of it is read, and what came with its head is kept. `_wait` goes on with it."""

    instance = None

    def __init__(self, client: ClientConnection, name: str) -> None:
        self._client = client
        self._name = name
        """Of the module that it is for."""
        self._parts: list[bytes] = []

    @abstractmethod
    async def _wait(self) -> None:
        """Wait, no longer than a limit of its own allows; then `_go_on`, or answer."""

    def start(self) -> None:
        """Read no more of its body meanwhile. Where it has come to its end, reading goes on: so it is noticed when the client leaves."""
        if not self._client.complete:
            self._client.pause_reading()
        self._client.expect_nothing()
        self._task = asyncio.create_task(self._wait())

    def _go_on(self, *, checked: bool = False) -> None:
        self._client.resume_reading()
        self._client.hand_over(self._parts, checked=checked)

    def body_received(self, payload: bytes) -> None:
        """What had been read already."""
        self._parts.append(payload)

    def body_finished(self) -> None:  # noqa: B027
        """The client knows it."""

    def client_lost(self) -> None:
        """Nobody waits any more."""
        self._task.cancel()

    def client_paused(self) -> None:  # noqa: B027
        """There is nothing to hold back."""

    def client_resumed(self) -> None:  # noqa: B027
        """There is nothing to go on with."""

    def timed_out(self) -> None:  # noqa: B027
        """The waiting has a limit of its own."""


class Waiting(HeldBack):
    """Holds a request back until its module announces, as long as `ready_timeout` allows."""

    async def _wait(self) -> None:
        client, gateway = self._client, self._client.gateway
        try:
            async with asyncio.timeout(client.options.ready_timeout):
                while (module := gateway.table.module(self._name)) is not None and module.endpoints is None:
                    if not module.instances:
                        client.problem(503, f"module {self._name} is not running", module=self._name)
                        return
                    await gateway.changed()
        except TimeoutError:
            client.problem(503, f"module {self._name} has not announced its paths yet", module=self._name)
            return
        self._go_on()
