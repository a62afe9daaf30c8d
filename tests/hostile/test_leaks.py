"""A canary goes every way in which text leaves a process; nothing of it can be read anywhere afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.testing import ModuleRunner, Process, assert_no_secret_in, fetch

from .leaky_ways import BELOW_PYTHON, WAYS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from pywatt_core.testing.client import Response

HERE = Path(__file__).parent
DEADLINE = 60.0
PIECE = 10
"""Characters of a canary in a row that count as a leak."""

CANARIES = {
    "awkward": "kanárek-7f3a\"q'/+&=% <9b1d\\e4-zpívá",
    "plain": "a41fe09c77b25d3368cf12aa90be",
    "DSN": "postgresql+asyncpg://app:p%40ss-9d41c7e0a2b85f63@db.example:5432/main?sslmode=require",
    "several lines": "-----BEGIN KEY-----\n9f86d081884c7d65\n9a2feaa0c55ad015\na3bf4f1b\n-----END KEY-----",
}
SECRET_OF = {name: "p@ss-9d41c7e0a2b85f63" if name == "DSN" else value for name, value in CANARIES.items()}
"""What of it must not be seen; a database's host may be."""


def nothing_in(*places: object, canary: str) -> None:
    """Nothing of the canary can be read there."""
    lines = [line for line in SECRET_OF[canary].splitlines() if not line.startswith("-----")]
    assert_no_secret_in(*places, secrets=lines, piece=min(PIECE, *map(len, lines)))


class Orchestrated:
    """`pywatt up` with both modules, everything that it writes, and what its commands answer."""

    def __init__(self, folder: Path, runtime: Path, canary: str, *, environ: Mapping[str, str] | None = None) -> None:
        self.folder, self.canary = folder, canary
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("PYWATT")}
        self.environ |= {"XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(HERE), "PYTHONUTF8": "1", **(environ or {})}
        self.runtime = runtime
        self.output = b""
        folder.mkdir()
        for name in ("leaky_fastapi", "leaky_flask", "leaky_ways"):
            shutil.copy(HERE / f"{name}.py", folder)
        kept = folder.with_name("kept")
        kept.mkdir()
        (kept / "secrets.toml").write_text(f"CANARY = {json.dumps(CANARIES[canary], ensure_ascii=False)}\n")
        (kept / "secrets.toml").chmod(0o600)
        (folder / "pywatt.toml").write_text(
            '[secrets.file]\nuse = "file"\npath = "../kept/secrets.toml"\n'
            "[gateway]\naccess_log = true\n"
            '[modules.fast]\nrun = "leaky_fastapi.py"\ninherit_env = ["LEAKY_FAILS"]\n'
            '[modules.flask]\nrun = "leaky_flask.py"\n'
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pywatt_core.cli.main", *arguments]

    async def run(self, *arguments: str) -> bytes:
        """What another command prints."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*arguments), cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=-1, stderr=subprocess.STDOUT
        )
        async with asyncio.timeout(DEADLINE):
            return (await process.communicate())[0]

    @contextlib.asynccontextmanager
    async def up(self, *arguments: str) -> AsyncIterator[Orchestrated]:
        self.process = await asyncio.create_subprocess_exec(
            *self.command("up", "--port", "0", *arguments),
            cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=-1, stderr=subprocess.STDOUT,
        )  # fmt: skip
        reading = asyncio.create_task(self._read())
        try:
            yield self
        finally:
            if self.process.returncode is None:
                self.process.send_signal(signal.SIGINT)
            try:
                async with asyncio.timeout(DEADLINE):
                    await self.process.wait()
                    await reading
            except TimeoutError:
                self.process.kill()
                raise

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while data := await self.process.stdout.read(65536):
            self.output += data

    @property
    def text(self) -> str:
        return self.output.decode()

    async def until(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until the output has `count` matches of a pattern; the first."""
        try:
            async with asyncio.timeout(DEADLINE):
                while len(found := list(re.finditer(pattern, self.text))) < count:
                    assert self.process.returncode is None, self.text[-4000:]
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{pattern!r} did not come {count} times:\n{self.text[-4000:]}") from None
        return found[0]

    async def get(self, path: str, **arguments: Any) -> Response:
        door = (await self.until(r"front door on http://([\w.:]+)"))[1]
        return await fetch(door, "GET", path, deadline=DEADLINE, **arguments)

    async def everything_it_tells(self) -> dict[str, Any]:
        """What the commands, the pages of the front door and the control socket answer."""
        commands = [
            [*command, *options]
            for command in (["ps"], ["logs", "-n", "200"], ["config"], ["check"], ["plugins"])
            for options in ([], ["--json"])
        ]
        told: dict[str, Any] = dict(
            zip(map(" ".join, commands), await asyncio.gather(*(self.run(*command) for command in commands)), strict=True)
        )
        for page in ("/_pywatt/metrics", "/_pywatt/", "/", "/nowhere", "/fast/nowhere", "/flask/nowhere", "/fast/openapi.json"):
            answer = await self.get(page)
            told[page] = [answer.status, answer.headers, answer.body]
        for request in (b'{"command":"status"}\n', b'{"op":"status"}\n', b"{}\n", b"nonsense\n"):
            told[f"control {request!r}"] = await self.control(request)
        return told

    async def control(self, request: bytes) -> bytes:
        path = next(self.runtime.rglob("control*"))
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(DEADLINE):
            answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="pw-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("canary", "arguments"), [("awkward", ["--json"]), ("awkward", []), ("DSN", ["--json"]), ("several lines", ["--json"])]
)
async def test_two_modules_under_the_orchestrator_leak_nothing(canary: str, arguments: list[str], tmp_path: Path, runtime: Path) -> None:
    project = Orchestrated(tmp_path / "project", runtime, canary)
    async with project.up(*arguments):
        await project.until("ready in", 2)
        answers = []
        for module in ("fast", "flask"):
            for name in WAYS:
                answer = await project.get(f"/{module}/leak/{name}")
                assert (answer.status, answer.text.strip('"')) == (200, name), answer.text
            answers += [await project.get(f"/{module}/raise"), await project.get(f"/{module}/raise?token=" + "x")]
        answers += [await project.get(f"/fast/ask/{target}") for target in ("fast", "flask", "nobody")]
        answers.append(await project.get("/fast/background"))
        assert [answer.status for answer in answers[:4]] == [500] * 4
        assert "[REDACTED]" in answers[4].text + answers[5].text
        nothing_in([[answer.status, answer.headers, answer.body] for answer in answers], canary=canary)
        nothing_in(await project.everything_it_tells(), Process(project.process.pid), project.folder, runtime, canary=canary)
        left = await project.get("/fast/exit")
        aborted = await project.get("/fast/abort")
        await project.until("ready in", 3)
        nothing_in([left.body, aborted.body], await project.run("ps", "--json"), canary=canary)
    assert project.text.count("[REDACTED]") > 40 * len(WAYS) / 10
    nothing_in(project.output, project.folder, runtime, canary=canary)
    if arguments:
        records = [json.loads(line) for line in project.text.splitlines()]
        assert all({"timestamp", "module", "level"} <= set(record) for record in records)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]", project.text)


