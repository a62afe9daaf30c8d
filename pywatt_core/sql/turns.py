"""Tasks that share a transaction take turns; and cleaning up that a cancellation does not leave half done."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import StorageError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

log = logging.getLogger("pywatt.sql")


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end whatever happens; a cancellation that comes meanwhile is raised afterwards.

    For committing and cleaning up, which must not be left half done. `work` has to be bounded in time.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)  # which costs less than `wait`, and is nearly always enough
    except asyncio.CancelledError as error:
        if task.cancelled():
            raise
        cancelled = error
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.warning("cleaning up after a cancellation failed: %s", failure)
    raise cancelled


class Turn:
    """Tasks that share a transaction take turns, because databases nest savepoints but do not tell callers apart.

    ``async with turn:`` waits `timeout` seconds at most, then raises `Unavailable`. A task that has the turn already, because a
    savepoint of its own is open, gets `StorageError` instead of waiting for itself.
    """

    __slots__ = ("_lock", "_timeout", "_user", "_waiting")

    def __init__(self, timeout: float) -> None:
        self._lock = asyncio.Lock()
        self._timeout = timeout
        self._user: asyncio.Task[Any] | None = None
        self._waiting = 0

    async def __aenter__(self) -> None:
        if not self._lock.locked() and not self._waiting:
            await self._lock.acquire()  # which does not wait
        elif self._user is asyncio.current_task():
            raise StorageError("a transaction inside this one is open in the same task: use the object that it gave you")
        else:
            await self._wait()
        self._user = asyncio.current_task()

    async def __aexit__(self, *_: object) -> None:
        self._user = None
        self._lock.release()

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout):
                await self._lock.acquire()
        except TimeoutError as error:
            raise Unavailable(f"other tasks used the transaction for longer than {self._timeout:g} s") from error
        finally:
            self._waiting -= 1
