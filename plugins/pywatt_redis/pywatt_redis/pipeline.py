"""One connection that all callers share: what they ask in one turn of the loop is written at once, and replies are read in that order.

redis-py makes the connection, logs in, packs nothing and reads each reply; hiredis packs and parses. Callers wait for a future, so
that a cancelled caller harms nobody: its reply is read and dropped.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from hiredis import pack_command
from redis.exceptions import ResponseError

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.services.caching import CLOSED

from .failures import BACKEND_ERRORS, Lost, reason, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .client import Source

log = logging.getLogger("pywatt.redis")

BUFFER = 16 * 1024 * 1024
"""Bytes that wait to be written; a single command may be larger."""

Command = tuple[Any, ...]
"""A command's name and arguments: text, bytes and integers."""


class Asked(NamedTuple):
    """A command under way."""

    reply: asyncio.Future[Any]
    since: float


class Line:
    """A connection from its making to its end. `ended` is called once, when it is of no use any more."""

    def __init__(self, connection: Any, server: object, *, timeout: float, pending: int, ended: Callable[[Line], None]) -> None:
        self.connection = connection
        self._server = server
        self._timeout = timeout
        self._pending = pending
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._asked: deque[Asked] = deque()
        """In the order of asking; those that have not been written yet are the last."""
        self._buffer: list[bytes] = []
        self._size = 0
        self._unsent = 0
        """How many commands the buffer holds."""
        self._heard = self._loop.time()
        self._wake = asyncio.Event()
        self._room: deque[asyncio.Future[None]] = deque()
        self._deadline: asyncio.TimerHandle | None = None
        self.failure: BaseException | None = None
        """Why it ended."""
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    @property
    def under_way(self) -> int:
        """How many replies are awaited."""
        return len(self._asked)

    @property
    def full(self) -> bool:
        """True while no more is taken."""
        return self.failure is None and (len(self._asked) >= self._pending or self._size >= BUFFER)

    def post(self, command: Command) -> asyncio.Future[Any]:
        """Hand over a command; the future gets its reply, or one of PyWatt's errors."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        if self.failure is not None:
            reply.set_exception(self._lost("no"))
            return reply
        packed = pack_command(command)
        self._buffer.append(packed)
        self._size += len(packed)
        self._unsent += 1
        now = self._loop.time()
        self._asked.append(Asked(reply, now))
        if self._deadline is None:
            self._deadline = self._loop.call_at(now + self._timeout, self._look)
        if not self._wake.is_set():
            self._wake.set()
        return reply

    async def room(self) -> None:
        """Return when there may be room again, or the line has ended."""
        turn: asyncio.Future[None] = self._loop.create_future()
        self._room.append(turn)
        try:
            await turn
        finally:
            if not turn.done() or turn.cancelled():
                with suppress(ValueError):
                    self._room.remove(turn)

    async def close(self, patience: float) -> None:
        """Wait for what is under way, `patience` seconds at most, then end."""
        waiting = [asked.reply for asked in self._asked if not asked.reply.done()]
        if waiting and patience:
            await asyncio.wait(waiting, timeout=patience)
        self.end(StorageError(CLOSED))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def end(self, failure: BaseException) -> None:
        """Everything under way gets its error; nothing happens the second time."""
        if self.failure is not None:
            return
        self.failure = failure
        if self._deadline is not None:
            self._deadline.cancel()
        sent = len(self._asked) - self._unsent
        for place, asked in enumerate(self._asked):
            if not asked.reply.done():
                asked.reply.set_exception(self._lost("unknown" if place < sent else "no"))
        self._asked.clear()
        self._buffer.clear()
        self._size = self._unsent = 0
        self._make_room()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._ended(self)

    def _lost(self, executed: str) -> StorageError:
        failure = self.failure
        if isinstance(failure, StorageError):
            why = str(failure)
        else:
            assert failure is not None
            why = f"{self._server}: the connection broke: {reason(failure)}"
        known = "the command was not sent" if executed == "no" else "whether the command was executed is not known"
        error = StorageError(why) if why == CLOSED else Lost(f"{why}; {known}", executed=executed)
        error.__cause__ = failure
        return error

    def _make_room(self) -> None:
        """Wake who waits for room, as many as there may be room for; who finds none waits again."""
        free = len(self._room) if self.failure is not None else self._pending - len(self._asked)
        while self._room and free > 0:
            turn = self._room.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    async def _write(self) -> None:
        connection, wake = self.connection, self._wake
        try:
            while True:
                await wake.wait()
                wake.clear()
                data = b"".join(self._buffer)
                self._buffer.clear()
                self._size = self._unsent = 0
                if self._room:
                    self._make_room()
                await connection.send_packed_command(data, check_health=False)
        except Exception as error:  # whatever it is, nobody must wait for what never comes
            self.end(error)

    async def _read(self) -> None:
        asked, read, now = self._asked, self.connection.read_response, self._loop.time
        try:
            while True:
                try:
                    reply = await read(timeout=math.inf)
                    failed = False
                except ResponseError as error:
                    reply, failed = error, True
                self._heard = now()
                if not asked:
                    raise EOFError("a reply that nobody asked for")
                future = asked.popleft().reply
                if not future.done():
                    if failed:
                        refused = refusal(reply, self._server)
                        refused.__cause__ = reply
                        future.set_exception(refused)
                    else:
                        future.set_result(reply)
                if self._room:
                    self._make_room()
        except Exception as error:  # whatever it is, nobody must wait for what never comes
            self.end(error)

    def _look(self) -> None:
        """Give up what has waited for too long; where nothing at all was heard meanwhile, the connection is of no use any more."""
        self._deadline = None
        if not self._asked:
            return
        now = self._loop.time()
        expired = now - self._timeout
        following = now + self._timeout
        for asked in self._asked:
            if asked.since > expired:
                following = asked.since + self._timeout
                break
            if not asked.reply.done():
                asked.reply.set_exception(Unavailable(f"{self._server} did not answer within {self._timeout:g} s: raise timeout"))
        if self._asked[0].since <= expired and self._heard <= expired:
            self.end(TimeoutError())
        else:
            self._deadline = self._loop.call_at(following + 0.001, self._look)


class Pipeline:
    """The way to one server: a line, made when it is needed and made anew when it broke."""

    def __init__(self, source: Source, server: object, *, connect_timeout: float, timeout: float, pending: int) -> None:
        self._source = source
        self._server = server
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._pending = pending
        self._line: Line | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._tidying: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def under_way(self) -> int:
        """How many replies are awaited."""
        return self._line.under_way if self._line is not None else 0

    async def execute(self, *command: Any, again: bool = False) -> Any:
        """The reply. `again` says that the command may be executed twice: then a connection that breaks costs a second attempt.

        Raises `Unavailable`, and other kinds of `StorageError` for what the server refuses.
        """
        line = self._line
        if line is None or line.full:
            line = await self._ready()
        try:
            return await line.post(command)
        except Lost as error:
            if self._closed or (error.executed != "no" and not again):
                raise
        return await (await self._ready()).post(command)

    async def execute_many(self, commands: Sequence[Command], *, again: bool = False) -> list[Any]:
        """The replies, in order, an error in place of a reply that is one. The commands travel together."""
        asked: list[asyncio.Future[Any]] = []
        try:
            for command in commands:
                line = self._line
                if line is None or line.full:
                    line = await self._ready()
                asked.append(line.post(command))
            found: list[Any] = await asyncio.gather(*asked, return_exceptions=True)
        except BaseException:
            for reply in asked:
                if not reply.cancel() and not reply.cancelled():
                    reply.exception()  # looked at: nobody else will
            raise
        for place, lost in enumerate(found):
            if isinstance(lost, Lost) and (again or lost.executed == "no"):
                found[place] = await self.execute(*commands[place], again=again)
        return found

    async def each(self) -> list[Pipeline]:
        """The servers that hold other keys each: this one."""
        return [self]

    async def close(self, patience: float) -> None:
        """Wait for what is under way, `patience` seconds at most, and close the connection."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self._line is not None:
            await self._line.close(patience)
        if self._tidying:
            await asyncio.wait(self._tidying, timeout=self._connect_timeout)

    async def _ready(self) -> Line:
        """A line that takes a command."""
        try:
            async with asyncio.timeout(self._connect_timeout + self._timeout):
                while True:
                    if self._closed:
                        raise StorageError(CLOSED)
                    if self._line is None:
                        await self._connected()
                    elif self._line.full:
                        await self._line.room()
                    else:
                        return self._line
        except TimeoutError as error:
            raise Unavailable(f"{self._server}: {self._pending} commands were under way for too long: raise pending") from error

    async def _connected(self) -> None:
        """Connect, all who need it together. Raises `Unavailable`."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(looked_at)
        connecting = self._connecting
        try:
            await asyncio.shield(connecting)
        except BACKEND_ERRORS as error:
            raise Lost(f"{self._server} cannot be reached: {reason(error)}", executed="no") from error
        except asyncio.CancelledError:
            if self._closed and connecting.cancelled():
                raise StorageError(CLOSED) from None
            raise

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await self._source.connection()
            self._line = Line(connection, self._server, timeout=self._timeout, pending=self._pending, ended=self._over)
        finally:
            self._connecting = None

    def _over(self, line: Line) -> None:
        """Forget a line that has ended, and close its connection."""
        if self._line is line:
            self._line = None
        tidying = asyncio.create_task(self._tidy(line))
        self._tidying.add(tidying)
        tidying.add_done_callback(self._tidying.discard)

    async def _tidy(self, line: Line) -> None:
        try:
            await self._source.give_back(line.connection)
        except BACKEND_ERRORS as error:
            log.debug("a connection to %s was not closed in order: %s", self._server, reason(error))


def looked_at(task: asyncio.Task[Any]) -> None:
    """Take note of what a task raised, in case everybody who waited for it has gone away."""
    if not task.cancelled():
        task.exception()


class Several:
    """Several ways to one server: each command takes the one with the fewest under way."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self._pipelines = tuple(pipelines)

    async def execute(self, *command: Any, again: bool = False) -> Any:
        """The reply; see `Pipeline.execute`. Scripts keep their order, because all of them take the same way."""
        script = command[0].startswith("EVAL")
        chosen = self._pipelines[0] if script else min(self._pipelines, key=_under_way)
        return await chosen.execute(*command, again=again)

    async def execute_many(self, commands: Sequence[Command], *, again: bool = False) -> list[Any]:
        """The replies; see `Pipeline.execute_many`."""
        return await min(self._pipelines, key=_under_way).execute_many(commands, again=again)

    async def each(self) -> list[Several]:
        """The servers that hold other keys each: this one."""
        return [self]

    async def close(self, patience: float) -> None:
        """Close all of them."""
        await asyncio.gather(*[one.close(patience) for one in self._pipelines])


def _under_way(pipeline: Pipeline) -> int:
    return pipeline.under_way
