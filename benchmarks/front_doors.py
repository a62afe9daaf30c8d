"""What the gateway's benchmarks share: nginx as the module, and three front doors before it.

`nginx`, `gateway` and `relay` (a Protocol that passes bytes on unread: the least that this event loop can do) each run in a
process of their own, before the same upstream. nginx and wrk are found by `tools.test_servers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/bench/small"
BODY = "Hello, World!"
ROUTES = 1000
"""Announced paths beside the measured ones."""

COMMON = """
worker_processes 1; daemon off; error_log stderr crit; pid {folder}/{name}.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300;
  client_body_temp_path {folder}/{name}-b; proxy_temp_path {folder}/{name}-p; fastcgi_temp_path {folder}/{name}-f;
  uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;
  {rest}
}}
"""
UPSTREAM = """
  server {{ listen 127.0.0.1:{port}; listen unix:{socket}; location / {{ default_type text/plain; return 200 "{body}"; }} }}
"""
PROXY = """
  upstream module {{ server {target}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location /bench/ {{
      proxy_pass http://module/; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Prefix /bench; proxy_set_header X-Request-ID $request_id;
      add_header X-Request-ID $request_id;
    }}
  }}
"""


class Unavailable(Exception):
    """The benchmark cannot run here; the text says why."""


@dataclass
class Door:
    """One server: where it listens, and the process that does the work."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    pids: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    def cpu(self) -> float:
        """Seconds that its processes have spent on a processor."""
        return sum(_cpu(pid) for pid in self.pids)

    def pin(self, processor: int) -> None:
        """Keep it on one processor."""
        for pid in self.pids:
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), {processor})


