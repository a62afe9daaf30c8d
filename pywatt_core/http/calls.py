"""The requests over links that a server answers at the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from .mapping import plain

if TYPE_CHECKING:
    from ..protocol.messages import HttpRequest, HttpResponse
    from .streams import Stream


def unavailable(request: HttpRequest) -> HttpResponse:
    """The answer of a server that does not serve now: 503, and to come again in a second."""
    return plain(request, 503, headers=[("retry-after", "1")])


def refuse(stream: Stream) -> None:
    """The same for a request in pieces."""
    stream.answer(503, "Service Unavailable", [("retry-after", "1")])


class Calls:
    """Each request in a task of its own, so that a drain which runs out of time can cut it and its caller still gets an answer."""

    def __init__(self) -> None:
        self.running: set[asyncio.Task[Any]] = set()

    async def answer(self, request: HttpRequest, work: Coroutine[Any, Any, HttpResponse]) -> HttpResponse:
        """What `work` answers, or `unavailable` where it was cut; cancelling the caller cancels the work and raises."""
        call = asyncio.create_task(work)
        self.running.add(call)
        try:
            return await call
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if call.cancelled() and caller is not None and not caller.cancelling():
                return unavailable(request)
            raise
        finally:
            self.running.discard(call)

    async def carry(self, stream: Stream, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` answer `stream`; where it was cut, refuse or abort; cancelling the caller cancels the work and raises."""
        call = asyncio.create_task(work)
        self.running.add(call)
        try:
            await call
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            refuse(stream)
            if not call.cancelled() or caller is None or caller.cancelling():
                raise
        finally:
            self.running.discard(call)

    def cut(self) -> None:
        """Cancel all that run."""
        for call in self.running:
            call.cancel()
