"""The border: what asyncmy raises becomes one of PyWatt's errors, with the statement and never with a parameter's value.

MySQL quotes values in many texts (``Duplicate entry '…' for key``), so no text of the server's is copied. An error says what its
number means, and names what the server quotes where that stands in the statement too.
"""

from __future__ import annotations

import re
import struct
from decimal import InvalidOperation
from functools import cache
from typing import Final

from asyncmy import errors

from pywatt_core.errors import Conflict, StorageError, Unavailable
from pywatt_core.statements import shortened

NOT_UNDERSTOOD: Final = (struct.error, LookupError, AssertionError, TypeError, RuntimeError)
"""What asyncmy stumbles over where a server sends what no server should."""

BACKEND_ERRORS: Final = (errors.MySQLError, OSError, TimeoutError, UnicodeError, ValueError, InvalidOperation, *NOT_UNDERSTOOD)
"""What connecting and a statement may raise: asyncmy's errors, those of the connection, and of values that cannot be sent or read."""

KINDS: Final = {
    **dict.fromkeys((1022, 1062, 1169, 1557, 1586, 1859), "unique"),
    **dict.fromkeys((1216, 1217, 1451, 1452, 1761, 1762), "foreign key"),
    **dict.fromkeys((1048, 1263, 1364), "not null"),
    **dict.fromkeys((3819, 4025), "check"),
}
NAMES: Final = {
    "unique": re.compile(r".*for key '(?P<constraint>[^']+)'\Z", re.DOTALL),
    "foreign key": re.compile(r".*?\(`[^`]+`\.`(?P<table>[^`]+)`, CONSTRAINT `(?P<constraint>[^`]+)` ", re.DOTALL),
    "not null": re.compile(r"(?:Column|Field) '(?P<column>[^']+)' "),
    "check": re.compile(
        r"CONSTRAINT `?(?P<constraint>[^`']+)`? failed for `[^`]+`\.`(?P<table>[^`]+)`|Check constraint '(?P<name>[^']+)' is"
    ),
}
"""How a text names what was violated; values stand before, where these do not look."""
AGAIN: Final = {
    1213: ("deadlock", "the transaction and another one waited for each other"),
    1020: ("serialization", "another transaction changed what this one has read"),
    3101: ("serialization", "the server has rolled the transaction back"),
    1614: ("deadlock", "the transaction and another one waited for each other"),
}
"""Errors with which the server has rolled the whole transaction back."""
WORDS: Final = {
    1264: "a number is out of its column's range",
    1265: "a value does not fit its column and would be cut",
    1292: "a value does not have the form of its type",
    1365: "division by zero",
    1366: "a value does not have the form of its type, or its column's character set does not have a character",
    1406: "a text is longer than its column allows",
    1411: "a value does not have the form of its type",
    1690: "a number is out of range",
    1153: "the statement is longer than the server's max_allowed_packet",
    1205: "another transaction held a lock for longer than innodb_lock_wait_timeout",
    1317: "the statement was cancelled",
    1290: "the server may not do that, because of how it was started (read-only, for example)",
    1644: "a procedure or trigger raised an error",
    1792: "the statement changes the database, and here it may only be read",
    1836: "the server is read-only",
    1927: "the server has ended the connection",
    1045: "the server does not let this user in with this password",
    1044: "the user has no right to use this database",
    1049: "there is no such database",
    1698: "the server does not let this user in this way",
    1040: "the server has too many connections",
    1295: "the server cannot run that with parameters",
}
NAMING: Final = {
    1064: "the statement cannot be understood",
    1054: "there is no such column",
    1146: "there is no such table",
    1051: "there is no such table",
    1305: "there is no such procedure or function",
    1050: "there is such a table already",
    1052: "a column's name stands for several",
    1060: "two columns have one name",
    1091: "what is to be dropped is not there",
}
"""Where the text quotes what it is about, which is told too where it stands in the statement."""
UNAVAILABLE: Final = frozenset(
    {1021, 1037, 1038, 1040, 1041, 1053, 1114, 1129, 1158, 1159, 1160, 1161, 1203, 1205, 1226, 1927, 1969, 3024, 4031}
)
"""Numbers of errors that may be gone later."""
_QUOTED = re.compile(r"'([^']*)'|`([^`]*)`")
_VALUES = re.compile(r"Expected (\d+) parameters, got (\d+)")


