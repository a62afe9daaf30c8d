"""Where the reader of statements and the real server have to agree: what is text to the one is text to the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_postgres.database import PostgresDatabase

    Opened = Callable[..., AbstractAsyncContextManager[PostgresDatabase]]

ANY = st.text(alphabet="'\"?:a$\\-/*|&[] \n1€", max_size=20)
TAGS = st.sampled_from(["$$", "$a$", "$tag_1$"])


def escaped(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def dollars(tag: str, text: str) -> tuple[str, str]:
    inside = text.replace("$", "?")
    return f"{tag}{inside}{tag}", inside


COLUMNS = st.one_of(
    ANY.map(lambda text: ("'" + text.replace("'", "''") + "'", text)),
    ANY.map(lambda text: (escaped(text), text)),
    st.builds(dollars, TAGS, ANY),
    st.sampled_from(
        [
            ("(ARRAY[1, 2, 3])[2:3]::text", "{2,3}"),
            ("('{\"a\": 1}'::jsonb ?| array['a', '?'])::text", "true"),
            ("(5 % 3)::text", "2"),
            ("'12:30:59'::time::text", "12:30:59"),
            ("U&'d\\0061t:a?'", "dat:a?"),
        ]
    ),
)
"""An expression that holds no parameter, and the text that it is."""
COMMENTS = st.one_of(
    st.just(" "),
    ANY.map(lambda text: f" -- {text}".replace("\n", " ") + "\n"),
    ANY.map(lambda text: "/* ' \" $$ " + text.replace("/*", "").replace("*/", "").replace("*", "").replace("/", "") + " /* ? :a */ ' */"),
)
PARAMETER = st.just(None)


def statement(columns: list[tuple[str, str] | None], comments: list[str], values: list[str], *, named: bool) -> tuple[str, Any, list[str]]:
    """SQL that selects the columns, its parameters, and what it has to give."""
    left, expected, parts, names = iter(values), [], [], {}
    for number, (column, comment) in enumerate(zip(columns, comments, strict=True)):
        if column is None:
            value = next(left)
            names[f"p{number}"] = value
            sql = f":p{number}::text" if named else "?::text"
        else:
            sql, value = column
        parts.append(f'{comment}{sql} AS "?:a {number}"')
        expected.append(value)
    return "SELECT " + ",".join(parts), names if named else tuple(names.values()), expected


def test_whatever_stands_between_them_parameters_and_texts_arrive_as_they_are(opened: Opened) -> None:
    with asyncio.Runner() as runner:
        entered = opened()
        database = runner.run(entered.__aenter__())
        try:

            @settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
            @given(data=st.data(), named=st.booleans())
            def agree(data: st.DataObject, named: bool) -> None:
                columns = data.draw(st.lists(st.one_of(COLUMNS, PARAMETER), min_size=1, max_size=6))
                comments = data.draw(st.lists(COMMENTS, min_size=len(columns), max_size=len(columns)))
                values = data.draw(st.lists(ANY, min_size=columns.count(None), max_size=columns.count(None)))
                sql, params, expected = statement(columns, comments, values, named=named)
                row = runner.run(database.fetch_one(sql, params))
                assert row is not None
                assert list(row.values()) == expected

            agree()
        finally:
            runner.run(entered.__aexit__(None, None, None))
