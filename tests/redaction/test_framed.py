"""A value that a box has broken over its rows is hidden, and the box around it stays."""

from __future__ import annotations

import base64
import io
import pprint

import pytest
from rich.console import Console
from rich.panel import Panel
from rich.traceback import Traceback

from pywatt_core.redaction import Redactor, redact, redact_framed
from pywatt_core.testing import assert_no_secret_in

SECRET = "canary-sings-in-the-mine-and-is-heard-from-far-away-0123456789abcdef"


@pytest.fixture(autouse=True)
def known(fresh_redactor: Redactor) -> None:
    fresh_redactor.register(SECRET, name="CANARY")


def failing(password: str) -> None:
    nested = {"dsn": f"db://app:{password}@host/name", "list": [password]}
    raise ValueError(f"cannot log in with {nested['dsn']}")


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_traceback_in_a_box_with_local_variables_shows_no_secret(width: int, colour: bool, encoding: str) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=colour, color_system="truecolor" if colour else None)
    try:
        failing(SECRET)
    except ValueError:
        console.print(Traceback(show_locals=True, locals_max_string=1000))
    drawn = stream.getvalue()
    text = redact_framed(drawn.encode().decode("latin-1")).encode("latin-1").decode() if encoding == "latin-1" else redact_framed(drawn)
    assert text.count("[REDACTED]") >= 3 and "failing" in text
    assert_no_secret_in(text, secrets=SECRET, piece=14)


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("value", ['it\'s a canary that "sings" in the mine; really', b"it is a canary in bytes that sings in the mine"])
def test_text_that_pprint_writes_as_several_literals_is_hidden(value: str | bytes, width: int, fresh_redactor: Redactor) -> None:
    fresh_redactor.register(value)
    shown = pprint.pformat({"a": value, "b": [value] * 3, "c": 1}, width=width)
    text = redact_framed(shown)
    assert text.count("[REDACTED]") == 4 and text.endswith("'c': 1}")
    assert_no_secret_in(text, secrets=value, piece=8)


@pytest.mark.parametrize("width", [40, 50, 60, 70, 100])
def test_a_box_that_breaks_a_secret_at_a_blank_shows_none_of_it(width: int, fresh_redactor: Redactor) -> None:
    secret = "0123456789 abcdefghijk 0123456789 lmnopqrstuv 0123456789"
    fresh_redactor.register(secret)
    stream = io.StringIO()
    Console(file=stream, width=width).print(Panel(f"the password of the database is {secret} and no other"))
    text = redact_framed(stream.getvalue())
    assert text.count("[REDACTED]") == 1
    assert_no_secret_in(text, secrets=secret, piece=8)


@pytest.mark.parametrize("before", range(0, 90, 7))
def test_base64_in_lines_is_hidden_wherever_the_secret_begins(before: int) -> None:
    for wrapped in (
        base64.encodebytes(b"x" * before + SECRET.encode() + b"y" * 40).decode(),
        "\r\n".join(SECRET[at : at + 20] for at in range(0, 80, 20)),
    ):
        text = redact_framed(f"a file:\n{wrapped}\nend")
        assert "[REDACTED]" in text and text.startswith("a file:\n") and text.endswith("\nend")
        assert_no_secret_in(text, secrets=SECRET, piece=8)


def test_the_ends_of_lines_are_no_short_secret_by_chance(fresh_redactor: Redactor) -> None:
    fresh_redactor.register("abcd")
    assert redact_framed("xab\ncdx abcd") == "xab\ncdx [REDACTED]"


@pytest.mark.parametrize("joint", ["\x1b[0m \x1b[1m", " \x1b[0m\x1b[1m", "\x1b[0;1m ", "\x1b[0m│ │\x1b[1m"])
def test_colours_between_the_words_of_a_secret_do_not_show_it(joint: str, fresh_redactor: Redactor) -> None:
    blank = " " if "│" not in joint else "│ │"
    fresh_redactor.register(f"correct{blank}horse{blank}battery")
    text = redact_framed(f"it is \x1b[1mcorrect{joint}horse{joint}battery\x1b[0m, \x1b[1mnot\x1b[0m it\n")
    assert text == "it is \x1b[1m[REDACTED]\x1b[0m, \x1b[1mnot\x1b[0m it\n"


def test_what_no_secret_covers_stays() -> None:
    box = "╭───╮\n│ \x1b[1ma\x1b[0m │\n│ b │\n╰───╯\n"
    assert redact_framed(box) == box
    assert redact_framed("no box, " + SECRET) == redact(SECRET).join(["no box, ", ""])
    cut = f"│ x = {SECRET[:20]} │\n│     {SECRET[20:]} │ y\n"
    assert redact_framed(cut) == "│ x = [REDACTED] │ y\n"
    assert redact_framed(f"│ {SECRET[:20]} │\n") == f"│ {SECRET[:20]} │\n"
