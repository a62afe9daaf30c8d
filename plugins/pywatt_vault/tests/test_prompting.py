"""Secrets from a pipe; from a terminal see test_commands.py, where one is."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from pywatt_core.errors import SecretError
from pywatt_core.redaction import redact
from pywatt_vault.prompting import entered, entered_passphrase
from pywatt_vault.vault import VALUE_LIMIT


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Any:
    def fill(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return fill


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"value", "value"),
        (b"value\n", "value"),
        (b"value\r\n", "value"),
        (b"value\n\n", "value\n"),
        (b"two\nlines\n", "two\nlines"),
        (b"  blanks \t\n", "  blanks \t"),
        (b"", ""),
        ("Grüße 😀\n".encode(), "Grüße 😀"),
        (b"nul\x00inside", "nul\x00inside"),
    ],
)
def test_a_value_is_all_that_comes_but_for_one_end_of_line(pipe: Any, data: bytes, value: str) -> None:
    pipe(data)
    assert entered("Value of A") == value
    pipe(data)
    assert entered("Value of A", keep_newline=True) == data.decode()


def test_a_value_is_hidden_from_then_on(pipe: Any) -> None:
    pipe(b"value-that-came-in\n")
    entered("Value of A")
    assert redact("it is value-that-came-in, they say") == "it is [REDACTED], they say"


def test_a_value_has_a_largest_size(pipe: Any) -> None:
    pipe(b"x" * VALUE_LIMIT + b"\r\n")
    assert len(entered("Value of A")) == VALUE_LIMIT
    pipe(b"x" * (VALUE_LIMIT + 3))
    with pytest.raises(SecretError, match="Value of A: larger than 256 KiB"):
        entered("Value of A")


def test_bytes_that_are_no_text_are_refused_with_a_way_out(pipe: Any) -> None:
    pipe(b"\xff\xfe")
    with pytest.raises(SecretError, match=r"Value of A: not UTF-8 text; encode it first: base64 FILE \| pywatt secrets set NAME"):
        entered("Value of A")


def test_a_passphrase_is_the_first_line(pipe: Any) -> None:
    pipe(b"correct horse battery staple\r\nmore\n")
    assert entered_passphrase() == "correct horse battery staple"
    pipe(b"short\n")
    with pytest.raises(SecretError, match="the passphrase is too short"):
        entered_passphrase()
