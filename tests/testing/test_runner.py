import asyncio
import os
import signal
import sys

import pytest

from pywatt_core.testing import ModuleRunner

MODULE = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from pywatt_core import pywatt_module

@pywatt_module
def hello(state):
    return Starlette(routes=[Route("/", lambda request: PlainTextResponse("hello"))])
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "hello.py").write_text(MODULE)
    return tmp_path / "hello.py"


async def test_a_runner_that_was_not_entered_says_so(file):
    runner = ModuleRunner(file, config={})
    for use in (lambda: runner.pid, runner.kill, runner.freeze, runner.thaw, lambda: runner.signal(signal.SIGTERM)):
        with pytest.raises(RuntimeError, match="the module was not started: use `async with ModuleRunner"):
            use()
    for waiting in (runner.stop(), runner.ended(), runner.assert_clean_exit(), runner.http("GET", "/")):
        with pytest.raises(RuntimeError, match="the module was not started"):
            await waiting


async def test_a_runner_runs_once(file):
    runner = ModuleRunner(file, config={})
    async with runner as module:
        with pytest.raises(RuntimeError, match="a ModuleRunner runs one process, once: make a new one"):
            await runner.__aenter__()
        assert (await module.http("GET", "/")).text == "hello"
    with pytest.raises(RuntimeError, match="make a new one"):
        async with runner:
            pass


async def test_the_end_may_be_asked_for_and_asserted_again(file):
    async with ModuleRunner(file, config={}) as module:
        await module.assert_clean_exit()
        await module.assert_clean_exit()
        assert await module.stop() == 0
        module.kill()
        module.signal(signal.SIGTERM)
    async with ModuleRunner(file, config={}) as module:
        module.kill()
        assert await module.stop() == -signal.SIGKILL
        with pytest.raises(AssertionError, match="exit code -9"):
            await module.assert_clean_exit()


@pytest.mark.parametrize(
    ("code", "status"), [("raise LookupError('no table')", 1), ("import os; os._exit(7)", 7)], ids=["raising", "leaving at once"]
)
async def test_a_start_that_fails_says_the_exit_code_and_what_was_written(tmp_path, code, status):
    (tmp_path / "broken.py").write_text(f"import sys\nprint('said before', file=sys.stderr, flush=True)\n{code}\n")
    with pytest.raises(AssertionError, match=f"the module did not announce itself .*; exit code {status}; it wrote:\n(?s:.*)said before"):
        async with ModuleRunner(tmp_path / "broken.py", config={}):
            pass


async def test_a_start_that_does_not_end_says_that_the_module_runs(monkeypatch):
    monkeypatch.setattr(ModuleRunner, "PATIENCE", 0.01)
    silent = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with pytest.raises(AssertionError, match="the module runs, but did not announce itself within 0.01 s"):
        async with ModuleRunner("", command=silent, config={}):
            pass


async def test_a_frozen_module_does_nothing_until_it_is_thawed(file):
    async with ModuleRunner(file, config={}) as module:
        module.freeze()
        stopped = await asyncio.to_thread(os.waitid, os.P_PID, module.pid, os.WSTOPPED | os.WNOWAIT)
        assert stopped.si_status == signal.SIGSTOP
        asking = asyncio.create_task(module.http("GET", "/"))
        await asyncio.wait([asking], timeout=0.2)
        assert not asking.done()
        module.thaw()
        assert (await asking).text == "hello"
        await module.assert_clean_exit()


async def test_a_frozen_module_is_gone_when_the_block_ends(file):
    async with ModuleRunner(file, config={}) as module:
        pid = module.pid
        module.freeze()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
