"""The options and the hook: what configuration may say, and that saying it imports no backend."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import msgspec
import pytest

import pywatt_sqlite
from pywatt_core.interfaces import Provider
from pywatt_core.registry import Registry
from pywatt_sqlite import Options, pywatt_register_databases


def test_the_hook_describes_one_provider() -> None:
    (provider,) = pywatt_register_databases()
    assert isinstance(provider, Provider)
    assert provider.name == "sqlite"
    assert Registry().claim("databases", "sqlite").options is Options


def test_looking_at_the_plugin_imports_neither_sqlite3_nor_aiosqlite() -> None:
    code = (
        "import sys, pywatt_sqlite; pywatt_sqlite.pywatt_register_databases(); print(sorted({'sqlite3', 'aiosqlite'} & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert seen.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"path": ""}, "path"),
        ({"read_only": True}, "read_only"),
        ({"readers": 0}, "readers"),
        ({"cached_statements": -1}, "cached_statements"),
        ({"busy_timeout": -0.5}, "busy_timeout"),
        ({"acquire_timeout": float("nan")}, "acquire_timeout"),
        ({"close_timeout": float("inf")}, "close_timeout"),
        ({"journal_mode": "splendid"}, "splendid"),
        ({"synchronous": "maybe"}, "maybe"),
        ({"readers": "many"}, "readers"),
        ({"slow_statement": -1}, "slow_statement"),
        ({"type": "postgres"}, "type is 'postgres', and this is sqlite: remove it, or change `use`"),
        ({"db_type": "oracle"}, "db_type is 'oracle'"),
        ({"url": "sqlite:///a.db", "path": "b.db"}, "url and path all name the file: set one of them"),
        ({"database": "a.db", "db": "b.db"}, "database and db all name the file"),
        ({"url": "postgresql://me:word-4711@db/shop"}, "^url has to begin with sqlite:///$"),
        ({"dsn": "main.db"}, "^dsn has to begin with sqlite:///$"),
        ({"url": "sqlite://main.db"}, "url names a server, and a file has none: write sqlite:///data/main.db"),
        ({"url": "sqlite:///main.db?mode=ro"}, "url has parameters after a \\?: set them as options of the section instead"),
        ({"pool": {"max_connections": 0}}, "max_connections"),
        ({"pool": {}, "pool_config": {}}, "pool_config is the same as pool: set one of them"),
        ({"pool": {}, "readers": 2}, "remove readers and acquire_timeout"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(values, Options)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"path": "data/a.db"}, "data/a.db"),
        ({"url": "sqlite:///data/a.db"}, "data/a.db"),
        ({"dsn": "SQLite+aiosqlite:////srv/a%20b.db"}, "/srv/a b.db"),
        ({"url": "sqlite:///:memory:"}, ":memory:"),
        ({"url": "sqlite://"}, ":memory:"),
        ({"database": "a.db", "type": "SQLite"}, "a.db"),
        ({"db": "a.db", "db_type": "sqlite"}, "a.db"),
        ({}, ":memory:"),
    ],
)
def test_every_spelling_names_the_file(values: dict[str, object], path: str) -> None:
    options = msgspec.convert(values, Options)
    assert options.path == path
    assert dataclasses.replace(options, path="other.db").path == "other.db"


@pytest.mark.parametrize("name", ["pool", "pool_config"])
def test_the_pool_of_a_server_is_understood(name: str) -> None:
    options = msgspec.convert({name: {"max_connections": 2, "min_connections": 1, "acquire_timeout": 0.5}}, Options)
    assert (options.readers, options.acquire_timeout) == (2, 0.5)
    assert dataclasses.replace(options, readers=3).readers == 3


def test_the_earlier_name_is_the_same_class() -> None:
    assert pywatt_sqlite.SqliteConnection is pywatt_sqlite.SqliteDatabase
    with pytest.raises(AttributeError, match="has no attribute 'Sqlite'"):
        pywatt_sqlite.Sqlite
