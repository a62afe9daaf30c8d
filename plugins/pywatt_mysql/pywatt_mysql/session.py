"""One connection to the server. This file knows asyncmy's inner names, those of 0.2.18, which is why pyproject.toml allows no other.

Every statement is prepared at the server, which puts the values in their places: nothing is ever quoted into a text here. A
connection that does not know how its last exchange ended is closed and never used again.
"""

from __future__ import annotations

import struct
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from asyncmy.connection import Connection, MySQLResult
from asyncmy.constants.CLIENT import FOUND_ROWS, MULTI_STATEMENTS, SSL
from asyncmy.constants.COMMAND import COM_PING, COM_STMT_EXECUTE, COM_STMT_FETCH
from asyncmy.constants.SERVER_STATUS import SERVER_STATUS_CURSOR_EXISTS, SERVER_STATUS_IN_TRANS, SERVER_STATUS_LAST_ROW_SENT
from asyncmy.errors import Error as BackendError
from asyncmy.protocol import pack_binary_params, parse_binary_rows_from_buffer

from pywatt_core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

GOODBYE: Final = b"\x01\x00\x00\x00\x01"
COM_RESET_CONNECTION: Final = 0x1F
NOT_PREPARABLE: Final = 1295
FORGOTTEN: Final = frozenset({1243, 1615})
"""The server does not know a prepared statement any more, or not well enough: it was not executed, and is prepared again."""
READ_ONLY_CURSOR: Final = b"\x01\x01\x00\x00\x00"
"""Follows a statement's number where its rows are to stay at the server."""
UNSENT: Final = 0x100
"""A number that no packet has, while nothing of an exchange has been sent."""
IN_THE_CLEAR: Final = frozenset({b"mysql_clear_password", b"mysql_old_password", b"dialog"})
"""Ways to log in that show the password to whoever listens."""


def of_server(error: BaseException) -> bool:
    """Whether the server itself said so, which means that the exchange is over and the connection in order."""
    code = error.args[0] if isinstance(error, BackendError) and error.args else None
    return isinstance(code, int) and code >= 1000 and not 2000 <= code < 3000


class Session(Connection):  # type: ignore[misc]
    """A connection that remembers its age, what it has prepared, and whether its session has to be put back to its beginnings."""

    def __init__(self, *, beginning: str, cached: int, tls: Any, tls_required: bool, **arguments: Any) -> None:
        super().__init__(autocommit=None, client_flag=FOUND_ROWS, ssl=tls, **arguments)
        self._client_flag &= ~MULTI_STATEMENTS
        self._ssl_context: Any
        self._beginning = beginning
        self._cached = cached
        self._tls_required = tls_required
        self._prepared: dict[str, Any] = {}
        self.born = self.idle_since = monotonic()
        self.port: int | None = None
        """The port of this end, by which the server can tell the connection from others; None for a Unix socket."""
        self.touched = False
        """It has to be put in order before others get it: a statement may have changed its settings, tables or locks."""
        self.under_way = False
        """A statement was sent, and how it ended has not been heard."""

    async def connect(self) -> Any:
        """Connect, log in and put the session to its beginnings."""
        await super().connect()
        try:
            name = self._transport.get_extra_info("sockname")
            self.port = name[1] if isinstance(name, tuple) else None
            if not self._deprecate_eof:
                raise StorageError(f"the server ({self.server_version}) is too old: MariaDB 10.2 or MySQL 5.7 is needed")
            await self.query(self._beginning)
        except BaseException:
            self.close()
            raise

    async def _get_server_information(self) -> None:
        await super()._get_server_information()
        if self._ssl_context is not None and not self.server_capabilities & SSL:
            if self._tls_required:
                raise StorageError("the server speaks no TLS, and ssl_mode asks for it")
            self._ssl_context = None
            self._client_flag &= ~SSL

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        if plugin_name in IN_THE_CLEAR and not self._secure:
            raise StorageError(
                f"the server asks for the password in the clear ({plugin_name.decode()}), and the connection has no TLS: "
                'set ssl_mode = "verify-full"'
            )
        return await super()._process_auth(plugin_name, auth_packet)

    @property
    def broken(self) -> bool:
        """It is of no use any more: one of the ends has closed it, or how its last exchange ended is not known."""
        return not self._connected or self.under_way or bool(self._stream_broken)

    @property
    def in_transaction(self) -> bool:
        """Whether the server has said that it is inside one."""
        return bool(self.server_status & SERVER_STATUS_IN_TRANS)

    async def execute(self, sql: str, values: tuple[Any, ...]) -> MySQLResult:
        """Run a statement whose parameters are ``?``, to its last row. Raises what asyncmy raises."""
        statement: Any = None
        self._begin()
        try:
            statement = self._prepared.get(sql)
            if statement is None:
                statement = await self._prepare(sql, bool(values))
                if statement is None:
                    await self.query(sql)
                    self.under_way = False
                    return self._result
                self._next_seq_id = UNSENT
            try:
                result = await statement.execute(values)
            except BackendError as error:
                if not of_server(error) or error.args[0] not in FORGOTTEN:
                    raise
                self._prepared.pop(sql, None)
                statement = await self._prepare(sql, True)
                self._next_seq_id = UNSENT
                result = await statement.execute(values)
            self.under_way = False
            return result
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            if not self._cached and statement is not None and not self.broken:
                await statement.close()

    async def command(self, sql: str) -> None:
        """Run a statement of our own that has no parameters and gives no rows."""
        self._begin()
        try:
            await self.query(sql)
            self.under_way = False
        except BaseException as error:
            self._failed(error)
            raise

    async def answer(self) -> None:
        """Ask the server whether it is there."""
        self._begin()
        try:
            await self._execute_command(COM_PING, b"")
            await self._read_ok_packet()
            self.under_way = False
        except BaseException as error:
            self._failed(error)
            raise

    async def reset(self) -> None:
        """Put the session back to its beginnings. What was prepared is gone."""
        self._begin()
        try:
            await self._execute_command(COM_RESET_CONNECTION, b"")
            await self._read_ok_packet()
            self._prepared.clear()
            await self.query(self._beginning)
            self.under_way = self.touched = False
        except BaseException as error:
            self._failed(error)
            raise

    def _begin(self) -> None:
        self.under_way = True
        self._next_seq_id = UNSENT

    def _failed(self, error: BaseException) -> None:
        """The server refused, or nothing was sent: then it goes on. Anything else and the connection is closed."""
        if of_server(error) or self._next_seq_id == UNSENT:
            self.under_way = False
        else:
            self.close()

    async def _prepare(self, sql: str, has_values: bool) -> Any:
        """A statement of the server; None for one that can only be run as text, and has no values."""
        try:
            statement = await self.prepare(sql)
        except BackendError as error:
            if has_values or not of_server(error) or error.args[0] != NOT_PREPARABLE:
                raise
            return None
        if self._cached:
            self._prepared[sql] = statement
            if len(self._prepared) > self._cached:
                await self._prepared.pop(next(iter(self._prepared))).close()
        return statement

    async def open(self, sql: str, values: tuple[Any, ...]) -> Rows:
        """Run a statement whose rows stay at the server, where it can do that, until they are fetched."""
        rows: Rows | None = None
        self._begin()
        try:
            rows = Rows(self, await self.prepare(sql))
            await rows.open(values)
            self.under_way = False
            return rows
        except BaseException as error:
            self._failed(error)
            if rows is not None:
                await rows.close()
            raise

    async def end(self, other: Session) -> None:
        """Have the server end another connection, which it would go on with until it has something to say.

        Nothing is ended where the server sees another port than `other` had: then a proxy stands between, whose
        connections have other numbers.
        """
        number = int(other.server_thread_id[0])
        found = (await self.execute("SELECT HOST FROM information_schema.processlist WHERE ID = ?", (number,))).rows
        if found and (other.port is None or str(found[0][0]).rpartition(":")[2] == str(other.port)):
            try:
                await self.command(f"KILL CONNECTION {number}")
            except BackendError as error:
                if not of_server(error):
                    raise

    def leave(self) -> None:
        """Say goodbye and close, without waiting."""
        if self._connected and not self._stream_broken:
            self._write_bytes(GOODBYE)
        self.close()

    def abort(self) -> None:
        """Close at once, without a word to the server."""
        transport = self._transport
        self.close()
        if transport is not None:
            transport.abort()


