"""What modules do wrong: each fault has a clear message that names the module and the way out, and the others keep serving."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

Running = Callable[[], Any]


@pytest.fixture
def beside(running: Running) -> Callable[[Any], Any]:
    """Start a project with a healthy module beside the faulty ones, and check at the end that it served throughout."""

    async def start(project: Any) -> None:
        project.peer("healthy", "serve")
        await project.start()
        await project.ready("healthy")

    return start


async def still_serves(project: Any) -> None:
    assert (await project.http("/healthy/pid")).status == 200


async def test_a_module_that_dies_at_import_says_why_and_is_tried_again_by_the_rules(running: Running, beside: Any) -> None:
    async with running() as project:
        project.write("import nothing_like_this", "users.py")
        project.write('[modules.users]\nrun = "users.py"\n')
        await beside(project)
        await project.line("exit code 1", "before it announced itself", "starts again", module="users")
        status = await project.is_state("users", "backoff")
        shown = "\n".join(record["message"] + record.get("trace", "") for record in status["log"])
        assert "No module named 'nothing_like_this'" in shown
        assert "it ended with exit code 1 before it announced itself; it starts again" in status["why"]
        await still_serves(project)


async def test_a_crash_loop_starts_five_times_and_then_backs_off(running: Running, beside: Any) -> None:
    async with running() as project:
        project.peer("users", "greet", "say=start", "exit=1")
        await beside(project)
        await project.line("starts again in", module="users")
        starts = [line for line in project.lines if line["message"] == "start"]
        delays = [line["message"].rpartition("again ")[2] for line in project.lines if "it starts again" in line["message"]]
        assert len(starts) == 5
        assert delays[:4] == ["at once"] * 4
        assert float(delays[4].removeprefix("in ").removesuffix(" s")) > 0
        status = (await project.ps())["users"]
        assert (status["state"], status["restarts"], len(status["log"]) <= 20) == ("backoff", 5, True)
        await still_serves(project)


@pytest.mark.parametrize(("code", "meaning"), [(2, "its configuration is wrong"), (4, "a plugin is missing or broken")])
async def test_a_module_that_a_person_has_to_mend_is_not_started_again_until_told(
    running: Running, beside: Any, code: int, meaning: str
) -> None:
    async with running() as project:
        project.write(f"import os, sys; print('what is wrong', file=sys.stderr, flush=True); os._exit({code})", "users.py")
        project.write('[modules.users]\nrun = "users.py"\n')
        await beside(project)
        line = await project.line(f"exit code {code}", meaning, "not started again", module="users")
        assert "then `pywatt restart users`" in line["message"]
        status = await project.is_state("users", "failed")
        assert status["log"][0]["message"] == "what is wrong"
        assert (await project.http("/users/x")).status == 503
        await still_serves(project)
        code, out, _ = await project.command("restart", "users")
        assert (code, "failed" in out, "what is wrong" in out) == (1, True, True)
        code, out, _ = await project.command("stop", "users")
        assert (code, "stopped" in out) == (0, True)


async def test_when_the_only_module_has_failed_for_good_the_orchestrator_ends_and_says_why(running: Running) -> None:
    async with running() as project:
        project.peer("users", "greet", "exit=2")
        await project.start()
        assert await project.ended() == 1
        assert project.said("users has failed: it ended with exit code 2")
        assert project.said("nothing is left to run")
        await project.nothing_left()


async def test_what_a_module_prints_before_and_after_the_handshake_is_a_log_line(running: Running, beside: Any) -> None:
    async with running() as project:
        project.peer(
            "users", r"print=before\n", "greet", "http", "print=no newline", "announce", r"print=\n\nafter\n\xff\x1b[31mred\n", "converse"
        )
        await beside(project)
        await project.ready("users")
        for text in ("before", "no newline", "after"):
            line = await project.line(text, module="users")
            assert line["stream"] == "stdout"
        await project.line("red", module="users")
        assert all("\x1b" not in line["message"] for line in project.lines)
        assert (await project.http("/users/pid")).status == 200
        await still_serves(project)


async def test_a_module_that_never_announces_is_ended_and_its_limit_named(running: Running, beside: Any) -> None:
    async with running() as project:
        project.peer("users", "greet", "block", start_timeout=0.5)
        await beside(project)
        line = await project.line("it was not ready within 0.5 s (start_timeout): it has not announced itself", module="users")
        assert line["level"] == "error"
        await still_serves(project)


async def test_a_module_whose_health_path_complains_is_not_ready(running: Running, beside: Any) -> None:
    async with running() as project:
        project.peer("users", "unhealthy=503", "serve", start_timeout=1.0)
        await beside(project)
        await project.line("start_timeout): /health answers 503", module="users")
        assert not project.said("ready in", module="users")
        await still_serves(project)


async def test_a_module_that_announces_twice_keeps_serving_what_it_announced_first(running: Running, beside: Any) -> None:
    async with running() as project:
        again = '{"op":"announce","listen":"127.0.0.1:1","endpoints":[]}'
        project.peer("users", "greet", "http", "announce", f"send={again}", "converse")
        await beside(project)
        await project.line("it announced itself again; the first announce stands", module="users")
        await project.ready("users")
        assert (await project.http("/users/pid")).status == 200


async def test_a_module_that_announces_an_address_of_somebody_else_is_not_served(running: Running, beside: Any) -> None:
    async with running() as project:
        project.peer("users", "greet", 'send={"op":"announce","listen":"10.1.2.3:80","endpoints":[]}', "converse")
        await beside(project)
        await project.line("it announced '10.1.2.3:80', which is not on this machine", module="users")
        await project.until(
            lambda: len([line for line in project.lines if "it announced '10.1.2.3:80'" in line["message"]]) > 1, "a second one"
        )
        assert not [line for line in project.lines if line.get("trace") or (line["module"] == "pywatt" and line.get("level") == "error")]
        await still_serves(project)


@pytest.mark.parametrize("deed", ["flood", "flood_stderr"])
async def test_a_flood_of_junk_is_summed_up_and_stops_nobody(running: Running, beside: Any, deed: str) -> None:
    async with running() as project:
        project.peer("users", "greet", "http", "announce", deed, "say=flood over", "converse")
        await beside(project)
        await project.ready("users")
        while not project.said("flood over", module="users") and not project.said("were left out", module="users"):
            await still_serves(project)
        line = await project.line("were left out: it prints more than 1,000 lines", module="users")
        assert line["level"] == "warning"
        assert (await project.http("/users/pid")).status == 200
        assert project.process is not None
        assert memory_of(project.process.pid) < 300_000_000


def memory_of(pid: int) -> int:
    """The most memory that a process has had resident, in bytes."""
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


async def test_a_module_that_ignores_sigterm_is_killed_with_everything_it_started(running: Running, beside: Any) -> None:
    async with running() as project:
        project.peer("users", "child=600", "ignore_sigterm", "greet", "http", "announce", "block", stop_timeout=0.2, kill_timeout=0.2)
        await beside(project)
        await project.ready("users")
        code, _, _ = await project.command("stop", "users")
        assert code == 0
        assert project.said("it does not end 0.2 s after shutdown (stop_timeout): SIGTERM", module="users")
        assert project.said("it ignores SIGTERM for 0.2 s (kill_timeout): SIGKILL", module="users")
        assert not [pid for pid in project.left_behind() if "sleep" in pid]
        await still_serves(project)


async def test_the_children_of_a_module_that_crashes_are_ended_before_it_is_started_again(running: Running, beside: Any) -> None:
    async with running() as project:
        first = project.folder / "first"
        project.peer("users", f"once={first}", "child=600", "exit=1")
        await beside(project)
        await project.ready("users")
        assert not [name for name in project.left_behind() if "sleep(600)" in name]


async def test_a_frozen_module_is_noticed_and_replaced_if_it_offered_heartbeats(running: Running, beside: Any) -> None:
    async with running() as project:
        project.peer("users", "features=heartbeat", "serve", hang_timeout=3.0)
        project.peer("silent", "serve", hang_timeout=3.0)
        await beside(project)
        await project.ready("users", "silent")
        pids = {name: status["pid"] for name, status in (await project.ps()).items()}
        for name in ("users", "silent"):
            os.kill(pids[name], signal.SIGSTOP)
        await project.line("it does not acknowledge heartbeats", module="users")
        await project.line("it hangs: no heartbeat was acknowledged for", "(hang_timeout)", module="users")
        await project.until(
            lambda: project.said("ready in", module="users", after=project.lines.index(project.said("it hangs"))), "a replacement"
        )
        assert (await project.http("/users/pid")).text != str(pids["users"])
        # A Rust module acknowledges nothing on standard output and is healthy: silence alone is no sign.
        assert (await project.ps())["silent"]["pid"] == pids["silent"]
        assert not project.said("acknowledge", module="silent")
        os.kill(pids["silent"], signal.SIGCONT)
        await still_serves(project)


async def test_a_module_that_hangs_for_a_moment_is_spared(running: Running, beside: Any) -> None:
    async with running() as project:
        project.peer("users", "features=heartbeat", "serve", hang_timeout=600.0)
        await beside(project)
        await project.ready("users")
        pid = (await project.ps())["users"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        await project.line("it does not acknowledge heartbeats", module="users")
        status = (await project.ps())["users"]
        assert (status["state"], status["why"]) == ("ready", "it does not acknowledge heartbeats")
        os.kill(pid, signal.SIGCONT)
        await project.line("it acknowledges heartbeats again", module="users")
        assert (await project.http("/users/pid")).text == str(pid)


async def test_who_asks_without_taking_the_answers_has_to_wait_and_nobody_else(running: Running, beside: Any) -> None:
    async with running() as project:
        project.peer("users", "greet", "http", "announce", "ask=100000", "block")
        await beside(project)
        await project.ready("users")
        await project.line("it may not have the secret 'X'", module="users")
        for _ in range(20):
            await still_serves(project)
        assert project.process is not None
        assert memory_of(project.process.pid) < 100_000_000
        asked = [line for line in project.lines if "secret 'X'" in line["message"]]
        assert len(asked) < 20_000


async def test_a_blocked_loop_is_dumped_before_its_process_is_replaced(running: Running, beside: Any) -> None:
    async with running() as project:
        project.write(
            "import time, os, pathlib\nfrom starlette.applications import Starlette\nfrom starlette.routing import Route\n"
            "async def the_culprit(request):\n    time.sleep(600)\n"
            "app = Starlette(routes=[Route('/block', the_culprit)])\n",
            "users.py",
        )
        project.write('[modules.users]\nrun = "users.py"\nhang_timeout = 3.0\n')
        await beside(project)
        await project.ready("users")
        blocking = asyncio.create_task(project.http("/users/block"))
        await project.line("it hangs", module="users")
        await project.line("in the_culprit", module="users")
        after = project.lines.index(await project.line("it hangs", module="users"))
        await project.ready("users", after=after)
        blocking.cancel()
        assert not list(project.folder.glob("core*"))
        await still_serves(project)


async def test_a_program_that_is_not_there_is_named(running: Running, beside: Any) -> None:
    async with running() as project:
        project.write('[modules.users]\ncommand = ["./not-built"]\n')
        await beside(project)
        line = await project.line("the program './not-built' was not found: correct `command`", module="users")
        assert line["message"].endswith("it is not started again until that is mended: then `pywatt restart users`")
        assert (await project.ps())["users"]["state"] == "failed"
        await still_serves(project)
        project.write("#!/bin/sh\nexit 0\n", "not-built")
        assert (await project.command("restart", "users"))[0] == 1
        status = (await project.ps())["users"]
        assert (status["state"], "may not be executed: chmod +x it" in status["why"]) == ("failed", True)
        (project.folder / "not-built").chmod(0o755)
        await project.command("restart", "users")
        await project.line("it ended with exit code 0 before it announced itself; it starts again", module="users")


async def test_a_module_that_has_not_announced_itself_is_ended_at_once_at_a_stop(running: Running, beside: Any) -> None:
    async with running() as project:
        project.peer("users", "greet", "say=here", "block", stop_timeout=600.0)
        await beside(project)
        await project.line("here", module="users")
        code, out, _ = await project.command("stop", "users")
        assert (code, "stopped" in out) == (0, True)
        assert not project.said("SIGTERM", module="users")
        await still_serves(project)


async def test_unknown_and_broken_messages_are_shown_and_cost_nothing_else(running: Running, beside: Any) -> None:
    async with running() as project:
        project.peer("users", "greet", "http", "announce", 'send={"op":"dance"}', 'send={"op":"get_secret"}', "send=[1]", "converse")
        await beside(project)
        await project.ready("users")
        await project.line("a message of an unknown kind was ignored", module="users")
        await project.line("get_secret", module="users")
        assert (await project.http("/users/pid")).status == 200


async def test_an_interpreter_without_the_core_is_told_what_to_install(running: Running, beside: Any) -> None:
    async with running() as project:
        bare = project.folder / "python"
        project.write(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n', "python")
        bare.chmod(0o755)
        project.write("", "users.py")
        project.write(f'[modules.users]\nrun = "users.py"\npython = "{bare}"\n')
        await beside(project)
        await project.line(f"its interpreter has no pywatt-core: {bare} -m pip install pywatt-core", module="users")
        await still_serves(project)
