"""PostgreSQL: where it is, and how it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pywatt_core.sql.options import AddressedOptions


@dataclass(frozen=True, kw_only=True)
class Options(AddressedOptions):
    """The keys of a ``[databases.NAME]`` section with ``use = "postgres"``. Times are in seconds.

    ``url = "postgresql://user:password@host:port/database"``, or the fields. A URL may end with ``?sslmode=…``,
    ``application_name=…``, and ``host=/folder`` for a Unix socket.
    """

    scheme = "postgresql"
    schemes = ("postgres", "postgresql", "postgres+asyncpg", "postgresql+asyncpg")
    usual_port = 5432
    parameters = frozenset({"application_name"})

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
