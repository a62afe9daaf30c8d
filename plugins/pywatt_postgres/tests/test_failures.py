"""What PostgreSQL and asyncpg raise, in PyWatt's words: asked of the real server, and never with a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pywatt_core.errors import Conflict, StorageError, Unavailable
from pywatt_postgres.failures import translated
from tools.server_databases.failures import CANARY, has_kind, refused, violated

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_postgres.database import PostgresDatabase

    Opened = Callable[..., AbstractAsyncContextManager[PostgresDatabase]]

TABLES = (
    "CREATE TABLE parents (id BIGINT PRIMARY KEY, name TEXT NOT NULL, small SMALLINT CHECK (small >= 0), short VARCHAR(5), at TIMESTAMPTZ)",
    "CREATE TABLE children (id BIGINT PRIMARY KEY, parent BIGINT REFERENCES parents (id))",
    "CREATE TABLE rooms (room INT, during INT4RANGE, EXCLUDE USING gist (during WITH &&))",
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no % here', NEW.name; END $$",
    "CREATE FUNCTION quarrel(name TEXT) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE format('SELECT %I', name); RETURN 1; END $$",
    "CREATE TABLE guarded (name TEXT)",
    "CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION refuse()",
    "INSERT INTO parents (id, name) VALUES (1, 'known')",
    "INSERT INTO rooms VALUES (1, '[1, 10)')",
)


@pytest.mark.parametrize(
    ("sql", "params", "kind", "text"),
    [
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (1, CANARY), "unique", "unique violated: constraint parents_pkey, table parents"),
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (2, None), "not null", "not null violated: table parents, column name"),
        (
            "INSERT INTO parents (id, name, small) VALUES (?, ?, ?)",
            (2, CANARY, -1),
            "check",
            "check violated: constraint parents_small_check",
        ),
        ("INSERT INTO children VALUES (?, ?)", (1, 99), "foreign key", "foreign key violated: constraint children_parent_fkey"),
        ("INSERT INTO rooms VALUES (?, '[5, 6)')", (2,), "exclusion", "exclusion violated: constraint rooms_during_excl"),
    ],
)
async def test_a_violated_constraint_says_its_kind_to_programs_and_its_name_to_people(
    opened: Opened, sql: str, params: tuple[Any, ...], kind: str, text: str
) -> None:
    error = await violated(opened, TABLES, sql, params)
    assert error.kind == kind
    assert str(error).startswith(text)
    assert isinstance(error.__cause__, asyncpg.IntegrityConstraintViolationError)


@pytest.mark.parametrize(
    ("sql", "params", "text"),
    [
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (CANARY, "a"), "parameter 1 cannot be sent to the server: 'str' object"),
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (2, 4711), "parameter 2 cannot be sent to the server: expected str, got int"),
        (
            "INSERT INTO parents (id, name) VALUES (?, ?)",
            (2**63, CANARY),
            "parameter 1 cannot be sent to the server: value out of int64 range",
        ),
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (2, CANARY + "\ud800"), "parameter 2 cannot be sent to the server: its column"),
        ("INSERT INTO parents (id, name) VALUES (?, ?)", (2, CANARY + "\x00"), "text holds a character that the database cannot store"),
        (
            "INSERT INTO parents (id, name, at) VALUES (?, ?, ?)",
            (2, "a", CANARY),
            "parameter 3 cannot be sent to the server: expected a datetime",
        ),
        ("INSERT INTO parents (id, name, short) VALUES (?, ?, ?)", (2, "a", CANARY), "a text is longer than its column allows"),
        ("SELECT ?::text::bigint", (CANARY,), "a value does not have the form of its type"),
        ("SELECT 1 / ?::bigint", (0,), "division by zero"),
        ("SELECT nothing FROM parents WHERE name = ?", (CANARY,), 'column "nothing" does not exist'),
        ("SELEC 1", (), 'syntax error at or near "SELEC"'),
        ("INSERT INTO guarded VALUES (?)", (CANARY,), "a function or trigger raised an error"),
        ("SELECT 1; SELECT 2", (), "cannot insert multiple commands into a prepared statement"),
        ("SELECT jsonb_path_query('{}', ?::text::jsonpath)", (f"${CANARY}x x",), "syntax, code 42601"),
        ("SELECT ?::text::regclass", (CANARY,), "undefined table, code 42P01"),
        ("SELECT ?::text::regtype", (CANARY,), "syntax, code 42601"),
        ("SELECT ?::text::regoperator", (CANARY,), "a value does not have the form of its type"),
        ("SELECT Nothing FROM parents", (), 'column "nothing" does not exist'),
        ("SELECT quarrel(1)", (), "function quarrel(integer) does not exist"),
        ("DROP TABLE nowhere", (), 'table "nowhere" does not exist'),
        ("CREATE TABLE parents (id INT)", (), 'relation "parents" already exists'),
        ("SELECT quarrel(?)", (CANARY,), "undefined column, code 42703"),
    ],
)
async def test_what_the_server_or_the_driver_refuses_is_said_without_values(
    opened: Opened, sql: str, params: tuple[Any, ...], text: str
) -> None:
    assert (await refused(opened, TABLES, sql, params)).startswith(text)


async def test_a_statement_that_takes_too_long_is_cancelled_at_the_server(opened: Opened, ask: Callable[[str], Any]) -> None:
    async with opened(statement_timeout=0.2) as database:
        with pytest.raises(Unavailable, match=r"longer than statement_timeout.*pg_sleep\(600\)"):
            await database.fetch_value("SELECT pg_sleep(600)")
        running = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND state = 'active' AND pid <> pg_backend_pid()"
        )
        assert await database.fetch_value(running) == 0


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (asyncpg.DeadlockDetectedError("x"), Conflict, "waited for each other; run the transaction again"),
        (asyncpg.SerializationError("x"), Conflict, "run the transaction again"),
        (asyncpg.TooManyConnectionsError("sorry, too many clients already"), Unavailable, "too many clients"),
        (asyncpg.CannotConnectNowError("the database system is starting up"), Unavailable, "starting up"),
        (asyncpg.AdminShutdownError("terminating connection"), Unavailable, "terminating"),
        (asyncpg.DiskFullError("no space left"), Unavailable, "no space left"),
        (asyncpg.ConnectionDoesNotExistError("connection was closed"), Unavailable, "was executed is unknown"),
        (asyncpg.InvalidPasswordError('password authentication failed for user "me"'), StorageError, "password authentication failed"),
        (asyncpg.InvalidCatalogNameError('database "shop" does not exist'), StorageError, 'database "shop" does not exist'),
        (asyncpg.UndefinedFileError(f'could not open file "/{CANARY}" for reading'), Unavailable, "undefined file, code 58P01"),
        (asyncpg.PostgresIOError("could not write block 7"), Unavailable, "could not write block 7"),
        (asyncpg.InvalidRegularExpressionError(CANARY), StorageError, "invalid regular expression, code 2201B"),
        (asyncpg.InterfaceError("connection is closed"), Unavailable, "is closed"),
        (
            asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
            Unavailable,
            "broke; the statement was not sent",
        ),
        (asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"), Unavailable, "was not sent"),
        (asyncpg.InterfaceError(f"something about {CANARY}"), StorageError, "cannot be run"),
        (ConnectionRefusedError(111, "Connection refused"), Unavailable, "cannot be reached (Connection refused)"),
        (TimeoutError(), Unavailable, "longer than statement_timeout"),
    ],
)
def test_each_error_has_the_kind_that_says_what_to_do(error: Exception, kind: type[StorageError], text: str) -> None:
    has_kind(translated(error, "SELECT 1"), kind, text)
