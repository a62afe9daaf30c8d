"""The control API: what it does for those who show the token, and that nobody else gets anything out of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from itertools import product
from typing import Any

import pytest

from pywatt_core.testing.client import Response, fetch
from pywatt_orchestrator.api import PATH, ROUTES

Running = Callable[[], Any]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
PATHS = sorted({PATH + route.path.replace("{name}", "users") for route in ROUTES} | {PATH, f"{PATH}/", f"{PATH}/nothing"})
EVERYTHING = list(product(METHODS, PATHS))
WORDS = {False: b'{"error":"Missing Authorization header"}', True: b'{"error":"Unauthorized: InvalidToken"}'}


@contextlib.asynccontextmanager
async def serving(running: Running, text: str = 'http = "owner"', *, deeds: tuple[str, ...] = ("serve",)) -> AsyncIterator[Any]:
    """`pywatt up` with a control API and one module that is ready."""
    async with running() as project:
        project.write(f"[control]\n{text}\n")
        project.peer("users", *deeds)
        await project.start()
        await project.ready("users")
        yield project


async def token_of(project: Any) -> str:
    code, out, err = await project.command("token")
    assert code == 0, err
    return str(out.strip())


async def ask(project: Any, method: str, path: str, token: str = "", **headers: str) -> Response:
    shown = {"Authorization": f"Bearer {token}"} if token else {}
    return await fetch(
        project.address, method, path, headers={**shown, **{name.replace("_", "-"): value for name, value in headers.items()}}
    )


async def test_it_does_what_the_commands_do(running: Running) -> None:
    async with serving(running) as project:
        token = await token_of(project)
        listed = (await ask(project, "GET", f"{PATH}/modules", token)).json()
        assert (listed["status"], [one["instance"] for one in listed["data"]]) == ("success", ["users"])
        pid = listed["data"][0]["pid"]
        one = (await ask(project, "GET", f"{PATH}/modules/users", token)).json()["data"]
        assert [status["state"] for status in one] == ["ready"]

        (restarted,) = (await ask(project, "POST", f"{PATH}/modules/users/restart", token)).json()["data"]
        assert restarted["state"] == "ready"
        assert restarted["pid"] != pid

        (missing,) = (await ask(project, "POST", f"{PATH}/rotate?name=NOBODYS", token)).json()["data"]
        assert (missing["name"], missing["result"]) == ("NOBODYS", "missing")

        (stopped,) = (await ask(project, "POST", f"{PATH}/modules/users/stop", token)).json()["data"]
        assert stopped["state"] == "stopped"

        lines = (await ask(project, "GET", f"{PATH}/logs?module=users&lines=3", token)).json()["data"]
        assert {line["module"] for line in lines} == {"users"}
        assert len(lines) <= 3

        assert (await ask(project, "POST", f"{PATH}/stop", token)).json()["data"] == "stopping"
        assert await project.ended() == 0


async def test_what_is_not_there_is_told_to_those_who_may_know(running: Running) -> None:
    async with serving(running) as project:
        token = await token_of(project)
        answer = await ask(project, "GET", f"{PATH}/modules/user", token)
        assert answer.status == 404
        assert "there is no module 'user'. Did you mean 'users'?" in answer.json()["message"]
        assert (await ask(project, "GET", f"{PATH}/nothing", token)).status == 404
        refused = await ask(project, "DELETE", f"{PATH}/modules", token)
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        for lines in ("0", "x", "-1", "10001", "9" * 5000, "%D9%A3"):
            answer = await ask(project, "GET", f"{PATH}/logs?lines={lines}", token)
            assert (answer.status, answer.json()["message"]) == (400, "Invalid request: lines is a number from 1 to 10000")
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("request_line", "problem"),
    [
        ("POST /rotate?nam=API_KEY", "there is no parameter 'nam' here. Known: name"),
        ("POST /rotate?name=A&Name=B", "there is no parameter 'Name' here. Known: name"),
        ("GET /logs?modul=users", "there is no parameter 'modul' here. Known: lines, module"),
        ("GET /logs?lines=1&lines=2", "the parameter 'lines' is there twice"),
        ("POST /stop?name=users", "there is no parameter 'name' here. Known: none"),
    ],
)
async def test_a_parameter_that_is_misspelt_does_not_do_more_than_was_asked_for(running: Running, request_line: str, problem: str) -> None:
    async with serving(running) as project:
        method, target = request_line.split()
        answer = await ask(project, method, PATH + target, await token_of(project))
        assert (answer.status, answer.json()["message"]) == (400, f"Invalid request: {problem}")
        assert (await project.ps())["users"]["state"] == "ready"


async def test_the_limit_for_answers_of_modules_is_not_that_of_a_restart(running: Running) -> None:
    async with serving(running, 'http = "owner"\n[gateway]\nresponse_timeout = 0.2', deeds=("linger=1", "serve")) as project:
        answer = await ask(project, "POST", f"{PATH}/modules/users/restart", await token_of(project))
        assert (answer.status, [one["state"] for one in answer.json()["data"]]) == (200, ["ready"])


async def test_without_the_token_every_method_of_every_path_gives_the_same_nothing(running: Running) -> None:
    async with serving(running) as project:
        token, before = await token_of(project), (await project.ps())["users"]["pid"]
        answers: set[tuple[bool, tuple[tuple[str, str], ...]]] = set()
        for (method, path), shown in product(EVERYTHING, ("", "wrong", token[:-1], token + "A", token.swapcase())):
            answer = await ask(project, method, path, shown)
            assert answer.status == 401, (method, path)
            assert answer.body == (b"" if method == "HEAD" else WORDS[bool(shown)])
            told = {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}
            answers.add((bool(shown), tuple(sorted(told.items()))))
        assert sorted(dict(told)["www-authenticate"] for _, told in answers) == ["Bearer", 'Bearer error="invalid_token"']
        after = (await project.ps())["users"]
        assert (after["state"], after["pid"]) == ("ready", before)


@pytest.mark.parametrize("scheme", ["Basic", "Token", "Bearer ", "bearer\t"])
async def test_the_token_counts_as_a_bearer_token_alone(running: Running, scheme: str) -> None:
    async with serving(running) as project:
        answer = await ask(project, "GET", f"{PATH}/modules", Authorization=f"{scheme} {await token_of(project)}")
        assert answer.status == 401
        assert (await ask(project, "GET", f"{PATH}/modules?token={await token_of(project)}")).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
async def test_pages_of_other_sites_are_refused_even_with_the_token(running: Running, headers: dict[str, str]) -> None:
    async with serving(running) as project:
        token = await token_of(project)
        for method, path in EVERYTHING:
            answer = await ask(project, method, path, token, **headers)
            assert answer.status == 403, (method, path)
        assert (await project.ps())["users"]["state"] == "ready"


async def test_a_page_of_the_front_door_itself_may_ask(running: Running) -> None:
    async with serving(running) as project:
        token = await token_of(project)
        answer = await ask(
            project, "GET", f"{PATH}/modules", token, Host=project.address, Origin=f"http://{project.address}", Sec_Fetch_Site="same-origin"
        )
        assert answer.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "192.168.1.5"},
        {"X_Forwarded_For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
    ],
)
async def test_under_another_name_and_through_a_proxy_there_is_no_such_path(running: Running, headers: dict[str, str]) -> None:
    async with serving(running) as project:
        token = await token_of(project)
        for method, path in EVERYTHING:
            answer = await ask(project, method, path, token, **headers)
            assert answer.status == 404, (method, path)
        assert (await project.ps())["users"]["state"] == "ready"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user: run the tests as root")
async def test_a_program_of_another_user_finds_nothing_though_it_has_the_token(running: Running) -> None:
    async with serving(running) as project:
        code = (
            "import encodings.idna, http.client, os, sys; os.setuid(65534); c = http.client.HTTPConnection(sys.argv[1]); "
            "c.request('GET', sys.argv[2], headers={'Authorization': 'Bearer ' + sys.stdin.read()}); sys.exit(c.getresponse().status - 400)"
        )
        stranger = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, project.address, f"{PATH}/modules", stdin=asyncio.subprocess.PIPE
        )
        await stranger.communicate((await token_of(project)).encode())
        assert stranger.returncode == 4
        line = await project.line("the control API was refused: user 65534 asked for it")
        assert '[control] http = "owner"' in line["message"]


async def test_there_is_none_by_default(running: Running) -> None:
    async with serving(running, "") as project:
        for method, path in EVERYTHING:
            assert (await ask(project, method, path, "x")).status == 404, (method, path)
        code, _, err = await project.command("token")
        assert (code, err) == (1, 'pywatt: there is no control API: add http = "owner" to [control] in pywatt.toml\n')


async def test_a_token_of_your_own_stays_with_the_orchestrator(running: Running) -> None:
    chosen = "a-token-of-the-operators-own-choice-0123"
    async with running() as project:
        project.write(f"CONTROL_TOKEN={chosen}\n", ".env")
        project.write('[control]\nhttp = "local"\ntoken = "secret:CONTROL_TOKEN"\n')
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        assert await token_of(project) == chosen
        assert (await ask(project, "GET", f"{PATH}/modules", chosen)).status == 200
        _, config, _ = await project.command("config")
        assert chosen not in config + project.transcript()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('http = "owner"\ntoken = "too-short"', "token has fewer than 32 characters"),
        ('http = "owner"\ntoken = "a token with blanks, too short it is not"', "token can never be shown in an Authorization header"),
        (f'http = "owner"\ntoken = "{"x" * 20_000}"', "token can never be shown in an Authorization header"),
        ('http = "anybody"', "http"),
        ('http = "owner"\ntoken = "secret:NOWHERE"', "NOWHERE"),
        ('htp = "owner"', "Did you mean 'http'?"),
    ],
)
async def test_a_wrong_section_is_told_before_anything_starts(running: Running, text: str, problem: str) -> None:
    async with running() as project:
        project.write(f"[control]\n{text}\n")
        project.peer("users", "serve")
        await project.start()
        assert await project.ended() in (1, 2)
        assert problem in project.errors
        assert not any(shown in project.errors for shown in ("too-short", "with blanks", "xxxx"))


def test_the_table_is_the_whole_api() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert {route.method for route in ROUTES} == {"GET", "POST"}
