"""The line of every key of a TOML text, which tomllib does not tell.

The text has been parsed before, so this reader only has to find its way: it knows where strings, arrays and tables end,
and believes everything else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .merging import Path as Keys

_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LITERAL = re.compile(r"'([^'\n]*)'")
_BASIC = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_LONG_LITERAL = re.compile(r"'''.*?'''(?!')'{0,2}", re.DOTALL)
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"""(?!")"{0,2}', re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def positions(text: str) -> dict[Keys, int]:
    """Path to line, from 1. Tables are where their header stands, and keys inside arrays of tables are left out."""
    return _Reader(text.replace("\r\n", "\n")).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Keys, int] = {}
        self.arrays: set[Keys] = set()
        """Paths of arrays of tables."""
        self.counted = (0, 1)
        """A position and its line: lines are counted onwards from there."""

    def read(self) -> dict[Keys, int]:
        table: Keys | None = ()
        self._skip(_GAP)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_GAP)
        return self.lines

    def _header(self) -> Keys | None:
        """``[a.b]`` gives its path, ``[[a.b]]`` None: what stands below it has no path of its own."""
        start = self.at
        several = self.text.startswith("[[", start)
        self.at += 2 if several else 1
        path = self._keys()
        self.at += 2 if several else 1
        if several:
            self.arrays.add(path)
        inside = any(path[:end] in self.arrays for end in range(1, len(path)))
        if not inside:
            for end in range(1, len(path) + 1):
                self._note(path[:end], start)
        return None if several or inside else path

    def _pair(self, table: Keys | None) -> None:
        start = self.at
        keys = self._keys()
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        path = None if table is None else (*table, *keys)
        if path is not None:
            for end in range(len(path) - len(keys) + 1, len(path) + 1):
                self._note(path[:end], start)
        self._value(path)

    def _keys(self) -> Keys:
        keys = []
        while True:
            self._skip(_SPACE)
            keys.append(self._key())
            self._skip(_SPACE)
            if self.text[self.at : self.at + 1] != ".":
                return tuple(keys)
            self.at += 1

    def _key(self) -> str:
        match = _BARE.match(self.text, self.at) or _LITERAL.match(self.text, self.at) or _BASIC.match(self.text, self.at)
        if match is None:
            raise ValueError(f"no key at {self.at}")
        self.at = match.end()
        if match.re is not _BASIC:
            return match.group(1) if match.re is _LITERAL else match.group()
        return _unescaped(match.group())

    def _value(self, path: Keys | None) -> None:
        first = self.text[self.at : self.at + 1]
        if first == "{":
            self._inline_table(path)
        elif first == "[":
            self._array()
        else:
            for pattern in (_LONG_LITERAL, _LONG_BASIC, _LITERAL, _BASIC, _SCALAR):
                match = pattern.match(self.text, self.at)
                if match is not None:
                    self.at = match.end()
                    return

    def _inline_table(self, path: Keys | None) -> None:
        self.at += 1
        self._skip(_GAP)
        while self.text[self.at] != "}":
            self._pair(path)
            self._skip(_GAP)
            if self.text[self.at] == ",":
                self.at += 1
                self._skip(_GAP)
        self.at += 1

    def _array(self) -> None:
        self.at += 1
        self._skip(_GAP)
        while self.text[self.at] != "]":
            self._value(None)
            self._skip(_GAP)
            if self.text[self.at] == ",":
                self.at += 1
                self._skip(_GAP)
        self.at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()

    def _note(self, path: Keys, at: int) -> None:
        position, line = self.counted
        line += self.text.count("\n", position, at)
        self.counted = (at, line)
        self.lines.setdefault(path, line)


def _unescaped(quoted: str) -> str:
    import tomllib

    return next(iter(tomllib.loads(f"{quoted} = 0")))
