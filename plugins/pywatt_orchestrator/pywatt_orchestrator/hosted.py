"""One connection of a process to a service that we host: what runs on it, and what it has made that has to be given back."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from pywatt_core.errors import NotFound, PyWattError, RemoteProtocolError, StorageError, Unavailable
from pywatt_core.sql.turns import finished
from pywatt_core.transports.link import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from .services import Hosted

T = TypeVar("T")

log = logging.getLogger(__name__)

MOST_CALLED_OFF: Final = 1000
"""Operations called off that a connection remembers, in case one of them comes later than that."""

STOPPING: Final = 10.0
"""Seconds that an operation which is called off gets to stop before what it uses is taken from it."""


class RolledBack(Exception):
    """Thrown into what is given back: whatever it was is undone."""


class Kept:
    """A transaction, a cursor or a lock: something that a process has open here."""

    def __init__(
        self, what: str, value: Any, give_back: Callable[[], Coroutine[Any, Any, None]], *, outer: Kept | None, asked: str | None
    ) -> None:
        self.what, self.value, self.give_back, self.outer = what, value, give_back, outer
        self.id = new_id()
        self.asked = asked
        """The request id of the operation that made it."""
        self.running: set[asyncio.Task[Any]] = set()
        """Operations that use it."""
        self.gone = ""
        """Why it is not there any more, where its owner has not been told yet."""
        self.key, self.ttl = "", 0.0
        """Of a lock: its name, and for how many seconds it was taken."""
        self.commit: Callable[[], Coroutine[Any, Any, None]] | None = None
        """How a transaction is ended well."""
        self.timer: asyncio.TimerHandle | None = None

    def around(self) -> Iterator[Kept]:
        """Itself, and everything that it is inside."""
        one: Kept | None = self
        while one is not None:
            yield one
            one = one.outer


class Connection(ABC):
    """What a process has opened. `perform` is a kind's own."""

    def __init__(self, hosted: Hosted, module: str, *, tagged: bool) -> None:
        self.hosted, self.module, self.tagged = hosted, module, tagged
        self.limits = hosted.settings
        self.id = new_id()
        self.running: dict[asyncio.Task[None], str | None] = {}
        """What is under way, with its request id."""
        self.stopped: dict[asyncio.Task[None], str] = {}
        """Why some of it has been stopped."""
        self._begun: set[asyncio.Task[Any]] = set()
        """Tasks that have run their first step: others cannot be cancelled, for they would never answer."""
        self.kept: dict[str, Kept] = {}
        self._called_off: OrderedDict[str, None] = OrderedDict()

    @abstractmethod
    async def open(self) -> None:
        """Open what it is a connection to. Raises what that raises."""

    @abstractmethod
    async def perform(self, operation: str, params: Any, asked: str | None) -> Any:
        """The result of one operation, as it travels. Raises `PyWattError`."""

    # ── what is called off ──────────────────────────────────────────────────────────────────────────────────────────

    def was_called_off(self, asked: str | None) -> bool:
        """Whether nobody waits for an operation that comes only now."""
        return asked is not None and asked in self._called_off

    async def call_off(self, asked: str) -> None:
        """Stop that operation, or undo what it has made; should it come later, it is not begun."""
        made = [one for one in self.kept.values() if one.asked == asked]
        under_way = [task for task, id in self.running.items() if id == asked]
        for task in under_way:
            self.stop(task, "it was called off")
        for one in made:
            await self.give_back(one)
        if not made and not under_way:
            self._called_off[asked] = None
            if len(self._called_off) > MOST_CALLED_OFF:
                self._called_off.popitem(last=False)

    def begin(self) -> None:
        """The first step of an operation. Raises `StorageError` where it has been stopped before."""
        task = asyncio.current_task()
        assert task is not None
        self._begun.add(task)
        if task in self.stopped:
            raise StorageError(self.stopped[task])

    def stop(self, task: asyncio.Task[None], reason: str) -> None:
        """Cancel one operation; its owner is told why."""
        if task is not asyncio.current_task():
            self.stopped.setdefault(task, reason)
            if task in self._begun:
                task.cancel()

    async def close(self, reason: str) -> None:
        """End everything that runs, undo everything that is open."""
        running = [task for task in self.running if task is not asyncio.current_task()]
        for task in running:
            self.stop(task, reason)
        if running:
            await asyncio.wait(running, timeout=STOPPING)
        for one in reversed(list(self.kept.values())):
            await self.give_back(one)

    # ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────────

    def room_for(self, what: str, most: int) -> None:
        """Raise `Unavailable` where a process has as many open as it may."""
        if len(self.kept) >= most:
            raise Unavailable(
                f"{self.module} has {most} transactions, cursors or locks open in [services.{self.hosted.name}]: no {what} more"
            )

    def keep(self, one: Kept, seconds: float) -> Kept:
        """Remember it, until it is given back or unused for so long."""
        self.kept[one.id] = one
        self._wait(one, seconds)
        return one

    def find(self, id: str, what: str) -> Kept:
        """What has this id. Raises `StorageError` where it is not there, or no more."""
        one = self.kept.get(id)
        if one is None or one.what != what:
            raise NotFound(f"there is no {what} with this id in this connection, or no longer")
        if one.gone:
            raise StorageError(one.gone)
        return one

    @contextmanager
    def using(self, one: Kept) -> Iterator[Any]:
        """For the time of an operation."""
        task = asyncio.current_task()
        assert task is not None
        everything = list(one.around())
        for each in everything:
            each.running.add(task)
        try:
            yield one.value
        finally:
            for each in everything:
                each.running.discard(task)
                self.touch(each)

    def touch(self, one: Kept) -> None:
        """It was used just now."""
        if one.id in self.kept and not one.gone:
            self._wait(one, self.limits.idle_transaction)

    def forget(self, one: Kept) -> None:
        """It is not kept any more: whoever calls this closes it."""
        self.kept.pop(one.id, None)
        if one.timer is not None:
            one.timer.cancel()

    async def give_back(self, one: Kept) -> None:
        """Undo it, and everything inside it first, after what still uses it has stopped."""
        for inner in [other for other in reversed(list(self.kept.values())) if other.outer is one]:
            await self.give_back(inner)
        if self.kept.get(one.id) is not one:
            return
        self.forget(one)
        await self._undo(one)

    async def _undo(self, one: Kept) -> None:
        running = one.running - {asyncio.current_task()}
        for task in running:
            self.stop(task, f"the {one.what} was given up")
        if running:
            await asyncio.wait(running, timeout=STOPPING)
        try:
            await finished(one.give_back())
        except PyWattError as error:  # mostly because it is gone already, and so undone
            log.debug("%s: giving up a %s of %s: %s", self.hosted.name, one.what, self.module, error)
        except Exception:
            log.exception("%s: a %s of %s could not be given up", self.hosted.name, one.what, self.module)

    def _wait(self, one: Kept, seconds: float) -> None:
        if one.timer is not None:
            one.timer.cancel()
        one.timer = asyncio.get_running_loop().call_later(seconds, self._lapse, one, seconds)

    def _lapse(self, one: Kept, seconds: float) -> None:
        if one.running or self.kept.get(one.id) is not one or one.gone:
            return
        one.gone = f"the {one.what} was not used for {seconds:g} s and given up (idle_transaction in [services.{self.hosted.name}])"
        inner = [other for other in self.kept.values() if other.outer is one]
        self._go_on(self._after(inner, one))

    async def _after(self, inner: list[Kept], one: Kept) -> None:
        for each in reversed(inner):
            await self.give_back(each)
        await self._undo(one)

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that nobody waits for, but for whoever closes the connection."""
        task = asyncio.get_running_loop().create_task(work)
        self.running[task] = None
        task.add_done_callback(self.done)

    def done(self, task: asyncio.Task[None]) -> None:
        """It is not under way any more."""
        self.running.pop(task, None)
        self.stopped.pop(task, None)
        self._begun.discard(task)


def read_params(operation: str, params: Any, shape: type[T]) -> T:
    """The parameters of an operation. Raises `RemoteProtocolError` that names the member, and shows no value."""
    try:
        return msgspec.convert(params, shape)
    except msgspec.ValidationError as error:
        raise RemoteProtocolError(f"{operation}: {error}") from None
