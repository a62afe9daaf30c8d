"""The border: what SQLite raises becomes one of PyWatt's errors, with the statement and never with a parameter's value."""

from __future__ import annotations

import re
import sqlite3

from pywatt_core.errors import Conflict, StorageError, Unavailable
from pywatt_core.statements import shortened

BACKEND_ERRORS = (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError)
"""What a statement may raise: SQLite's own errors, and those of turning Python's values into SQLite's."""

KINDS = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: "unique",
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: "unique",
    sqlite3.SQLITE_CONSTRAINT_ROWID: "unique",
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: "foreign key",
    sqlite3.SQLITE_CONSTRAINT_CHECK: "check",
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: "not null",
    sqlite3.SQLITE_CONSTRAINT_TRIGGER: "trigger",
}

UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "another process holds the database's lock; it may be free later, and busy_timeout says how long to wait",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check that its folder exists and may be written to",
    sqlite3.SQLITE_IOERR: "reading or writing the file failed; check the disk",
    sqlite3.SQLITE_FULL: "the disk or the database is full",
    sqlite3.SQLITE_PROTOCOL: "another process holds the write-ahead log's lock; it may be free later",
    sqlite3.SQLITE_INTERRUPT: "the statement was interrupted because its database or transaction ended",
}


def code(error: BaseException) -> int:
    """SQLite's extended result code, 0 where the error did not come from SQLite's library."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0)


def primary(error: BaseException) -> int:
    """SQLite's primary result code: the extended one without its detail."""
    return code(error) & 0xFF


_TOLD = re.compile(
    r"""\s(?:near\s)?(?P<quote>["'])(?P<quoted>.*)(?P=quote)|(?<=no such column): (?P<column>.*)|(?<=open database): (?P<file>.*)""",
    re.DOTALL,
)


def words(error: BaseException, sql: str) -> str:
    """SQLite's text without what it quotes, unless that stands in the statement: it may come from a parameter (a JSON path, a search)."""
    if not code(error):  # not SQLite's own
        return str(error)
    written = sql.lower()

    def seen(found: re.Match[str]) -> str:
        return found[0] if (found["quoted"] or found["column"] or found["file"] or "").lower() in written else ""

    return _TOLD.sub(seen, str(error))


def translated(error: BaseException, sql: str) -> StorageError:
    """The error to raise from `error`, in the words of the statement `sql`."""
    where = f" (statement: {shortened(sql)})"
    if isinstance(error, sqlite3.IntegrityError):
        kind = KINDS.get(code(error), "constraint")
        return Conflict(f"{kind} violated: {error}{where}", kind=kind)
    if code(error) == sqlite3.SQLITE_BUSY_SNAPSHOT:
        text = "another writer changed the database after this transaction had read it; run the transaction again"
        return Conflict(f"{text}{where}", kind="serialization")
    if primary(error) in UNAVAILABLE:
        return Unavailable(f"{UNAVAILABLE[primary(error)]}: {words(error, sql)}{where}")
    if primary(error) == sqlite3.SQLITE_READONLY:
        return StorageError(f"the statement changes the database, and here it may only be read{where}")
    if isinstance(error, OverflowError):
        return StorageError(f"an integer parameter does not fit SQLite's 64 bits{where}")
    if isinstance(error, UnicodeError):
        return StorageError(f"a text parameter holds characters that UTF-8 cannot express{where}")
    if str(error).startswith("Could not decode to UTF-8"):  # the rest of that message quotes what is stored
        return StorageError(f"a text column holds bytes that are not UTF-8; read it with CAST(column AS BLOB){where}")
    return StorageError(f"{words(error, sql)}{where}")
