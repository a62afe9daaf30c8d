"""The pool: asyncpg's, used directly. One file knows that library's inner names.

asyncpg's pool makes, bounds and replaces connections; what this file adds is deadlines, turns in the order in which people came,
nobody waiting for themselves, and a short way back for a connection that is in order: asyncpg would ask the server to reset
it, in a task of its own, after every statement. The inner names are those of asyncpg 0.32, which is why pyproject.toml allows
no other.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg import connect_utils

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.sql.options import Address, tls_context

from .failures import BACKEND_ERRORS, translated
from .values import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .options import Options

log = logging.getLogger("pywatt.postgres")

CLOSED = "the database is closed"

RELEASE_TIMEOUT = 5.0
"""Seconds after which a connection that does not come to rest, because its server does not answer, is cut off."""

CANCELLED_TIMEOUT = 0.5
"""Seconds that closing gives statements to end after it has cancelled them."""


class Session(asyncpg.Connection):  # type: ignore[misc]
    """A connection that remembers how old it is, and whether its session has to be put back to its beginnings."""

    born: float
    always_reset: bool
    touched = False
    """It has to be put in order before others get it: a statement may have changed its settings, locks or cursors, or was given up."""

    async def status(self, sql: str, values: Sequence[Any]) -> str:
        """Run a statement for what PostgreSQL says of it: ``INSERT 0 3``.

        The public `execute` takes several statements where there are no values; this is what it calls where there are some.
        """
        _, status, _ = await self._execute(sql, values, 0, None, return_status=True)
        return status.decode() if status else ""  # an empty statement has none


class Upgrade(connect_utils.TLSUpgradeProto):  # type: ignore[misc]
    """What asks the server for TLS. Where connecting is given up, asyncpg leaves an error there that nobody looks at, and asyncio
    tells of it with a traceback."""

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if not self.on_data.cancelled():
            self.on_data.exception()


connect_utils.TLSUpgradeProto = Upgrade  # asyncpg has no other way to give it one


class Brief(logging.Filter):
    """asyncpg tells of every vain attempt to fill the pool with a traceback. The reason is enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            record.msg, record.args = "%s; it is tried again", (translated(error, "", doing="connecting"),)
            record.exc_info = record.exc_text = None
        return True


logging.getLogger("asyncpg.pool").addFilter(Brief())


