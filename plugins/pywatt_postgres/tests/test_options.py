"""The options and the hook: what configuration may say, and that saying it imports no backend."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from pywatt_core.interfaces import Provider
from pywatt_core.registry import Registry
from pywatt_postgres import Options, pywatt_register_databases


def test_the_hook_describes_one_provider_by_both_of_its_names() -> None:
    providers = list(pywatt_register_databases())
    assert all(isinstance(provider, Provider) for provider in providers)
    assert [provider.name for provider in providers] == ["postgres", "postgresql"]
    assert [Registry().claim("databases", name).options for name in ("postgres", "postgresql")] == [Options, Options]


def test_looking_at_the_plugin_imports_no_driver() -> None:
    code = (
        "import sys, pywatt_postgres; pywatt_postgres.pywatt_register_databases(); "
        "print(sorted({'asyncpg', 'databases', 'sqlalchemy', 'ssl'} & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert seen.stdout.strip() == "[]"


def test_an_opened_database_imports_its_driver_and_not_what_costs_more_than_that() -> None:
    code = "import sys, pywatt_postgres.database; print(sorted({'asyncpg', 'databases', 'sqlalchemy', 'ssl'} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "databases" not in seen.stdout
    assert "sqlalchemy" not in seen.stdout


def test_the_name_of_the_earlier_sdk_is_the_same_class() -> None:
    import pywatt_postgres

    assert pywatt_postgres.PostgresConnection is pywatt_postgres.PostgresDatabase
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pywatt_postgres.nothing


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"port": 0}, "port"),
        ({"reset": "never"}, "never"),
        ({"cached_statements": -1}, "cached_statements"),
        ({"statement_timeout": -1.0}, "statement_timeout"),
        ({"pool": {"max_connections": 0}}, "max_connections"),
        ({"ssl_mode": "perhaps"}, "perhaps"),
        ({}, "^no database is named: set url = "),
        ({"url": "postgresql://me:word-4711@db/"}, "^no database is named"),
        (
            {"host": "db", "database": "shop", "db_type": "mysql"},
            "^db_type is 'mysql', and this is postgresql: remove it, or change `use`$",
        ),
        ({"url": "mysql://me:word-4711@db/shop"}, "^url has to begin with postgres:// or "),
        ({"url": "postgresql://me:word-4711@db/shop", "host": "db"}, "^host is set, and url says it too: remove one of them$"),
        ({"dsn": "postgresql://me:word-4711@db/shop?foo=1"}, "^dsn has the parameter 'foo', which is unknown here"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(values, Options)
