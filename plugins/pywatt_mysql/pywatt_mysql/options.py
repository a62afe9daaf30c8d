"""MariaDB and MySQL: where they are, and how they are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pywatt_core.errors import ConfigError
from pywatt_core.sql.options import Address, AddressedOptions

SCHEMES = tuple(f"{kind}{driver}" for kind in ("mysql", "mariadb") for driver in ("", "+asyncmy", "+aiomysql", "+pymysql"))


@dataclass(frozen=True, kw_only=True)
class Options(AddressedOptions):
    """The keys of a ``[databases.NAME]`` section with ``use = "mysql"`` or ``"mariadb"``. Times are in seconds.

    ``url = "mysql://user:password@host:port/database"``, or the fields. A URL may end with ``?ssl_mode=…``, and with
    ``host=/path`` for a Unix socket: its folder, where it is called ``mysqld.sock``, or itself.
    """

    scheme = "mysql"
    schemes = SCHEMES
    usual_port = 3306
    parameters = frozenset({"charset"})

    application_name: str = ""
    """What the connections call themselves (``program_name`` in ``performance_schema``); the module's id by default."""
    time_zone: str = "+00:00"
    """The zone that ``TIMESTAMP`` columns and ``NOW()`` are given in. The default is UTC, whatever the server's is."""
    sql_mode: str = ""
    """The modes of SQL; by default the server's own with ``STRICT_ALL_TABLES``, so that nothing is cut to fit its column.
    ``NO_BACKSLASH_ESCAPES`` is refused, and switched off where it is the server's."""
    reset: Literal["needed", "always"] = "needed"
    """When a connection's session is put back to its beginnings (variables, temporary tables, locks by name), which costs two round
    trips: ``needed`` after a statement whose text can have changed it, ``always`` after every use. Take ``always`` where procedures of
    your own that change the session are called outside transactions."""

    def __post_init__(self) -> None:
        if "NO_BACKSLASH_ESCAPES" in self.sql_mode.upper():
            raise ValueError("sql_mode holds NO_BACKSLASH_ESCAPES: where parameters stand in a statement is read with backslashes")
        super().__post_init__()

    @property
    def address(self) -> Address:
        """Where the database is. Raises `ConfigError` that names the option and shows no URL."""
        found = super().address
        charset = found.parameters.get("charset", "utf8mb4")
        if charset not in ("utf8mb4", "utf8"):
            name = "dsn" if self.dsn else "url"
            raise ConfigError(f"{name} asks for charset={charset}: connections speak utf8mb4, and the server converts")
        return found
