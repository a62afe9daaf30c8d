"""What MariaDB and asyncmy raise, in PyWatt's words: asked of the real server, and never with a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asyncmy import errors

from pywatt_core.errors import Conflict, StorageError, Unavailable
from pywatt_mysql.failures import rolled_back, translated
from tools.server_databases.failures import CANARY, has_kind, refused, violated
from tools.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_mysql.database import MySqlDatabase

    Opened = Callable[..., AbstractAsyncContextManager[MySqlDatabase]]

TABLES = (
    "CREATE TABLE parents (id BIGINT PRIMARY KEY, name VARCHAR(100) NOT NULL, small SMALLINT, short VARCHAR(5), at DATETIME, "
    "given INT NOT NULL DEFAULT 1, CONSTRAINT small_enough CHECK (small >= 0), UNIQUE KEY names (name))",
    "CREATE TABLE children (id BIGINT PRIMARY KEY, parent BIGINT, CONSTRAINT of_parent FOREIGN KEY (parent) REFERENCES parents (id))",
    "CREATE TABLE demanding (id INT, needed INT NOT NULL)",
    "CREATE PROCEDURE quarrel(name TEXT) EXECUTE IMMEDIATE CONCAT('SELECT ', name)",
    "CREATE TABLE guarded (name TEXT)",
    "CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW "
    "BEGIN DECLARE text VARCHAR(100) DEFAULT NEW.name; SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = text; END",
    "INSERT INTO parents (id, name) VALUES (1, 'known')",
    "INSERT INTO children VALUES (1, 1)",
)


@pytest.mark.parametrize(
    ("sql", "params", "kind", "text"),
    [
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (1, CANARY), "unique", "unique violated: constraint PRIMARY"),
        ("INSERT INTO parents (id, name) VALUES (?, 'known')", (2,), "unique", "unique violated: constraint names"),
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (2, None), "not null", "not null violated: column name"),
        ("INSERT INTO demanding (id) VALUES (?)", (2,), "not null", "not null violated: column needed"),
        (
            "INSERT INTO parents (id, name, small) VALUES (?, ?, ?)",
            (2, CANARY, -1),
            "check",
            "check violated: constraint small_enough, table",
        ),
        ("INSERT INTO children VALUES (?, ?)", (2, 99), "foreign key", "foreign key violated: constraint of_parent, table children"),
        ("DELETE FROM parents WHERE id = ?", (1,), "foreign key", "foreign key violated: constraint of_parent, table children"),
    ],
)
async def test_a_violated_constraint_says_its_kind_to_programs_and_its_name_to_people(
    opened: Opened, sql: str, params: tuple[Any, ...], kind: str, text: str
) -> None:
    error = await violated(opened, TABLES, sql, params)
    assert error.kind == kind
    assert str(error).startswith(text)
    assert isinstance(error.__cause__, errors.MySQLError)


def test_a_value_that_looks_like_the_name_of_a_key_is_not_taken_for_one() -> None:
    error = errors.IntegrityError(1062, f"Duplicate entry '{CANARY}' for key 'x' y' for key 'names'")
    assert str(translated(error, "")) == "unique violated: constraint names"
    error = errors.IntegrityError(1062, f"Duplicate entry 'x' for key '{CANARY}\n")
    assert str(translated(error, "")) == "unique violated: the server does not say which"


@pytest.mark.parametrize(
    ("sql", "params", "text"),
    [
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (CANARY, "a"), "a value does not have the form of its type"),
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (2**63, CANARY), "a number is out of its column's range"),
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (2**64, CANARY), "a whole number does not fit in 64 bits"),
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (2, CANARY + "\ud800"), "text holds a character that cannot be encoded"),
        ("INSERT INTO parents (id, name, at) VALUES (?, ?, ?)", (2, "a", CANARY), "a value does not have the form of its type"),
        ("INSERT INTO parents (id, name, short) VALUES (?, ?, ?)", (2, "a", CANARY), "a text is longer than its column allows"),
        ("UPDATE parents SET small = 5 % ?", (0,), "division by zero"),
        ("SELECT nothing FROM parents WHERE name = ?", (CANARY,), "there is no such column: nothing"),
        ("SELECT id FROM nowhere WHERE name = ?", (CANARY,), "there is no such table: nowhere"),
        ("SELEC 1", (), "the statement cannot be understood, near 'SELEC 1'"),
        ("SELECT 1; SELECT 2", (), "the statement cannot be understood, near 'SELECT 2'"),
        ("INSERT INTO guarded VALUES (?)", (CANARY,), "a procedure or trigger raised an error"),
        ("CALL nothing(?)", (CANARY,), "there is no such procedure or function (statement"),
        ("CREATE TABLE parents (id INT)", (), "there is such a table already: parents"),
        ("CALL quarrel(?)", (f"`{CANARY}`",), "there is no such column (statement: CALL"),
        ("CALL quarrel(?)", (f"1 {CANARY} FROM",), "the statement cannot be understood (statement: CALL"),
        ("EXECUTE IMMEDIATE ?", (CANARY,), "the server cannot run that with parameters"),
    ],
)
async def test_what_the_server_or_the_driver_refuses_is_said_without_values(
    opened: Opened, sql: str, params: tuple[Any, ...], text: str
) -> None:
    assert (await refused(opened, TABLES, sql, params)).startswith(text)


async def test_a_statement_that_takes_too_long_is_ended_at_the_server(opened: Opened, endless: str, how_many_endless: str) -> None:
    async with opened() as watcher, opened(statement_timeout=0.2) as database:
        with pytest.raises(Unavailable, match=r"longer than statement_timeout.*seq_1_to_100000000"):
            await database.fetch_value(endless)

        async def has_ended() -> bool:
            return bool(await watcher.fetch_value(how_many_endless) == 0)

        await until(has_ended)


async def test_waiting_for_a_lock_has_the_server_s_deadline(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (id INT PRIMARY KEY, x INT)")
        await database.execute("INSERT INTO t VALUES (1, 1)")
        async with database.transaction() as one, database.transaction() as other:
            await one.execute("UPDATE t SET x = 2")
            await other.execute("SET innodb_lock_wait_timeout = 0")
            with pytest.raises(Unavailable, match="held a lock for longer than innodb_lock_wait_timeout"):
                await other.execute("UPDATE t SET x = 3")
            assert await other.fetch_value("SELECT x FROM t") == 1


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (errors.OperationalError(1213, "Deadlock found"), Conflict, "waited for each other; run the transaction again"),
        (errors.OperationalError(1020, "Record has changed"), Conflict, "run the transaction again"),
        (errors.OperationalError(1040, "Too many connections"), Unavailable, "too many connections"),
        (errors.OperationalError(1053, "Server shutdown in progress"), Unavailable, "server shutdown, code 1053"),
        (errors.OperationalError(1114, f"The table '{CANARY}' is full"), Unavailable, "record file full, code 1114"),
        (errors.OperationalError(1927, "Connection was killed"), Unavailable, "has ended the connection"),
        (errors.OperationalError(2013, "Lost connection"), Unavailable, "was executed is unknown"),
        (errors.OperationalError(2006, "gone away"), Unavailable, "was executed is unknown"),
        (errors.InterfaceError(0, "Not connected"), Unavailable, "is closed"),
        (errors.InternalError("Packet sequence number wrong"), StorageError, "did not understand each other"),
        (errors.OperationalError(9999, CANARY), StorageError, "the server refuses the statement, code 9999"),
        (errors.ProgrammingError("Expected 2 parameters, got 1"), StorageError, "the server sees 2 parameters in the statement, and 1"),
        (ConnectionRefusedError(111, "Connection refused"), Unavailable, "cannot be reached (Connection refused)"),
        (ValueError(CANARY), StorageError, "cannot be run (ValueError)"),
        (TimeoutError(), Unavailable, "longer than statement_timeout"),
    ],
)
def test_each_error_has_the_kind_that_says_what_to_do(error: Exception, kind: type[StorageError], text: str) -> None:
    found = translated(error, "SELECT 1")
    has_kind(found, kind, text)
    assert rolled_back(error) is (isinstance(found, Conflict))
