"""A module that gives its secret away in every way it can: nothing of it reaches what the process prints."""

from __future__ import annotations

import base64
import binascii
import html
import json
import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pywatt_core.redaction.forms import forms_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).with_name("canary_program.py")
CANARIES = {
    "letters": "canarysingsinthemineatdawn",
    "punctuation": "c@n/ry+S1ngs=&:%in?the#mine",
    "quotes": "ca'n\"ary\\s-'\"-\\n<i>",
    "not ASCII": "kanárek-zpívá-€-🐤-ünter",
    "several lines": "canary-first-line\ncanary-second-line\ncanary-third-line",
    "digits": "90210777333111",
}


def run(canary: str, form: str) -> tuple[list[str], str]:
    """The lines on stderr, and both streams together."""
    environment = {**os.environ, "CANARY": canary, "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, str(PROGRAM), form], env=environment, capture_output=True, timeout=60, check=False)
    errors = done.stderr.decode()
    assert done.returncode == 1 and "done" in errors, errors
    return errors.splitlines(), errors + done.stdout.decode()


def readings(text: str) -> Iterator[tuple[str, str]]:
    """The text as somebody would read it who looks for a secret: undone escapes, decoded runs of base64 and hexadecimal digits."""
    yield "as it stands", text
    yield "without backslashes", text.replace("\\", "")
    undone = text
    for level in range(4):
        undone = re.sub(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[\"'\\/nrt])", _unescape, undone)
        yield f"unescaped {level + 1} times", undone
    yield "unquoted", urllib.parse.unquote_plus(text)
    yield "unquoted twice", urllib.parse.unquote(urllib.parse.unquote(text))
    yield "HTML", html.unescape(text)
    yield "SQL", text.replace("''", "'")
    for digits in re.findall(r"[A-Za-z0-9+/_-]{6,}", text):
        for start in range(4):
            run = digits[start:].replace("-", "+").replace("_", "/")
            run = run[: len(run) - len(run) % 4]
            yield "base64", base64.b64decode(run).decode("utf-8", "replace")
    for digits in re.findall(r"(?:[0-9a-fA-F]{2}){6,}", text):
        yield "hexadecimal", binascii.unhexlify(digits).decode("utf-8", "replace")


def _unescape(found: re.Match[str]) -> str:
    escape = found[1]
    if escape[0] in "ux" and len(escape) > 1:
        return chr(int(escape[1:], 16))
    return {"n": "\n", "r": "\r", "t": "\t"}.get(escape, escape)


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES)
def test_nothing_of_a_secret_reaches_the_output(canary: str, form: str) -> None:
    _, text = run(canary, form)
    assert text.count("[REDACTED]") > 60
    lines = [line for line in canary.splitlines() if len(line) >= 8]
    for how, reading in readings(text):
        for secret in {canary, *lines}:
            assert secret not in reading, (how, reading[max(0, reading.find(secret) - 200) :][:600])
    for shape in forms_of(canary):
        assert shape.text not in text or shape.text in "[REDACTED]", shape


def test_each_event_of_the_canary_is_one_line_of_json() -> None:
    lines, _ = run(CANARIES["quotes"], "json")
    events = [json.loads(line) for line in lines if not line.startswith("redacted")]
    assert len(events) > 40
    assert {"timestamp", "level", "fields", "target", "module_id"} <= set(events[0])
    assert len(lines) - len(events) == 1
