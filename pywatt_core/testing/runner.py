"""`ModuleRunner`: a real module in a real process, under a `FakeOrchestrator`, with its streams captured."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import ChannelClosed
from ..protocol.messages import Announce
from ..transports.unix import bind_unix
from .client import Response, fetch
from .orchestrator import DEADLINE, FakeOrchestrator

NOT_STARTED = "the module was not started: use `async with ModuleRunner(…) as module`"


class ModuleRunner:
    """Runs ``python -m pywatt_core.launch FILE[:NAME]`` from entering the block until leaving it.

    `listen` is ``"handed"`` (a Unix socket that the parent owns, as under `pywatt up`), ``"tcp"`` (a free port) or an
    address. `config` is the effective configuration; None lets the module read files and environment itself. `init` holds
    further arguments of `FakeOrchestrator.start`. With
    ``announce=False`` the block begins before the module has announced itself. One that does not within `PATIENCE`, or
    ends before, is an `AssertionError` with its exit code and all that it wrote.
    """

    PATIENCE = DEADLINE
    """Seconds."""

    def __init__(
        self,
        module: str | Path,
        *,
        secrets: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        listen: str = "handed",
        module_id: str = "test_module",
        command: Sequence[str] | None = None,
        announce: bool = True,
        pywatt: bool = True,
        cwd: str | Path | None = None,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        self.init = dict(init or {})
        self.command = list(command) if command is not None else [sys.executable, "-m", "pywatt_core.launch", str(module)]
        self.orchestrator = FakeOrchestrator(secrets=secrets)
        self.module_id, self.config, self.env, self.listen = module_id, config, dict(env or {}), listen
        self.announce_first, self.pywatt, self.cwd = announce, pywatt, cwd
        self.announce: Announce | None = None
        self.stderr = ""
        self._folder = tempfile.TemporaryDirectory(prefix="pywatt-")
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: asyncio.Future[int] | None = None
        self._stderr_task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._entered = False

    # ── its life ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> ModuleRunner:
        if self._entered:
            raise RuntimeError("a ModuleRunner runs one process, once: make a new one")
        self._entered = True
        try:
            await self._start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
            await self.ended()
        if self._stderr_task is not None:
            await self._stderr_task
        await self.orchestrator.close()
        self._folder.cleanup()

    async def _start(self) -> None:
        environ = {**os.environ, "PYWATT_MODULE_ID": self.module_id, **self.env}
        listener, address = None, self.listen
        passed: tuple[int, ...] = ()
        if self.listen == "handed":
            address = str(Path(self._folder.name) / "module.sock")
            listener = bind_unix(address)
            environ["PYWATT_LISTEN_FD"] = str(listener.fileno())
            passed = (listener.fileno(),)
        elif self.listen == "tcp":
            address = "127.0.0.1:0"
        process = subprocess.Popen(  # noqa: ASYNC220 - the pipes are handed to a link, which asyncio's own wrapper would keep
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            cwd=self.cwd,
            pass_fds=passed,
            start_new_session=True,
        )
        if listener is not None:
            listener.close()
        self._process = process
        self._ended = asyncio.ensure_future(asyncio.to_thread(process.wait))
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._stderr_task = asyncio.create_task(self._capture(process.stderr.fileno()))
        await self.orchestrator.attach(os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno()))
        process.stdout.close()
        process.stdin.close()
        await self.orchestrator.start(
            module_id=self.module_id, listen=address, config=self.config, pywatt=self.pywatt and self.config is not None, **self.init
        )
        if self.announce_first:
            self.announce = await self._announced()

    async def _announced(self) -> Announce:
        try:
            return await self.orchestrator.expect(Announce, deadline=self.PATIENCE)
        except ChannelClosed as error:  # it closed its end of the wire, so it has ended or is about to
            try:
                end = f"exit code {await self.ended()}"
            except TimeoutError:
                end = "it closed the wire and still runs"
            raise AssertionError(f"the module did not announce itself ({error}); {end}; it wrote:\n{self.stderr}") from error
        except TimeoutError as error:
            raise AssertionError(
                f"the module runs, but did not announce itself within {self.PATIENCE:g} s; it wrote:\n{self.stderr}"
            ) from error

    async def _capture(self, fd: int) -> None:
        reader = asyncio.StreamReader(limit=2**26)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(fd), "rb", buffering=0)
        )
        assert self._process is not None and self._process.stderr is not None
        self._process.stderr.close()
        with contextlib.closing(transport):
            while data := await reader.read(65536):
                self.stderr += data.decode(errors="backslashreplace")
                self._changed.set()
        self._changed.set()

    # ── what a test does with it ────────────────────────────────────────────────────────────────────────────────────

    @property
    def pid(self) -> int:
        """The process's id."""
        if self._process is None:
            raise RuntimeError(NOT_STARTED)
        return self._process.pid

    async def http(self, method: str, path: str, **arguments: Any) -> Response:
        """One HTTP request to the address that the module announced; arguments as for `pywatt_core.testing.client.fetch`."""
        if self.announce is None:
            raise RuntimeError("the module has not announced itself" if self._process is not None else NOT_STARTED)
        return await fetch(self.announce.listen, method, path, **arguments)

    async def ipc(self, method: str, path: str, **arguments: Any) -> Response:
        """One HTTP request over the link."""
        return await self.orchestrator.http(method, path, **arguments)

    def logs(self) -> list[dict[str, Any]]:
        """The structured log events written so far; what user code printed beside or before them is left out."""
        found = []
        for line in self.stderr.splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line[line.index('{"timestamp":') :])
                if isinstance(event, dict):
                    found.append(event)
        return found

    async def until(self, condition: Callable[[], bool], *, deadline: float = DEADLINE) -> None:
        """Wait until `condition` holds; it is asked each time the module has written something."""
        async with asyncio.timeout(deadline):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; nothing happens where it is gone."""
        pid = self.pid
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """SIGKILL to its whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: it lives, but does nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    async def ended(self, *, deadline: float = DEADLINE) -> int:
        """Wait for the process to end; its exit code, or minus the signal's number."""
        if self._ended is None:
            raise RuntimeError(NOT_STARTED)
        async with asyncio.timeout(deadline):
            code = await asyncio.shield(self._ended)
            if self._stderr_task is not None:
                await asyncio.shield(self._stderr_task)
        return code

    async def stop(self) -> int:
        """Ask it to shut down and wait for its end; the exit code. One that has ended already is asked nothing."""
        if self._ended is None:
            raise RuntimeError(NOT_STARTED)
        if not self._ended.done():
            with contextlib.suppress(ChannelClosed):
                await self.orchestrator.shutdown()
        return await self.ended()

    async def assert_clean_exit(self) -> None:
        """Ask it to shut down, where it still runs; it must end with 0, without a traceback and with nothing unreadable on the wire."""
        code = await self.stop()
        assert code == 0, f"exit code {code}; it wrote:\n{self.stderr}"
        assert "Traceback" not in self.stderr, self.stderr
        assert not self.orchestrator.problems, self.orchestrator.problems
