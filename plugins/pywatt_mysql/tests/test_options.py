"""The options and the hook: what configuration may say, and that saying it imports no backend."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from pywatt_core.interfaces import Provider
from pywatt_core.registry import Registry
from pywatt_mysql import Options, pywatt_register_databases
from pywatt_mysql.connecting import beginning


def test_the_hook_describes_one_provider_by_both_of_its_names() -> None:
    providers = list(pywatt_register_databases())
    assert all(isinstance(provider, Provider) for provider in providers)
    assert [provider.name for provider in providers] == ["mysql", "mariadb"]
    assert [Registry().claim("databases", name).options for name in ("mysql", "mariadb")] == [Options, Options]


def test_looking_at_the_plugin_imports_no_driver() -> None:
    code = (
        "import sys, pywatt_mysql; pywatt_mysql.pywatt_register_databases(); "
        "print(sorted({'asyncmy', 'databases', 'sqlalchemy', 'ssl'} & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert seen.stdout.strip() == "[]"


def test_an_opened_database_imports_its_driver_and_not_what_costs_more_than_that() -> None:
    code = "import sys, pywatt_mysql.database; print(sorted({'asyncmy', 'databases', 'sqlalchemy'} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert seen.stdout.strip() == "['asyncmy']"


def test_the_name_of_the_earlier_sdk_is_the_same_class() -> None:
    import pywatt_mysql

    assert pywatt_mysql.MySqlConnection is pywatt_mysql.MySqlDatabase
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pywatt_mysql.nothing


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"port": 0}, "port"),
        ({"reset": "never"}, "never"),
        ({"cached_statements": -1}, "cached_statements"),
        ({"statement_timeout": -1.0}, "statement_timeout"),
        ({"pool": {"max_connections": 0}}, "max_connections"),
        ({"ssl_mode": "perhaps"}, "perhaps"),
        ({"sql_mode": "ANSI,no_backslash_escapes"}, "sql_mode holds NO_BACKSLASH_ESCAPES"),
        ({}, "^no database is named: set url = "),
        ({"url": "mysql://me:word-4711@db/"}, "^no database is named"),
        ({"host": "db", "database": "shop", "type": "postgres"}, "^type is 'postgres', and this is mysql: remove it, or change `use`$"),
        ({"url": "postgresql://me:word-4711@db/shop"}, "^url has to begin with mariadb:// or "),
        ({"url": "mysql://me:word-4711@db/shop", "host": "db"}, "^host is set, and url says it too: remove one of them$"),
        ({"dsn": "mysql://me:word-4711@db/shop?foo=1"}, "^dsn has the parameter 'foo', which is unknown here"),
        ({"url": "mysql://me:word-4711@db/shop?charset=latin1"}, "^url asks for charset=latin1: connections speak utf8mb4"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(values, Options)


def test_what_an_option_says_stays_text_in_the_statement_that_begins_a_session() -> None:
    found = beginning(Options(database="shop", time_zone="x'; DROP TABLE items; --", sql_mode="\\'"))
    assert found == "SET NAMES utf8mb4, autocommit = 1, time_zone = 'x''; DROP TABLE items; --', sql_mode = '\\\\'''"
