"""Setting up logging: one way out for everything, and everything put back."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core import telemetry
from pywatt_core.errors import ConfigError
from pywatt_core.redaction import register
from pywatt_core.telemetry import parse_level

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where events go; the test says how with `configure`, and afterwards logging is as it was."""
    yield io.StringIO()
    configured = telemetry.logs._configured
    if configured is not None:
        configured.close()


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def messages(stream: io.StringIO) -> list[str]:
    return [event["fields"]["message"] for event in events(stream)]


def test_every_logger_takes_the_same_way_out_once(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> None:
    own = logging.getLogger("uvicorn.error")
    monkeypatch.setattr(own, "handlers", [logging.StreamHandler(stream)])
    monkeypatch.setattr(own, "propagate", False)
    telemetry.configure("users", stream=stream)
    for name in ("", "users.db", "uvicorn.error", "uvicorn.access", "waitress"):
        logging.getLogger(name).warning("from %s", name or "root")
    logging.getLogger("waitress.queue").warning("Task queue depth is 1")
    assert messages(stream) == ["from root", "from users.db", "from uvicorn.error", "from uvicorn.access", "from waitress"]
    assert {event["module_id"] for event in events(stream)} == {"users"}


def test_configuring_again_replaces_what_was_configured(stream: io.StringIO) -> None:
    first = io.StringIO()
    telemetry.configure("one", stream=first, level="debug,users=trace")
    telemetry.configure("two", stream=stream)
    logging.getLogger("users").debug("not now")
    logging.getLogger("users").info("once")
    assert first.getvalue() == "" and [event["module_id"] for event in events(stream)] == ["two"]


def test_closing_puts_everything_back(stream: io.StringIO) -> None:
    root = logging.getLogger()
    plain = logging.StreamHandler(io.StringIO())
    root.addHandler(plain)
    try:
        before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning)
        configured = telemetry.configure("users", stream=stream, level="trace")
        assert plain not in root.handlers and sys.excepthook is not before[2]
        configured.close()
        configured.close()
        assert (root.handlers, root.level, sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning) == before
    finally:
        root.removeHandler(plain)


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("info", {"": 20}),
        ("WARN", {"": 30}),
        ("warning", {"": 30}),
        ("trace", {"": 5}),
        ("off", {"": 60}),
        ("debug,users.db=trace, hyper=off", {"": 10, "users.db": 5, "hyper": 60}),
        ("users::db=debug", {"": 20, "users.db": 10}),
        ("users[span{field=1}]=debug", {"": 20, "users": 10}),
        ("", {"": 20}),
    ],
)
def test_levels_are_read_as_rust_log_is(text: str, levels: dict[str, int]) -> None:
    assert parse_level(text) == levels


@pytest.mark.parametrize("text", ["loud", "users=loud", "=info", "info,users=", "a b"])
def test_a_level_that_does_not_exist_is_named(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"the log level '.*' does not exist: trace, debug, info, warn, warning, error, critical, off, or logger=level"
    ):
        parse_level(text)


def test_levels_decide_what_is_written(stream: io.StringIO) -> None:
    telemetry.configure(level="warn,users=trace,users.quiet=off", stream=stream)
    logging.getLogger("other").info("hidden")
    logging.getLogger("users.db").log(5, "shown")
    logging.getLogger("users.quiet").critical("hidden")
    assert [(event["level"], event["target"]) for event in events(stream)] == [("TRACE", "users.db")]


def test_rust_log_is_the_default_level_and_nonsense_in_it_means_info(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in [("debug", 10), ("nonsense", 20), ("", 20)]:
        monkeypatch.setenv("RUST_LOG", value)
        telemetry.configure(stream=stream)
        assert logging.getLogger().level == expected


def test_an_unknown_format_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="the log format 'xml' does not exist: json, text or auto"):
        telemetry.configure(format="xml")  # type: ignore[arg-type]


def test_warnings_and_lost_exceptions_become_events(stream: io.StringIO) -> None:
    register("hook-secret-value", name="TEST_HOOKS")
    telemetry.configure(stream=stream)

    class Doomed:
        def __del__(self) -> None:
            raise RuntimeError("in a destructor: hook-secret-value")

    def work() -> None:
        raise RuntimeError("in a thread: hook-secret-value")

    Doomed()
    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join(timeout=30)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("a warning about hook-secret-value", stacklevel=1)
    destructor, in_thread, warning = events(stream)
    assert "Doomed.__del__" in destructor["fields"]["message"]
    assert destructor["fields"]["exception"].endswith("RuntimeError: in a destructor: [REDACTED]")
    assert in_thread["fields"]["message"] == "uncaught exception in thread worker: RuntimeError"
    assert (warning["target"], warning["level"]) == ("py.warnings", "WARN")
    assert "a warning about [REDACTED]" in warning["fields"]["message"]


