"""Files, names and faults of ``python -m pywatt_core.launch``, in real processes."""

import os
import subprocess
import sys

import pytest

from pywatt_core.testing import ModuleRunner

HELLO = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from pywatt_core import pywatt_module

def serving(text):
    return Starlette(routes=[Route("/", lambda request: PlainTextResponse(text))])
"""


@pytest.fixture
def file(tmp_path):
    def write(source, name="users.py"):
        path = tmp_path / name
        path.write_text(HELLO + source)
        return path

    return write


async def answer(module):
    async with ModuleRunner(module, config={}) as running:
        text = (await running.http("GET", "/")).text
        await running.assert_clean_exit()
        return text


async def test_the_only_module_of_a_file_needs_no_name(file):
    path = file("@pywatt_module\ndef users(state): return serving('users')\nother = users\n")
    assert await answer(path) == "users"


async def test_a_name_picks_one_of_several(file):
    path = file("@pywatt_module\ndef a(state): return serving('a')\n@pywatt_module\ndef b(state): return serving('b')\n")
    assert await answer(f"{path}:b") == "b"


async def test_a_plain_application_needs_no_decorator(file):
    assert await answer(f"{file('mine = serving(`plain`)'.replace('`', chr(39)))}:mine") == "plain"
    assert await answer(file("app = serving('by its usual name')\n")) == "by its usual name"


async def test_a_file_finds_its_neighbours_and_may_be_called_as_an_installed_package(file, tmp_path):
    (tmp_path / "neighbour.py").write_text("TEXT = 'from next door'\n")
    path = file("import neighbour\napp = serving(neighbour.TEXT)\n", name="flask.py")
    assert await answer(path) == "from next door"


async def test_an_async_builder_and_the_run_block_do_not_disturb(file):
    path = file("@pywatt_module\nasync def users(state): return serving('async')\nif __name__ == '__main__': users.run()\n")
    assert await answer(path) == "async"


def launch(*arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", "pywatt_core.launch", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PYWATT_STANDALONE": "1", **environ},
        check=False,
    )


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("", "", "has no module: decorate a function with @pywatt_module, or name a plain application as"),
        ("@pywatt_module\ndef a(state): ...\n@pywatt_module\ndef b(state): ...\n", "", "has several modules: say which one,"),
        ("@pywatt_module\ndef a(state): ...\n", ":c", "has no 'c'; it has a"),
    ],
)
def test_what_cannot_be_found_is_explained(file, source, name, message):
    done = launch(f"{file(source)}{name}")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_does_not_exist_is_named():
    done = launch("nowhere.py")
    assert done.returncode == 2
    assert "there is no file 'nowhere.py'" in done.stderr


def test_wrong_arguments_show_the_usage():
    assert "usage: python -m pywatt_core.launch FILE[:NAME]" in launch().stderr
    assert launch("a", "b").returncode == 2


def test_a_file_that_dies_at_import_shows_the_users_traceback_and_ends_with_1(file):
    done = launch(str(file("raise RuntimeError('broken on purpose')\n")))
    assert done.returncode == 1
    assert "users.py" in done.stderr
    assert "RuntimeError: broken on purpose" in done.stderr
    assert "pywatt_core" not in done.stderr, "how we got there is of no use to who has to mend it"


def test_an_impossible_mode_is_refused(file):
    done = launch(str(file("")), PYWATT_STANDALONE="yes")
    assert done.returncode == 2
    assert "PYWATT_STANDALONE='yes': it is 0 or 1" in done.stderr


def test_an_output_that_is_no_pipe_is_refused_with_the_way_out(file):
    done = subprocess.run(
        [sys.executable, "-m", "pywatt_core.launch", str(file("app = serving('x')\n"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PYWATT_MODULE_ID": "users"},
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "standard input and output must be pipes or sockets; set PYWATT_STANDALONE=1" in done.stderr


COUNTING = """
import gc
rarely = gc.get_threshold()
app = Starlette(routes=[Route("/", lambda request: PlainTextResponse(f"{rarely} {gc.get_threshold()} {gc.get_freeze_count() > 1000}"))])
"""


async def test_garbage_is_hardly_looked_for_until_the_module_serves(file):
    usual = subprocess.run([sys.executable, "-c", "import gc; print(gc.get_threshold())"], capture_output=True, text=True, check=True)
    assert await answer(file(COUNTING)) == f"(200000, 10, 10) {usual.stdout.strip()} True"


async def test_thresholds_that_the_users_code_has_chosen_stay(file):
    assert await answer(file(f"{COUNTING}\ngc.set_threshold(500, 5, 5)\n")) == "(200000, 10, 10) (500, 5, 5) True"


async def test_a_module_loads_only_what_it_uses(file):
    modules = await answer(
        file("import sys\napp = Starlette(routes=[Route('/', lambda request: PlainTextResponse(' '.join(sys.modules)))])\n")
    )
    loaded = set(modules.split())
    assert {"pywatt_fastapi.server", "pywatt_core.http.asgi_front", "pywatt_flask"} <= loaded
    other_server = {
        "flask",
        "waitress",
        "pywatt_flask.server",
        "pywatt_flask.applications",
        "pywatt_core.http.wsgi",
        "pywatt_core.http.wsgi_front",
    }
    unnamed = {"pywatt_core.builtin.secrets", "pywatt_core.builtin.memory_cache", "pywatt_core.builtin.serializers", "sqlite3"}
    late = {"pydantic_settings", "rich_click", "ahocorasick", "pywatt_core.telemetry.series", "uvicorn.protocols.websockets.auto"}
    assert not loaded & (other_server | unnamed | late)


async def test_an_import_that_closes_the_wire_is_told_so(file):
    path = file("import os; os.closerange(3, 200)\napp = serving('x')\n")
    async with ModuleRunner(path, config={}, announce=False) as running:
        assert await running.ended() == 1
        assert "closed the wire's descriptors: close only what you opened" in running.stderr
