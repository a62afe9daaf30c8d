"""Secrets from a person or a pipe. What is typed is not shown; what comes in is registered for redaction at once."""

from __future__ import annotations

import getpass
import os
import sys
from typing import TYPE_CHECKING

import rich_click as click

from pywatt_core.errors import SecretError
from pywatt_core.redaction import register

from .keys import REDACTED_AS, check_passphrase
from .vault import VALUE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable


def asker() -> Callable[[str], str] | None:
    """What asks for a passphrase on the terminal, also where standard input is a pipe; None where there is no terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return None
    return lambda what: _typed(what, twice=False, name=REDACTED_AS)


def entered(what: str, *, keep_newline: bool = False) -> str:
    """A value: typed twice where standard input is a terminal, else all of standard input but for one end of line."""
    if sys.stdin.isatty():
        return _typed(what, twice=True)
    text = _from_stdin(VALUE_LIMIT + 2, what)
    if not keep_newline:
        text = text.removesuffix("\n").removesuffix("\r")
    register(text)
    return text


def entered_passphrase() -> str:
    """A passphrase to choose: typed twice, or the first line of standard input. Raises `SecretError` for one that is too short."""
    if sys.stdin.isatty():
        return check_passphrase(_typed("New passphrase", twice=True, name=REDACTED_AS))
    return check_passphrase(_from_stdin(VALUE_LIMIT, "the passphrase").split("\n", 1)[0].removesuffix("\r"))


def _typed(what: str, *, twice: bool, name: str = "") -> str:
    try:
        text = getpass.getpass(f"{what}: ")
        register(text, name=name)
        while twice and getpass.getpass("Once more: ") != text:
            click.echo("That was something else.", err=True)
            text = getpass.getpass(f"{what}: ")
            register(text, name=name)
    except EOFError:
        raise click.Abort from None
    return text


def _from_stdin(limit: int, what: str) -> str:
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise SecretError(f"{what}: larger than {VALUE_LIMIT // 2**10} KiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SecretError(f"{what}: not UTF-8 text; encode it first: base64 FILE | pywatt secrets set NAME") from None
