"""Tokens under a real `pywatt up`: checked by the orchestrator for modules and at the front door, and its key is nowhere else."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.testing import Process, assert_no_secret_in
from pywatt_core.testing.client import fetch

from .authenticators import install

KEY = "kJ8-canary-Zq4-of-the-key-that-never-leaves-Wx2"


def jwt(key: str = KEY, **claims: Any) -> str:
    said = {"exp": int(time.time()) + 600, **claims}
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in ({"alg": "HS256", "typ": "JWT"}, said)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (signed + b"." + base64.urlsafe_b64encode(hmac.digest(key.encode(), signed, "sha256")).rstrip(b"=")).decode()


SHOP = """
import os
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import AnnouncedEndpoint, PyWattError, pywatt_module

@pywatt_module(endpoints=[
    AnnouncedEndpoint("/mine", ["GET", "POST"], auth="main"), AnnouncedEndpoint("/check", ["POST"]),
    AnnouncedEndpoint("/issue", ["POST"]), AnnouncedEndpoint("/key", ["GET"]), AnnouncedEndpoint("/pid", ["GET"]),
])
async def app(state):
    async def tell(work):
        try:
            return JSONResponse({"found": await work})
        except PyWattError as error:
            return JSONResponse({"error": type(error).__name__, "text": str(error)})

    async def mine(request):
        return JSONResponse({"sub": request.scope["pywatt.claims"]["sub"]})

    async def check(request):
        return await tell(state.validate_jwt_token((await request.body()).decode()))

    async def issue(request):
        return await tell(state.authenticator.issue(await request.json()))

    async def key(request):
        return await tell(state.secrets.get("JWT_KEY"))

    async def pid(request):
        return JSONResponse(os.getpid())

    return Starlette(routes=[
        Route("/mine", mine, methods=["GET", "POST"]), Route("/check", check, methods=["POST"]),
        Route("/issue", issue, methods=["POST"]), Route("/key", key), Route("/pid", pid),
    ])
"""

CONFIG = """
[gateway]
{gateway}

[services.tokens]
modules = ["shop", "accounts"]
issue = ["accounts"]
auth = {{ use = "jwt", secret_key = "secret:JWT_KEY" }}

[auth.main]
use = "orchestrator"
service = "tokens"

[modules.shop]
run = "shop.py"
channels = {channels}

[modules.accounts]
run = "shop.py"
channels = {channels}
"""


async def begin(project: Any, *, gateway: str = 'authenticate = "tokens"', channels: str = '["unix"]', key: str = "secret:JWT_KEY") -> None:
    project.write(SHOP, "shop.py")
    project.write(f"JWT_KEY={KEY}\n", ".env")
    project.write(CONFIG.format(gateway=gateway, channels=channels).replace("secret:JWT_KEY", key))
    await project.start()
    await project.ready("shop", "accounts")


async def post(project: Any, path: str, body: Any) -> Any:
    data = body if isinstance(body, str) else json.dumps(body)
    answer = await fetch(project.address, "POST", path, body=data.encode())
    return json.loads(answer.text)


@pytest.mark.parametrize("key", ["secret:JWT_KEY", KEY], ids=["reference", "literal"])
async def test_the_key_never_leaves_the_orchestrator(running: Callable[[], Any], key: str) -> None:
    async with running() as project:
        await begin(project, key=key)
        token = jwt(sub="ada")
        assert (await post(project, "/shop/check", token))["found"]["sub"] == "ada"
        made = (await post(project, "/accounts/issue", {"sub": "bob"}))["found"]
        assert (await post(project, "/shop/check", made))["found"]["sub"] == "bob"
        refused = await post(project, "/shop/check", token[:-4])
        assert refused["error"] == "InvalidToken", refused
        assert (await post(project, "/shop/check", jwt(sub="ada", exp=1)))["error"] == "ExpiredToken"
        assert (await post(project, "/shop/check", jwt("another key that is not the right one", sub="x")))["error"] == "InvalidToken"
        assert (await post(project, "/shop/issue", {"sub": "bob"}))["error"] == "Forbidden"
        assert (await post(project, "/shop/issue", {"sub": "bob"}))["text"] == (
            'shop may not have tokens made: add "shop" to issue in [services.tokens]'
        )
        answer = json.loads((await project.http("/shop/key")).text)
        assert answer["error"] == "SecretNotFound" and "may not have the secret 'JWT_KEY'" in answer["text"]

        modules = [Process(json.loads((await project.http(f"/{name}/pid")).text), memory=True) for name in ("shop", "accounts")]
        for name in ("ps", "config"):
            _, out, err = await project.command(name)
            assert_no_secret_in(out, err, secrets=KEY)
        assert_no_secret_in(*modules, project.lines, project.errors, Path(project.runtime), secrets=KEY)
        assert project.process is not None
        try:
            assert_no_secret_in(Process(project.process.pid, children=False, memory=True), secrets=KEY)
        except AssertionError as error:
            assert "memory" in str(error)
        else:
            raise AssertionError("the search finds nothing where the key has to be: it proves nothing")


async def test_the_front_door_and_the_module_check_the_same_tokens(running: Callable[[], Any]) -> None:
    async with running() as project:
        await begin(project)

        async def ask(token: str | None, method: str = "GET") -> tuple[int, str]:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            answer = await fetch(project.address, method, "/shop/mine", headers=headers)
            return answer.status, answer.text

        for token, status, text in (
            (None, 401, '{"error":"Missing Authorization header"}'),
            ("nonsense", 401, '{"error":"Unauthorized: InvalidToken"}'),
            (jwt(sub="ada", exp=1), 401, '{"error":"Unauthorized: ExpiredSignature"}'),
            (jwt(sub="ada"), 200, '{"sub":"ada"}'),
        ):
            for method in ("GET", "POST"):
                assert await ask(token, method) == (status, text)
        assert (await project.http("/shop/pid")).status == 200


async def test_without_the_front_door_the_module_refuses_by_itself(running: Callable[[], Any]) -> None:
    async with running() as project:
        await begin(project, gateway="", channels="[]")
        assert (await project.http("/shop/mine")).status == 401
        answer = await project.http("/shop/mine", headers={"Authorization": f"Bearer {jwt(sub='ada')}"})
        assert (answer.status, answer.text) == (200, '{"sub":"ada"}')


AWAY = """
[gateway]
authenticate = "tokens"

