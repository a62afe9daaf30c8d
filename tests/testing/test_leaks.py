"""`assert_no_secret_in` finds a value in every kind of place, and its report never shows it."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import io
import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import flask
import httpx
import msgspec
import pytest
import starlette.responses
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.redaction import Redactor, Secret
from pywatt_core.testing import Process, assert_no_secret_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pywatt_core.testing.leaks import LeakCheck

SECRET = "c@n/ry+S1ngs=&:%in'the\"mine"


def found(*places: object, secrets: Any = SECRET, piece: int | None = None) -> str:
    """The report of what must be found; nothing of the value is in it."""
    with pytest.raises(AssertionError) as raised:
        assert_no_secret_in(*places, secrets=secrets, piece=piece)
    text = str(raised.value)
    assert SECRET not in text and "ry+S1ngs" not in text
    return text


@dataclasses.dataclass
class Settings:
    url: str
    rest: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)


class Row(msgspec.Struct):
    column: bytes


class Leaky:
    def __str__(self) -> str:
        return f"leaky {SECRET}"


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    ("place", "report"),
    [
        (f"log: {SECRET}", "the secret can be read there (as it stands): 'log: [REDACTED]'"),
        (f"log: {SECRET}".encode(), "as UTF-8"),
        (SECRET.encode("utf-16"), "in as UTF-16"),
        ({"a": [1, ("x", {"b": SECRET})]}, "in ['a'][1][1]['b'] (as it stands)"),
        ({SECRET: 1}, "in (a key)"),
        (Settings("x", {"dsn": f"db://{SECRET}"}), "in .rest['dsn']"),
        (Row(SECRET.encode()), "in .column as UTF-8"),
        (Leaky(), "in (str of Leaky)"),
        ({1, (SECRET,)}, "[0]"),
        (subprocess.CompletedProcess(["x"], 0, b"", SECRET.encode()), ".stderr as UTF-8"),
        (gzip.compress(SECRET.encode(), mtime=0), "unpacked with gzip"),
        (io.StringIO(SECRET), "in .getvalue() (as it stands)"),
        ([io.BytesIO(SECRET.encode())], "in [0].getvalue() as UTF-8"),
        (httpx.Response(200, json={"error": SECRET}), "in .content as UTF-8"),
        (httpx.Response(200, headers={"X-Token": SECRET}), "in .headers['x-token']"),
        (starlette.responses.PlainTextResponse(SECRET), "in .body as UTF-8"),
        (flask.Response(SECRET), "in .data as UTF-8"),
    ],
)
def test_places_are_searched_and_named(place: object, report: str) -> None:
    assert report in found(place)


@pytest.mark.parametrize(
    "place", ["", b"", {}, [None, 1, 2.5, True], Broken(), "c@n/ry", Secret("quite another value"), {"a": {"b": Broken()}}]
)
def test_places_without_the_secret_pass(place: object) -> None:
    assert_no_secret_in(place, secrets=SECRET)


def test_what_cannot_be_read_now_is_passed_over() -> None:
    closed = io.StringIO(SECRET)
    closed.close()
    unread = httpx.Response(200, headers={"X": "y"}, stream=httpx.ByteStream(SECRET.encode()))
    assert_no_secret_in(closed, unread, Mock(), httpx.Response, flask.request, secrets=SECRET)


def test_nothing_to_search_and_what_searching_would_use_up_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="nothing to search: give at least one place"):
        assert_no_secret_in(secrets=SECRET)
    with pytest.raises(TypeError, match="searching a generator would use it up: give a list of what it yields"):
        assert_no_secret_in((part for part in [SECRET]), secrets=SECRET)
    with (tmp_path / "file").open("w+") as file, pytest.raises(TypeError, match="searching a TextIOWrapper would use it up"):
        assert_no_secret_in(file, secrets=SECRET)


def test_a_secret_object_shows_nothing_and_can_be_looked_for() -> None:
    secret = Secret(SECRET)
    assert_no_secret_in(secret, [secret], {"s": secret}, secrets=secret)
    found({"s": secret.expose_secret()}, secrets=secret)


def test_a_container_that_holds_itself_is_searched_once() -> None:
    endless: list[object] = []
    endless += [endless, {"again": endless}]
    assert_no_secret_in(endless, secrets=SECRET)
    found([endless, SECRET])


# ── exceptions and log records ──────────────────────────────────────────────────────────────────────────────────────


def failing(kind: str) -> BaseException:
    """An exception that gives the secret away in one way."""

    def inner(password: str) -> None:
        raise ValueError("cannot log in")

    try:
        if kind == "locals":
            inner(SECRET)
        try:
            raise KeyError(SECRET if kind == "context" else "x")
        except KeyError as error:
            if kind == "context":
                raise RuntimeError("other") from None
            raise RuntimeError("other") from error
    except Exception as error:
        if kind == "note":
            error.add_note(f"the password was {SECRET}")
        if kind == "attribute":
            error.dsn = SECRET  # type: ignore[attr-defined]
        if kind == "cause":
            error.__cause__ = KeyError({"dsn": SECRET})
        if kind == "arguments":
            error.args = ("text", {"dsn": SECRET})
        if kind == "group":
            return ExceptionGroup("several", [ExceptionGroup("inside", [OSError(5, SECRET)]), error])
        return error


@pytest.mark.parametrize(
    ("kind", "report"),
    [
        ("locals", "the local variable 'password' of inner"),
        ("cause", "'s traceback"),
        ("context", "'s context"),
        ("note", "__notes__"),
        ("attribute", "['dsn']"),
        ("arguments", "(RuntimeError)"),
        ("group", "(ExceptionGroup)"),
    ],
)
def test_all_of_an_exception_is_searched(kind: str, report: str) -> None:
    assert report in found(failing(kind))


def test_an_exception_without_the_secret_passes_although_the_test_itself_knows_it() -> None:
    known_here = SECRET
    try:
        failing("")
        raise OSError(2, "no such file")
    except OSError as error:
        assert_no_secret_in(error, failing(""), secrets=known_here)


def test_log_records_are_searched(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("x").warning("plain %s", "word", extra={"dsn": [SECRET]})
    assert "(a log record)['dsn'][0]" in found(caplog.records)
    caplog.clear()
    logging.getLogger("x").warning("%s-%s", SECRET[:9], SECRET[9:], extra={"ok": 1})
    assert_no_secret_in(caplog.text.replace("-", "?"), secrets=SECRET)
    caplog.clear()
    logging.getLogger("x").warning("%s%s", SECRET[:9], SECRET[9:])
    assert "a log record" in found(caplog.records)


# ── files and processes ─────────────────────────────────────────────────────────────────────────────────────────────


def test_files_folders_names_and_links_are_searched(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "clean.txt").write_text("nothing")
    os.mkfifo(tmp_path / "pipe")
    assert_no_secret_in(tmp_path, tmp_path / "deep" / "clean.txt", secrets=SECRET)
    (tmp_path / "deep" / "er" / "log.bin").write_bytes(b"\xff" * (1 << 20) + SECRET.encode()[:4])
    with (tmp_path / "deep" / "er" / "log.bin").open("ab") as file:
        file.write(SECRET.encode()[4:])
    assert "the file 'log.bin'" in found(tmp_path)
    (tmp_path / "deep" / "er" / "log.bin").unlink()
    (tmp_path / "deep" / "link").symlink_to("nowhere-canary-42")
    assert "the target of the link 'link'" in str(found(tmp_path, secrets="nowhere-canary-42"))
    (tmp_path / "deep" / "canary-42-name").mkdir()
    assert "the name of a file" in found(tmp_path, secrets="canary-42-name")
    with pytest.raises(FileNotFoundError, match="there is nothing at"):
        assert_no_secret_in(tmp_path / "missing", secrets=SECRET)


def test_text_is_no_path_and_a_number_no_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(SECRET)
    assert_no_secret_in(str(tmp_path / "file"), os.getpid(), secrets=SECRET)
    found(tmp_path / "file")


@pytest.fixture
def sleeper() -> Iterator[Any]:
    """Call it with arguments and variables: a process that has a child which waits until the test is over."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, code: str = "", **environ: str) -> subprocess.Popen[str]:
        program = f"import subprocess, sys\n{code}\nprint('up', flush=True)\nsys.stdin.read()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], env={**os.environ, **environ}, stdin=-1, stdout=-1, text=True
        )
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        process.communicate()


