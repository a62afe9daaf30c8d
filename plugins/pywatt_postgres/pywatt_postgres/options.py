"""PostgreSQL: where it is, and how it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pywatt_core.errors import ConfigError
from pywatt_core.sql.options import Address, ServerDatabaseOptions, address

SCHEMES = ("postgres", "postgresql", "postgres+asyncpg", "postgresql+asyncpg")
PORT = 5432
PARAMETERS = frozenset({"application_name"})
"""What may stand behind the ``?`` of a URL, beside where the server is and how to speak TLS with it."""


@dataclass(frozen=True, kw_only=True)
class Options(ServerDatabaseOptions):
    """The keys of a ``[databases.NAME]`` section with ``use = "postgres"``. Times are in seconds.

    ``url = "postgresql://user:password@host:port/database"``, or the fields. A URL may end with ``?sslmode=…``,
    ``application_name=…``, and ``host=/folder`` for a Unix socket.
    """

    application_name: str = ""
    """What the server's ``pg_stat_activity`` calls the connections; the module's id by default."""
    schema: str = ""
    """The schema that names without one belong to; the server's own search path by default."""
    target_session_attrs: Literal["any", "primary", "standby", "read-write", "read-only", "prefer-standby"] = "any"
    """Which of several `hosts` will do: ``read-write`` finds the one that takes changes."""
    reset: Literal["needed", "always"] = "needed"
    """When a connection's session is put back to its beginnings (settings, advisory locks, cursors, LISTEN), which costs a round trip:
    ``needed`` after a statement whose text can have changed it, ``always`` after every use. Take ``always`` where functions of your own
    that change the session are called outside transactions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self.address  # noqa: B018 - raises what is wrong with it
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @property
    def address(self) -> Address:
        """Where the database is. Raises `ConfigError` that names the option and shows no URL."""
        found = address(self, scheme="postgresql", schemes=SCHEMES, port=PORT)
        unknown = sorted(found.parameters.keys() - PARAMETERS)
        if unknown:
            name = "dsn" if self.dsn else "url"
            raise ConfigError(f"{name} has the parameter {unknown[0]!r}, which is unknown here: set it as an option of the section instead")
        if not found.database:
            raise ConfigError(
                'no database is named: set url = "postgresql://user:password@host/database", best as "secret:NAME", '
                "or host, user, password and database"
            )
        return found
