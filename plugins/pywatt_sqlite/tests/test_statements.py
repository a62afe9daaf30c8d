"""What the reader of statements finds, and what becomes of values."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import StorageError
from pywatt_core.statements import REMEMBERED
from pywatt_sqlite.statements import bound, read, reads, stored

QUOTED = ["'?'", "':a'", "'it''s ?'", '"?"', '"a""b:c"', "`?`", "[?:x]", "x'3f'"]
COMMENTS = ["-- ? :a\n", "/* ? :a */"]
PIECES = st.sampled_from([*QUOTED, *COMMENTS, "a::text", "col$x", "1e3", " ", "\n", "é", "(", ")"])


@given(st.lists(st.one_of(PIECES, st.just("?")), max_size=30))
def test_only_question_marks_outside_text_names_and_comments_count(pieces: list[str]) -> None:
    assert read("SELECT " + " ".join(pieces)).positional == pieces.count("?")


@given(st.lists(st.one_of(PIECES, st.sampled_from([":a", ":b_2", ":Çok"])), max_size=30))
def test_only_names_outside_text_names_and_comments_count(pieces: list[str]) -> None:
    assert set(read("SELECT " + " ".join(pieces)).names) == {piece[1:] for piece in pieces if piece[0] == ":"}


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_fail_otherwise_than_with_a_storage_error(sql: str) -> None:
    with suppress(StorageError):
        read(sql)


@pytest.mark.parametrize(
    ("sql", "word", "is_read"),
    [
        ("select 1", "SELECT", True),
        ("  -- a comment with INSERT\n /* and DELETE */ Select 1", "SELECT", True),
        ("(VALUES (1))", "VALUES", True),
        ("with a as (select 1) insert into t select * from a", "WITH", True),
        ("PRAGMA table_info(t)", "PRAGMA", True),
        ("insert into t values (1) returning id", "INSERT", False),
        ("REPLACE INTO t VALUES (1)", "REPLACE", False),
        ("", "", False),
    ],
)
def test_the_first_word_says_whether_a_reader_is_asked(sql: str, word: str, is_read: bool) -> None:
    assert (read(sql).word, reads(read(sql))) == (word, is_read)


@pytest.mark.parametrize("word", ["BEGIN", "commit", "END", "Rollback", "SAVEPOINT x", "RELEASE x", "/* now */ ROLLBACK TO x"])
def test_transactions_are_not_begun_or_ended_by_statements(word: str) -> None:
    with pytest.raises(StorageError, match=r"database\.transaction"):
        read(word)


@pytest.mark.parametrize("marker", ["?1", "@name", "$name", "#name"])
def test_markers_that_only_sqlite_knows_are_refused(marker: str) -> None:
    with pytest.raises(StorageError, match="use . or :name"):
        read(f"SELECT {marker}")


def test_a_mixture_of_markers_is_refused() -> None:
    with pytest.raises(StorageError, match="mixes"):
        read("SELECT ? + :a")


@pytest.mark.parametrize(
    ("sql", "params", "complaint"),
    [
        ("SELECT ?", (), "1 parameters and 0 values"),
        ("SELECT ?", (1, 2), "1 parameters and 2 values"),
        ("SELECT 1", (1,), "0 parameters and 1 values"),
        ("SELECT :b + :a", (1, 2), r"a, b.*pass a mapping"),
        ("SELECT ?", {"a": 1}, "pass a tuple or list"),
        ("SELECT :a, :b, :c", {"b": 1}, "no value was given for a, c"),
        ("SELECT ?", "x", "params is a str"),
        ("SELECT ?", b"x", "params is a bytes"),
        ("SELECT ?", {1}, "params is a set"),
        ("SELECT ?", None, "params is a NoneType"),
        ("SELECT ?", (1j,), "parameter 1 is a complex"),
        ("SELECT ?, ?", (1, [1]), "parameter 2 is a list"),
        ("SELECT :a", {"a": {}}, "parameter a is a dict"),
        ("SELECT :a", {"a": object()}, "parameter a is an object"),
        ("SELECT ?", (timedelta(1),), "parameter 1 is a timedelta"),
        ("SELECT ?", (float("nan"),), "parameter 1 is not a number"),
    ],
)
def test_values_that_do_not_fit_are_refused(sql: str, params: tuple[object, ...], complaint: str) -> None:
    with pytest.raises(StorageError, match=complaint):
        bound(read(sql), params)


def test_moments_decimals_and_uuids_become_text() -> None:
    moment = datetime(2024, 5, 6, 7, 8, 9, 120)
    assert stored(moment, 1) == "2024-05-06 07:08:09.000120"
    assert stored(moment.replace(tzinfo=timezone(timedelta(hours=2))), 1) == "2024-05-06 05:08:09.000120+00:00"
    assert stored(date(2024, 5, 6), 1) == "2024-05-06"
    assert stored(time(7, 8), 1) == "07:08:00"
    assert stored(Decimal("1.10"), 1) == "1.10"
    assert stored(UUID(int=1), 1) == "00000000-0000-0000-0000-000000000001"


@given(st.lists(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=9))])), min_size=2))
def test_moments_sort_as_text_as_they_do_in_time(moments: list[datetime]) -> None:
    try:
        texts = [stored(moment, 1) for moment in moments]
    except OverflowError:
        return  # beyond the calendar once it is expressed in UTC
    assert sorted(texts) == [stored(moment, 1) for moment in sorted(moments)]


def test_a_very_long_statement_is_read_without_being_remembered() -> None:
    sql = "SELECT ? -- " + "x" * REMEMBERED
    assert read(sql) is not read(sql)
    assert read("SELECT ?") is read("SELECT ?")
    assert read(sql).positional == 1