def test_command_lines_and_environments_are_searched(sleeper: Any) -> None:
    assert "the command line of process" in found(sleeper(SECRET))
    assert "the environment of process" in found(sleeper(PASSWORD=SECRET))
    child = f"child = subprocess.Popen([sys.executable, '-c', 'input()', {SECRET[::-1]!r}[::-1]], stdin=subprocess.PIPE)"
    clean = sleeper(code=child)
    assert "the command line of process" in found(clean)
    assert_no_secret_in(Process(clean.pid, children=False), secrets=SECRET[::-1] + "?")
    with pytest.raises(ProcessLookupError, match="there is no process 4194305"):
        assert_no_secret_in(Process(2**22 + 1), secrets=SECRET)


def test_the_memory_of_a_process_is_searched_where_that_is_wanted(sleeper: Any) -> None:
    hidden = base64.b64encode(SECRET.encode()).decode()[::-1]
    process = sleeper(code=f"import base64; kept = base64.b64decode({hidden!r}[::-1]).decode()")
    other = sleeper()
    assert_no_secret_in(process, Process(other.pid, memory=True), secrets=SECRET)
    assert "stands in the memory of process" in found(Process(process.pid, memory=True))


# ── what counts as found ────────────────────────────────────────────────────────────────────────────────────────────


