"""Secrets that change under a real `pywatt up`: every process takes the new value, or every process keeps the old one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pywatt_core.testing import Process, assert_no_secret_in
from pywatt_core.testing.client import fetch

Running = Callable[[], Any]
RUST_PEER = Path(__file__).with_name("rust_peer.py")
VECTORS = Path(__file__).parents[3] / "tests" / "data" / "vectors.json"

HOLDS = """
import asyncio, os
from pathlib import Path
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from pywatt_core import pywatt_module

async def until(path):
    while not path.exists():
        await asyncio.sleep(0.01)

@pywatt_module(secrets=["API_KEY"], rotate=True)
async def app(state):
    here = Path.cwd()

    async def told(name, secret):
        if (here / f"refuse-{state.module_id}").exists():
            raise ValueError(f"no server takes {secret.expose_secret()}")
        if (here / f"wait-{state.module_id}").exists():
            (here / f"waits-{state.module_id}").touch()
            await until(here / f"go-{state.module_id}")

    state.secrets.subscribe(["API_KEY"], told)
    if (here / f"slow-{state.module_id}").exists():
        (here / f"starts-{state.module_id}").touch()
        await until(here / f"start-{state.module_id}")

    async def value(request):
        return PlainTextResponse(state.secrets["API_KEY"].expose_secret())

    async def pid(request):
        return PlainTextResponse(str(os.getpid()))

    return Starlette(routes=[Route("/value", value), Route("/pid", pid)])
"""

TWO = """
[modules.users]
run = "holds.py"