async def test_what_asyncio_cannot_deliver_becomes_one_event(stream: io.StringIO) -> None:
    import asyncio

    telemetry.configure(stream=stream)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(telemetry.handle_loop_exception)
    reported = asyncio.Event()
    loop.call_soon(lambda: {}["missing"])
    loop.call_soon(reported.set)
    await reported.wait()
    (event,) = events(stream)
    assert event["level"] == "ERROR" and event["fields"]["exception"].endswith("KeyError: 'missing'") and "handle" in event["fields"]


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("RUST_LOG", "NO_COLOR")}
    return subprocess.run(
        [sys.executable, "-c", program], env={**clean, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_uncaught_exception_is_one_redacted_event_and_the_exit_status_stays() -> None:
    done = run(
        "from pywatt_core import telemetry; from pywatt_core.redaction import register\n"
        "telemetry.configure('users'); register('uncaught-secret')\n"
        "raise RuntimeError('it is uncaught-secret\\nsecond line')"
    )
    (line,) = done.stderr.splitlines()
    event = json.loads(line)
    assert done.returncode == 1 and event["level"] == "ERROR" and event["fields"]["message"] == "uncaught exception: RuntimeError"
    assert event["fields"]["exception"].endswith("RuntimeError: it is [REDACTED]\nsecond line")


def test_a_library_that_logs_to_its_own_handler_is_heard_once() -> None:
    done = run(
        "import logging, sys, uvicorn\n"
        "logging.basicConfig(level='DEBUG')\n"
        "uvicorn.Config('x:y')\n"
        "from pywatt_core import telemetry; telemetry.configure('users')\n"
        "logging.getLogger('uvicorn.error').info('started'); logging.getLogger('mine').info('mine')"
    )
    assert [json.loads(line)["fields"]["message"] for line in done.stderr.splitlines()] == ["started", "mine"], done.stderr
    assert done.stdout == ""


def test_a_process_whose_errors_nobody_reads_finishes_all_the_same() -> None:
    reading, writing = os.pipe()
    program = (
        "import logging, sys; from pywatt_core import telemetry\n"
        "configured = telemetry.configure('users', patience=0.05)\n"
        "for number in range(3000): logging.info('event %d %s', number, 'x' * 200)\n"
        "print(configured.handler.sink.dropped > 0, configured.handler.counts)"
    )
    try:
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=writing, text=True, timeout=60, check=False)
    finally:
        os.close(writing)
        os.close(reading)
    assert (done.returncode, done.stdout) == (0, "True {'INFO': 3000}\n")


@pytest.mark.parametrize("failure", [RecursionError, MemoryError, ValueError])
def test_an_event_that_cannot_be_formatted_is_said_to_be_so_and_nothing_is_raised(stream: io.StringIO, failure: type[Exception]) -> None:
    class Broken(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            raise failure("deep inside")

    telemetry.configure(stream=stream).handler.setFormatter(Broken())
    logging.info("hello")
    assert messages(stream) == [f"a log event could not be formatted ({failure.__name__})"]


def test_colours_are_for_terminals_and_not_where_they_are_unwanted() -> None:
    import pty

    for environment, coloured in [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]:
        parent, child = pty.openpty()
        program = "import logging; from pywatt_core import telemetry; telemetry.configure('users', format='auto'); logging.warning('hello')"
        clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
        try:
            subprocess.run([sys.executable, "-c", program], env={**clean, **environment}, stderr=child, timeout=60, check=True)
            shown = os.read(parent, 4096).decode()
        finally:
            os.close(child)
            os.close(parent)
        assert shown.endswith("users: hello\r\n")
        assert ("\x1b[33mWARN" in shown) is coloured, shown
    assert json.loads(run(program, TERM="xterm").stderr)["fields"] == {"message": "hello"}


def test_counts_are_kept_by_level(stream: io.StringIO) -> None:
    telemetry.configure(stream=stream)
    logging.info("one")
    logging.info("two")
    logging.error("three")
    assert telemetry.logs.counts() == ({"INFO": 2, "ERROR": 1}, 0)


def test_setting_up_logging_loads_neither_metrics_nor_frameworks() -> None:
    done = run(
        "import sys; from pywatt_core import telemetry; telemetry.configure('users')\n"
        "unwanted = {'asyncio', 'pydantic', 'ahocorasick', 'resource', 'pywatt_core.telemetry.series', 'rich', 'email', 'http'}\n"
        "print(sorted(unwanted & set(sys.modules)))"
    )
    assert done.stdout == "[]\n", done.stderr