class Rows:
    """The rows of one statement, kept by the server in a cursor."""

    def __init__(self, session: Session, statement: Any) -> None:
        self._session = session
        self._statement = statement
        self._specs: tuple[Any, ...] = ()
        self._waiting: list[tuple[Any, ...]] = []
        """Rows that came at once: those of a statement that the server opens no cursor for, such as ``INSERT … RETURNING``."""
        self._over = False
        self.names: Sequence[str] = ()

    async def open(self, values: tuple[Any, ...]) -> None:
        """Execute it."""
        session, statement = self._session, self._statement
        session._next_seq_id = UNSENT
        if len(values) != statement.parameter_count:
            raise ValueError(f"Expected {statement.parameter_count} parameters, got {len(values)}")
        number = struct.pack("<I", statement._statement_id)
        parameters = pack_binary_params(values, session._encoding) if values else b""
        await session._execute_command(COM_STMT_EXECUTE, number + READ_ONLY_CURSOR + parameters)
        packet = await session.read_packet()
        if packet.is_ok_packet():
            self._over = True
            return
        result = MySQLResult(session)
        result.field_count = packet.read_length_encoded_integer()
        await result._get_descriptions()
        self.names = [column[0] for column in result.description]
        self._specs = tuple(
            (field.type_code, bool(field.flags & 32), *converter) for field, converter in zip(result.fields, result.converters, strict=True)
        )
        self._waiting, status = await self._read()
        self._over = not status & SERVER_STATUS_CURSOR_EXISTS
        result.connection = None

    async def fetch(self, count: int) -> list[tuple[Any, ...]]:
        """The next rows, `count` at most but for those that came at once; none at the end."""
        if self._waiting or self._over:
            rows, self._waiting = self._waiting, []
            return rows
        session = self._session
        session._begin()
        try:
            await session._execute_command(COM_STMT_FETCH, struct.pack("<II", self._statement._statement_id, count))
            rows, status = await self._read()
            self._over = bool(status & SERVER_STATUS_LAST_ROW_SENT)
            session.under_way = False
            return rows
        except BaseException as error:
            session._failed(error)
            raise

    async def close(self) -> None:
        """Let go of what the server keeps. Sends, and waits for nothing."""
        if not self._session.broken:
            await self._statement.close()

    async def _read(self) -> tuple[list[tuple[Any, ...]], int]:
        """The rows up to the packet that ends them, and the status that it tells."""
        session = self._session
        rows: list[tuple[Any, ...]] = []
        ending = MySQLResult(session)
        try:
            while True:
                wire = session._proto
                wire.pos, session._next_seq_id = parse_binary_rows_from_buffer(
                    wire.buffer, wire.pos, wire.length, self._specs, session._next_seq_id, rows, session._deprecate_eof
                )
                packet = await session.read_packet()
                if ending._check_packet_is_eof(packet):
                    session.server_status = ending.server_status
                    return rows, ending.server_status
                rows.append(packet.read_binary_row(self._specs))
        finally:
            ending.connection = None
