"""Guarded endpoints of real modules, in processes of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pywatt_core import ConfigError
from pywatt_core.testing import ModuleRunner, app, assert_no_secret_in
from pywatt_jwt import JwtConfig

from . import modules
from .callers import FOREIGN, bearer

MODULES = Path(__file__).parent / "modules.py"
KEY = "the key of the modules, which is a canary of 32 bytes or more"
CONFIG = JwtConfig(secret_key=KEY)
SECTION = {"auth": {"main": {"use": "jwt", "secret_key": "secret:JWT_KEY"}}}


def module(name: str, config: Any = SECTION, **more: Any) -> ModuleRunner:
    return ModuleRunner(f"{MODULES}:{name}", config=config, secrets={"JWT_KEY": KEY}, **more)


@pytest.mark.parametrize(("name", "prefix"), [("fast", "/v1"), ("flasky", "")])
async def test_a_module_guards_what_it_announces_on_its_port_and_over_its_link(name: str, prefix: str) -> None:
    good = {"authorization": bearer(CONFIG)}
    async with module(name) as running:
        assert running.announce is not None
        told = {(endpoint.path, tuple(endpoint.methods)): endpoint.auth for endpoint in running.announce.endpoints}
        assert told[f"{prefix}/admin", ("GET",)] == "jwt"
        assert (told[f"{prefix}/items", ("POST",)], told[f"{prefix}/items", ("GET",)]) == ("jwt", None), "one path, two answers"
        assert told["/health", ("GET",)] is None
        for ask in (running.http, running.ipc):
            refused = await ask("GET", f"{prefix}/admin")
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert refused.json() == {"error": "Missing Authorization header"}
            assert (await ask("GET", f"{prefix}/admin", headers=good)).json() in ("ada", ["ada"])
            for bad in (bearer(FOREIGN), f"{bearer(CONFIG)}x", bearer(CONFIG)[:-6]):
                assert (await ask("GET", f"{prefix}/admin", headers={"authorization": bad})).json() == {
                    "error": "Unauthorized: InvalidToken"
                }
            assert (await ask("GET", f"{prefix}/items")).status == 200
            assert (await ask("POST", f"{prefix}/items", body=b"x" * 100_000)).status == 401
            assert (await ask("POST", f"{prefix}/items", headers=good, body=b"x")).status == 200
            assert (await ask("GET", f"{prefix}/admin%0A")).status == 401
            assert (await ask("GET", "/health")).status == 200
        await running.stop()
        assert_no_secret_in(running.stderr, secrets=KEY)


async def test_a_module_without_a_port_guards_what_comes_over_its_link_and_its_health() -> None:
    async with module("routed") as running:
        assert (await running.ipc("GET", "/admin")).status == 401
        assert (await running.ipc("GET", "/health")).status == 401
        assert (await running.ipc("GET", "/items")).status == 200
        answer = await running.ipc("GET", "/admin", headers={"authorization": bearer(CONFIG)})
        assert answer.json()["data"] == "ada"
        assert (await running.ipc("GET", "/health", headers={"authorization": bearer(CONFIG)})).status == 200
        await running.stop()


async def test_a_module_without_anybody_to_check_tokens_does_not_start() -> None:
    async with module("fast", {}, announce=False) as running:
        assert await running.ended() == 2
        (said,) = [event["fields"]["message"] for event in running.logs()]
        assert said.startswith('announced with auth="jwt": /admin, /items. No section says who checks the tokens')
        assert "[auth.jwt]" in said


async def test_under_a_foreign_orchestrator_its_own_file_says_who_checks(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text('[auth.jwt]\nuse = "jwt"\nsecret_key = "secret:JWT_KEY"\n')
    runner = module("flasky", None, listen="tcp", pywatt=False, cwd=tmp_path)
    async with runner as running:
        assert (await running.http("GET", "/admin")).status == 401
        assert (await running.http("GET", "/admin", headers={"authorization": bearer(CONFIG)})).status == 200
        await running.stop()


@pytest.mark.parametrize("name", ["fast", "flasky"])
async def test_a_rotated_key_counts_from_the_next_request_on_and_no_request_fails(name: str) -> None:
    path, newer = ("/v1/admin" if name == "fast" else "/admin"), JwtConfig(secret_key="another key of the modules, of 32 bytes or more")
    assert newer.secret_key is not None
    async with module(name) as running:
        seen: list[tuple[int, int]] = []
        begun, rotated = asyncio.Event(), asyncio.Event()

        async def ask() -> None:
            while not rotated.is_set() or len(seen) < 20:
                both = [await running.http("GET", path, headers={"authorization": bearer(config)}) for config in (CONFIG, newer)]
                seen.append((both[0].status, both[1].status))
                begun.set()

        asking = asyncio.create_task(ask())
        await begun.wait()
        ack = await running.orchestrator.rotate({"JWT_KEY": newer.secret_key.expose_secret()})
        rotated.set()
        await asking
        assert ack.status == "success"
        assert seen[0] == (200, 401)
        assert seen[-1] == (401, 200)
        assert set(seen) <= {(200, 401), (401, 200), (200, 200)}, "one key or the other, and nothing between them"
        await running.stop()


async def test_in_process_a_module_is_guarded_too() -> None:
    secrets = {"JWT_KEY": KEY}
    async with app(modules.flasky, config=SECTION, secrets=secrets) as client:
        assert (await client.get("/admin")).status == 401
        assert (await client.get("/admin", headers={"authorization": bearer(CONFIG)})).json() == ["ada"]
    with pytest.raises(ConfigError, match=r"Add to pywatt.toml:\n\n\[auth.jwt\]"):
        async with app(modules.flasky, secrets=secrets):
            pass


@pytest.mark.parametrize(("name", "label"), [("fastapi", "FastAPI"), ("flask", "Flask"), ("starlette", "Starlette")])
def test_a_framework_that_is_not_installed_is_named_and_nothing_else_needs_it(name: str, label: str) -> None:
    code = f"""
import sys
sys.modules.update(fastapi=None, flask=None, starlette=None)
import pywatt_jwt
from pywatt_jwt import *
key = "a key of the tests, 32 bytes or more"
assert JwtValidator(JwtConfig(secret_key=key)).validate(create_token({{"sub": "ada"}}, key))["sub"] == "ada"
assert callable(create_jwt_middleware("{name}", JwtConfig(secret_key=key)))
import pywatt_jwt.{name}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"ModuleNotFoundError: pywatt_jwt.{name} needs {label}: pip install 'pywatt-jwt[{name}]' (")