[modules.orders]
run = "holds.py"
"""

OLD, NEW, NEWER = "old-k3y-0001", "new-k3y-0002", "newer-k3y-0003"


def write_secret(project: Any, value: str, name: str = "API_KEY") -> None:
    """As an editor does it: a new file in the place of the old one."""
    fresh = project.folder / ".env.new"
    fresh.write_text(f"{name}={value}\n")
    fresh.replace(project.folder / ".env")


async def begin(project: Any, config: str = TWO, *modules: str) -> None:
    project.write(HOLDS, "holds.py")
    project.write(config)
    write_secret(project, OLD)
    await project.start()
    await project.ready(*(modules or ("users", "orders")))


async def value(project: Any, module: str) -> str:
    return (await project.http(f"/{module}/value")).text  # type: ignore[no-any-return]


async def values(project: Any, *modules: str) -> list[str]:
    return [await value(project, module) for module in modules or ("users", "orders")]


async def exists(project: Any, name: str) -> None:
    async with asyncio.timeout(30):
        while not (project.folder / name).exists():
            await asyncio.sleep(0.01)


async def test_a_changed_file_reaches_every_process_without_a_restart_and_no_value_is_shown(running: Running) -> None:
    async with running() as project:
        await begin(project)
        pids = await values(project), [status["pid"] for status in (await project.ps()).values()]
        write_secret(project, NEW)
        line = await project.line("the secret 'API_KEY' rotated", module="pywatt")
        assert line["message"] == "the secret 'API_KEY' rotated: orders, users"
        assert await values(project) == [NEW, NEW]
        assert pids == ([OLD, OLD], [status["pid"] for status in (await project.ps()).values()])
        told = [(await project.command(*arguments))[1:] for arguments in (("ps",), ("ps", "--json"), ("rotate", "--json"), ("logs",))]
        processes = [Process(pid) for pid, _ in project.processes()]
        assert len(processes) >= 3
        assert_no_secret_in(project.lines, project.errors, told, project.runtime, processes, secrets={"OLD": OLD, "NEW": NEW})


async def test_a_client_that_goes_away_meanwhile_changes_nothing(running: Running) -> None:
    async with running() as project:
        await begin(project)
        (project.folder / "wait-orders").touch()
        write_secret(project, NEW)
        await exists(project, "waits-orders")
        (control,) = project.runtime.rglob("control.sock")
        for _ in range(3):
            _, writer = await asyncio.open_unix_connection(str(control))
            writer.write(b'{"command":"rotate"}\n')
            writer.close()
        asking = asyncio.create_task(project.command("rotate", "API_KEY"))
        (project.folder / "go-orders").touch()
        assert (await asking)[:2] == (0, "API_KEY: has the value that is in use, orders, users\n")
        assert await values(project) == [NEW, NEW]


async def test_when_one_refuses_all_keep_the_old_value_until_it_takes_the_new_one(running: Running) -> None:
    async with running() as project:
        await begin(project)
        (project.folder / "refuse-orders").touch()
        write_secret(project, NEW)
        line = await project.line("the secret 'API_KEY' not rotated, the value before stays in use", module="pywatt")
        assert "orders: " in line["message"]
        assert "[REDACTED]" in line["message"]
        assert "Once that is mended, `pywatt rotate API_KEY`" in line["message"]
        assert await values(project) == [OLD, OLD]
        status = await project.ps()
        assert status["orders"]["secrets"].startswith("it refused a new value of the secret 'API_KEY': ")
        assert status["users"]["secrets"] == "the secret 'API_KEY' keeps its value, because orders refused the new one"
        page = (await project.http("/_pywatt/metrics")).text.splitlines()
        assert {'pywatt_secret_rotations_total{outcome="refused"} 1', "pywatt_secrets_refused 1"} <= set(page)
        _, table, _ = await project.command("ps")
        assert "orders: it refused a new value of the secret 'API_KEY': " in table

        code, out, _ = await project.command("rotate", "API_KEY")
        assert (code, out.splitlines()[0]) == (1, "API_KEY: not rotated, the value before stays in use")
        assert out.splitlines()[1].startswith("    orders: ")

        # A process that comes now gets what is in force, although the source has another value.
        assert (await project.command("restart", "users"))[0] == 0
        assert await values(project) == [OLD, OLD]

        (project.folder / "refuse-orders").unlink()
        code, out, _ = await project.command("rotate", "--json")
        assert (code, json.loads(out)) == (0, [{"name": "API_KEY", "result": "rotated", "used_by": ["orders", "users"]}])
        assert await values(project) == [NEW, NEW]
        assert [status["secrets"] for status in (await project.ps()).values()] == ["", ""]
        assert NEW not in json.dumps(project.lines) + project.errors + table + out


async def test_a_refused_value_is_forgotten_when_the_source_changes_again(running: Running) -> None:
    async with running() as project:
        await begin(project)
        (project.folder / "refuse-orders").touch()
        write_secret(project, NEW)
        await project.line("the secret 'API_KEY' not rotated", module="pywatt")
        (project.folder / "refuse-orders").unlink()
        write_secret(project, NEWER)
        await project.line("the secret 'API_KEY' rotated", module="pywatt")
        assert await values(project) == [NEWER, NEWER]


async def test_a_process_that_is_killed_meanwhile_has_no_vote_and_its_successor_gets_the_new_value(running: Running) -> None:
    async with running() as project:
        await begin(project)
        (project.folder / "wait-orders").touch()
        write_secret(project, NEW)
        await exists(project, "waits-orders")
        (project.folder / "wait-orders").unlink()
        after = len(project.lines)
        os.kill((await project.ps())["orders"]["pid"], signal.SIGKILL)
        await project.line("the secret 'API_KEY' rotated", module="pywatt")
        await project.ready("orders", after=after)
        assert await values(project) == [NEW, NEW]


async def test_a_process_that_starts_meanwhile_ends_up_with_what_is_in_force(running: Running) -> None:
    async with running() as project:
        await begin(project, TWO, "users", "orders")
        for refuses in (False, True):
            before, after = (OLD, NEW) if not refuses else (NEW, NEWER)
            assert await values(project) == [before, before]
            for name in ("waits-orders", "go-orders"):
                (project.folder / name).unlink(missing_ok=True)
            (project.folder / "wait-orders").touch()
            write_secret(project, after)
            await exists(project, "waits-orders")  # orders holds the rotation up
            mark = len(project.lines)
            assert (await project.command("restart", "users"))[0] == 0  # the new process is given the value that is proposed
            if refuses:
                (project.folder / "refuse-orders").touch()
                os.kill((await project.ps())["orders"]["pid"], 0)
            (project.folder / "wait-orders").unlink()
            if refuses:
                # It neither agrees nor answers in time: its own limit of 5 seconds ends the wait, with an error.
                await project.line("the secret 'API_KEY' not rotated", module="pywatt", after=mark)
                expected = before
            else:
                (project.folder / "go-orders").touch()
                await project.line("the secret 'API_KEY' rotated", module="pywatt", after=mark)
                expected = after
            async with asyncio.timeout(30):
                while await values(project) != [expected, expected]:
                    await asyncio.sleep(0.01)


async def test_a_process_that_is_told_while_it_starts_is_not_waited_for_and_takes_the_value_when_it_is_up(running: Running) -> None:
    async with running() as project:
        project.write(HOLDS, "holds.py")
        (project.folder / "slow-orders").touch()
        project.write(TWO)
        write_secret(project, OLD)
        await project.start()
        await project.ready("users")
        await exists(project, "starts-orders")
        write_secret(project, NEW)
        await project.line("the secret 'API_KEY' rotated", module="pywatt")
        assert await value(project, "users") == NEW
        (project.folder / "start-orders").touch()
        await project.ready("orders")
        async with asyncio.timeout(30):
            while await value(project, "orders") != NEW:
                await asyncio.sleep(0.01)
        assert (await project.ps())["orders"]["secrets"] == ""


async def test_a_restart_reads_the_sources_again_for_everybody(running: Running) -> None:
    async with running() as project:
        config = TWO + '[secrets.only]\nuse = "dotenv"\npoll = 3600.0\n'
        await begin(project, config)
        write_secret(project, NEW)
        assert (await project.command("restart", "users"))[0] == 0
        await project.line("the secret 'API_KEY' rotated", module="pywatt")
        assert await values(project) == [NEW, NEW]


async def test_by_command_what_nobody_uses_and_what_no_source_knows_is_told_apart(running: Running) -> None:
    async with running() as project:
        await begin(project)
        (project.folder / ".env").write_text(f"API_KEY={OLD}\nOTHER=other-v4lue\n")
        code, out, _ = await project.command("rotate", "API_KEY", "OTHER")
        assert (code, out.splitlines()) == (0, ["API_KEY: has the value that is in use, orders, users", "OTHER: nobody uses it"])
        code, out, _ = await project.command("rotate", "API_KEX")
        assert code == 1
        assert out.startswith("API_KEX: no source knows the secret 'API_KEX' (asked: env: the variable API_KEX, dotenv: ")


async def test_a_secret_that_vanishes_is_kept_by_who_has_it_and_given_to_nobody_else(running: Running) -> None:
    async with running() as project:
        await begin(project)
        (project.folder / ".env").unlink()
        line = await project.line("the secret 'API_KEY' is in no source any more", module="pywatt")
        assert line["level"] == "warning"
        assert await values(project) == [OLD, OLD]
        code, out, _ = await project.command("rotate")
        assert (code, out.endswith("; orders, users keep what they have\n")) == (1, True)
        after = len(project.lines)
        os.kill((await project.ps())["orders"]["pid"], signal.SIGKILL)
        await project.line("it asks for the secret 'API_KEY', which no source knows", module="orders", after=after)
        write_secret(project, NEW)
        await project.ready("orders", after=after)
        await project.line("the secret 'API_KEY' rotated", module="pywatt")
        assert await values(project) == [NEW, NEW]


async def test_a_module_built_on_the_rust_sdk_is_told_with_a_line_to_swallow(running: Running) -> None:
    async with running() as project:
        rust = [sys.executable, str(RUST_PEER), str(VECTORS), "secret"]
        project.write(HOLDS.replace("API_KEY", "DATABASE_URL"), "holds.py")
        project.write(f"[modules.billing]\ncommand = {json.dumps(rust)}\n\n[modules.users]\nrun = 'holds.py'\n")
        write_secret(project, "postgres://u:first-pa55@db/x", "DATABASE_URL")
        await project.start()
        await project.ready("billing", "users")
        write_secret(project, "postgres://u:second-pa55@db/x", "DATABASE_URL")
        line = await project.line("the secret 'DATABASE_URL' rotated", module="pywatt")
        assert line["message"].endswith(": billing, users")
        assert await project.line("rotated DATABASE_URL, swallowed heartbeat", module="billing")
        (project.folder / "refuse-users").touch()
        mark = len(project.lines)
        write_secret(project, "postgres://u:third-pa55@db/x", "DATABASE_URL")
        await project.line("the secret 'DATABASE_URL' not rotated", module="pywatt", after=mark)
        await project.line("rotated DATABASE_URL, swallowed heartbeat", module="billing", after=mark)
        assert await value(project, "users") == "postgres://u:second-pa55@db/x"
        assert "-pa55" not in json.dumps(project.lines)


async def test_fifty_changes_under_load_lose_no_request(running: Running) -> None:
    async with running() as project:
        await begin(project, TWO + '[secrets.only]\nuse = "dotenv"\npoll = 0.02\n')
        ended = asyncio.Event()
        seen: set[str] = set()
        count = 0

        async def client(module: str) -> None:
            nonlocal count
            while not ended.is_set():
                answer = await fetch(project.address, "GET", f"/{module}/value")
                assert answer.status == 200
                seen.add(answer.text)
                count += 1

        clients = [asyncio.create_task(client(module)) for module in ("users", "orders", "users", "orders")]
        for number in range(50):
            mark = len(project.lines)
            write_secret(project, f"changed-k3y-{number:04d}")
            await project.line("the secret 'API_KEY' rotated: orders, users", module="pywatt", after=mark)
            assert await values(project) == [f"changed-k3y-{number:04d}"] * 2
        ended.set()
        await asyncio.gather(*clients)
        assert len(seen) > 25
        assert count > 100
        assert not project.said("not rotated")
