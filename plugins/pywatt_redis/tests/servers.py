"""Servers that tests start for themselves: a cluster, a service with sentinels, and a relay that cuts and stalls."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import closing, suppress
from socket import create_connection, create_server
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tools.running_servers import DEADLINE, RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tools.certificates import Issued


def ask(port: int, *command: str, password: str = "") -> str:
    """What a server answers to one command, as it stands on the wire."""
    with closing(create_connection(("127.0.0.1", port), timeout=DEADLINE)) as connection:
        if password:
            connection.sendall(packed("AUTH", password))
            connection.recv(1000)
        connection.sendall(packed(*command))
        reply = connection.recv(65536).decode()
        while reply.startswith("$") and len(reply.partition("\r\n")[2].encode()) < int(reply.partition("\r\n")[0][1:]):
            reply += connection.recv(65536).decode()
        return reply


def packed(*command: str) -> bytes:
    return f"*{len(command)}\r\n".encode() + b"".join(b"$%d\r\n%s\r\n" % (len(part.encode()), part.encode()) for part in command)


def until(what: Callable[[], bool], said: str) -> None:
    """Wait until something holds."""
    give_up = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < give_up, f"in vain: {said}"
        time.sleep(0.02)


class Shown(NamedTuple):
    """The certificate that a server shows, who has signed it, and whether clients have to show one too."""

    issued: Issued
    authority: Path
    clients: bool = False


def tls_lines(server: RedisServer, shown: Shown, port: int) -> list[str]:
    """What a server's configuration says about TLS, the files copied to where it may read them."""
    lines = [f"tls-port {port}", f"tls-auth-clients {'yes' if shown.clients else 'no'}"]
    for option, source in (("cert", shown.issued.cert), ("key", shown.issued.key), ("ca-cert", shown.authority)):
        copy = server.folder / f"{option}.pem"
        copy.write_bytes(source.read_bytes())
        copy.chmod(0o644)
        lines.append(f"tls-{option}-file {copy}")
    return lines


class TlsServer(RedisServer):
    """Redis with one more port, `tls_port`, on which it speaks TLS."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self.tls_port = free_port()
        super().__init__()

    def command(self) -> list[str]:
        options = [f"--{line}".split(" ", 1) for line in tls_lines(self, self._shown, self.tls_port)]
        return [*super().command(), *(part for option in options for part in option)]


class SentinelServer(RedisServer):
    """A sentinel, alone and therefore quick to agree, that watches the service ``main``; `arguments` are lines of its file."""

    def __init__(self, *arguments: str, primary: int, shown: Shown | None = None) -> None:
        self._primary = primary
        self._shown = shown
        self.tls_port = free_port()
        super().__init__(*arguments)

    def prepare(self) -> None:
        lines = [
            f"sentinel monitor main 127.0.0.1 {self._primary} 1",
            "sentinel down-after-milliseconds main 300",
            "sentinel failover-timeout main 2000",
            *self._arguments,
            *(tls_lines(self, self._shown, self.tls_port) if self._shown else ()),
        ]
        file = self.folder / "sentinel.conf"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if self._as:
            shutil.chown(file, "nobody", "nogroup")

    def command(self) -> list[str]:
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [str(self.binary), str(self.folder / "sentinel.conf"), "--sentinel", *where]


class RedisCluster:
    """Three primaries without replicas, each with a third of the slots."""

    def __init__(self, start: Callable[..., Any]) -> None:
        self.nodes: list[RedisServer] = []
        try:
            for _ in range(3):
                bus = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "2000")
                self.nodes.append(start(RedisServer, *bus, "--cluster-require-full-coverage", "no", "--shutdown-timeout", "0"))
            for number, node in enumerate(self.nodes):
                ask(node.port, "CLUSTER", "ADDSLOTSRANGE", str(number * 16384 // 3), str((number + 1) * 16384 // 3 - 1))
                ask(node.port, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            for node in self.nodes[1:]:
                bus = node._arguments[3]
                ask(self.nodes[0].port, "CLUSTER", "MEET", "127.0.0.1", str(node.port), bus)
            for node in self.nodes:
                until(lambda node=node: self.agreed(node), "the nodes of the cluster know each other")  # type: ignore[misc]
        except BaseException:
            self.close()
            raise

    def agreed(self, node: RedisServer) -> bool:
        about = ask(node.port, "CLUSTER", "INFO")
        return "cluster_state:ok" in about and "cluster_slots_ok:16384" in about and "cluster_known_nodes:3" in about

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Relay:
    """Stands between a client and a server; cuts connections, stalls, and knows how often the client wrote."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._socket = create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.writes: list[bytes] = []
        """What came from clients, one part for each time that something came."""
        self.connections = 0
        self._cut_after: bytes | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, sock=self._socket.dup())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        self._socket.close()

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def cut_when(self, seen: bytes) -> None:
        """Break the connection in which a client sends this, once the server has executed it and before the answer comes back."""
        self._cut_after = seen

    def stall(self) -> None:
        """Let no answer through any more."""
        self._flowing.clear()

    def go_on(self) -> None:
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        mine = {writer, back}
        self._writers |= mine
        cutting = asyncio.Event()

        async def out() -> None:
            while data := await reader.read(1 << 20):
                self.writes.append(data)
                if self._cut_after is not None and self._cut_after in data:
                    self._cut_after = None
                    cutting.set()
                back.write(data)
                await back.drain()

        async def home() -> None:
            while data := await there.read(1 << 20):
                await self._flowing.wait()
                if cutting.is_set():
                    writer.transport.abort()
                    return
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.create_task(out()), asyncio.create_task(home())]
        self._tasks.update(tasks)
        with suppress(OSError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for one in mine:
            one.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.difference_update(tasks)
        self._writers -= mine
