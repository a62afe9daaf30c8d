"""Numbered parameters of PostgreSQL, in PyWatt's own spelling: nothing inside text and comments is one."""

from __future__ import annotations

import pytest

from pywatt_core.errors import StorageError
from pywatt_core.sql.numbered import with_names
from pywatt_core.statements import read


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT $1::int, $2, $1", "SELECT  $1 ::int,  $2 ,  $1 "),
        ("SELECT '$1', \"$1\", $$ $1 $$, E'\\'$1' -- $1\n, $2", "SELECT '$1', \"$1\", $$ $1 $$, E'\\'$1' -- $1\n,  $1 "),
        ("SELECT /* $1 /* $1 */ $1 */ a[$1:$2]", "SELECT /* $1 /* $1 */ $1 */ a[ $1 : $2 ]"),
        ("SELECT a ->> $1 WHERE b ?| $2", "SELECT a ->>  $1  WHERE b ?|  $2 "),
    ],
)
def test_numbers_become_names_which_the_driver_gets_as_numbers_again(sql: str, expected: str) -> None:
    named, values = with_names(sql, ["one", "two"])
    assert values == {"p1": "one", "p2": "two"}
    statement = read(named, "postgresql")
    assert statement.sql == expected
    assert list(statement.arrange(values)) == [values[name] for name in statement.names]


def test_a_statement_without_numbers_stays_as_it_is() -> None:
    assert with_names("SELECT ? || '$1'", ["x"]) == ("SELECT ? || '$1'", ["x"])


@pytest.mark.parametrize("sql", ["SELECT $0", "SELECT $3", "SELECT $99999999999999999999"])
def test_a_number_without_a_value_is_refused(sql: str) -> None:
    with pytest.raises(StorageError, match=r"has no value: 2 were given"):
        with_names(sql, [1, 2])
