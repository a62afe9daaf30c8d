"""What is open, by name, and what is said about names that are not."""

from __future__ import annotations

import pytest

from pywatt_core.config import Section, Settings
from pywatt_core.errors import ConfigError
from pywatt_core.opened import Opened, name_of_the_one, the_one

BOTH = Settings(
    caches={"one": Section("memory", {}, "caches.one"), "two": Section("memory", {}, "caches.two")},
    auth={"a": Section("jwt", {}, "auth.a"), "b": Section("jwt", {}, "auth.b")},
)


def test_main_comes_before_others_and_one_alone_needs_no_name() -> None:
    assert the_one({"a": 1, "main": 2}, Settings(), "caches") == 2
    assert name_of_the_one({"a": 1}, Settings(), "caches") == "a"


def test_of_several_without_a_main_one_has_to_be_named() -> None:
    with pytest.raises(ConfigError, match=r'there are 2: one, two. Call one of them main, or use state.caches\["one"\]'):
        the_one(Opened({"one": 1, "two": 2}, BOTH, "caches"), BOTH, "caches")
    with pytest.raises(ConfigError, match=r'state.authenticator is \[auth.main\].*or use state.authenticators\["a"\]'):
        the_one(Opened({"a": 1, "b": 2}, BOTH, "auth"), BOTH, "auth")


@pytest.mark.parametrize(
    ("kind", "asked", "example"),
    [
        ("databases", "state.databases['other']", 'use = "sqlite"'),
        ("caches", "state.caches['other']", 'use = "memory"'),
        ("auth", "state.authenticators['other']", 'use = "jwt"'),
    ],
)
def test_a_name_that_is_not_configured_is_told_with_the_lines_to_add(kind: str, asked: str, example: str) -> None:
    with pytest.raises(ConfigError) as told:
        Opened({}, Settings(), kind)["other"]
    assert str(told.value).startswith(f"{asked}: the configuration names no ")
    assert f"[{kind}.other]\n{example}" in str(told.value)


def test_what_is_configured_and_not_open_is_a_fault_of_ours() -> None:
    with pytest.raises(KeyError):
        Opened({}, BOTH, "caches")["one"]
