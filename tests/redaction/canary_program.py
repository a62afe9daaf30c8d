"""Run by test_canary.py: gives a secret away in every way that a careless module has, through the real logging set-up."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import pprint
import sqlite3
import sys
import threading
import urllib.parse
import warnings
from typing import Any

from pywatt_core import telemetry
from pywatt_core.redaction import Secret, redact

SECRET = Secret(os.environ.pop("CANARY"), name="CANARY")
CANARY = SECRET.expose_secret()
DSN = f"postgresql://app:{urllib.parse.quote(CANARY, safe='')}@db.example/main"
log = logging.getLogger("canary")


class Leaky:
    """An object whose repr holds the secret."""

    def __init__(self) -> None:
        self.password = CANARY

    def __repr__(self) -> str:
        return f"Leaky(password={self.password!r})"


def messages() -> None:
    """The message, its arguments, extra fields."""
    log.info("plain %s", CANARY)
    log.info(CANARY)
    log.info(f"formatted {CANARY}")
    log.info("mapping %(password)s", {"password": CANARY})
    log.info("repr %r and %s", CANARY, [CANARY, {"k": CANARY}])
    log.info("bytes %r", CANARY.encode())
    log.info("the wrapper %s %r", SECRET, SECRET)
    log.info("extra", extra={"password": CANARY, "nested": {"list": [CANARY, (CANARY,)], CANARY: 1}, "object": Leaky()})
    log.info("extra bytes", extra={"raw": CANARY.encode(), "array": bytearray(CANARY.encode()), "exception": ValueError(CANARY)})
    log.info("pretty %s", pprint.pformat({"password": CANARY}))
    log.info("wrong arguments %d", CANARY)
    log.info("too many %s", CANARY, CANARY)
    log.info("long " + "x" * 40_000 + CANARY)
    log.info("cut in the middle " + "y" * (32 * 1024 - 18 - len(CANARY) // 2) + CANARY)
    log.getChild(CANARY).warning("the secret is the logger's name")


def encodings() -> None:
    """The value as other programs write it."""
    data = CANARY.encode()
    log.info("json %s", json.dumps({"password": CANARY}))
    log.info("json, not ASCII %s", json.dumps({"password": CANARY}, ensure_ascii=False))
    log.info("json in json %s", json.dumps({"body": json.dumps({"password": CANARY})}))
    log.info("query %s", urllib.parse.urlencode({"password": CANARY}))
    log.info("quote %s", urllib.parse.quote(CANARY))
    log.info("quote all %s", urllib.parse.quote(CANARY, safe=""))
    log.info("lower case %s", urllib.parse.quote(CANARY, safe="").lower() if CANARY.islower() else "")
    log.info("quoted twice %s", urllib.parse.quote(urllib.parse.quote(CANARY, safe=""), safe=""))
    log.info("dsn %s", DSN)
    for offset in range(3):
        log.info("base64 at offset %d: %s", offset, base64.b64encode(b"abc"[:offset] + data + b"tail").decode())
        log.info("urlsafe base64 at offset %d: %s", offset, base64.urlsafe_b64encode(b"abc"[:offset] + data).decode().rstrip("="))
    log.info("basic %s", base64.b64encode(b"user:" + data).decode())
    log.info("hexadecimal %s %s", data.hex(), data.hex().upper())
    log.info("escaped %s", CANARY.encode("unicode_escape").decode())
    log.info("sql %s", "SELECT * FROM t WHERE p = '" + CANARY.replace("'", "''") + "'")


def query(secret: str) -> None:
    """An SQL error whose statement holds the secret; the local variables of this frame do too."""
    local_copy = {"password": secret}
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"SELECT * FROM missing WHERE password = '{local_copy['password']}'")


def exceptions() -> None:
    """Exception texts, chains, groups, notes."""
    try:
        raise ValueError(f"cannot log in with {CANARY}")
    except ValueError:
        log.exception("failed")
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise RuntimeError(f"could not connect: {DSN}") from error
    except RuntimeError:
        log.error("chained", exc_info=True, stack_info=True)
    try:
        query(CANARY)
    except sqlite3.Error as error:
        error.add_note(f"the password was {CANARY}")
        log.exception("sql: %s", error)
    try:
        raise ExceptionGroup("several", [ValueError(CANARY), OSError(5, CANARY)])
    except ExceptionGroup:
        log.exception("group")
    try:
        eval(compile(f"1 / 0  # {CANARY}", f"<{CANARY}>", "exec"))
    except ZeroDivisionError:
        log.exception("source")


def hooks() -> None:
    """Threads, warnings, destructors, the event loop."""

    def work() -> None:
        raise RuntimeError(f"thread died of {CANARY}")

    thread = threading.Thread(target=work, name=f"thread {CANARY}")
    thread.start()
    thread.join()
    warnings.warn(f"deprecated: {CANARY}", stacklevel=1)

    class Doomed:
        def __del__(self) -> None:
            raise RuntimeError(f"destructor failed with {CANARY}")

    Doomed()

    async def loop() -> None:
        running = asyncio.get_running_loop()
        running.call_soon(lambda: (_ for _ in ()).throw(RuntimeError(f"callback: {CANARY}")))
        task = asyncio.create_task(failing(), name=f"task {CANARY}")
        await asyncio.sleep(0)
        del task
        running.set_exception_handler(telemetry.handle_loop_exception)
        running.call_exception_handler({"message": f"handler: {CANARY}", "exception": ValueError(CANARY), "future": Leaky()})

    async def failing() -> None:
        raise RuntimeError(f"task: {CANARY}")

    asyncio.run(loop())


def by_hand() -> None:
    """What a program shows without a logger."""
    print("redacted", redact(f"by hand: {CANARY}"), file=sys.stderr)


def metrics() -> None:
    """Labels, help texts, and what a scrape shows."""
    registry: Any = telemetry.metrics
    registry.counter("logins_total", f"Logins with {CANARY}.", ["user"]).labels(f"user {CANARY}").inc()
    registry.gauge("sessions", "Sessions.", ["token"]).labels(token=base64.b64encode(CANARY.encode()).decode()).set(1)
    print(registry.render())


def main() -> None:
    telemetry.configure("canary", format="text" if sys.argv[1] == "text" else "json", level="trace")
    with telemetry.context(request_id=CANARY, trace_id=CANARY):
        messages()
        encodings()
        exceptions()
    hooks()
    by_hand()
    metrics()
    log.info("done")
    raise SystemError(f"the end: {CANARY}")


if __name__ == "__main__":
    main()
