"""A value that a box has broken over its rows is hidden, and the box around it stays."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
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


def test_what_no_secret_covers_stays() -> None:
    box = "╭───╮\n│ \x1b[1ma\x1b[0m │\n│ b │\n╰───╯\n"
    assert redact_framed(box) == box
    assert redact_framed("no box, " + SECRET) == redact(SECRET).join(["no box, ", ""])
    cut = f"│ x = {SECRET[:20]} │\n│     {SECRET[20:]} │ y\n"
    assert redact_framed(cut) == "│ x = [REDACTED] │ y\n"
    assert redact_framed(f"│ {SECRET[:20]} │\n") == f"│ {SECRET[:20]} │\n"
