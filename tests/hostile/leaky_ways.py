"""Ways in which a careless module gives a secret away. Each is a function of the value; `test_leaks.py` calls every one of them."""

from __future__ import annotations

import asyncio
import base64
import ctypes
import faulthandler
import html
import io
import json
import logging
import logging.handlers
import os
import pprint
import reprlib
import shlex
import subprocess
import sys
import threading
import traceback
import urllib.parse
import warnings
from typing import TYPE_CHECKING, Any

from pywatt_core import telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("leaky")
WAYS: dict[str, Callable[[str], Any]] = {}
BELOW_PYTHON: set[str] = set()
"""Those that write to the descriptors themselves: only an orchestrator can hide what they write."""


def way(function: Callable[[str], Any]) -> Callable[[str], Any]:
    WAYS[function.__name__] = function
    return function


def below_python(function: Callable[[str], Any]) -> Callable[[str], Any]:
    BELOW_PYTHON.add(function.__name__)
    return way(function)


class Leaky:
    """An object whose repr holds the secret."""

    def __init__(self, password: str) -> None:
        self.password = password

    def __repr__(self) -> str:
        return f"Leaky(password={self.password!r})"


class Connection(Leaky):
    """One whose attributes a traceback with locals shows."""

    def connect(self, dsn: str) -> None:
        headers = {"Authorization": "Basic " + base64.b64encode(f"user:{self.password}".encode()).decode()}
        raise ConnectionError(f"cannot connect to {dsn} with {headers}")


def dsn_of(secret: str) -> str:
    return f"postgresql://app:{urllib.parse.quote(secret, safe='')}@db.example/main"


def failed(secret: str) -> Exception:
    """An exception with a cause, a note and a traceback, all of which hold the secret."""
    try:
        try:
            Connection(secret).connect(dsn_of(secret))
        except ConnectionError as error:
            error.add_note(f"the password was {secret}")
            raise RuntimeError("no database", {"password": secret}) from error
    except RuntimeError as error:
        return error
    raise AssertionError


# ── through logging ─────────────────────────────────────────────────────────────────────────────────────────────────


