"""The one file that imports aiocache and aiomcache.

aiocache gives the facade that other code may know, aiomcache the commands. What it does with connections is replaced, because
with it a cancelled call leaves its answer to the next one, callers wait for ever after an error, and a server that ends
stops the event loop: see docs/decisions/0019-memcached-beneath-aiomcache.md.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import aiomcache
from aiocache import MemcachedCache as Facade
from aiocache.serializers import NullSerializer
from aiomcache.exceptions import ClientException

from pywatt_core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .pool import Connection, Pool

__all__ = ["Client", "ClientException", "Item", "facade"]

AT_ONCE = 200
"""Requests that are sent before their answers are read; the answers are short."""
BATCH = 256 * 1024
"""Bytes likewise."""


class Item(NamedTuple):
    """A value as ``mg`` tells of it."""

    value: bytes
    cas: int
    ttl: int
    """Whole seconds that are left, -1 without a limit."""


class Client(aiomcache.FlagClient[bytes]):
    """aiomcache's client over our pool. An exchange that is interrupted costs its connection, and never mixes up answers."""

    def __init__(self, host: str, port: int, pool: Pool) -> None:
        super().__init__(host, port, get_flag_handler=as_it_is)
        self._connections = pool
        self._pool: Any = pool

    async def lines(self, requests: Sequence[bytes]) -> list[bytes]:
        """Send requests that are answered by one line each, together; the lines, in order. No more than one of `batches`."""
        connection = await self._connections.acquire()
        try:
            with connection.exchange():
                connection.writer.write(b"".join(requests))
                await connection.writer.drain()
                return [await line(connection) for _ in requests]
        finally:
            self._connections.release(connection)

    async def item(self, key: bytes) -> Item | None:
        """The value with its number for ``cas`` and its time."""
        connection = await self._connections.acquire()
        try:
            with connection.exchange():
                connection.writer.write(b"mg %b v c t\r\n" % key)
                await connection.writer.drain()
                return await read_item(connection)
        finally:
            self._connections.release(connection)

    async def item_and_incr(self, key: bytes, delta: int) -> tuple[Item | None, bytes]:
        """What was there, and what ``incr`` said after that, in one exchange."""
        connection = await self._connections.acquire()
        try:
            with connection.exchange():
                connection.writer.write(b"mg %b v c t\r\nincr %b %d\r\n" % (key, key, delta))
                await connection.writer.drain()
                return await read_item(connection), await line(connection)
        finally:
            self._connections.release(connection)

    async def _execute_simple_command(self, conn: Any, raw_command: bytes) -> bytes:
        with conn.exchange():
            conn.writer.write(raw_command)
            await conn.writer.drain()
            return await line(conn)

    async def _multi_get(self, conn: Any, *keys: bytes, with_cas: bool = True) -> Any:
        with conn.exchange(), alive(conn):
            return await super()._multi_get(conn, *keys, with_cas=with_cas)  # type: ignore[call-overload]

    async def stats(self, args: bytes | None = None) -> dict[bytes, bytes | None]:
        """The server's own figures."""
        connection = await self._connections.acquire()
        try:
            with connection.exchange(), alive(connection):
                found: dict[bytes, bytes | None] = await aiomcache.FlagClient.stats.__wrapped__(self, connection, args)  # type: ignore[attr-defined]
            return found
        finally:
            self._connections.release(connection)


@contextmanager
def alive(connection: Connection) -> Iterator[None]:
    """aiomcache takes the end of a connection for an answer that it does not understand."""
    try:
        yield
    except ClientException as error:
        if connection.reader.at_eof():
            raise ConnectionResetError("the server closed the connection") from error
        raise


async def line(connection: Connection) -> bytes:
    """One line of an answer. Raises `ConnectionResetError` where the server has gone: aiomcache would ask for ever."""
    told = await connection.reader.readline()
    if not told.endswith(b"\r\n"):
        raise ConnectionResetError("the server closed the connection")
    return told[:-2]


async def read_item(connection: Connection) -> Item | None:
    """The answer to ``mg KEY v c t``."""
    head = (await line(connection)).split()
    if head == [b"EN"]:
        return None
    if not head or head[0] != b"VA":
        raise StorageError("Memcached gave an answer that makes no sense")
    value = (await connection.reader.readexactly(int(head[1]) + 2))[:-2]
    told = {flag[:1]: int(flag[1:]) for flag in head[2:]}
    return Item(value, told[b"c"], told[b"t"])


def batches(requests: Iterable[bytes]) -> Iterable[list[bytes]]:
    """The requests in groups that are sent together."""
    batch: list[bytes] = []
    size = 0
    for request in requests:
        if batch and (len(batch) == AT_ONCE or size + len(request) > BATCH):
            yield batch
            batch, size = [], 0
        batch.append(request)
        size += len(request)
    if batch:
        yield batch


async def as_it_is(value: bytes, flags: int) -> bytes:
    """A value that another client stored with flags of its own is bytes all the same."""
    return value


def facade(client: Client, host: str, port: int, pool_size: int) -> Facade:
    """aiocache's cache over the same connections, for code that was written for it. It stores bytes as they are."""
    cache = Facade(serializer=NullSerializer(encoding=None), endpoint=host, port=port, pool_size=pool_size)
    cache.client = client
    return cache
