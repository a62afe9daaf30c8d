"""Looking at what is installed imports no backend: the real command in a real process, and what it has imported at its end."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

BACKENDS = [
    "aiosqlite", "sqlite3", "fastapi", "starlette", "uvicorn", "flask", "werkzeug", "waitress", "httptools", "uvloop", "pydantic",
    "pydantic_settings", "ahocorasick", "opentelemetry", "asyncmy", "asyncpg", "databases", "sqlalchemy",
    "aiocache", "aiomcache", "redis", "hiredis", "joserfc", "authlib", "cryptography", "httpx",
]  # fmt: skip

SHIPPED = [
    "pywatt-cbor", "pywatt-fastapi", "pywatt-flask", "pywatt-jwt", "pywatt-memcached", "pywatt-msgpack", "pywatt-mysql",
    "pywatt-orchestrator", "pywatt-postgres", "pywatt-redis", "pywatt-sqlite", "pywatt-vault",
]  # fmt: skip

REPORT = """
import sys
sys.argv = ["pywatt", *{arguments!r}]
try:
    from pywatt_core.cli.main import main
    status = main()
except SystemExit as stop:
    status = stop.code
backends = [name for name in {backends!r} if name in sys.modules]
print("imported:", *backends, file=sys.stderr)
sys.exit(status)
"""


def imported_by(*arguments: str) -> tuple[str, list[str]]:
    """What ``pywatt ARGUMENTS`` prints, and which backends it has imported."""
    program = REPORT.format(arguments=list(arguments), backends=BACKENDS)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stderr.splitlines()[-1]
    return done.stdout, last.removeprefix("imported:").split()


@pytest.mark.parametrize("arguments", [("plugins", "--json"), ("plugins",), ("plugins", "show", "sqlite"), ("--version",), ("--help",)])
def test_the_command_line_imports_no_backend_to_look_around(arguments: tuple[str, ...]) -> None:
    _, imported = imported_by(*arguments)
    assert imported == []


def test_every_plugin_of_the_repository_is_discovered() -> None:
    printed, _ = imported_by("plugins", "--json")
    found = json.dumps(json.loads(printed))
    for name in SHIPPED:
        assert f'"{name}"' in found, name