@way
def message(secret: str) -> None:
    log.info(secret)
    log.info(f"formatted {secret}")
    log.info("arguments %s %r", secret, [secret, {"k": (secret,)}])
    log.info("mapping %(password)s", {"password": secret})
    log.info("bytes %r %r", secret.encode(), bytearray(secret.encode()))
    log.info("wrong arguments %d", secret)
    log.info("too many %s", secret, secret)
    log.info("pretty %s", pprint.pformat({"a": secret, "b": [secret] * 3}, width=20))
    log.info("short %s", reprlib.repr({"password": secret * 3}))
    log.info("long " + "x" * 40_000 + secret)
    log.info("cut " + "y" * (32 * 1024 - 4 - len(secret) // 2) + secret)
    log.info("lines\r\nforged\x1b[31m\u202e %s\u2028\x9b0m", secret)


@way
def encoded(secret: str) -> None:
    data = secret.encode()
    forms = [
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        urllib.parse.quote(urllib.parse.quote(secret, safe=""), safe=""),
        "".join(f"%{byte:02x}" for byte in data),
        dsn_of(secret),
        json.dumps(secret),
        json.dumps({"k": secret}, ensure_ascii=False),
        json.dumps(json.dumps([secret])),
        repr(secret),
        ascii(secret),
        repr(repr(secret)),
        repr(data),
        data.decode("latin-1"),
        secret.encode("unicode_escape").decode(),
        *(base64.b64encode(b"abc"[:offset] + data + b"tail").decode() for offset in range(3)),
        *(base64.urlsafe_b64encode(b"?>"[:offset] + data).decode().rstrip("=") for offset in range(3)),
        base64.encodebytes(data * 3).decode(),
        data.hex(),
        data.hex().upper(),
        data.hex(":"),
        data.hex(" "),
        "".join(f"\\x{byte:02x}" for byte in data),
        str(list(data)),
        json.dumps(list(data), separators=(",", ":")),
        html.escape(secret),
        shlex.quote(secret),
        "SELECT '" + secret.replace("'", "''") + "'",
    ]
    for number, form in enumerate(forms):
        log.info("form %d: %s", number, form)
        print(f"form {number}: {form}")


@way
def extra(secret: str) -> None:
    log.info("extra", extra={"password": secret, "nested": {"list": [secret], secret: 1}, "object": Leaky(secret), "raw": secret.encode()})
    log.info("an exception", extra={"error": failed(secret), "short": reprlib.repr(secret * 3)})
    logging.getLogger(f"leaky.{secret}").warning("the name of the logger")
    with telemetry.context(request_id=secret, trace_id=secret):
        log.info("ids")


@way
def exceptions(secret: str) -> None:
    log.error("chained", exc_info=failed(secret), stack_info=True)
    log.error("a group", exc_info=ExceptionGroup("several", [ValueError(secret), ExceptionGroup("inside", [failed(secret)])]))
    try:
        eval(compile(f"1 / 0  # {secret}", f"<{secret}>", "exec"))
    except (ZeroDivisionError, SyntaxError):
        log.exception("a file's name")
    try:
        int(secret)
    except ValueError as error:
        log.warning("short: %s", error)


@way
def locals_of_tracebacks(secret: str) -> None:
    error = failed(secret)
    with_locals = traceback.TracebackException.from_exception(error, capture_locals=True)
    log.error("with locals: %s", "".join(with_locals.format()))
    sys.stderr.write("".join(with_locals.format()))


@way
def boxes_of_tracebacks(secret: str) -> None:
    from rich.console import Console
    from rich.traceback import Traceback

    error = failed(secret)
    shown = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True)
    for width in (60, 100):
        drawn = io.StringIO()
        Console(file=drawn, width=width, force_terminal=True).print(shown)
        log.error("in a box\n%s", drawn.getvalue())
        Console(stderr=True, width=width).print(shown)


@way
def loggers_of_libraries(secret: str) -> None:
    for name in ("uvicorn.error", "uvicorn.access", "waitress", "sqlalchemy.engine.Engine", "httpx", "httpcore.http11", "asyncio", "redis"):
        logging.getLogger(name).error("%s: %r", name, {"Authorization": f"Bearer {secret}", "url": dsn_of(secret)})


@way
def handlers_of_its_own(secret: str) -> None:
    own = logging.getLogger("leaky.own")
    own.propagate = False
    kept = logging.handlers.MemoryHandler(100, target=logging.StreamHandler())
    file = logging.FileHandler("own.log")
    file.setFormatter(logging.Formatter("%(message)s %(password)s"))
    own.handlers = [logging.StreamHandler(), kept, file]
    own.error("by its own handlers: %s", secret, exc_info=failed(secret), extra={"password": secret})
    kept.flush()
    file.close()


@way
def structured_by_hand(secret: str) -> None:
    event = {"timestamp": "2026-01-31T12:00:01Z", "level": "INFO", "fields": {"message": f"by hand: {secret}", "list": [secret]}, secret: 1}
    print(json.dumps(event), file=sys.stderr, flush=True)
    print(json.dumps({"level": "info", "message": "data", "data": list(secret.encode())}), file=sys.stderr, flush=True)


# ── by hooks ────────────────────────────────────────────────────────────────────────────────────────────────────────


@way
def hooks(secret: str) -> None:
    def work() -> None:
        raise failed(secret)

    thread = threading.Thread(target=work, name=f"thread {secret}")
    thread.start()
    thread.join()
    warnings.warn(f"deprecated: {secret}", stacklevel=1)

    class Doomed:
        def __del__(self) -> None:
            raise RuntimeError(f"destructor failed with {secret}")

    Doomed()
    sys.excepthook(RuntimeError, RuntimeError(secret), None)
    logging.getLogger("leaky.broken").handlers = [Broken()]
    logging.getLogger("leaky.broken").error("broken %s", secret)


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            raise OSError(record.getMessage())
        except OSError:
            self.handleError(record)


@way
def event_loops(secret: str) -> None:
    async def failing() -> None:
        raise failed(secret)

    async def loop() -> None:
        running = asyncio.get_running_loop()
        running.set_debug(True)
        running.call_soon(lambda: (_ for _ in ()).throw(RuntimeError(f"callback: {secret}")))
        task = asyncio.create_task(failing(), name=f"task {secret}")
        await asyncio.sleep(0)
        del task
        running.call_exception_handler({"message": f"handler: {secret}", "exception": failed(secret), "future": Leaky(secret)})

    thread = threading.Thread(target=lambda: asyncio.run(loop()))
    thread.start()
    thread.join()


@way
def metrics(secret: str) -> None:
    registry: Any = telemetry.metrics
    registry.counter("logins_total", f"Logins with {secret}.", ["user"]).labels(f"user {secret}").inc()
    registry.gauge("sessions", "Sessions.", ["token"]).labels(token=base64.b64encode(secret.encode()).decode()).set(1)


# ── past logging ────────────────────────────────────────────────────────────────────────────────────────────────────


@way
def prints(secret: str) -> None:
    print("printed", secret, {"k": secret})
    print("printed on stderr", secret, file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr, sys.__stdout__):
        assert stream is not None
        for width in (1, 3, len(secret) // 2 + 1):
            for at in range(0, len(secret), width):
                print(secret[at : at + width], end="", file=stream, flush=True)
            print(file=stream, flush=True)
        stream.buffer.write(f"bytes {secret}\n".encode())
        stream.flush()


def pieces(secret: str) -> list[bytes]:
    data = f"astray {secret} end\n".encode()
    half, third = len(data) // 2, len(data) // 3
    return [data[:half], data[half:], data[:third], data[third : 2 * third], data[2 * third :], *(bytes([byte]) for byte in data)]


@below_python
def descriptors(secret: str) -> None:
    for fd in (1, 2):
        for piece in pieces(secret):
            os.write(fd, piece)


@below_python
def the_c_library(secret: str) -> None:
    libc = ctypes.CDLL(None)
    for piece in pieces(secret):
        libc.printf(b"%s", piece)
        libc.fflush(None)


@below_python
def children(secret: str) -> None:
    writes = "import os, sys\nfor line in sys.stdin: os.write(int(sys.argv[1]), bytes.fromhex(line))"
    lines = "\n".join(piece.hex() for piece in pieces(secret))
    for fd in ("1", "2"):
        subprocess.run([sys.executable, "-c", writes, fd], input=lines, text=True, check=True)
    subprocess.run([sys.executable, "-c", "import sys; raise ValueError(sys.stdin.read())"], input=secret, text=True, check=False)


@below_python
def stack_dumps(secret: str) -> None:
    def depths(password: str) -> None:
        faulthandler.dump_traceback(all_threads=True)

    depths(secret)
    os.write(2, f"and {secret}\n".encode())
