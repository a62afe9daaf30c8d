"""Start the servers that tests and benchmarks talk to: each on a free port of the loopback, in a temporary folder of its own.

A server is started with what it keeps in its folder, so that it can be stopped, or killed, and come back with everything. As
root it runs as ``nobody``, because PostgreSQL and MariaDB refuse root. Whoever starts one closes it: nothing is left behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from tools import test_servers

DEADLINE = 60.0
"""Seconds until a server has to answer, and in which it has to end."""


def free_port() -> int:
    """A port of the loopback that nobody uses at the moment."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningServer(ABC):
    """One server. ``with PostgresServer() as server: … server.port``."""

    name: str
    """Its row in `test_servers.SERVERS`."""

    def __init__(self) -> None:
        self.binary = test_servers.obtain(self.name)
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"pywatt-{self.name}-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            self._as = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(self.folder, "nobody", "nogroup")
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.close()
            raise

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Make what has to be in the folder before the first start."""

    @abstractmethod
    def command(self) -> list[str]:
        """What is started."""

    def start(self) -> None:
        """Start, and wait until it answers. Raises `RuntimeError` with what it wrote where it does not."""
        assert self._process is None, "it runs already"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **self._as
            )
        give_up = time.monotonic() + DEADLINE
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{self.name} does not answer on port {self.port}:\n{self.log()}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it speaks to a client."""
        try:
            with closing(socket.create_connection(("127.0.0.1", self.port), timeout=1.0)) as connection:
                connection.settimeout(1.0)
                return self.greets(connection)
        except OSError:
            return False

    @abstractmethod
    def greets(self, connection: socket.socket) -> bool:
        """Exchange the least that shows that it serves."""

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait; what it stored stays. Nothing happens where it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start again, on the same port."""
        self.stop()
        self.start()

    def log(self) -> str:
        """The end of what it wrote."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def close(self) -> None:
        """Stop it and remove its folder; may be called twice."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command: str | Path, stdin: bytes = b"") -> None:
        """Run a program beside it, as the same user. Raises `RuntimeError` with what it wrote where it fails."""
        done = subprocess.run(
            [str(part) for part in command], input=stdin, capture_output=True, timeout=DEADLINE, check=False, cwd=self.folder, **self._as
        )
        if done.returncode:
            raise RuntimeError(
                f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).decode(errors='replace')[-2000:]}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PostgresServer(RunningServer):
    """PostgreSQL: user ``postgres`` without a password, database ``postgres``; a user ``pywatt`` who needs the password ``let-me-in``."""

    name = "postgres"

    def prepare(self) -> None:
        data = self.folder / "data"
        arguments = ["-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        self.run(test_servers.companion("postgres", "initdb"), *arguments)
        rules = "host all pywatt 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n"
        (data / "pg_hba.conf").write_text(rules, encoding="utf-8")
        self.run(
            self.binary,
            *("--single", "-D", data, "postgres"),
            stdin=b"CREATE ROLE pywatt LOGIN SUPERUSER PASSWORD 'let-me-in'\n",
        )

    def command(self) -> list[str]:
        settings = ["synchronous_commit=off", "full_page_writes=off", "max_connections=200", "shared_buffers=32MB"]
        options = [part for setting in settings for part in ("-c", setting)]
        where = ["-D", str(self.folder / "data"), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        return [str(self.binary), *where, "-F", *options]

    def greets(self, connection: socket.socket) -> bool:
        body = b"\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"  # StartupMessage, protocol 3.0
        connection.sendall((len(body) + 4).to_bytes(4) + body)
        return connection.recv(1) == b"R"

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        super().stop(signal.SIGINT if how is signal.SIGTERM else how)  # SIGTERM would wait for its clients


class MariadbServer(RunningServer):
    """MariaDB: user ``root`` without a password, database ``test``; a user ``pywatt`` who needs the password ``let-me-in``."""

    name = "mariadbd"

    def prepare(self) -> None:
        share = test_servers.root_of("mariadbd") / "usr" / "share" / "mysql"
        names = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")
        tables = b"\n".join((share / name).read_bytes() for name in names)
        users = (
            "CREATE DATABASE test;\nFLUSH PRIVILEGES;\n"
            "CREATE USER pywatt@'127.0.0.1' IDENTIFIED BY 'let-me-in';\nGRANT ALL ON *.* TO pywatt@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        script = b"CREATE DATABASE mysql;\nUSE mysql;\n" + tables + users.encode()
        self.run(self.binary, *self._where(), "--bootstrap", "--innodb-flush-log-at-trx-commit=0", stdin=script)

    def command(self) -> list[str]:
        network = [f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self.folder}/s.sock", f"--pid-file={self.folder}/pid"]
        speed = ["--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--max-connections=200"]
        limits = ["--max-allowed-packet=64M", "--skip-name-resolve"]
        return [str(self.binary), *self._where(), *network, *speed, *limits]

    def greets(self, connection: socket.socket) -> bool:
        return len(connection.recv(5)) == 5  # the head of its first packet, protocol version 10

    def _where(self) -> list[str]:
        share = test_servers.root_of("mariadbd") / "usr" / "share" / "mysql"
        data = self.folder / "data"
        if not data.exists():
            data.mkdir()
            if self._as:
                shutil.chown(data, "nobody", "nogroup")
        return [
            "--no-defaults",
            f"--datadir={data}",
            f"--lc-messages-dir={share}",
            f"--tmpdir={self.folder}",
            f"--plugin-dir={self.folder}",
        ]


class RedisServer(RunningServer):
    """Redis, nothing stored on disk but at `stop`; `arguments` are further options of ``redis-server``."""

    name = "redis-server"

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        super().__init__()

    def command(self) -> list[str]:
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [str(self.binary), *where, "--save", "", "--appendonly", "no", *self._arguments]

    def greets(self, connection: socket.socket) -> bool:
        connection.sendall(b"PING\r\n")
        return connection.recv(1) in (b"+", b"-")  # an error, that a password is needed, is an answer too


class MemcachedServer(RunningServer):
    """Memcached; `arguments` are further options."""

    name = "memcached"

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        super().__init__()

    def command(self) -> list[str]:
        return [str(self.binary), "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", *self._arguments]

    def greets(self, connection: socket.socket) -> bool:
        connection.sendall(b"version\r\n")
        return connection.recv(7) == b"VERSION"
