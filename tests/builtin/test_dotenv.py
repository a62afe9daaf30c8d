"""``.env`` files: what every line means, and what is said about a line that means nothing."""

from __future__ import annotations

import io

import dotenv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.builtin.dotenv import parse_dotenv
from pywatt_core.errors import SecretError

LINES = [
    ("A=b", "b"),
    ("A=", ""),
    ("A = b ", "b"),
    ("\tA\t=\tb\t", "b"),
    ("export A=b", "b"),
    ("  export   A=b", "b"),
    ("A=b # comment", "b"),
    ("A=b\t# comment", "b"),
    ("A=b#no comment", "b#no comment"),
    ("A=#no comment", "#no comment"),
    ("A= # comment", ""),
    ("A=b c  d", "b c  d"),
    ("A=$HOME ${HOME} `x`", "$HOME ${HOME} `x`"),
    ("A=a=b=c", "a=b=c"),
    ("A='b'", "b"),
    ("A=''", ""),
    ("A='b # no' # comment", "b # no"),
    (r"A='b\n\'", r"b\n" + "\\"),
    ("A='two\nlines'", "two\nlines"),
    ('A="b"', "b"),
    ('A=""', ""),
    ('A="b # no" # comment', "b # no"),
    (r'A="a\nb\tc\rd\\e\"f\$g\qh"', 'a\nb\tc\rd\\e"f$g\\qh'),
    ('A="two\nlines"  # comment', "two\nlines"),
    ('A="joined\\\nline"', "joinedline"),
    ('A="it\'s"', "it's"),
    ("A='say \"hi\"'", 'say "hi"'),
    ("A=it's", "it's"),
    ("A=ü😀", "ü😀"),
    ("\n\n# comment\n   # comment\nA=b\n\n", "b"),
    ("A=b\r\nC=d\r\n", "b"),
    ("A=first\nA=b", "b"),
]


@pytest.mark.parametrize(("text", "value"), LINES)
def test_a_line_means_what_shells_and_libraries_take_it_for(text: str, value: str) -> None:
    assert parse_dotenv(text, ".env")["A"] == value


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("A=b\ncanary\n", 2, "is not of the form NAME=value"),
        ("canary", 1, "is not of the form NAME=value"),
        ("1A=canary", 1, "is not of the form"),
        ("A B=canary", 1, "is not of the form"),
        ("=canary", 1, "is not of the form"),
        ("\n\nA='canary", 3, "has no closing '"),
        ('A="canary\n\n', 1, 'has no closing "'),
        ('A="canary\\"', 1, 'has no closing "'),
        ("A='x' canary", 1, "has something after the closing quote"),
        ('X="1\n2\n3"\nA="x"canary', 4, "has something after the closing quote"),
        ("A=canary\0", 1, "has a NUL character"),
    ],
)
def test_a_line_that_means_nothing_is_named_by_file_and_line_and_never_shown(text: str, line: int, complaint: str) -> None:
    with pytest.raises(SecretError) as caught:
        parse_dotenv(text, "/project/.env")
    assert str(caught.value).startswith(f"/project/.env:{line}: the line {complaint}")
    assert "canary" not in str(caught.value)


NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,5}\Z")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


@given(st.dictionaries(NAMES, TEXTS, max_size=4))
def test_whatever_is_quoted_comes_back(values: dict[str, str]) -> None:
    lines = [f'{name}="' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for name, value in values.items()]
    assert parse_dotenv("\n".join(lines), ".env") == values


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_dotenv(text, ".env")
    except SecretError as error:
        assert str(error).startswith(".env:")


SIMPLE = st.text("ab=# '\"$\\\t", max_size=8)


@given(SIMPLE)
def test_plain_values_are_what_python_dotenv_reads(value: str) -> None:
    if value.strip()[:1] in ("'", '"') or value.lstrip()[:1] == "#" != value[:1]:  # theirs takes "A= # comment" for a value
        return
    theirs = dotenv.dotenv_values(stream=io.StringIO(f"A={value}\n"), interpolate=False)
    assert parse_dotenv(f"A={value}\n", ".env") == theirs