async def test_what_a_visitor_sends_is_hidden_in_the_access_log(tmp_path: Path, runtime: Path) -> None:
    canary = "awkward"
    from urllib.parse import quote

    value = quote(CANARIES[canary], safe="")
    project = Orchestrated(tmp_path / "project", runtime, canary)
    async with project.up("--json"):
        await project.until("ready in", 2)
        await project.get("/fast/leak/message")
        paths = [f"/fast/{value}", f"/flask/{value}", f"/{value}", f"/fast/leak/{value}?token={value}", f"/nowhere?{value}"]
        statuses = [(await project.get(path, headers={"X-Request-ID": value[:60], "Cookie": f"a={value}"})).status for path in paths]
        assert set(statuses) <= {400, 404, 500}
        await project.until("pywatt.access", len(paths) + 1)
    nothing_in(project.output, canary=canary)


async def test_a_module_that_fails_to_start_leaks_nothing(tmp_path: Path, runtime: Path) -> None:
    canary = "awkward"
    project = Orchestrated(tmp_path / "project", runtime, canary, environ={"LEAKY_FAILS": "1"})
    async with project.up():
        await project.until("exit code 1")
        await project.until("flask.*ready in")
        async with asyncio.timeout(DEADLINE):
            while b"[REDACTED]" not in (told := await project.run("ps", "--json")):
                assert project.process.returncode is None
        nothing_in(told, await project.run("ps"), await project.run("logs"), canary=canary)
    assert "RuntimeError" in project.text and "[REDACTED]" in project.text
    nothing_in(project.output, project.folder, canary=canary)


