"""Every key's line, for files written in every style that TOML has. The lines that are asserted are those that were written."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.config.positions import positions

BARE = st.text("abcXYZ019_-", min_size=1, max_size=4)
ANY_KEY = st.one_of(BARE, st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=4))
VALUES = st.sampled_from(
    [
        ("1", 1),
        ("true", 1),
        ('"a # no comment"', 1),
        ('"quote \\" and = and ]"', 1),
        ("'C:\\path # no'", 1),
        ('"""first\nsecond # no\n[no.table]\nx = 1"""', 4),
        ("'''\nraw \\ ] } \n'''", 3),
        ('""""quoted""""', 1),
        ("[1, 2]", 1),
        ('[\n  "a, b", # a comment ]\n  [2],\n]', 4),
        ("2024-01-01T10:00:00Z", 1),
        ("[{ a = 1, b = [2] }]", 1),
    ]
)


def quoted(key: str) -> str:
    if key and all(character in "abcXYZ019_-" for character in key):
        return key
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Writer:
    """Writes TOML and notes where each key went."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: dict[tuple[str, ...], int] = {}

    def put(self, text: str) -> None:
        self.text += text

    def note(self, *path: str) -> None:
        for end in range(1, len(path) + 1):
            self.lines.setdefault(path[:end], self.text.count("\n") + 1)


@st.composite
def files(draw: st.DrawFn) -> Writer:
    writer = Writer()
    used: set[str] = set()
    for top in draw(st.lists(ANY_KEY, unique=True, max_size=4)):
        used.add(top)
        writer.put(draw(st.sampled_from(["", "\n", "# a comment with [brackets] and = \n", "   \t\n"])))
        below = draw(st.lists(ANY_KEY, unique=True, min_size=1, max_size=3))
        writer.note(top)
        writer.put(f"[{draw(st.sampled_from(['', ' ']))}{quoted(top)} ] # the header\n")
        for key in below:
            pair(writer, draw, top, key)
    return writer


def pair(writer: Writer, draw: st.DrawFn, top: str, key: str) -> None:
    style = draw(st.sampled_from(["plain", "dotted", "inline"]))
    value, _ = draw(VALUES)
    if style == "plain":
        writer.note(top, key)
        writer.put(f"{quoted(key)} = {value} # after\n")
    elif style == "dotted":
        writer.note(top, key, "inner")
        writer.put(f"{quoted(key)} . inner={value}\n")
    else:
        writer.note(top, key, "one")
        writer.put(f"{quoted(key)} = {{ one = {value}, ")
        writer.note(top, key, "two")
        writer.put("two.three = 3 }\n")
        writer.lines[top, key, "two", "three"] = writer.lines[top, key, "two"]


@settings(max_examples=200)
@given(files(), st.booleans())
def test_every_key_is_found_on_the_line_that_it_was_written_on(writer: Writer, windows: bool) -> None:
    text = writer.text.replace("\n", "\r\n") if windows else writer.text
    parsed = tomllib.loads(text)
    found = positions(text)
    assert found == writer.lines
    assert paths_of(parsed) <= found.keys()


def paths_of(table: dict[str, Any], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for key, value in table.items():
        found.add((*path, key))
        if isinstance(value, dict):
            found |= paths_of(value, (*path, key))
    return found


def test_tables_inside_tables_stand_where_they_are_first_named() -> None:
    text = "[databases.main]\nuse = 'sqlite'\n\n[databases.users]\nuse = 'x'\n"
    assert positions(text) == {
        ("databases",): 1,
        ("databases", "main"): 1,
        ("databases", "main", "use"): 2,
        ("databases", "users"): 4,
        ("databases", "users", "use"): 5,
    }


def test_an_array_of_tables_has_the_line_of_its_first_header() -> None:
    text = "a = 1\n[[rows]]\nx = 1\n[rows.deep]\ny = 2\n[[rows]]\nx = 2\n[end]\nz = 3\n"
    assert positions(text) == {("a",): 1, ("rows",): 2, ("end",): 8, ("end", "z"): 9}


def test_an_empty_file_has_no_positions() -> None:
    assert positions("") == {}
    assert positions("# nothing\n") == {}
