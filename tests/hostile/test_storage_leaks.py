"""Databases and caches fail in all ways, with a canary in the address, the statements, the parameters, the keys and the values."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pywatt_core.testing import ModuleRunner, Process, assert_no_secret_in

LEAKY = Path(__file__).with_name("leaky_storage.py")
CANARY = "kanárek-7f3a\"q'/+&=% <9b1d\\e4-zpívá"
PIECE = 10
NOBODY = "127.0.0.1:9"
SERVERS = {
    "postgres": "postgres_server",
    "mysql": "mariadb_server",
    "redis": "redis_server",
    "memcached": "memcached_server",
    "sqlite": None,
}
CACHES = {"redis", "memcached", "memory", "file"}


def port_of(name: str, request: pytest.FixtureRequest) -> int:
    fixture = SERVERS.get(name)
    return int(request.getfixturevalue(fixture).port) if fixture else 0


def config(use: str, **section: Any) -> dict[str, Any]:
    return {"caches" if use in CACHES else "databases": {"main": {"use": use, **section}}}


@pytest.mark.parametrize("server", ["refuses", "is not there"])
@pytest.mark.parametrize("use", ["postgres", "mysql", "redis", "sqlite"])
async def test_an_address_that_does_not_work_shows_no_password(
    use: str, server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where = f"127.0.0.1:{port_of(use, request)}" if server == "refuses" else NOBODY
    user = "root" if use == "mysql" else "pywatt"
    scheme = {"postgres": "postgresql", "mysql": "mysql", "redis": "redis", "sqlite": "sqlite"}[use]
    address = f"{scheme}://{user}:{quote(CANARY, safe='')}@{where}/{'0' if use == 'redis' else 'test'}"
    section: dict[str, Any] = {"url": "secret:ADDRESS"}
    if use == "sqlite":
        address, section = f"/dev/null/{CANARY}/main.db", {"path": "secret:ADDRESS"}
    if use == "postgres":
        section["connect_timeout"] = 5
    secrets = {"ADDRESS": address, "CANARY": CANARY}
    async with ModuleRunner(LEAKY, secrets=secrets, config=config(use, **section), announce=False, cwd=tmp_path) as module:
        try:
            code: int | None = await module.ended(deadline=20)
        except TimeoutError:  # it waits for its server, which may come back
            code = None
        assert_no_secret_in(Process(module.pid) if code is None else "", secrets=CANARY, piece=PIECE)
    assert code in (5, None) and '"step":"state"' in module.stderr
    assert_no_secret_in(module.stderr, secrets=CANARY, piece=PIECE)


@pytest.mark.parametrize("use", ["postgres", "mysql", "sqlite"])
async def test_statements_and_parameters_that_fail_show_no_secret(use: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    port = port_of(use, request)
    address = {
        "postgres": f"postgresql://pywatt:let-me-in@127.0.0.1:{port}/postgres",
        "mysql": f"mysql://pywatt:let-me-in@127.0.0.1:{port}/test",
        "sqlite": str(tmp_path / "main.db"),
    }[use]
    section = {"path" if use == "sqlite" else "url": "secret:ADDRESS"}
    secrets = {"ADDRESS": address, "CANARY": CANARY}
    async with ModuleRunner(LEAKY, secrets=secrets, config=config(use, **section), cwd=tmp_path) as module:
        answer = await module.http("GET", "/database", deadline=60)
        assert answer.status == 200, module.stderr[-3000:]
        assert answer.json().count("") <= (5 if use == "sqlite" else 2), answer.json()
        raised = await module.http("GET", "/raise")
        assert raised.status == 500
        assert_no_secret_in([answer.body, raised.headers, raised.body], secrets=secrets, piece=PIECE)
        assert_no_secret_in(Process(module.pid), secrets=CANARY, piece=PIECE)
        await module.stop()
    assert module.stderr.count("[REDACTED]") > 10
    assert_no_secret_in(module.stderr, secrets=[CANARY, "let-me-in"], piece=PIECE - 1)


@pytest.mark.parametrize("use", ["redis", "memcached", "memory", "file"])
async def test_keys_and_values_that_fail_show_no_secret(use: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    port = port_of(use, request)
    sections: dict[str, dict[str, Any]] = {
        "redis": {"url": "secret:ADDRESS"},
        "memcached": {"host": "127.0.0.1", "port": port},
        "memory": {},
        "file": {"path": "cache"},
    }
    secrets = {"ADDRESS": f"redis://127.0.0.1:{port}/0" if use == "redis" else "unused", "CANARY": CANARY}
    async with ModuleRunner(LEAKY, secrets=secrets, config=config(use, **sections[use]), cwd=tmp_path) as module:
        answer = await module.http("GET", "/cache", deadline=60)
        assert answer.status == 200, module.stderr[-3000:]
        assert len([kind for kind in answer.json() if kind]) >= 4, answer.json()
        assert_no_secret_in(answer.body, secrets=CANARY, piece=PIECE)
        await module.stop()
    assert "[REDACTED]" in module.stderr
    assert_no_secret_in(module.stderr, secrets=CANARY, piece=PIECE)