def translated(error: BaseException, sql: str, *, doing: str = "") -> StorageError:
    """The error to raise from `error`, in the words of the statement `sql`, or of what was being done instead."""
    where = f" (statement: {shortened(sql)})" if sql else ""
    before = f"{doing}: " if doing else ""
    if isinstance(error, TimeoutError):
        what = "the server did not answer in time" if doing else "the statement took longer than statement_timeout and was ended"
        return Unavailable(f"{before}{what}{where}")
    if isinstance(error, errors.MySQLError):
        code = error.args[0] if error.args else None
        if isinstance(code, int) and code >= 1000 and not 2000 <= code < 3000:
            return _of_server(code, str(error.args[-1]), sql, where, before)
        return _of_client(error, code, where, before)
    if isinstance(error, OSError):
        return _of_system(error, where, before)
    return _of_value(error, where, before)


def rolled_back(error: BaseException) -> bool:
    """Whether the server has rolled the whole transaction back together with the statement."""
    return isinstance(error, errors.MySQLError) and bool(error.args) and error.args[0] in AGAIN


def _of_server(code: int, text: str, sql: str, where: str, before: str) -> StorageError:
    kind = KINDS.get(code)
    if kind is not None:
        found = NAMES[kind].match(text)
        names = [
            f"{'constraint' if what == 'name' else what} {name}" for what, name in (found.groupdict() if found else {}).items() if name
        ]
        return Conflict(f"{before}{kind} violated: {', '.join(sorted(names)) or 'the server does not say which'}{where}", kind=kind)
    if code in AGAIN:
        kind, reason = AGAIN[code]
        return Conflict(f"{before}{reason}; run the transaction again{where}", kind=kind)
    words = WORDS.get(code) or NAMING.get(code) or f"{_name(code)}, code {code}"
    if code not in WORDS and (name := _named(text, sql)):
        words += f", near {name!r}" if code == 1064 else f": {name}"
    kind_of_error = Unavailable if code in UNAVAILABLE else StorageError
    return kind_of_error(f"{before}{words}{where}")


def _named(text: str, sql: str) -> str:
    """The first thing that the server quotes, where it stands in the statement, which is shown anyway."""
    found = _QUOTED.search(text)
    if found is None:
        return ""
    name = shortened((found[1] or found[2] or "").rpartition(".")[2])
    return name if name and name.lower() in " ".join(sql.lower().split()) else ""


@cache
def _name(code: int) -> str:
    from asyncmy.constants import ER

    names = [name for name, value in vars(ER).items() if value == code]
    return names[0].lower().replace("_", " ") if names else "the server refuses the statement"


def _of_client(error: errors.MySQLError, code: object, where: str, before: str) -> StorageError:
    if isinstance(error.__cause__, OSError):
        return _of_system(error.__cause__, where, before)
    if before:
        lost = isinstance(code, int)
        words = "the server ended the connection before it was made" if lost else "what answers is no server that the driver understands"
        return Unavailable(f"{before}{words}")
    if code == 0:
        return Unavailable(f"the connection to the server is closed{where}")
    counts = _VALUES.match(str(error.args[0])) if error.args else None
    if counts:
        return StorageError(f"the server sees {counts[1]} parameters in the statement, and {counts[2]} values were given{where}")
    if isinstance(code, int):
        return Unavailable(f"the connection to the server broke; whether the statement was executed is unknown{where}")
    return StorageError(f"the server and the driver did not understand each other; the connection was closed{where}")


def _of_system(error: OSError, where: str, before: str) -> StorageError:
    if hasattr(error, "verify_message"):  # ssl.SSLCertVerificationError, without importing ssl
        return StorageError(f"{before}the server's certificate cannot be trusted: {str(error.verify_message).rstrip('.')}{where}")
    reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
    return Unavailable(f"{before}the server cannot be reached ({reason}){where}")


def _of_value(error: BaseException, where: str, before: str) -> StorageError:
    counts = _VALUES.match(str(error))
    if counts:
        return StorageError(f"{before}the server sees {counts[1]} parameters in the statement, and {counts[2]} values were given{where}")
    if isinstance(error, UnicodeEncodeError):
        return StorageError(f"{before}text holds a character that cannot be encoded{where}")
    if isinstance(error, UnicodeDecodeError | InvalidOperation):
        return StorageError(f"{before}the server sent a value that cannot be read as its type{where}")
    if "64-bit" in str(error):
        return StorageError(f"{before}a whole number does not fit in 64 bits{where}")
    if isinstance(error, RuntimeError) and "cryptography" in str(error):
        return StorageError(f"{before}logging in this way without TLS takes the library cryptography: use TLS, or install it{where}")
    if isinstance(error, NOT_UNDERSTOOD):
        return StorageError(f"{before}the server and the driver did not understand each other; the connection was closed{where}")
    return StorageError(f"{before}the statement cannot be run ({type(error).__name__}){where}")
