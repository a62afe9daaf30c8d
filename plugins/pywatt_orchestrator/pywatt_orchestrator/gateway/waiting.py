"""A request to a module that has not announced its paths yet: it waits, and is routed again when it has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import ClientConnection


class Waiting:
    """Holds a request back until its module announces, as long as `ready_timeout` allows."""

    instance = None

    def __init__(self, client: ClientConnection, name: str) -> None:
        self._client = client
        self._name = name
        self._parts: list[bytes] = []

    def start(self) -> None:
        """Read nothing more meanwhile."""
        self._client.pause_reading()
        self._client.expect_nothing()
        self._task = asyncio.create_task(self._wait())

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
        client.resume_reading()
        client.hand_over(self._parts)

    def body_received(self, payload: bytes) -> None:
        """What had been read already."""
        self._parts.append(payload)

    def body_finished(self) -> None:
        """The client knows it."""

    def client_lost(self) -> None:
        """Nobody waits any more."""
        self._task.cancel()

    def client_paused(self) -> None:
        """There is nothing to hold back."""

    def client_resumed(self) -> None:
        """There is nothing to go on with."""

    def timed_out(self) -> None:
        """The waiting has a limit of its own."""