[services.tokens]
modules = []

[services.tokens.auth]
use = "words"
key = "secret:WORDS_KEY"

[modules.open]
run = "open.py"
"""

OPEN = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from pywatt_core import AnnouncedEndpoint, pywatt_module

@pywatt_module(endpoints=[AnnouncedEndpoint("/open", ["GET"])])
async def app(state):
    return Starlette(routes=[Route("/open", lambda request: PlainTextResponse("hello"))])
"""


async def test_what_cannot_check_yet_is_said_at_start_and_tried_again(running: Callable[[], Any], tmp_path: Path) -> None:
    async with running() as project:
        project.environ["PYTHONPATH"] = str(install(tmp_path / "site"))
        project.write(OPEN, "open.py")
        project.write("WORDS_KEY=out-of-reach\n", ".env")
        project.write(AWAY)
        await project.start()
        line = await project.line("[services.tokens] cannot check tokens now: the server with the keys is away", module="pywatt")
        assert line["level"] == "warning"
        await project.ready("open")
        assert (await project.http("/open/open")).text == "hello"


async def test_a_service_that_is_not_there_is_known_before_anything_starts(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.write(OPEN, "open.py")
        project.write('[gateway]\nauthenticate = "tokens"\n[modules.open]\nrun = "open.py"\n')
        await project.start()
        assert await project.ended() == 2
        text = "gateway.authenticate (pywatt.toml:2): there is no [services.tokens]. Add [services.tokens] with modules = [] and "
        assert text in project.errors
        code, out, err = await project.command("check")
        assert code == 1 and text in out + err


NEW_KEY = "Yt5-canary-Rb7-of-the-key-that-takes-its-place-Mn9"


async def test_a_new_key_takes_over_for_modules_and_the_front_door_and_no_request_is_lost(running: Callable[[], Any]) -> None:
    async with running() as project:
        await begin(project)
        old, new = jwt(sub="ada"), jwt(NEW_KEY, sub="ada")
        answers: list[tuple[int, int]] = []
        ended = asyncio.Event()

        async def ask(token: str) -> int:
            return (await fetch(project.address, "GET", "/shop/mine", headers={"Authorization": f"Bearer {token}"})).status

        async def keep_asking() -> None:
            while not ended.is_set():
                answers.append((await ask(old), await ask(new)))

        asking = [asyncio.create_task(keep_asking()) for _ in range(3)]
        async with asyncio.timeout(30):
            while len(answers) < 5:
                await asyncio.sleep(0.01)
        assert set(answers) == {(200, 401)}
        project.write(f"JWT_KEY={NEW_KEY}\n", ".env")
        code, out, err = await project.command("rotate", "JWT_KEY")
        assert code == 0, out + err
        done = len(answers)
        async with asyncio.timeout(30):
            while len(answers) < done + 10:
                await asyncio.sleep(0.01)
        ended.set()
        await asyncio.gather(*asking)
        assert {status for pair in answers for status in pair} == {200, 401}, "nobody was told that it cannot be checked now"
        assert set(answers[done + 3 :]) == {(401, 200)}
        assert (await post(project, "/accounts/check", new))["found"]["sub"] == "ada"
        assert (await post(project, "/accounts/check", old))["error"] == "InvalidToken"
        made = (await post(project, "/accounts/issue", {"sub": "bob"}))["found"]
        assert (await ask(made)) == 200
        modules = [Process(json.loads((await project.http(f"/{name}/pid")).text), memory=True) for name in ("shop", "accounts")]
        assert_no_secret_in(*modules, project.lines, out, err, secrets=[KEY, NEW_KEY])
