"""What Python code writes to the standard streams holds no secret, however it gets there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.redaction import Redactor
from pywatt_core.telemetry import guard_streams, release_streams, stray

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "grün-canary-€-42"
START = (
    "import io, logging, os, sys\n"
    "kept = sys.stdout\n"
    "from pywatt_core import telemetry\n"
    "from pywatt_core.redaction import register\n"
    "c = os.environ.pop('CANARY'); register(c, name='CANARY')\n"
    "telemetry.configure('x', format='text')\n"
)


def run(program: str, *options: str, expect: int = 0, **environ: str) -> tuple[str, str]:
    """What a program writes to both streams."""
    done = subprocess.run(
        [sys.executable, *options, "-c", START + program],
        env={**os.environ, "CANARY": SECRET, "PYTHONUTF8": "1", **environ},
        capture_output=True,
        timeout=60,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == expect, err
    assert SECRET not in out + err and "canary" not in out + err, out + err
    return out, err


@pytest.mark.parametrize("options", [[], ["-u"]], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    ("program", "out"),
    [
        ("print('a', c, 'b')", "a [REDACTED] b\n"),
        ("print(c, end='', flush=True); print('!')", "[REDACTED]!\n"),
        ("[print(one, end='', flush=True) for one in c]; print()", "gr[REDACTED]\n"),
        ("print(c[:9], end='', flush=True); print(c[9:])", "[REDACTED]\n"),
        ("sys.stdout.buffer.write(c.encode()[:3]); sys.stdout.flush(); sys.stdout.buffer.write(c.encode()[3:]); print()", "[REDACTED]\n"),
        ("sys.stdout.write('50% grün-c'); sys.stdout.close(); os._exit(0)", "50% grün-c".encode().decode("latin-1")),
        ("sys.stdout.write('50% grün-c'); sys.stdout.detach(); os._exit(0)", "50% "),
        ("print('50% gr', end='', flush=True); os._exit(0)", "50% gr"),
        ("print('50% gr', end='', flush=True); os.write(1, b'!'); print('een')", "50% gr!een\n"),
        ("sys.stdout.writelines(['x', c, 'y\\n'])", "x[REDACTED]y\n"),
        ("kept.write(c + '\\n')", "[REDACTED]\n"),
        ("sys.__stdout__.write(c + '\\n')", "[REDACTED]\n"),
        ("io.TextIOWrapper(sys.stdout.buffer, 'utf-8', line_buffering=True).write(c + '\\n'); os._exit(0)", "[REDACTED]\n"),
        ("sys.stdout.write(repr(c) + ' ' + ascii(c) + '\\n')", "'[REDACTED]' '[REDACTED]'\n"),
        ("import pprint; pprint.pprint({'k': [c]})", "{'k': ['[REDACTED]']}\n"),
        ("print('no end', end='')", "no end"),
        ("print('x', c[:12], end='')", "x [REDACTED]"),
        ("sys.stdout.buffer.write(bytes(range(256)))", "".join(map(chr, range(256)))),
    ],
)
def test_what_is_written_to_standard_output_is_redacted(program: str, out: str, options: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *options, "-c", START + program],
        env={**os.environ, "CANARY": SECRET, "PYTHONUTF8": "1"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.decode("latin-1") == out, done.stderr


def test_other_encodings_of_the_streams_are_redacted_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + "register('käse-brot'); print('ü käse-brot ü')"],
        env={**os.environ, "CANARY": SECRET, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "ü [REDACTED] ü\n".encode("latin-1")


@pytest.mark.parametrize(
    "program",
    [
        "import traceback\ntry: raise ValueError(c)\nexcept ValueError: traceback.print_exc()",
        "sys.excepthook = sys.__excepthook__\nimport atexit; atexit.register(lambda: print(c, file=sys.stderr))",
        "import atexit; atexit.register(lambda: (_ for _ in ()).throw(RuntimeError(c)))",
        "import warnings; warnings.showwarning = lambda m, *rest: sys.stderr.write(str(m) + '\\n'); warnings.warn(c)",
        "logging.raiseExceptions = True\nclass H(logging.Handler):\n  def emit(self, record):\n"
        "    try: raise ValueError(c)\n    except ValueError: self.handleError(record)\n"
        "logging.getLogger('h').addHandler(H()); logging.getLogger('h').warning('%s', c)",
        "import threading; threading.excepthook = threading.__excepthook__\n"
        "t = threading.Thread(target=lambda: [][c], name=c); t.start(); t.join()",
        "class D:\n  def __del__(self): raise RuntimeError(c)\nsys.unraisablehook = sys.__unraisablehook__\nD()",
        "import cgitb\ntry: raise ValueError(c)\nexcept ValueError: sys.stderr.write(cgitb.text(sys.exc_info()))",
        "import rich.console, rich.traceback\ntry: raise ValueError(c)\n"
        "except ValueError: rich.console.Console(stderr=True, width=200).print_exception(show_locals=True)",
    ],
    ids=["print_exc", "atexit", "error in atexit", "showwarning", "broken handler", "thread", "destructor", "cgitb", "rich"],
)
def test_what_the_standard_library_reports_on_standard_error_is_redacted(program: str) -> None:
    _, err = run("import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n" + program)
    assert "[REDACTED]" in err


def test_an_exception_that_ends_the_process_by_pythons_own_hook_is_redacted() -> None:
    _, err = run("sys.excepthook = sys.__excepthook__\nraise RuntimeError(c)", expect=1)
    assert err.endswith("RuntimeError: [REDACTED]\n")


def test_handlers_of_somebody_else_write_redacted_text() -> None:
    program = (
        "own = logging.getLogger('own'); own.propagate = False\n"
        "file = io.StringIO(); plain = logging.StreamHandler(file); own.addHandler(plain)\n"
        "plain.setFormatter(logging.Formatter('%(name)s %(message)s %(user)s'))\n"
        "logging.getLogger('own').warning('it is %r', c, extra={'user': c})\n"
        "try: raise ValueError(c)\n"
        "except ValueError as error: error.add_note(c); own.exception('failed', extra={'user': 1}, stack_info=True)\n"
        "import queue, logging.handlers\n"
        "q = queue.Queue(); logging.getLogger('queued').addHandler(logging.handlers.QueueHandler(q))\n"
        "logging.getLogger('queued').error('queued %s', c)\n"
        "text = file.getvalue() + q.get().msg\n"
        "assert c not in text and text.count('[REDACTED]') == 5, text\n"
        "class Structured(logging.Formatter):\n"
        "  def format(self, record): return {'message': record.getMessage(), 'list': [record.args]}\n"
        "plain.setFormatter(Structured()); shown = plain.format(logging.LogRecord('n', 30, 'f', 1, '%s', (c,), None))\n"
        "assert c not in str(shown), shown\n"
        "print('checked')\n"
    )
    assert run(program)[0] == "checked\n"


def test_a_handler_in_a_file_that_stays_on_the_root_logger_is_redacted(tmp_path: Any) -> None:
    run(
        f"logging.getLogger().addHandler(logging.FileHandler({str(tmp_path / 'log')!r})); "
        "logging.warning('to the file: %s, %s', c, c[:9] + '\\x1b[1m' + c[9:])"
    )
    assert (tmp_path / "log").read_text() == "to the file: [REDACTED], [REDACTED]\n"


def test_a_forked_child_writes_what_is_its_own() -> None:
    out, _ = run(
        "from pywatt_core.telemetry import stray; stray.PATIENCE = 3600\n"
        "print('waits: grün', end='', flush=True)\n"
        "if os.fork() == 0:\n"
        "    print('child', c, flush=True); os._exit(0)\n"
        "os.wait(); print('parent')\n"
    )
    assert out == "waits: child [REDACTED]\ngrünparent\n"


@pytest.mark.parametrize("options", [[], ["-u"]], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(("end", "shown"), [("gr", "gr"), ("grün-c", "grün-c"), ("grün-canary", "[REDACTED]")])
def test_a_prompt_that_ends_like_a_secret_begins_is_seen_before_the_answer_comes(end: str, shown: str, options: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, *options, "-c", START + f"print({end!r}, end='', flush=True); print(input(), c)"],
        env={**os.environ, "CANARY": SECRET, "PYTHONUTF8": "1"},
        stdin=-1,
        stdout=-1,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        seen = b""
        while len(seen) < len(shown.encode()):
            seen += os.read(process.stdout.fileno(), 100)
        assert seen.decode() == shown
        process.stdin.write(b"answer\n")
        process.stdin.close()
        assert process.stdout.read() == b"answer [REDACTED]\n"
        assert process.wait(60) == 0


def test_a_daemon_thread_that_is_stopped_while_it_writes_keeps_nobody_from_ending() -> None:
    program = (
        "import threading\n"
        "def write():\n"
        "  while True: sys.stderr.write('x\\n'); sys.stderr.flush()\n"
        "for _ in range(4): threading.Thread(target=write, daemon=True).start()\n"
        "sys.setswitchinterval(1e-6)\n"
        "class Late:\n"
        "  def __del__(self): print('late', flush=True)\n"
        "sys.late = Late()\n"
    )
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-u", "-c", START + program],
            env={**os.environ, "CANARY": SECRET},
            stdout=-1,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0


def test_what_waits_is_written_when_the_process_is_left_at_once() -> None:
    assert run("from pywatt_core.running import leave\nprint('the end is gr', end=''); leave(0)")[0] == "the end is gr"


def test_a_reader_that_is_gone_is_an_error_as_ever() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = START + "try:\n  print('x' * 10); sys.stdout.flush()\nexcept BrokenPipeError: sys.stderr.write('broken\\n'); os._exit(7)"
    with open(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "CANARY": SECRET}, stdout=pipe, stderr=-1, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (7, b"broken\n")


# ── in this process ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch, fresh_redactor: Redactor) -> Callable[[], tuple[io.BytesIO, io.StringIO]]:
    """Call it in the test: from then on standard output has a buffer, and standard error none."""
    fresh_redactor.register("canary-value")

    def replace() -> tuple[io.BytesIO, io.StringIO]:
        out, err = io.BytesIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", write_through=True))
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    return replace


def test_guarding_twice_is_one_guard_and_the_last_takes_it_away(streams: Callable[[], tuple[io.BytesIO, io.StringIO]]) -> None:
    out, err = streams()
    before = (out.write, err.write)
    first, second = guard_streams(), guard_streams()
    first()
    first()
    print("one canary-value")
    print("two canary-value", file=sys.stderr)
    second()
    assert (out.getvalue(), err.getvalue()) == (b"one [REDACTED]\n", "two [REDACTED]\n")
    assert (out.write, err.write) == before
    print("canary-value")
    assert out.getvalue().endswith(b"canary-value\n")


def test_what_waits_is_passed_on_when_the_guard_goes(streams: Callable[[], tuple[io.BytesIO, io.StringIO]]) -> None:
    out, _ = streams()
    give_back = guard_streams()
    print("cana", end="")
    assert out.getvalue() == b""
    give_back()
    assert out.getvalue() == b"cana"


def test_at_the_end_of_the_process_nothing_waits_any_more(streams: Callable[[], tuple[io.BytesIO, io.StringIO]]) -> None:
    out, _ = streams()
    give_back = guard_streams()
    print("cana", end="")
    release_streams()
    print("ry-value canary-value can", end="")
    assert out.getvalue() == b"canary-value [REDACTED] can"
    give_back()


def test_a_stream_that_cannot_be_guarded_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        __slots__ = ()
        closed = False

        def write(self, text: str) -> int:
            return len(text)

        def flush(self) -> None:
            pass

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(sys, "stderr", None)
    known = dict(stray._guards)
    give_back = guard_streams()
    print("no error")
    give_back()
    assert stray._guards == known


def test_many_threads_may_print_at_once(streams: Callable[[], tuple[io.BytesIO, io.StringIO]]) -> None:
    out, _ = streams()
    give_back = guard_streams()

    def work() -> None:
        for _ in range(200):
            sys.stdout.write("a canary-value b\n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    give_back()
    assert out.getvalue() == b"a [REDACTED] b\n" * 800
