"""However a life ends: user code that exits, hangs, ignores or blocks, in real processes."""

import asyncio
import signal

import pytest

from pywatt_core.testing import ModuleRunner

HEAD = """
import asyncio, atexit, contextlib, os, signal, sys, threading, time
import pywatt_core.running
from pywatt_core import pywatt_module
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

def app(**arguments):
    return Starlette(routes=[Route("/", lambda request: PlainTextResponse("served"))], **arguments)
"""


@pytest.fixture
def module(tmp_path):
    def write(source, **arguments):
        path = tmp_path / "life.py"
        path.write_text(HEAD + source)
        return ModuleRunner(path, config={}, **arguments)

    return write


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("@pywatt_module\ndef life(state): sys.exit(0)\n", 1, "something called sys.exit(0)"),
        ("@pywatt_module\nasync def life(state): sys.exit(0)\n", 1, "something called sys.exit(0)"),
        ("@pywatt_module\nasync def life(state): raise asyncio.CancelledError\n", 1, "something raised CancelledError"),
        ("@pywatt_module(state_builder=lambda init, secrets: sys.exit(3))\ndef life(state): return app()\n", 5, "sys.exit(3)"),
        ("sys.exit(0)\n", 1, "something called sys.exit(0)"),
    ],
)
async def test_code_that_ends_the_process_by_itself_is_a_failure_of_its_step(module, source, code, words):
    async with module(source, announce=False) as running:
        assert await running.ended() == code, running.stderr
        assert words in running.stderr


async def test_a_secret_in_an_exit_is_hidden(module):
    source = "@pywatt_module(secrets=['KEY'])\nasync def life(state): sys.exit((await state.get_secret('KEY')).expose_secret())\n"
    async with module(source, announce=False, secrets={"KEY": "the-value-of-the-key"}) as running:
        assert await running.ended() == 1
        assert "sys.exit" in running.stderr
        assert "the-value-of-the-key" not in running.stderr


async def test_a_start_that_fails_is_reported_at_once_and_its_closing_has_a_deadline(module):
    source = """
pywatt_core.running.CLOSE_TIMEOUT = 0.3

@contextlib.asynccontextmanager
async def hangs():
    yield "open"
    await asyncio.Event().wait()

@pywatt_module
async def life(state):
    await state._stack.enter_async_context(hangs())
    raise RuntimeError("the builder failed on purpose")
"""
    async with module(source, announce=False) as running:
        assert await running.ended() == 1, running.stderr
        assert running.stderr.index("the builder failed on purpose") < running.stderr.index("closing did not end in time")


@pytest.mark.parametrize(
    "habit",
    [
        "threading.Thread(target=threading.Event().wait, name='lingering').start()",
        "asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)",
        "atexit.register(threading.Event().wait)",
    ],
)
async def test_what_lingers_after_a_clean_end_does_not_keep_the_process(module, habit):
    source = f"pywatt_core.running.EXIT_PATIENCE = 0.3\n@pywatt_module\nasync def life(state):\n    {habit}\n    return app()\n"
    async with module(source) as running:
        assert (await running.http("GET", "/")).text == "served"
        assert await running.stop() == 0, running.stderr
        assert "Traceback" not in running.stderr


async def test_a_second_signal_ends_a_start_that_blocks_the_loop(module):
    source = "@pywatt_module\ndef life(state):\n    print('blocking', flush=True)\n    time.sleep(600)\n"
    async with module(source, announce=False) as running:
        await running.until(lambda: "blocking" in running.stderr)
        ended = asyncio.create_task(running.ended())
        while not ended.done():  # two signals that arrive together are one
            running.signal(signal.SIGTERM)
            await asyncio.wait({ended}, timeout=0.1)
        assert await running.ended() == 128 + signal.SIGTERM
        assert "SIGTERM again: leaving at once" in running.stderr


async def test_a_plugins_lifespan_is_around_serving(module, fake_site):
    fake_site.install(
        "pywatt-around",
        """
        from contextlib import asynccontextmanager
        from pywatt_core import hookimpl

        @asynccontextmanager
        async def around():
            print("plugin in", flush=True)
            yield
            print("plugin out", flush=True)

        @hookimpl
        def pywatt_lifespan(state):
            return around()
        """,
    )
    source = """
@contextlib.asynccontextmanager
async def lifespan(_app):
    print("server starts", flush=True)
    yield
    print("server ends", flush=True)

@pywatt_module
def life(state): return app(lifespan=lifespan)
"""
    async with module(source, env={"PYTHONPATH": str(fake_site.folder)}) as running:
        await running.assert_clean_exit()
        said = [line for line in running.stderr.splitlines() if line.startswith(("plugin", "server "))]
        assert said[:2] == ["plugin in", "server starts"]
        assert said[-1] in ("plugin out", "server ends")
        assert "plugin out" in said


async def test_a_broken_plugin_is_named_and_the_module_serves(module, fake_site):
    fake_site.install("pywatt-misspelt", "from pywatt_core import hookimpl\n@hookimpl\ndef pywatt_lifespn(state): ...\n")
    fake_site.install("pywatt-raises", "raise RuntimeError('broken at import')\n")
    async with module("@pywatt_module\ndef life(state): return app()\n", env={"PYTHONPATH": str(fake_site.folder)}) as running:
        assert (await running.http("GET", "/")).text == "served"
        assert "pywatt-misspelt" in running.stderr
        assert "pywatt_lifespan" in running.stderr, "the nearest hook is named"
        assert "pywatt-raises" in running.stderr
        await running.stop()
