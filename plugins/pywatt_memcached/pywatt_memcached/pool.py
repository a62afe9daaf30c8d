"""Connections to one server: bounded, waited for with a deadline, thrown away where an exchange was not finished."""

from __future__ import annotations

import asyncio

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.services.caching import CLOSED

LINE = 64 * 1024
"""Bytes that a line of an answer may have; values are no lines."""


class Connection:
    """One connection, as aiomcache sees it: `reader`, `writer`, and the reader as item 0."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._unfinished = False

    def __getitem__(self, item: int) -> asyncio.StreamReader | asyncio.StreamWriter:
        return (self.reader, self.writer)[item]

    def exchange(self) -> Connection:
        """``with connection.exchange():`` a request and its whole answer. Whoever is interrupted in it leaves an answer behind that
        nobody may read."""
        return self

    def __enter__(self) -> None:
        self._unfinished = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._unfinished = False

    @property
    def usable(self) -> bool:
        """False where an answer is still to come, or the server has gone."""
        return not (self._unfinished or self.reader.at_eof() or self.reader.exception() is not None or self.writer.is_closing())

    def close(self) -> None:
        """At once: what has not been sent is dropped."""
        self.writer.transport.abort()


class Pool:
    """What aiomcache's own pool does for its client, with bounds: at most `size` connections, the last used first."""

    def __init__(self, host: str, port: int, *, size: int, connect_timeout: float, acquire_timeout: float) -> None:
        self._host, self._port = host, port
        self._connect_timeout, self._acquire_timeout = connect_timeout, acquire_timeout
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self._closed = False

    @property
    def place(self) -> str:
        return f"Memcached at {self._host}:{self._port}"

    async def acquire(self) -> Connection:
        """A connection that is usable as far as one can see. Raises `Unavailable` after the deadlines."""
        if self._closed:
            raise StorageError(CLOSED)
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()  # at once
        try:
            connection = self._idle_one() or await self._connect()
        except BaseException:
            self._free.release()
            raise
        if self._closed:
            connection.close()
            self._free.release()
            raise StorageError(CLOSED)
        self._used.add(connection)
        return connection

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._acquire_timeout):
                await self._free.acquire()
        except TimeoutError as error:
            raise Unavailable(
                f"all {self._size} connections to {self.place} were in use for {self._acquire_timeout:g} s: raise max_connections"
            ) from error

    def release(self, connection: Connection) -> None:
        """Take it back, or close it where it is not usable any more."""
        self._used.discard(connection)
        if connection.usable and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
        self._free.release()

    async def clear(self) -> None:
        """Close every connection; whoever waits for an answer gets an error."""
        self._closed = True
        for connection in (*self._idle, *self._used):
            connection.close()
        self._idle.clear()

    def _idle_one(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(self._connect_timeout):
                return Connection(*await asyncio.open_connection(self._host, self._port, limit=LINE))
        except TimeoutError as error:
            raise Unavailable(f"{self.place} did not answer within {self._connect_timeout:g} s") from error
        except OSError as error:
            raise Unavailable(f"{self.place} cannot be reached: {error.strerror or error}") from error
