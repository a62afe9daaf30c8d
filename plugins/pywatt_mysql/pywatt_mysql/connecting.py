"""How a connection is made: which server, which TLS, and how its session begins."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pywatt_core.errors import StorageError
from pywatt_core.sql.options import Address, tls_context

from .failures import BACKEND_ERRORS, translated
from .session import Session

if TYPE_CHECKING:
    from pywatt_core.interfaces import Context

    from .options import Options

SOCKET = "mysqld.sock"
"""The name of a Unix socket where only its folder is given."""


class Connector:
    """Makes connections that are logged in and ready."""

    def __init__(self, options: Options, where: Address, context: Context) -> None:
        self._where = where
        self._timeout = options.connect_timeout
        self._tls = tls_context(options, where.tls, context.folder)
        self._arguments: dict[str, Any] = {
            "user": where.user or None,
            "database": where.database,
            "charset": "utf8mb4",
            "program_name": options.application_name or f"pywatt {context.module_id}",
            "connect_timeout": options.connect_timeout,
            "cached": options.cached_statements,
            "beginning": beginning(options),
            "tls_required": where.tls != "prefer",
        }

    async def connect(self) -> Session:
        """A connection to the first host that answers.

        Raises `Unavailable` or another `StorageError`: that of the last host, which is the only one as a rule.
        """
        failure: StorageError | None = None
        for host, port in self._where.hosts:
            session = self._session(host, port)
            try:
                async with asyncio.timeout(self._timeout):
                    await session.connect()
                return session
            except StorageError as error:
                failure = type(error)(f"connecting to {self._where}: {error}")
                failure.__cause__ = error
            except BACKEND_ERRORS as error:
                failure = translated(error, "", doing=f"connecting to {self._where}")
                failure.__cause__ = error
            session.abort()
        assert failure is not None, "an address has at least one host"
        raise failure

    def _session(self, host: str, port: int) -> Session:
        password = self._where.password
        secret = b"" if password is None else password.expose_secret().encode()
        if not host.startswith("/"):
            return Session(host=host, port=port, password=secret, tls=self._tls, **self._arguments)
        path = Path(host)
        return Session(unix_socket=str(path / SOCKET if path.is_dir() else path), password=secret, tls=None, **self._arguments)


def beginning(options: Options) -> str:
    """The statement that each session begins with."""
    mode = "CONCAT_WS(',', REPLACE(@@GLOBAL.sql_mode, 'NO_BACKSLASH_ESCAPES', ''), 'STRICT_ALL_TABLES')"
    if options.sql_mode:
        mode = _quoted(options.sql_mode)
    return f"SET NAMES utf8mb4, autocommit = 1, time_zone = {_quoted(options.time_zone)}, sql_mode = {mode}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
