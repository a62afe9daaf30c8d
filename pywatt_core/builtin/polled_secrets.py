"""Secrets that stand on the disk: read, and read again when what they were read from changed.

What counts as a change is cautious, because a value that nobody wrote is worse than one that comes a second later:

* two looks in short succession have to find the same, so that a file which is being written is not taken for finished;
* a secret has to be missing in two looks, one `poll` apart, so that a file which is deleted and written anew is not taken for gone;
* what cannot be read or parsed leaves the values as they were, and is logged once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from ..errors import PyWattError, SecretError
from .secret_values import SecretValues

if TYPE_CHECKING:
    from typing import TypeVar

    from ..access import SecretInfo

    T = TypeVar("T")

log = logging.getLogger(__name__)

SETTLED: Final = 0.1
"""Seconds after which a second look has to find the same as the first."""
LOOKS: Final = 10
"""Looks in a row at something that keeps changing; after them the old values stay until the next turn."""
LOOK_TIMEOUT: Final = 5.0
"""Seconds that the file system may take for one look."""
YOUNG: Final = 2.0
"""Seconds in which two changes of a file may bear the same time, on the coarsest of file systems."""


class Stamp(NamedTuple):
    """What can be told of files without reading them."""

    key: Hashable
    """Another one where something changed."""
    newest: float
    """When anything changed last, in seconds since 1970; 0 where there is nothing."""


class Reading:
    """What one look found."""

    __slots__ = ("changed", "faults", "notes", "values")

    def __init__(
        self,
        values: Mapping[str, str],
        changed: Mapping[str, float],
        *,
        faults: Mapping[str, str] | None = None,
        notes: frozenset[str] = frozenset(),
    ) -> None:
        self.values = values
        self.changed = changed
        """For each name when its value was written, in seconds since 1970."""
        self.faults = faults or {}
        """Names that are there and cannot be read, and why."""
        self.notes = notes
        """What else whoever runs this should know; each is logged once."""

    def same(self, other: Reading) -> bool:
        """Whether both found the same secrets."""
        return self.values == other.values and self.faults == other.faults

    def __repr__(self) -> str:
        return f"Reading({len(self.values)} secrets)"


class Reader(Protocol):
    """Where secrets are read from. Its methods block, and are called in a thread."""

    @property
    def place(self) -> str:
        """The file or folder, for messages."""
        ...

    def where(self, name: str) -> str:
        """Where one secret stands, for messages."""
        ...

    def stamp(self) -> Stamp:
        """A cheap look. Never raises: what cannot be looked at has a stamp of its own."""
        ...

    def read(self) -> Reading:
        """Everything. Raises `SecretError`, or `ConfigError` for a file of another form; never with a value in text or frames."""
        ...


class Look(NamedTuple):
    """A reading, and the stamp that it stays good for; None where a change right after it could bear the same stamp."""

    stamp: Stamp | None
    reading: Reading


class PolledSecrets(SecretValues):
    """The secrets of a `Reader`. A value that `get` gives is at most `poll` seconds old, while the file can be read."""

    def __init__(self, reader: Reader, *, poll: float) -> None:
        super().__init__()
        self._reader, self._poll = reader, poll
        self._stamp: Stamp | None = None
        """Of the last reading; None where the next look has to read."""
        self._faults: Mapping[str, str] = {}
        self._missing: frozenset[str] = frozenset()
        """Names that the last look did not find any more."""
        self._lock = asyncio.Lock()
        self._due = 0.0
        self._busy: asyncio.Future[Any] | None = None
        """The look that is under way in a thread, though whoever began it may have given up."""
        self._give_up = 0.0
        self._complaint = ""
        self._noted: frozenset[str] = frozenset()

    async def open(self) -> None:
        """Read for the first time. Raises what `Reader.read` raises."""
        self._take(await self._in_thread(self._read_whole))
        self._due = asyncio.get_running_loop().time() + self._poll

    async def get(self, name: str) -> str | None:
        """The value. Raises `SecretError` where the secret is there, cannot be read, and could not be read before either."""
        await self._look_if_due()
        value = self._values.get(name)
        if value is None and name in self._faults:
            raise SecretError(self._faults[name])
        return value

    async def names(self) -> frozenset[str]:
        """What is there now and can be read."""
        await self._look_if_due()
        return await super().names()

    async def describe(self, name: str) -> SecretInfo | None:
        """Its version, the file, and when the value was written there."""
        await self._look_if_due()
        return await super().describe(name)

    async def refresh(self) -> None:
        """Look now. What cannot be read is logged, and the values stay."""
        async with self._lock:
            await self._look()

    async def wait(self) -> None:
        """Sleep until the next look is due, and look."""
        await asyncio.sleep(max(0.0, self._due - asyncio.get_running_loop().time()))
        await self._look_if_due()

    def place(self, name: str) -> str:
        """The file that holds the secret, or would."""
        return self._reader.where(name)

    def _attributes(self, name: str) -> Mapping[str, str]:
        return {"file": self.place(name)}

    async def _look_if_due(self) -> None:
        clock = asyncio.get_running_loop().time
        if clock() < self._due:
            return
        async with self._lock:
            if clock() >= self._due:
                await self._look()

    async def _look(self) -> None:
        try:
            found = await self._in_thread(self._read_if_changed)
            if found is not None and not self._is_known(found.reading):
                found = await self._settled(found)
        except PyWattError as error:
            self._stamp = None
            self._complain(str(error))
        else:
            if found is not None:
                self._take(found)
            self._complain("")
        self._due = asyncio.get_running_loop().time() + self._poll

    async def _settled(self, found: Look) -> Look:
        """What two looks in succession agree on."""
        for _ in range(LOOKS):
            await asyncio.sleep(min(SETTLED, self._poll))
            before, found = found, await self._in_thread(self._read_whole)
            if found.reading.same(before.reading):
                return found
        raise SecretError(f"{self._reader.place}: it keeps changing while it is read")

    def _is_known(self, reading: Reading) -> bool:
        return reading.values == self._values and reading.faults == self._faults

    def _read_if_changed(self) -> Look | None:
        known = self._stamp
        return None if known is not None and self._reader.stamp() == known else self._read_whole()

    def _read_whole(self) -> Look:
        """A reading in the midst of which nothing changed."""
        for _ in range(LOOKS):
            now, before = time.time(), self._reader.stamp()
            reading = self._reader.read()
            if self._reader.stamp() == before:
                return Look(before if now - before.newest > YOUNG else None, reading)
        raise SecretError(f"{self._reader.place}: it keeps changing while it is read")

    def _take(self, found: Look) -> None:
        """What was found is what there is, but for names that are missing for the first time or cannot be read any more."""
        reading = found.reading
        gone = self._values.keys() - reading.values.keys() - reading.faults.keys()
        self._missing = frozenset(gone - self._missing)
        self._stamp = None if self._missing else found.stamp
        kept = self._missing | (self._values.keys() & reading.faults.keys())
        values = {**reading.values, **{name: self._values[name] for name in kept}}
        times = {**reading.changed, **{name: moment for name, moment in self._changed.items() if self._values[name] == values.get(name)}}
        changed = {name: times[name] for name in values if name in times}
        self._faults = reading.faults
        told = frozenset({*reading.notes, *reading.faults.values()})
        for text in sorted(told - self._noted):
            log.warning("%s", text)
        self._noted = told
        self.replace(values, changed)

    def _complain(self, text: str) -> None:
        """Log what is wrong, once; and once that it is over."""
        if text != self._complaint:
            self._complaint = text
            if text:
                log.error("%s. The values known before stay in use", text)
            else:
                log.info("%s: it can be read again", self._reader.place)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """The result, in time. A file system that hangs gets no second thread to hang in, and keeps no process from ending."""
        if self._busy is not None:
            await self._done(self._busy)
        self._give_up = asyncio.get_running_loop().time() + LOOK_TIMEOUT
        self._busy = running = in_daemon_thread(work, f"look at {self._reader.place}")
        await self._done(running)
        return running.result()

    async def _done(self, running: asyncio.Future[Any]) -> None:
        await asyncio.wait({running}, timeout=max(0.0, self._give_up - asyncio.get_running_loop().time()))
        if not running.done():
            raise SecretError(f"{self._reader.place}: the file system does not answer within {LOOK_TIMEOUT:g} s")
        self._busy = None


def in_daemon_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """The result of `work`, done in a thread that the process does not wait for when it ends, unlike those of `asyncio.to_thread`."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            tell(future.set_exception, error)
        else:
            tell(future.set_result, result)

    def tell(settle: Callable[[Any], None], what: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            loop.call_soon_threadsafe(lambda: None if future.done() else settle(what))

    future.add_done_callback(lambda future: future.cancelled() or future.exception())  # whoever asked may have given up
    threading.Thread(target=run, name=name, daemon=True).start()
    return future
