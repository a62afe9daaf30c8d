"""What a source or an authenticator can do is seen by what it has; what is missing is never assumed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

from pywatt_core import interfaces
from pywatt_core.access import (
    Authenticator,
    ListedSource,
    SecretInfo,
    SecretSource,
    TokenIssuer,
    WatchedSource,
    WritableSource,
)


class Least:
    async def get(self, name: str) -> str | None:
        return None


class Listed(Least):
    async def names(self) -> Collection[str]:
        return ()

    async def describe(self, name: str) -> SecretInfo | None:
        return None


class Watched(Least):
    async def changes(self) -> AsyncIterator[frozenset[str]]:
        yield frozenset()


class Writable(Least):
    async def set(self, name: str, value: str) -> None: ...


class Checks:
    async def authenticate(self, token: str) -> Mapping[str, Any]:
        return {}


class Issues(Checks):
    async def issue(self, claims: Mapping[str, Any]) -> str:
        return ""


def test_a_source_needs_get_alone_and_the_rest_is_seen() -> None:
    kinds = (SecretSource, ListedSource, WatchedSource, WritableSource)
    seen = {type(one).__name__: [isinstance(one, kind) for kind in kinds] for one in (Least(), Listed(), Watched(), Writable())}
    assert seen == {
        "Least": [True, False, False, False],
        "Listed": [True, True, False, False],
        "Watched": [True, False, True, False],
        "Writable": [True, False, False, True],
    }


def test_an_authenticator_that_makes_no_tokens_is_no_issuer() -> None:
    assert (isinstance(Checks(), Authenticator), isinstance(Checks(), TokenIssuer)) == (True, False)
    assert isinstance(Issues(), TokenIssuer)


def test_plugins_find_both_where_they_find_all_other_interfaces() -> None:
    assert interfaces.SecretSource is SecretSource
    assert interfaces.Authenticator is Authenticator
