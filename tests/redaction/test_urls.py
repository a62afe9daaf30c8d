"""The password in a URL, and only that."""

from __future__ import annotations

import pytest

from pywatt_core.redaction import url_password


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgres://u:p@h/db", "p"),
        ("postgresql+asyncpg://u:p%40ss@h:5432", "p%40ss"),
        ("redis://:only@h", "only"),
        ("postgres://u:a:b@h", "a:b"),
        ("postgres://u:a?b#c@h/db", "a?b#c"),
        ("postgres://u@h/db", None),
        ("postgres://h/a:b@c", None),
        ("not a url: x@y", None),
        ("", None),
    ],
)
def test_the_password_of_a_url_is_found(url: str, password: str | None) -> None:
    assert url_password(url) == password