def _cpu(pid: int) -> float:
    folder = Path(f"/proc/{pid}/task")
    with contextlib.suppress(OSError):
        return sum(int((task / "schedstat").read_text().split()[0]) for task in folder.iterdir()) / 1e9
    ticks = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split())[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def program(name: str) -> str | None:
    """The path of nginx or wrk, or None where it is not on this machine."""
    from tools.test_servers import Missing, find

    with contextlib.suppress(Missing):
        found = find(name)
        return str(found) if found is not None else None
    return None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def doors(*, over_unix: bool = False, relay: bool = False) -> Iterator[dict[str, Door]]:
    """``direct`` (the upstream itself), ``nginx``, ``gateway`` and, if asked for, ``relay``. Raises `Unavailable`."""
    nginx = program("nginx")
    if nginx is None:
        raise Unavailable("nginx is not on this machine; make bench fetches it, PYWATT_NGINX names one")
    with tempfile.TemporaryDirectory(prefix="pywatt-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # the workers of an nginx that root starts are nobody's
        ports = {door: free_port() for door in ("direct", "nginx", "gateway", "relay")}
        path = folder / "module"
        target = f"unix:{path}" if over_unix else f"127.0.0.1:{ports['direct']}"
        (folder / "direct.conf").write_text(_configuration(folder, "direct", UPSTREAM.format(port=ports["direct"], socket=path, body=BODY)))
        (folder / "nginx.conf").write_text(_configuration(folder, "nginx", PROXY.format(port=ports["nginx"], target=target)))
        commands = {door: [nginx, "-p", name, "-e", "stderr", "-c", f"{name}/{door}.conf"] for door in ("direct", "nginx")}
        for kind in ("gateway", "relay") if relay else ("gateway",):
            commands[kind] = [sys.executable, __file__, kind, str(ports[kind]), target]
        yield {door: stack.enter_context(_running(door, command, ports[door], folder)) for door, command in commands.items()}


def _configuration(folder: Path, name: str, rest: str) -> str:
    return COMMON.format(folder=folder, name=name, rest=rest)


@contextlib.contextmanager
def _running(name: str, command: list[str], port: int, folder: Path) -> Iterator[Door]:
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start: {log.read_text()[-500:]}")
            time.sleep(0.02)
        workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        yield Door(name, port, process, workers or [process.pid])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# ── load ────────────────────────────────────────────────────────────────────────────────────────────────────────────

SCRIPTS = {
    "paths": 'wrk.format("GET", "/bench/item/" .. n, {Host = "127.0.0.1", Cookie = "session=1", Accept = "*/*"})',
    "heads": 'wrk.format("GET", "/bench/item/" .. n, {Host = "127.0.0.1", Cookie = "session=" .. n, Accept = "*/*"})',
}
"""What differs from request to request: only the path, or the path and a header."""
SCRIPT = "local n = 0\nrequest = function()\n  n = n + 1\n  return {}\nend\n"


def load(door: Door, *, connections: int, seconds: float, varied: str = "") -> int:
    """Ask as fast as it goes; returns the number of answers. With wrk, or without it a small generator of our own."""
    wrk = program("wrk")
    if wrk is None:
        return _asyncio_load(door, connections, seconds, varied)
    command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if varied:
            script.write(SCRIPT.format(SCRIPTS[varied]))
            script.flush()
            command += ["-s", script.name]
        text = subprocess.run([*command, door.url], capture_output=True, text=True, check=True, timeout=60).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{door.name} did not answer every request: {' '.join(text.split())}")
    found = re.search(r"(\d+) requests in", text)
    assert found is not None, text
    return int(found[1])


def _asyncio_load(door: Door, connections: int, seconds: float, varied: str) -> int:
    command = [sys.executable, __file__, "load", str(door.port), str(connections), str(seconds), varied]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


class _Asking(asyncio.Protocol):
    """Asks again as soon as it has been answered."""

    answers = 0

    def __init__(self, varied: str) -> None:
        self.varied = varied

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.number = id(self)
        self.ask()

    def ask(self) -> None:
        self.number += 1
        path = f"/bench/item/{self.number}" if self.varied else PATH
        session = self.number if self.varied == "heads" else 1
        self.transport.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: session={session}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        if data.endswith(BODY.encode()):
            _Asking.answers += 1
            self.ask()


async def _generate(port: int, connections: int, seconds: float, varied: str) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Asking(varied), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    print(_Asking.answers)


# ── our doors, each in a process of its own ─────────────────────────────────────────────────────────────────────────


class _Relay(asyncio.Protocol):
    """Passes bytes on unread."""

    def __init__(self, target: str | None, other: _Relay | None = None) -> None:
        self.target = target
        self.other = other
        self.early = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.target is not None:
            self.opening = asyncio.ensure_future(self._open(self.target))

    async def _open(self, target: str) -> None:
        loop, other = asyncio.get_running_loop(), _Relay(None, self)
        host, _, port = target.rpartition(":")
        opening = (
            loop.create_unix_connection(lambda: other, port) if host == "unix" else loop.create_connection(lambda: other, host, int(port))
        )
        await opening
        other.transport.write(self.early)
        self.other = other

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early += data
        else:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()


async def _serve_relay(port: int, target: str) -> None:
    await asyncio.get_running_loop().create_server(lambda: _Relay(target), "127.0.0.1", port)
    await asyncio.Event().wait()


async def _serve_gateway(port: int, target: str) -> None:
    from pywatt_core.protocol.messages import AnnouncedEndpoint
    from pywatt_core.protocol.values import TcpAddress, UnixAddress
    from pywatt_orchestrator.gateway import Gateway, GatewayOptions, Instance, ModuleRoutes, RouteTable

    host, _, rest = target.rpartition(":")
    address = UnixAddress(rest) if host == "unix" else TcpAddress(host, int(rest))
    paths = ["/small", "/item/{id}", *(f"/other{number}/{{id}}" for number in range(ROUTES))]
    endpoints = [AnnouncedEndpoint(path, ["GET"]) for path in paths]
    gateway = Gateway(GatewayOptions(port=port))
    await gateway.start()
    instance = Instance("bench", address, trusted=True, ready=True)
    gateway.update(RouteTable([ModuleRoutes(name="bench", mount="/bench", endpoints=endpoints, instances=[instance])]))
    await asyncio.Event().wait()


def main(kind: str, *arguments: str) -> None:
    try:
        import uvloop

        factory: Any = uvloop.new_event_loop
    except ImportError:
        factory = asyncio.new_event_loop
    if kind == "load":
        port, connections, seconds, varied = arguments
        work = _generate(int(port), int(connections), float(seconds), varied)
    else:
        work = (_serve_gateway if kind == "gateway" else _serve_relay)(int(arguments[0]), arguments[1])
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
