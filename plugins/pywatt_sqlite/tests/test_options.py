"""The options and the hook: what configuration may say, and that saying it imports no backend."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from pywatt_core.interfaces import Provider
from pywatt_sqlite import Options, pywatt_register_databases


def test_the_hook_describes_one_provider() -> None:
    (provider,) = pywatt_register_databases()
    assert isinstance(provider, Provider)
    assert (provider.name, provider.options) == ("sqlite", Options)


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
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(values, Options)
