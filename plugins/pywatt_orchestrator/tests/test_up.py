"""`pywatt up` with real processes: the ordinary life, restarts, order, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

REAL = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from pywatt_core import pywatt_module
import os

@pywatt_module(secrets=os.environ.get("ASKS", "").split())
async def app(state):
    async def pid(request):
        return PlainTextResponse(str(os.getpid()))
    return Starlette(routes=[Route("/pid", pid)])
"""


async def test_a_python_module_is_served_through_the_front_door_until_ctrl_c_and_leaves_nothing_behind(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.write(REAL, "users.py")
        project.write('[modules.users]\nrun = "users.py"')
        await project.start()
        await project.ready("users")
        status = (await project.ps())["users"]
        answer = await project.http("/users/pid")
        assert (answer.status, answer.text) == (200, str(status["pid"]))
        assert (status["state"], status["restarts"], status["address"]) == ("ready", 0, str(next(project.runtime.rglob("users.sock"))))
        assert await project.stop() == 0
        await project.nothing_left()
        assert project.errors == ""


async def test_a_module_that_is_killed_is_replaced_at_once_and_requests_that_meet_the_restart_wait(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        first = (await project.http("/users/pid")).text
        os.kill(int(first), signal.SIGKILL)
        answers = await asyncio.gather(*(project.http("/users/pid") for _ in range(10)))
        assert {answer.status for answer in answers} <= {200, 502}  # 502: it had that very request when it died
        await project.line("signal SIGKILL", "starts again at once", module="users")
        later = await project.http("/users/pid")
        assert (later.status, later.text == first) == (200, False)
        assert (await project.ps())["users"]["restarts"] == 1
        assert await project.stop(signal.SIGTERM) == 0
        await project.nothing_left()


async def test_requests_that_come_while_a_module_restarts_are_answered_by_the_new_process(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        before = (await project.http("/users/pid")).text
        restarting = asyncio.create_task(project.command("restart", "users"))
        statuses, last = set(), before
        while last == before:
            answer = await project.http("/users/pid")
            statuses.add(answer.status)
            last = answer.text if answer.status == 200 else last
        code, out, _ = await restarting
        assert (code, statuses) == (0, {200})
        assert f"users   users     {last}" in out
        assert (await project.ps())["users"]["restarts"] == 0


async def test_modules_start_after_what_they_depend_on_and_stop_before_it(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("orders", "serve", "linger=0.4", "say=orders ends", depends_on=["users", "stock"])
        project.peer("users", "serve", "linger=0.2", "say=users ends", depends_on=["stock"])
        project.peer("stock", "serve", "say=stock ends")
        await project.start()
        await project.ready("orders")
        ready = [line["module"] for line in project.lines if "ready in" in line["message"]]
        assert ready == ["stock", "users", "orders"]
        assert await project.stop() == 0
        assert [line["message"] for line in project.lines if line["message"].endswith(" ends")] == [
            "orders ends",
            "users ends",
            "stock ends",
        ]


async def test_a_module_waits_for_a_dependency_and_says_so_while_others_serve(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("stock", "greet", "exit=2")
        project.peer("users", "serve", depends_on=["stock"])
        project.peer("orders", "serve")
        await project.start()
        await project.ready("orders")
        await project.is_state("stock", "failed")
        status = await project.is_state("users", "starting")
        assert (status["why"], status["pid"]) == ("it waits for stock, which is failed", None)
        assert (await project.http("/orders/pid")).status == 200
        assert await project.stop() == 0


async def test_a_restart_says_what_a_module_waits_for_and_a_stop_waits_for_nobody(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("stock", "greet", "exit=2")
        project.peer("users", "serve", depends_on=["stock"])
        project.peer("orders", "serve")
        await project.start()
        await project.ready("orders")
        await project.is_state("stock", "failed")
        for _ in range(2):
            code, out, _ = await project.command("restart", "users")
            assert (code, "users: it waits for stock, which is failed" in out) == (1, True)
        code, out, _ = await project.command("stop", "users")
        assert (code, "stopped" in out) == (0, True)
        assert (await project.command("restart", "users"))[0] == 1
        assert (await project.ps())["users"]["state"] == "starting"
        assert await project.stop() == 0
        await project.nothing_left()


async def test_a_stop_ends_a_restart_that_is_under_way(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "serve", "say=going", "linger=1.5")
        project.peer("orders", "serve")
        await project.start()
        await project.ready("orders", "users")
        restarting = asyncio.create_task(project.command("restart", "users"))
        await project.line("going", module="users")
        code, out, _ = await project.command("stop", "users")
        assert (code, "stopped" in out) == (0, True)
        code, out, _ = await restarting
        assert (code, "stopped" in out) == (1, True)
        assert (await project.ps())["users"]["pid"] is None
        assert await project.stop() == 0


async def test_who_gives_up_on_a_restart_leaves_nobody_waiting_and_the_module_running(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "serve", "say=going", "linger=0.5")
        await project.start()
        await project.ready("users")
        after = len(project.lines)
        restarting = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pywatt_core.cli.main", "restart", "users", cwd=project.folder, env=project.environ
        )
        await project.line("going", module="users")
        restarting.kill()
        await restarting.wait()
        await project.ready("users", after=after)
        assert (await project.http("/users/pid")).status == 200
        assert (await project.command("restart", "users"))[0] == 0


async def test_a_restart_that_somebody_gave_up_does_not_hold_up_the_next(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "greet", "say=here", "block", start_timeout=600.0)
        await project.start()
        await project.line("here", module="users")
        for _ in range(2):
            after = len(project.lines)
            restarting = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pywatt_core.cli.main", "restart", "users", cwd=project.folder, env=project.environ
            )
            await project.line("here", module="users", after=after)
            restarting.kill()
            await restarting.wait()
        assert await project.stop() == 0


async def test_several_instances_share_a_mount_and_are_restarted_in_turn(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "serve", instances=2)
        await project.start()
        await project.ready("users.1", "users.2")
        seen: set[str] = set()
        while len(seen) < 2:
            answers = await asyncio.gather(*(project.http("/users/pid") for _ in range(8)))
            assert {answer.status for answer in answers} == {200}
            seen |= {answer.text for answer in answers}
        pids = {str(status["pid"]) for status in (await project.ps()).values()}
        assert seen == pids
        code, _, err = await project.command("restart", "users")
        assert (code, err) == (0, "")
        assert not pids & {str(status["pid"]) for status in (await project.ps()).values()}


async def test_a_module_can_be_stopped_and_started_again_while_others_serve(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "serve")
        project.peer("orders", "serve")
        await project.start()
        await project.ready("users", "orders")
        code, out, _ = await project.command("stop", "users")
        assert (code, "stopped" in out) == (0, True)
        assert (await project.http("/users/pid")).status == 503
        assert (await project.http("/orders/pid")).status == 200
        assert (await project.command("restart", "users"))[0] == 0
        assert (await project.http("/users/pid")).status == 200
        code, out, _ = await project.command("stop")
        assert (code, "stopped" in out) == (0, True)
        assert await project.ended() == 0
        await project.nothing_left()


async def test_several_persons_who_restart_one_module_take_turns(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        outcomes = await asyncio.gather(*(project.command("restart", "users") for _ in range(3)))
        assert [code for code, _, _ in outcomes] == [0, 0, 0]
        assert len([line for line in project.lines if "ready in" in line["message"]]) == 4
        restarting = asyncio.create_task(project.command("restart", "users"))
        assert await project.stop() == 0
        await restarting
        await project.nothing_left()


async def test_only_the_named_modules_and_their_dependencies_run(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "serve")
        project.peer("orders", "serve", depends_on=["users"])
        project.peer("stock", "serve")
        await project.start("orders")
        await project.ready("orders")
        assert set(await project.ps()) == {"users", "orders"}
        assert await project.stop() == 0


async def test_a_second_one_in_the_same_project_is_refused_with_the_pid_of_the_first(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        assert project.process is not None
        code, _, err = await project.command("up", "--port", "0")
        assert code == 2
        assert f"already runs for {project.folder / 'pywatt.toml'} (pid {project.process.pid})" in err
        assert (await project.http("/users/pid")).status == 200


async def test_a_front_door_in_use_is_found_out_before_anything_starts(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "say=started", "serve")
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        code, out, err = await project.command("up", "--port", str(port))
        server.close()
        assert code == 1
        assert f"127.0.0.1:{port}" in err
        assert "started" not in out
        await project.nothing_left()


async def test_a_request_in_flight_at_ctrl_c_is_still_answered(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        slow = asyncio.create_task(project.http("/users/slow"))
        await project.line("slow begun")
        assert project.process is not None
        project.process.send_signal(signal.SIGINT)
        assert (await slow).text == "ok"
        assert await project.ended() == 0


async def test_ctrl_c_twice_ends_everything_at_once(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "ignore_sigterm", "greet", "http", "announce", "block", stop_timeout=600.0)
        await project.start()
        await project.ready("users")
        assert project.process is not None
        project.process.send_signal(signal.SIGINT)
        await project.line("once more to end everything")
        assert await project.stop(signal.SIGINT) == 0
        await project.nothing_left()


async def test_a_command_that_ends_well_has_done_its_work(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("job", "greet", "say=working", "exit=0", restart="on-failure")
        await project.start()
        assert await project.ended() == 0
        assert project.said("its work is done", module="job")
        assert project.said("every module has done its work")


@pytest.mark.parametrize("listen", ["unix", "tcp"])
async def test_a_module_serves_on_a_socket_of_ours_or_on_a_port(running: Callable[[], Any], listen: str) -> None:
    async with running() as project:
        project.peer("users", "serve", unix=False, listen=listen)
        await project.start()
        await project.ready("users")
        address = (await project.ps())["users"]["address"]
        assert address.endswith("/users.sock") if listen == "unix" else address.startswith("127.0.0.1:")
        assert (await project.http("/users/pid")).status == 200
        os.kill(int((await project.http("/users/pid")).text), signal.SIGKILL)
        after = len(project.lines)
        await project.ready("users", after=after)
        assert (await project.http("/users/pid")).status == 200


async def test_a_module_without_a_port_is_reached_over_the_link(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.peer("users", "features=http_ipc_only,heartbeat", "greet", "announce", "converse")
        await project.start()
        await project.ready("users")
        answer = await project.http("/users/pid")
        assert (answer.status, answer.body, answer.headers["x"]) == (200, b"over the link", "ipc")
        assert (await project.ps())["users"]["address"] == "stdio"


@pytest.mark.parametrize("how", ["killed", "restarted"])
async def test_nobody_notices_that_a_module_without_a_port_is_replaced(running: Callable[[], Any], how: str) -> None:
    async with running() as project:
        project.write(REAL.replace("pywatt_module(", "pywatt_module(bind_http=False, "), "users.py")
        project.write('[modules.users]\nrun = "users.py"\nmount_all = true\n')
        await project.start()
        await project.line("front door on")
        answer = await project.http("/users/pid")  # during its first start
        assert (answer.status, (await project.ps())["users"]["address"]) == (200, "stdio")
        first = answer.text
        seen: list[tuple[int, str]] = []

        async def ask_until_replaced() -> None:
            while not seen or seen[-1][1] == first:
                answer = await project.http("/users/pid")
                seen.append((answer.status, answer.text))

        asking = [asyncio.create_task(ask_until_replaced()) for _ in range(4)]
        await project.until(lambda: len(seen) > 20, "answers")
        if how == "killed":
            os.kill(int(first), signal.SIGKILL)
        else:
            assert (await project.command("restart", "users"))[0] == 0
        await asyncio.gather(*asking)
        assert {status for status, _ in seen} == {200}


async def test_the_environment_of_a_module_is_small_and_chosen(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.environ.update(DATABASE_PASSWORD="hunter22", WANTED="yes", LC_TIME="C", PYTHONHASHSEED="7")
        project.peer("users", "serve", env={"GREETING": "hello"}, inherit_env=["WANTED"])
        await project.start()
        await project.ready("users")
        seen = json.loads((await project.http("/users/env")).text)
        assert (seen["GREETING"], seen["WANTED"], seen["LC_TIME"], seen["PYTHONHASHSEED"]) == ("hello", "yes", "C", "7")
        assert "PATH" in seen
        assert not {"DATABASE_PASSWORD", "XDG_RUNTIME_DIR", "PYWATT_MODULE_ID"} & seen.keys()


async def test_it_works_on_the_standard_loop_too(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.write("raise ImportError", "uvloop.py")
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        os.kill(int((await project.http("/users/pid")).text), signal.SIGKILL)
        await project.ready("users", after=len(project.lines))
        assert (await project.http("/users/pid")).status == 200
        assert await project.stop() == 0
        await project.nothing_left()


async def test_a_module_sees_its_own_arguments_and_working_folder(running: Callable[[], Any]) -> None:
    async with running() as project:
        (project.folder / "inner").mkdir()
        project.write(
            REAL.replace("str(os.getpid())", "repr((sys.argv[1:], os.getcwd()))").replace("import os", "import os, sys"), "inner/users.py"
        )
        project.write('[modules.users]\nrun = "users.py"\ncwd = "inner"\nargs = ["--fast", "2"]')
        await project.start()
        await project.ready("users")
        assert (await project.http("/users/pid")).text == repr((["--fast", "2"], str(project.folder / "inner")))


@pytest.mark.parametrize(
    "announce",
    [
        {"listen": "LISTEN", "endpoints": [{"path": "/pid", "methods": ["GET"], "auth": None}]},
        {"op": "announce", "announce": {"listen": "LISTEN", "endpoints": [{"path": "/pid", "methods": ["GET"]}]}, "get_secret": None},
        {
            "id": "11111111-2222-4333-8444-555555555555",
            "content": {"op": "announce", "listen": "LISTEN", "endpoints": [{"path": "/pid", "methods": ["get"]}]},
        },
    ],
    ids=["without op", "nested", "enveloped"],
)
async def test_every_accepted_spelling_of_an_announce_opens_the_door(running: Callable[[], Any], announce: dict[str, Any]) -> None:
    async with running() as project:
        project.peer("users", "greet", "http", f"send={json.dumps(announce)}", "converse")
        await project.start()
        await project.ready("users")
        assert (await project.http("/users/pid")).status == 200