# ── without an orchestrator of ours ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("module", "canary"), [("leaky_flask", "awkward"), *(("leaky_fastapi", canary) for canary in CANARIES)])
async def test_a_module_alone_leaks_nothing_that_python_writes(module: str, canary: str, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYWATT")}
        environ |= {"CANARY": CANARIES[canary], "PYWATT_STANDALONE": "1", "PYWATT__MODULE__LISTEN": "127.0.0.1:0", "PYTHONUTF8": "1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / f"{module}.py"), cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            async with asyncio.timeout(DEADLINE):
                while not (found := re.search(rb'"address":"([\d.]+:\d+)"', (tmp_path / "out").read_bytes())):
                    assert process.returncode is None, (tmp_path / "out").read_text()
                    await asyncio.sleep(0.02)
            address = found[1].decode()
            for name in WAYS.keys() - BELOW_PYTHON:
                answer = await fetch(address, "GET", f"/leak/{name}", deadline=DEADLINE)
                assert (answer.status, answer.text.strip('"')) == (200, name), (tmp_path / "out").read_text()[-3000:]
            for path in ("/raise", "/metrics", "/health"):
                answer = await fetch(address, "GET", path, deadline=DEADLINE)
                nothing_in([answer.headers, answer.body], canary=canary)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE):
                await process.wait()
    text = (tmp_path / "out").read_text()
    assert text.count("[REDACTED]") > 60
    nothing_in(tmp_path, canary=canary)


@pytest.mark.parametrize("module", ["leaky_fastapi", "leaky_flask"])
async def test_a_module_under_an_orchestrator_that_hides_nothing_leaks_nothing_that_python_writes(module: str, tmp_path: Path) -> None:
    canary = "awkward"
    (tmp_path / "pywatt.toml").write_text("")
    secrets = {"CANARY": CANARIES[canary]}
    async with ModuleRunner(HERE / f"{module}.py", secrets=secrets, cwd=tmp_path, env={"PYTHONUTF8": "1"}, pywatt=False) as runner:
        for name in WAYS.keys() - BELOW_PYTHON:
            assert (await runner.http("GET", f"/leak/{name}")).status == 200, runner.stderr[-3000:]
        nothing_in((await runner.http("GET", "/metrics")).body, (await runner.ipc("GET", "/raise")).body, canary=canary)
        nothing_in(Process(runner.pid), canary=canary)
        await runner.stop()
    assert runner.stderr.count("[REDACTED]") > 60
    nothing_in(runner.stderr, tmp_path, canary=canary)


SHORT = """
import logging
from pywatt_core import pywatt_module
from starlette.applications import Starlette

@pywatt_module(secrets=["PIN", "FLAG", "LONG"])
async def app(state):
    pin = (await state.get_secret("PIN")).expose_secret()
    logging.getLogger("short").info("pin is %s; %s%s is no pin, spin%s neither", pin, pin, pin, pin)
    print(f"printed {pin}, not x{pin}", flush=True)
    return Starlette()
"""
LINES = ["pin is [REDACTED]; 4242 is no pin, spin42 neither", "printed [REDACTED], not x42"]


async def test_short_values_are_hidden_as_words_and_named_in_one_warning(tmp_path: Path, runtime: Path) -> None:
    project = Orchestrated(tmp_path / "project", runtime, "plain")
    (project.folder / "short.py").write_text(SHORT)
    (project.folder / "pywatt.toml").write_text('[secrets.dotenv]\nuse = "dotenv"\n[modules.app]\nrun = "short.py"\ninstances = 2\n')
    (project.folder / ".env").write_text("PIN=42\nFLAG=true\nLONG=long-enough-1\n")
    (project.folder / ".env").chmod(0o600)
    async with project.up("--json"):
        await project.until("ready in", 2)
    records = [json.loads(line) for line in project.text.splitlines()]
    short = "the secret PIN is shorter than 4 characters: it is hidden only where it stands alone, as a word"
    word = "the secret FLAG is a word that every log holds: it is not hidden"
    warned = [(record["module"], record["message"]) for record in records if record["level"] == "warning"]
    assert sorted(warned) == sorted([("pywatt", short), ("pywatt", word)])
    for line in LINES:
        assert [record["message"] for record in records].count(line) == 2


async def test_a_module_alone_names_its_short_secrets_once(tmp_path: Path) -> None:
    (tmp_path / "short.py").write_text(SHORT)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYWATT")}
    environ |= {"PIN": "42", "FLAG": "off", "LONG": "long-enough-1", "PYWATT_STANDALONE": "1", "PYWATT__MODULE__LISTEN": "127.0.0.1:0"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pywatt_core.launch", "short.py",
        cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, stdout=-1, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    text = ""
    async with asyncio.timeout(DEADLINE):
        while '"serving"' not in text:
            line = await process.stdout.readline()
            assert line, text
            text += line.decode()
        process.send_signal(signal.SIGTERM)
        text += (await process.stdout.read()).decode()
        assert await process.wait() == 0
    assert text.count("the secret PIN is shorter than 4 characters") == text.count("the secret FLAG is a word that every log holds") == 1
    assert LINES[0] in text and LINES[1] in text