def test_pieces_count_where_they_are_wanted() -> None:
    assert_no_secret_in("half of it: " + SECRET[:12], secrets=SECRET)
    found("half of it: " + base64.b64encode(SECRET[:12].encode()).decode(), piece=10)
    with pytest.raises(ValueError, match="a piece of 3 characters stands in any text by chance: at least 4"):
        assert_no_secret_in("x", secrets=SECRET, piece=3)


def test_short_values_are_words_of_their_own() -> None:
    assert_no_secret_in("a12 112", secrets="12")
    assert "as a word of its own" in found("pin=12.", secrets={"PIN": "12"})


def test_a_password_of_a_url_and_long_lines_are_secrets_too() -> None:
    assert "can be read" in found("trying hunter2hunter2", secrets="db://app:hunter2hunter2@host/main")
    found("second line\n", secrets="first line\nsecond line")
    assert_no_secret_in("short", secrets="first line\nshort")


def test_all_that_is_registered_is_looked_for_by_default(fresh_redactor: Redactor) -> None:
    with pytest.raises(ValueError, match="there is no secret to look for: name some with secrets=, or register them first"):
        assert_no_secret_in("text")
    fresh_redactor.register("first-secret-value", name="FIRST")
    fresh_redactor.register("second-secret-value")
    assert_no_secret_in("text")
    assert found("second-secret-value", secrets=None).startswith("a secret without a name can be read")
    assert found(json.dumps({"a": "first-secret-value"}), secrets=None).startswith("FIRST can be read there")


def test_an_empty_secret_and_what_is_none_are_refused() -> None:
    with pytest.raises(ValueError, match="EMPTY is empty: it stands in every text"):
        assert_no_secret_in("text", secrets={"EMPTY": " "})
    with pytest.raises(TypeError, match="secret 1 is no text, bytes or Secret, but int"):
        assert_no_secret_in("text", secrets=[5])  # type: ignore[list-item]


@given(st.text(st.characters(codec="utf-8"), max_size=300), st.binary(max_size=300))
def test_reading_any_text_ends_and_finds_nothing_that_is_not_there(text: str, data: bytes) -> None:
    assert_no_secret_in(text, data, secrets="a-canary-that-nobody-draws")


# ── the fixture ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_fixture_makes_canaries_and_looks_for_their_pieces(assert_no_secret_in: LeakCheck) -> None:
    canary = assert_no_secret_in.canary("DB_PASSWORD")
    assert canary != assert_no_secret_in.canary("OTHER") and len(canary) > 24
    assert_no_secret_in("clean", {"a": b"clean"})
    with pytest.raises(AssertionError, match="^DB_PASSWORD can be read"):
        assert_no_secret_in(canary[3:12])
    assert_no_secret_in(canary, secrets="another secret")
    assert assert_no_secret_in.canary("PLAIN", awkward=False).isalnum()


def test_the_fixture_looks_at_what_the_test_has_logged(pytester_run: Any) -> None:
    outcome = pytester_run(
        "import logging\n"
        "def test_leak(assert_no_secret_in):\n"
        "    logging.getLogger('x').warning('it is %r', assert_no_secret_in.canary('TOKEN'))\n"
        "def test_clean(assert_no_secret_in):\n"
        "    assert_no_secret_in.canary('TOKEN')\n"
        "    logging.getLogger('x').warning('it is nothing')\n"
        "def test_hidden(assert_no_secret_in):\n"
        "    from pywatt_core.redaction import Secret\n"
        "    secret = Secret(assert_no_secret_in.canary('TOKEN'))\n"
        "    logging.getLogger('x').warning('it is %r', secret.expose_secret(), extra={'token': secret.expose_secret()})\n"
    )
    assert "3 passed, 1 error" in outcome and "AssertionError: TOKEN can be read there" in outcome, outcome


@pytest.fixture
def pytester_run(tmp_path: Path) -> Any:
    """Call it with a test file's text: what pytest prints about it, in a process of its own."""

    def run(text: str) -> str:
        (tmp_path / "test_inner.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "--no-header", "--tb=line"]
        done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    return run
