"""A project whose secrets are in a vault: `pywatt up`, and what `pywatt secrets` changes reaches the modules that run."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.testing import assert_no_secret_in, fetch

from .conftest import surroundings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    Run = Callable[..., Any]

DEADLINE = 60.0
CANARY = "vault-canary-Zq81xw"
REFUSED = "refused-canary-Pf40"
MODULE = """
import hashlib
import os
from pywatt_core import HttpIpcRouter, pywatt_module

@pywatt_module(secrets=["API_KEY"], rotate=True)
async def app(state):
    router = HttpIpcRouter()

    def check(name, secret):
        if secret.expose_secret().startswith("refused"):
            raise ValueError("no such key at the other side")

    state.secrets.subscribe(["API_KEY"], check)

    @router.get("/digest")
    async def digest(request):
        return hashlib.sha256(state.secrets["API_KEY"].expose_secret().encode()).hexdigest()

    @router.get("/environment")
    async def environment(request):
        return " ".join(os.environ)

    return router
"""
CONFIGURATION = """
[secrets.vault]
poll = 0.05

[modules.shop]
run = "shop.py"
"""


class Project:
    """`pywatt up` in a folder, and what it wrote."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder, self.environ = folder, environ
        self.lines: list[str] = []
        self.changed = asyncio.Event()

    @asynccontextmanager
    async def running(self, until: str = "ready in") -> AsyncIterator[Project]:
        command = [sys.executable, "-m", "pywatt_core.cli.main", "up", "--port", "0", "--json"]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        reading = asyncio.create_task(self.read(process))
        try:
            await self.line(until)
            yield self
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            try:
                async with asyncio.timeout(DEADLINE):
                    await asyncio.gather(process.wait(), reading)
            finally:
                if process.returncode is None:
                    process.kill()

    async def read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self.lines.append(line.decode())
            self.changed.set()

    async def line(self, *words: str, times: int = 1) -> None:
        """Wait until so many lines have all of these words."""
        try:
            async with asyncio.timeout(DEADLINE):
                while sum(all(word in line for word in words) for line in self.lines) < times:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            pytest.fail(f"no line with {words}:\n{''.join(self.lines)}")

    async def get(self, path: str) -> str:
        door = next(found[1] for line in self.lines if (found := re.search(r"front door on http://([^\s,\"]+)", line)))
        answer = await fetch(door, "GET", path, deadline=DEADLINE)
        assert answer.status == 200, answer.text
        return answer.text

    async def serves(self, value: str) -> None:
        """Wait until the module works with this value."""
        wanted = hashlib.sha256(value.encode()).hexdigest()
        async with asyncio.timeout(DEADLINE):
            while wanted not in await self.get("/shop/digest"):
                await asyncio.sleep(0.02)


@pytest.fixture
def project(tmp_path: Path, pywatt: Run) -> Iterator[Project]:
    (tmp_path / "shop.py").write_text(MODULE)
    (tmp_path / "pywatt.toml").write_text(CONFIGURATION)
    assert pywatt("secrets", "init").code == 0
    assert pywatt("secrets", "set", "API_KEY", input=CANARY).code == 0
    runtime = tempfile.mkdtemp(prefix="pwv-")  # short: paths of sockets are
    yield Project(tmp_path, surroundings(tmp_path, {"XDG_RUNTIME_DIR": runtime}))
    shutil.rmtree(runtime, ignore_errors=True)


async def test_a_secret_that_is_set_reaches_the_module_that_runs(project: Project, pywatt: Run) -> None:
    async with project.running():
        await project.serves(CANARY)
        assert (await asyncio.to_thread(pywatt, "secrets", "set", "API_KEY", input="later-canary-Vv93")).code == 0
        await project.serves("later-canary-Vv93")
        assert (await asyncio.to_thread(pywatt, "secrets", "rotate")).code == 0
        assert (await asyncio.to_thread(pywatt, "secrets", "set", "API_KEY", input="last-canary-Uu17")).code == 0
        await project.serves("last-canary-Uu17")
    key = (project.folder / "secrets.key").read_text().strip()
    values = [CANARY, "later-canary-Vv93", "last-canary-Uu17", key]
    assert_no_secret_in(project.lines, project.folder / "secrets.vault", secrets=values)
    assert sum("ready in" in line for line in project.lines) == 1, "nothing was started again"


async def test_a_secret_that_is_missing_says_what_to_type(project: Project, pywatt: Run) -> None:
    assert pywatt("secrets", "remove", "API_KEY").code == 0
    async with project.running("`pywatt secrets set API_KEY`; then `pywatt restart shop`"):
        assert (await asyncio.to_thread(pywatt, "secrets", "set", "API_KEY", input=CANARY)).code == 0
        await project.line("ready in")


async def test_a_value_that_the_module_refuses_is_not_used(project: Project, pywatt: Run) -> None:
    async with project.running():
        await project.serves(CANARY)
        assert (await asyncio.to_thread(pywatt, "secrets", "set", "API_KEY", input=REFUSED)).code == 0
        await project.line("no such key at the other side")
        await project.serves(CANARY)
        assert (await asyncio.to_thread(pywatt, "secrets", "set", "API_KEY", input="good-canary-Tt28")).code == 0
        await project.serves("good-canary-Tt28")
    assert_no_secret_in(project.lines, secrets=[CANARY, REFUSED, "good-canary-Tt28"])


async def test_the_key_stays_with_the_orchestrator(project: Project, pywatt: Run) -> None:
    key_file = project.folder / "secrets.key"
    project.environ["PYWATT_VAULT_KEY"] = key_file.read_text()
    key_file.unlink()
    async with project.running():
        await project.serves(CANARY)
        assert "PYWATT_VAULT_KEY" not in json.dumps(await project.get("/shop/environment"))
