"""Any text is a key; Memcached's own rules hold for what is sent."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from pywatt_memcached.keys import lock_name, token_name, value_name

ALLOWED = re.compile(rb"[!-~]{1,250}\Z")
PREFIX = st.text("abc", max_size=100).map(lambda text: f"{text}:".encode() if text else b"")


@given(PREFIX, st.text(st.characters(), max_size=400))
def test_every_name_is_one_that_memcached_takes(prefix: bytes, key: str) -> None:
    for name in (value_name(prefix, key), lock_name(prefix, key), token_name(prefix)):
        assert ALLOWED.match(name)


@given(st.lists(st.text("aü !#:\n", max_size=5), min_size=2, unique=True))
def test_different_keys_have_different_names(keys: list[str]) -> None:
    names = [function(b"", key) for key in keys for function in (value_name, lock_name)]
    assert len(set(names)) == len(names)


def test_ordinary_keys_are_sent_as_they_are() -> None:
    assert value_name(b"", "session:ada") == b"session:ada"
    assert value_name(b"shop:", "a") == b"shop:a"
    assert lock_name(b"shop:", "report") == b"!lock:shop:report"
    assert value_name(b"", "k" * 250) == b"k" * 250
    assert value_name(b"", "k" * 251).startswith(b"#")
    for odd in ("", "#a", "!lock:a", "a b", "ü"):
        assert value_name(b"", odd).startswith(b"#")
