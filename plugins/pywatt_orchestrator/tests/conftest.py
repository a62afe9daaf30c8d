"""A real `pywatt up` in a process of its own, its lines read as they come, and everything ended at the end of the test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.testing.client import Response, fetch

DEADLINE = 30.0
PEER = Path(__file__).with_name("peer.py")
LAUNCHER = "import sys; from pywatt_core.cli.main import main; sys.exit(main())"


class Project:
    """A folder with a pywatt.toml, and the orchestrator that runs there."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        self.folder, self.runtime = folder, runtime
        self.environ = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
        self.environ.pop("PYWATT_MODULE_ID", None)
        self.lines: list[dict[str, Any]] = []
        self.errors = ""
        self.process: asyncio.subprocess.Process | None = None
        self._changed = asyncio.Event()
        self._readers: list[asyncio.Task[None]] = []

    # ── what it runs ────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, text: str, name: str = "pywatt.toml") -> None:
        (self.folder / name).write_text(text)

    def peer(self, name: str, *deeds: str, unix: bool = True, rust: bool = False, **options: Any) -> None:
        """Add ``[modules.NAME]``: a scripted peer that does `deeds`."""
        entry = {
            "command": [sys.executable, str(PEER), *deeds],
            "rust": rust,
            **({"listen": "unix"} if unix and not rust else {}),
            **options,
        }
        lines = "".join(f"{key} = {toml(value)}\n" for key, value in entry.items())
        with (self.folder / "pywatt.toml").open("a") as file:
            file.write(f"[modules.{name}]\n{lines}\n")

    # ── its life ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self, *arguments: str, command: str = "up", prefix: Sequence[str] = ()) -> None:
        """Start it, by way of the program `prefix` where one is given, without waiting for anything."""
        options = ["--port", "0", "--json"] if command in ("up", "run") else []
        self.process = await asyncio.create_subprocess_exec(
            *prefix, sys.executable, "-c", LAUNCHER, command, *arguments, *options,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            cwd=self.folder, env=self.environ, start_new_session=True, limit=2**26,
        )  # fmt: skip
        self._readers = [asyncio.create_task(self._read_lines()), asyncio.create_task(self._read_errors())]

    async def _read_lines(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(json.loads(line))
            self._changed.set()
        self._changed.set()

    async def _read_errors(self) -> None:
        assert self.process is not None and self.process.stderr is not None
        while data := await self.process.stderr.read(65536):
            self.errors += data.decode()
            self._changed.set()

    async def until(self, condition: Callable[[], Any], what: str = "a condition") -> Any:
        """Wait until `condition` is true; it is asked after each line."""
        try:
            async with asyncio.timeout(DEADLINE):
                while not (found := condition()):
                    if self.process is not None and self.process.returncode is not None and all(reader.done() for reader in self._readers):
                        raise AssertionError(
                            f"the orchestrator ended with {self.process.returncode} before {what}; it wrote:\n{self.transcript()}"
                        )
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), 0.5)
        except TimeoutError:
            raise AssertionError(f"{what} did not come; it wrote:\n{self.transcript()}") from None
        return found

    def transcript(self) -> str:
        return "\n".join(json.dumps(line) for line in self.lines[-60:]) + "\n" + self.errors

    def said(self, *words: str, module: str | None = None, after: int = 0) -> dict[str, Any] | None:
        """The first line, from index `after` on, that has all `words` in its message."""
        for line in self.lines[after:]:
            if (module is None or line["module"] == module) and all(word in line["message"] for word in words):
                return line
        return None

    async def line(self, *words: str, module: str | None = None, after: int = 0) -> dict[str, Any]:
        """Wait for such a line."""
        found: dict[str, Any] = await self.until(
            lambda: self.said(*words, module=module, after=after), f"a line with {words} of {module or 'anybody'}"
        )
        return found

    async def ready(self, *modules: str, after: int = 0) -> None:
        """Wait until these are ready."""
        for module in modules:
            await self.line("ready in", module=module, after=after)

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        assert self.process is not None
        async with asyncio.timeout(DEADLINE):
            code = await self.process.wait()
            await asyncio.wait(self._readers, timeout=5)
        return code

    async def stop(self, number: int = signal.SIGINT) -> int:
        """A signal, then its end."""
        assert self.process is not None
        self.process.send_signal(number)
        return await self.ended()

    @property
    def address(self) -> str:
        """The front door."""
        line = self.said("front door on", module="pywatt")
        assert line is not None
        return line["message"].split("http://")[1].split(",")[0]  # type: ignore[no-any-return]

    async def http(self, path: str, **arguments: Any) -> Response:
        return await fetch(self.address, "GET", path, **arguments)

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """Run another `pywatt` command in the folder: exit code, output, errors."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LAUNCHER, *arguments,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=self.folder, env=self.environ,
        )  # fmt: skip
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def ps(self) -> dict[str, dict[str, Any]]:
        """`pywatt ps --json` by instance."""
        code, out, err = await self.command("ps", "--json")
        assert code == 0, err
        return {status["instance"]: status for status in json.loads(out)}

    async def is_state(self, instance: str, state: str) -> dict[str, Any]:
        """Ask until an instance is in `state`; its status."""
        async with asyncio.timeout(DEADLINE):
            while (status := (await self.ps())[instance])["state"] != state:
                await asyncio.sleep(0.05)
        return status

    def left_behind(self) -> list[str]:
        """What should be gone when nothing runs: files in the runtime folder, processes of this project."""
        walked = os.walk(self.runtime)  # unlike rglob it bears folders that go meanwhile
        files = [os.path.join(folder, name) for folder, *inside in walked for names in inside for name in names]
        return files + [f"process {pid}: {name}" for pid, name in self.processes()]

    def processes(self) -> list[tuple[int, str]]:
        """Everything that runs because of this project: modules by their working folder, the rest by their environment."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    ours = f"XDG_RUNTIME_DIR={self.runtime}".encode() in (entry / "environ").read_bytes()
                    if ours or (entry / "cwd").readlink() == self.folder:
                        found.append((int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")))
        return found

    async def nothing_left(self) -> None:
        """Wait until nothing is left behind."""
        try:
            async with asyncio.timeout(DEADLINE):
                while self.left_behind():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"left behind: {self.left_behind()}") from None

    async def close(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            await self.process.wait()
        for reader in self._readers:
            reader.cancel()
        for pid, _ in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


@pytest.fixture
def project_files(tmp_path: Path) -> Iterator[Project]:
    """A project that nobody has started; the runtime folder is short, as a socket's path must be."""
    runtime = Path(tempfile.mkdtemp(prefix="pw-"))
    folder = tmp_path / "project"
    folder.mkdir()
    yield Project(folder, runtime)
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture
def running(project_files: Project) -> Callable[[], Any]:
    """``async with running() as project``: whatever runs is ended, whatever happens."""

    @contextlib.asynccontextmanager
    async def enter() -> AsyncIterator[Project]:
        try:
            yield project_files
        finally:
            await project_files.close()

    return enter
