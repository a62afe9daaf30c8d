"""Parameters are found where they stand and nowhere else, whatever is quoted how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import StorageError
from pywatt_core.statements import read, shortened

DIALECTS = ("sqlite", "postgresql", "mysql")

EVERYWHERE = ["'?:a'", "'it''s ?'", "/* :a ? */", "-- ? :a\n", "1", "x", "=", ",", "(", ")", "'%'", "5 % 2", ":=", "/* ' ? */", "''", "\n"]
OPAQUE = {
    "sqlite": [*EVERYWHERE, '"?"', '"a""?"', "`?:a`", "[?:a]", "'\\'", "::"],
    "postgresql": [
        *EVERYWHERE,
        *('"?"', '"a""?:b"', "'\\'", "::int", "E'\\'?:a'", "e'\\\\'", "$$ ? :a ' $$", "$t$ $$ ? $t$", "/* /* ? */ :a */", "a[i:j]"),
        *("a[b[1]:j]", "j ?| y", "j ?& y", "x$y$z", "name$1"),
    ],
    "mysql": [*EVERYWHERE, '"?"', '"a\\"?:b"', "'\\'?:a'", "`?``:a`", "# ? :a\n", "-- ?\n", "'\\\\'", "@a:=1"],
}
"""By dialect: pieces of statements that hold no parameter, whatever they look like."""


@st.composite
def texts(draw, dialect, markers):
    """A statement of opaque pieces and markers, and how many markers it has."""
    parts = draw(st.lists(st.sampled_from([*OPAQUE[dialect], *markers]), max_size=12))
    return parts, " ".join(parts)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_a_question_mark_is_a_parameter_exactly_where_it_is_code(dialect, data):
    parts, text = data.draw(texts(dialect, ["?"]))
    statement = read(f"SELECT {text}", dialect)
    assert (statement.positional, statement.names) == (parts.count("?"), ())
    for part in parts:
        if part != "?":
            assert part in statement.sql


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_a_name_is_a_parameter_exactly_where_it_is_code(dialect, data):
    parts, text = data.draw(texts(dialect, [":a", ":größe", ":b_2"]))
    named = [part[1:] for part in parts if part in (":a", ":größe", ":b_2")]
    statement = read(f"SELECT {text}", dialect)
    assert statement.positional == 0
    assert list(statement.names) == (named if dialect == "mysql" else list(dict.fromkeys(named)))


@pytest.mark.parametrize("dialect", DIALECTS)
@given(sql=st.text(alphabet="'\"`[]$:?%\\-*/#aE1 \n;|&@", max_size=60))
def test_any_text_is_read_or_refused_with_a_word(dialect, sql):
    try:
        statement = read(sql, dialect)
    except StorageError as error:
        assert "use" in str(error)
    else:
        if not statement.positional and not statement.names:
            assert statement.sql.count("'") == sql.count("'")


@pytest.mark.parametrize(
    ("dialect", "sql", "expected"),
    [
        ("sqlite", "a = ? AND b = ?", "a = ? AND b = ?"),
        ("sqlite", "a = :x AND b = :x", "a = :x AND b = :x"),
        ("postgresql", "a = ? AND b = ?", "a = $1 AND b = $2"),
        ("postgresql", "a = :x AND b = :y AND c = :x", "a = $1 AND b = $2 AND c = $1"),
        ("postgresql", "CASE WHEN a THEN:x END", "CASE WHEN a THEN $1 END"),
        ("postgresql", "a ?? 'k' AND b = ?", "a ? 'k' AND b = $1"),
        ("postgresql", "a ? 'k' AND b = :x", "a ? 'k' AND b = $1"),
        ("postgresql", "x || ?||'y'", "x || $1||'y'"),
        ("postgresql", "a[?:?]", "a[$1:$2]"),
        ("postgresql", "SELECT :a::int", "SELECT $1::int"),
        ("mysql", "a LIKE '%s' AND b = ?", "a LIKE '%s' AND b = ?"),
        ("mysql", "a LIKE '%'", "a LIKE '%'"),
        ("mysql", "a = :x OR b = :x", "a = ? OR b = ?"),
        ("mysql", "5--?", "5--?"),
    ],
)
def test_each_driver_sees_its_own_markers(dialect, sql, expected):
    assert read(sql, dialect).sql == expected


@pytest.mark.parametrize(
    ("dialect", "sql", "text"),
    [
        ("sqlite", "a = ?1", r"\?1 cannot mark a parameter here: use \? or :name"),
        ("sqlite", "a = @x", "@x cannot mark"),
        ("postgresql", "a = $1", r"\$1 cannot mark"),
        ("mysql", "a = ? AND b = :b", "mixes"),
        ("sqlite", "a = ? AND b = :b", "mixes"),
        ("postgresql", " -- now\n Begin", "BEGIN cannot be run as a statement: use `async with database"),
        ("mysql", "START TRANSACTION", "START cannot be run"),
    ],
)
def test_what_belongs_elsewhere_is_refused(dialect, sql, text):
    with pytest.raises(StorageError, match=text):
        read(sql, dialect)


def test_values_are_put_in_the_drivers_order():
    assert read("a = ? AND b = ?", "postgresql").arrange((1, 2)) == (1, 2)
    assert read("a = :x AND b = :y AND c = :x", "postgresql").arrange({"x": 1, "y": 2, "unused": 3}) == [1, 2]
    assert read("a = :x AND b = :y AND c = :x", "mysql").arrange({"x": 1, "y": 2}) == [1, 2, 1]


@pytest.mark.parametrize(
    ("sql", "params", "text"),
    [
        ("a = ?", {"a": 1}, "marks its parameters with"),
        ("a = :a", (1,), r"names its parameters \(a\): pass a mapping"),
        ("a = :a AND b = :b", {"a": 1}, "no value was given for b"),
        ("a = ?", (), "has 1 parameters and 0 values were given"),
        ("a = ?", "text", "params is a str"),
        ("a = ?", 7, "params is an int; pass"),
    ],
)
def test_values_that_do_not_fit_are_refused_without_being_shown(sql, params, text):
    with pytest.raises(StorageError, match=text) as caught:
        read(sql, "postgresql").arrange(params)
    assert sql in str(caught.value)


def test_an_error_shows_a_long_statement_cut():
    assert shortened("SELECT\n   1") == "SELECT 1"
    assert len(shortened("x" * 100_000)) == 201


@pytest.mark.parametrize("sql", [None, 4, b"SELECT 1", object()])
def test_what_is_no_text_is_no_statement(sql):
    with pytest.raises(StorageError, match=f"^a statement is a str, not {type(sql).__name__}$"):
        read(sql, "sqlite")
