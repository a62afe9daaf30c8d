"""The commands as a person types them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pywatt_orchestrator.commands import duration, module_name

Running = Callable[[], Any]

PLAIN = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def hello(request):
    return PlainTextResponse("hello from " + request.scope["root_path"] + "/")

app = Starlette(routes=[Route("/", hello)])
other = Starlette(routes=[Route("/other", hello)])
"""

STORES = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from pywatt_core import pywatt_module

@pywatt_module()
async def notes(state):
    async def count(request):
        await state.database.execute("CREATE TABLE IF NOT EXISTS visits (n INTEGER)")
        await state.database.execute("INSERT INTO visits VALUES (1)")
        return PlainTextResponse(str(await state.database.fetch_value("SELECT count(*) FROM visits")))
    async def cached(request):
        return PlainTextResponse(str(await state.cache.increment("n")))
    return Starlette(routes=[Route("/count", count), Route("/cached", cached)])
"""


async def test_run_serves_one_file_at_the_root_and_ends_with_ctrl_c(running: Running) -> None:
    async with running() as project:
        project.write(PLAIN, "hello.py")
        await project.start("hello.py", command="run")
        await project.ready("hello")
        assert (await project.http("/")).text == "hello from /"
        assert await project.stop() == 0
        await project.nothing_left()


async def test_run_takes_the_name_of_one_of_several_applications(running: Running) -> None:
    async with running() as project:
        project.write(PLAIN, "hello.py")
        await project.start("hello.py:other", command="run")
        await project.ready("hello")
        assert (await project.http("/other")).status == 200
        assert (await project.http("/")).status == 404


async def test_run_without_a_file_offers_a_database_and_a_cache_that_are_opened_at_first_use(running: Running) -> None:
    async with running() as project:
        project.write(STORES, "my-notes.py")
        await project.start("my-notes.py", command="run")
        await project.ready("my_notes")
        assert not (project.folder / ".pywatt").exists()
        assert [(await project.http("/count")).text for _ in range(2)] == ["1", "2"]
        assert [(await project.http("/cached")).text for _ in range(2)] == ["1", "2"]
        assert (project.folder / ".pywatt" / "my_notes" / "main.db").is_file()


async def test_run_heeds_the_file_and_the_command_line(running: Running) -> None:
    async with running() as project:
        project.write(STORES, "notes.py")
        project.write(
            '[databases.main]\nuse = "sqlite"\npath = "a.db"\n[modules.notes]\nrun = "gone.py"\n[modules.other]\nrun = "gone.py"\n'
        )
        await project.start("notes.py", "--set", "databases.main.path=b.db", command="run")
        await project.ready("notes")
        assert (await project.http("/count")).text == "1"
        assert (project.folder / "b.db").is_file()
        assert not (project.folder / "a.db").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nothing.py"], "there is no file 'nothing.py' here"),
        (["up"], 'there is no pywatt.toml in this folder or above it. Make one:\n\n[modules.users]\nrun = "users.py"'),
        (["ps"], "no orchestrator runs in this folder: `pywatt up` starts one."),
        (["logs", "users"], "no orchestrator runs in this folder"),
        (["up", "--set", "nonsense"], "'nonsense' is not of the form section.option=value"),
    ],
)
async def test_a_mistake_on_the_command_line_is_explained_without_a_traceback(running: Running, arguments: list[str], words: str) -> None:
    async with running() as project:
        code, out, err = await project.command(*arguments)
        assert (code, out) == (2, "")
        assert words in err
        assert "Traceback" not in err


async def test_a_provider_that_nobody_has_keeps_everything_from_starting(running: Running) -> None:
    async with running() as project:
        project.write("print('started', flush=True)", "good.py")
        project.write('[gatway]\n[modules.good]\nrun = "good.py"\n[modules.good.databases.main]\nuse = "sqlte"\n')
        code, out, err = await project.command("up", "--port", "0")
        assert (code, out) == (2, "")
        assert "modules.good.databases.main.use (pywatt.toml:5): unknown" in err
        assert "gatway (pywatt.toml:1): unknown section" in err


async def test_an_unknown_module_is_named_with_the_nearest(running: Running) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        for command in (["restart", "user"], ["stop", "user"], ["ps", "user"], ["logs", "user"]):
            code, _, err = await project.command(*command)
            assert code in (1, 2)
            assert "there is no module 'user'. Did you mean 'users'?" in err


async def test_ps_prints_a_table_and_why_a_module_does_not_run(running: Running) -> None:
    async with running() as project:
        project.peer("users", "serve")
        project.peer("orders", "greet", "say=the reason", "exit=2")
        await project.start()
        await project.ready("users")
        await project.is_state("orders", "failed")
        code, out, err = await project.command("ps")
        assert (code, err) == (0, "")
        table = [line.split() for line in out.splitlines()]
        assert table[0] == ["MODULE", "INSTANCE", "PID", "STATE", "RESTARTS", "UPTIME", "ADDRESS"]
        assert table[1][:2] + table[1][3:5] == ["users", "users", "ready", "0"]
        assert table[2][:4] == ["orders", "orders", "-", "failed"]
        assert "orders: it ended with exit code 2 before it announced itself" in out
        assert "the reason" in out


async def test_restart_reads_the_configuration_again_and_refuses_a_wrong_one(running: Running) -> None:
    async with running() as project:
        project.peer("users", "serve", env={"GREETING": "old"})
        await project.start()
        await project.ready("users")
        text = (project.folder / "pywatt.toml").read_text()
        project.write(text.replace('"old"', '"new"'))
        assert (await project.command("restart", "users"))[0] == 0
        assert '"GREETING": "new"' in (await project.http("/users/env")).text
        before = (await project.http("/users/pid")).text
        for wrong, words in (
            (text.replace("[modules.users]", "[modules.users]\nmuont = 1"), "modules.users.muont (pywatt.toml:2): unknown option"),
            (text + "mount = '/elsewhere'\ninstances = 3\n", "modules.users.instances and modules.users.mount changed"),
            ("[modules.other]\ncommand = ['x']\n", "the configuration has no module 'users' any more"),
        ):
            project.write(wrong)
            code, _, err = await project.command("restart", "users")
            assert (code, words in err) == (1, True), err
        assert (await project.http("/users/pid")).text == before


async def test_logs_shows_the_last_lines_and_follows(running: Running) -> None:
    async with running() as project:
        project.peer("users", "say=one", "say=two", "serve")
        project.peer("orders", "say=elsewhere", "serve")
        await project.start()
        await project.ready("users", "orders")
        _, out, _ = await project.command("logs", "users", "-n", "3", "--json")
        assert [json.loads(line)["message"] for line in out.splitlines()][:2] == ["one", "two"]
        _, out, _ = await project.command("logs", "users")
        assert "two" in out
        assert "elsewhere" not in out
        _, out, _ = await project.command("logs")
        assert "elsewhere" in out
        assert "front door" in out
        following = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pywatt_core.cli.main", "logs", "users", "-f", "-n", "1", "--json",
            stdout=asyncio.subprocess.PIPE, cwd=project.folder, env=project.environ,
        )  # fmt: skip
        assert following.stdout is not None
        try:
            assert b"ready in" in await following.stdout.readline()
            os.kill((await project.ps())["users"]["pid"], signal.SIGKILL)
            while b'"two"' not in await following.stdout.readline():
                pass
            following.send_signal(signal.SIGINT)
            assert await following.wait() == 0
        finally:
            if following.returncode is None:
                following.kill()
                await following.wait()


async def test_a_person_who_stops_the_orchestrator_from_another_terminal_learns_when_it_is_gone(running: Running) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        code, out, _ = await project.command("stop", "--project", str(project.folder))
        assert (code, out) == (0, f"stopped {project.folder / 'pywatt.toml'}\n")
        assert await project.ended() == 0
        await project.nothing_left()


async def test_the_text_form_begins_each_line_with_time_and_module(running: Running) -> None:
    async with running() as project:
        project.peer("users", "say=plain words", "greet", "exit=2")
        code, out, _ = await project.command("up", "--port", "0")
        assert code == 1
        (line,) = [line for line in out.splitlines() if "plain words" in line]
        moment, module, *text = line.split()
        assert (len(moment), module, text) == (12, "users", ["plain", "words"])


async def test_two_orchestrators_in_one_folder_are_told_apart(running: Running) -> None:
    async with running() as project:
        project.write(PLAIN, "hello.py")
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        other = type(project)(project.folder, project.runtime)
        try:
            await other.start("hello.py", command="run")
            await other.ready("hello")
            assert set(await project.ps()) == {"users"}
            code, out, _ = await project.command("ps", "--json", "--project", "hello.py")
            assert (code, [status["instance"] for status in json.loads(out)]) == (0, ["hello"])
            assert await other.stop() == 0
        finally:
            await other.close()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("users.py", "users"),
        ("my-notes.PY", "my_notes"),
        ("2fast.py", "module_2fast"),
        ("_x.py", "x"),
        ("é.py", "module"),
        ("pywatt.py", "module_pywatt"),
    ],
)
def test_a_module_of_run_is_called_after_its_file(file: str, name: str) -> None:
    assert module_name(Path(file)) == name


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.4, "0s"), (59.9, "59s"), (184, "3m 04s"), (18_360, "5h 06m"), (198_000, "2d 07h")]
)
def test_an_uptime_is_short(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
