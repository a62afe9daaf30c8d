"""The border: what asyncpg raises becomes one of PyWatt's errors, with the statement and never with a parameter's value.

PostgreSQL quotes values in many texts (``invalid input syntax for type integer: "…"``, the DETAIL of a violated key), so a
text is copied only from the classes of errors that speak of statements, names and the server.
"""

from __future__ import annotations

import re
from typing import Final

import asyncpg

from pywatt_core.errors import Conflict, StorageError, Unavailable
from pywatt_core.statements import shortened

BACKEND_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError, UnicodeError)
"""What connecting and a statement may raise: PostgreSQL's errors, asyncpg's own, and those of the connection."""

KINDS: Final = {
    "23505": "unique",
    "23503": "foreign key",
    "23502": "not null",
    "23514": "check",
    "23P01": "exclusion",
    "23001": "foreign key",
}
AGAIN: Final = {
    "40001": ("serialization", "another transaction changed what this one has read"),
    "40P01": ("deadlock", "the transaction and another one waited for each other"),
}
WORDS: Final = {
    "22001": "a text is longer than its column allows",
    "22003": "a number is out of its column's range",
    "22012": "division by zero",
    "22021": "text holds a character that the database cannot store",
    "22P02": "a value does not have the form of its type",
    "22P05": "text holds a character that the database cannot store",
    "25006": "the statement changes the database, and here it may only be read",
    "25P02": "a statement of the transaction failed before, and it can only be rolled back",
    "55P03": "another transaction holds a lock that the statement was not to wait for",
    "57014": "the statement was cancelled",
    "P0001": "a function or trigger raised an error",
}
SPOKEN: Final = frozenset({"08", "0A", "25", "28", "2B", "34", "3B", "3D", "3F", "42", "53", "54", "55", "57", "58"})
"""Classes whose texts speak of statements, names and the server, never of values."""
UNAVAILABLE: Final = frozenset({"08", "53", "58", "57P01", "57P02", "57P03", "57P04", "57P05", "XX"})
"""Classes and codes of errors that may be gone later."""

_ARGUMENT = re.compile(r"invalid input for query argument \$(\d+): .* \((.*)\)\Z", re.DOTALL)
_SAFE_REASON = re.compile(
    r"expected [\w. ]+, got '?[\w.]+'?"
    r"|an? [\w. -]+ is required(?: \(got type [\w.]+\)|, not '[\w.]+')"
    r"|'[\w.]+' object cannot be interpreted as an integer"
    r"|value out of [\w ]+ range",
    re.ASCII,
)
_QUOTED = re.compile(r'"([^"]*)"')


def translated(error: BaseException, sql: str, *, doing: str = "") -> StorageError:
    """The error to raise from `error`, in the words of the statement `sql`, or of what was being done instead."""
    where = f" (statement: {shortened(sql)})" if sql else ""
    before = f"{doing}: " if doing else ""
    if type(error) is asyncpg.DataError or isinstance(error, UnicodeError):  # raised before anything was sent
        return StorageError(f"{before}{_argument(str(error))}{where}")
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error, sql, where, before)
    if isinstance(error, TimeoutError):
        what = "the server did not answer in time" if doing else "the statement took longer than statement_timeout and was cancelled"
        return Unavailable(f"{before}{what}{where}")
    if isinstance(error, OSError):
        return _of_system(error, where, before)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return _of_client(str(error), where, before)
    return StorageError(f"{before}{type(error).__name__}{where}")


def _of_server(error: asyncpg.PostgresError, sql: str, where: str, before: str) -> StorageError:
    code: str = getattr(error, "sqlstate", None) or ""
    group = code[:2]
    if group == "23":
        kind = KINDS.get(code, "constraint")
        names = [f"{what} {name}" for what in ("constraint", "table", "column") if (name := getattr(error, f"{what}_name", None))]
        return Conflict(f"{before}{kind} violated: {', '.join(names) or 'the server does not say which'}{where}", kind=kind)
    if group == "40":
        kind, reason = AGAIN.get(code, ("serialization", "the server has rolled the transaction back"))
        return Conflict(f"{before}{reason}; run the transaction again{where}", kind=kind)
    if isinstance(error, asyncpg.PostgresConnectionError) and sql:
        return Unavailable(f"{before}the connection to the server broke; whether the statement was executed is unknown{where}")
    text = WORDS.get(code) or (str(error.args[0]) if error.args and group in SPOKEN and speaks_of_the_statement(error, sql) else "")
    text = (
        text
        or f"{re.sub(r'(?<!^)(?=[A-Z])', ' ', type(error).__name__.removeprefix('Postgres').removesuffix('Error')).lower()}, code {code}"
    )
    kind_of_error = Unavailable if {group, code} & UNAVAILABLE else StorageError
    return kind_of_error(f"{before}{text}{where}")


def speaks_of_the_statement(error: asyncpg.PostgresError, sql: str) -> bool:
    """Whether a text quotes nothing but the statement: a value that is cast to ``regclass`` or ``jsonpath`` is read like one, later."""
    group = str(error.sqlstate)[:2]
    if group not in ("42", "58") or "multiple commands" in str(error.args[0]):
        return True
    if getattr(error, "internal_query", None):
        return False
    quoted, written = _QUOTED.findall(str(error.args[0]).lower()), sql.lower()
    if group == "58":  # of the server's files, whose names a statement may ask for
        return all(one in written for one in quoted)
    placed = quoted or getattr(error, "position", None) or error.sqlstate == "42501"
    return bool(placed) and all(one in written for one in quoted)


def _argument(text: str) -> str:
    """asyncpg quotes the value that it cannot send; which one it was, and why, is told without it."""
    found = _ARGUMENT.match(text)
    if found is None:
        return "a parameter cannot be sent to the server"
    reason = _SAFE_REASON.search(found[2])
    return f"parameter {found[1]} cannot be sent to the server: {reason[0] if reason else 'its column cannot hold such a value'}"


def _of_client(text: str, where: str, before: str) -> StorageError:
    if "another operation" in text:  # the pool lends a connection to one task: what goes on there is the server's farewell
        return Unavailable(f"{before}the connection to the server broke; the statement was not sent{where}")
    if "closed" in text or "released" in text:
        return Unavailable(f"{before}the connection to the server is closed{where}")
    return StorageError(f"{before}the statement cannot be run{where}")


def _of_system(error: OSError, where: str, before: str) -> StorageError:
    if hasattr(error, "verify_message"):  # ssl.SSLCertVerificationError, without importing ssl
        return StorageError(f"{before}the server's certificate cannot be trusted: {str(error.verify_message).rstrip('.')}{where}")
    if "SSL upgrade" in str(error):
        return StorageError(f"{before}the server speaks no TLS, and ssl_mode asks for it{where}")
    reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
    return Unavailable(f"{before}the server cannot be reached ({reason}){where}")