class Pool:
    """Connections for one user at a time, as many as `max_connections`; nobody waits for ever, or for themselves."""

    def __init__(self, pool: asyncpg.Pool, options: Options) -> None:
        self.asyncpg = pool
        self.asyncpging = options.pooling
        self._close_timeout = options.close_timeout
        self._lifetime = self.asyncpging.max_lifetime or float("inf")
        self._timeout = self.asyncpging.acquire_timeout
        self._waiting = 0
        self._first = asyncio.Lock()
        """Held by the first of those who wait: asyncpg's queue itself favours who comes last."""
        self._holders: dict[Any, asyncio.Task[Any] | None] = {}
        """Who has a connection for longer than one statement."""
        self.closed = False

    @classmethod
    async def open(cls, options: Options, where: Address, module_id: str, folder: Path) -> Pool:
        """Connect once, so that what is wrong is told now. Raises `Unavailable` or another `StorageError`."""
        try:
            pool = await asyncpg.create_pool(**arguments(options, where, module_id, folder))
        except BACKEND_ERRORS as error:
            raise translated(error, "", doing=f"connecting to {where}") from error
        return cls(pool, options)

    async def acquire(self) -> Any:
        """A connection for the caller alone, to be given back to `release`.

        Raises `Unavailable` where none becomes free in time or the server cannot be reached, and `StorageError` where the
        pool is closed, or where the task itself holds every connection and would wait for itself.
        """
        if self.closed:
            raise StorageError(CLOSED)
        if len(self._holders) >= self.asyncpging.max_connections:
            await self._refuse_to_wait_for_oneself()
        try:
            if not self._waiting and not self.asyncpg._queue.empty():  # at most it has to connect, which has a deadline of its own
                connection = await self.asyncpg.acquire()
            else:
                connection = await self._wait()
        except BACKEND_ERRORS as error:
            raise (StorageError(CLOSED) if self.closed else translated(error, "", doing="connecting")) from error
        if self.closed:  # it was made for somebody who waited while the pool closed
            cut_off(connection)
            raise StorageError(CLOSED)
        return connection

    async def _wait(self) -> Any:
        """A connection that is in use until now. Whoever waited first gets it, not who happens to run when it becomes free."""
        self._waiting += 1
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline, self._first:
                if self.closed:
                    raise StorageError(CLOSED)
                return await self.asyncpg.acquire()
        except TimeoutError as error:
            if not deadline.expired() or self.closed:
                raise
            raise Unavailable(
                f"no connection became free within {self._timeout:g} s: shorten the transactions and iterations that hold them, "
                "or raise pool.max_connections or pool.acquire_timeout"
            ) from error
        finally:
            self._waiting -= 1

    async def release(self, connection: Any) -> None:
        """Give a connection back; one that does not come to rest, or has lived long enough, is closed."""
        if self._holders:
            self._holders.pop(connection, None)
        session: Session | None = connection._con
        if session is None:  # it was cut off, and its place is free already
            return
        old = monotonic() - session.born > self._lifetime
        if not (old or session.touched or session.always_reset or session.is_in_transaction() or session.is_closed() or self.closed):
            holder = connection._holder  # what asyncpg does itself after a reset
            session._on_release()
            holder._release()
            holder._setup_inactive_callback()
            return
        session.touched = False
        try:
            if old:
                await asyncio.shield(session.close(timeout=RELEASE_TIMEOUT))
            await self.asyncpg.release(connection, timeout=RELEASE_TIMEOUT)
        except BACKEND_ERRORS as error:
            if not self.closed:
                log.warning("a connection could not be brought back to order (%s) and was closed", type(error).__name__)

    async def hold(self) -> Any:
        """A connection that the calling task keeps for more than one statement."""
        connection = await self.acquire()
        self._holders[connection] = asyncio.current_task()
        return connection

    def leaving(self, connection: Any) -> None:
        """The connection is about to be released, whatever its user does meanwhile."""
        if connection in self._holders:
            self._holders[connection] = None

    async def close(self) -> None:
        """Wait for who has a connection, `close_timeout` seconds at most, then cancel what still runs. May be called twice."""
        self.closed = True
        closing = asyncio.ensure_future(self.asyncpg.close())
        try:
            done, _ = await asyncio.wait({closing}, timeout=self._close_timeout)
            if not done:
                log.warning("what was still running when the database closed is cancelled")
                await self._cancel_statements()
                await asyncio.wait({closing}, timeout=CANCELLED_TIMEOUT)
        finally:
            closing.cancel()  # then it cuts off every connection that is left
            await asyncio.wait({closing})
        if not closing.cancelled() and (failure := closing.exception()) is not None:
            log.warning("closing the connections failed (%s); they were cut off", type(failure).__name__)

    async def _cancel_statements(self) -> None:
        """Tell the server: it would go on with a statement whose connection has gone, until it has something to say."""
        sessions = [session for holder in self.asyncpg._holders if (session := holder._con) is not None and not holder.is_idle()]
        cancelling = [asyncio.ensure_future(session._cancel(asyncio.get_running_loop().create_future())) for session in sessions]
        if cancelling:
            _, late = await asyncio.wait(cancelling, timeout=CANCELLED_TIMEOUT)
            for one in late:
                one.cancel()

    async def _refuse_to_wait_for_oneself(self) -> None:
        for _ in range(2):  # an iteration that was left a moment ago gets to say that it is leaving
            await asyncio.sleep(0)
        users = self._holders.values()
        task = asyncio.current_task()
        if len(users) >= self.asyncpging.max_connections and all(user is task for user in users):
            raise StorageError(
                "this task itself holds every connection and would wait for ever: inside a transaction use the object that it gave "
                "you; end an iteration, or take fetch_all, before the next statement"
            )


def session_of(connection: Any) -> Session:
    """What a connection that the pool has lent stands for. Raises `Unavailable` where it broke, and its place is somebody else's."""
    session: Session | None = connection._con
    if session is None:
        raise Unavailable("the connection to the server is closed")
    return session


def cut_off(connection: Any) -> None:
    """Close a connection at once; its place in the pool is free again."""
    session: Session | None = connection._con
    if session is not None:
        session.terminate()


def arguments(options: Options, where: Address, module_id: str, folder: Path) -> dict[str, Any]:
    """What asyncpg is called with."""
    pool, settings = options.pooling, server_settings(options, where, module_id)
    password = where.password

    async def begin(session: Session) -> None:
        session.born, session.always_reset = monotonic(), options.reset == "always"
        await prepare(session)

    return {
        "host": [host for host, _ in where.hosts],
        "port": [port for _, port in where.hosts],
        "user": where.user or None,
        "password": password.expose_secret if password is not None else None,
        "database": where.database or None,
        "ssl": "prefer" if where.tls == "prefer" else tls_context(options, where.tls, folder) or "disable",
        "timeout": options.connect_timeout,
        "command_timeout": options.statement_timeout or None,
        "statement_cache_size": options.cached_statements,
        "server_settings": settings,
        "target_session_attrs": options.target_session_attrs,
        "connection_class": Session,
        "init": begin,
        "init_size": max(1, pool.min_connections),
        "min_size": pool.min_connections,
        "max_size": pool.max_connections,
        "max_inactive_connection_lifetime": pool.idle_timeout,
    }


def server_settings(options: Options, where: Address, module_id: str) -> dict[str, str]:
    """The settings that each connection begins with."""
    settings = {"application_name": options.application_name or where.parameters.get("application_name", "") or f"pywatt {module_id}"}
    if options.schema:
        settings["search_path"] = '"' + options.schema.replace('"', '""') + '"'
    return settings
