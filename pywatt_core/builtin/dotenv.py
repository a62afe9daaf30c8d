"""``.env`` files: one small grammar, the part that shells, Docker and the usual libraries agree on.

    # a comment
    NAME=plain value            # a comment after white space
    export NAME='as it stands'
    NAME="with \\n, \\t, \\", \\\\ and $ as escapes, over
    several lines"

Names begin with a letter or an underscore. Nothing is expanded: ``$HOME`` is five characters.
"""

from __future__ import annotations

import re

from ..errors import SecretError

_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN = re.compile(r"(?:[^\n#]|(?<![ \t])#)*")
"""A ``#`` begins a comment only after white space, as in a shell."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'", "$": "$", "`": "`", "\n": ""}


def parse_dotenv(text: str, file: str) -> dict[str, str]:
    """Names to values; of a name that stands twice the last counts. Raises `SecretError` with file and line, without the value."""
    text = text.replace("\r\n", "\n")
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        blank = _BLANK.match(text, at)
        if blank is not None:
            at = blank.end()
            continue
        name = _NAME.match(text, at)
        if name is None:
            raise _wrong(text, at, file, "is not of the form NAME=value")
        value, end = _value(text, name.end(), file)
        rest = _BLANK.match(text, end)
        if rest is None:
            raise _wrong(text, at, file, "has something after the closing quote")
        if "\0" in value:
            raise _wrong(text, at, file, "has a NUL character")
        values[name.group(1)] = value
        at = rest.end()
    return values


def _value(text: str, at: int, file: str) -> tuple[str, int]:
    """The value that begins at `at`, and where it ends."""
    quote = text[at : at + 1]
    if quote in ("'", '"'):
        match = (_SINGLE if quote == "'" else _DOUBLE).match(text, at)
        if match is None:
            raise _wrong(text, at, file, f"has no closing {quote}")
        raw = match.group(1)
        return (raw if quote == "'" else _ESCAPE.sub(_unescape, raw)), match.end()
    plain = _PLAIN.match(text, at)
    assert plain is not None  # the pattern matches the empty text
    return plain.group().strip(" \t"), plain.end()


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match.group(1), match.group())


def _wrong(text: str, at: int, file: str, what: str) -> SecretError:
    return SecretError(f"{file}:{text.count(chr(10), 0, at) + 1}: the line {what}")
