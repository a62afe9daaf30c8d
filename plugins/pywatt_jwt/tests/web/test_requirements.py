"""Roles and scopes, read from the claims that a token proved."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import Forbidden
from pywatt_jwt import Requirement, require, require_scopes
from pywatt_jwt.requirements import NOTHING_MORE, roles_of, scopes_of


def admits(requirement: Requirement, claims: dict[str, Any]) -> bool:
    try:
        requirement.check(claims)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    "claims",
    [
        {"roles": ["admin"]},
        {"roles": ["user", "admin"]},
        {"roles": "admin"},
        {"realm_access": {"roles": ["admin"]}},
        {"roles": ["user"], "realm_access": {"roles": ["admin"]}},
        {"realm_access.roles": ["admin"]},
    ],
)
def test_a_role_is_found(claims: dict[str, Any]) -> None:
    assert admits(require("admin"), claims)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"roles": None},
        {"roles": []},
        {"roles": ["Admin"]},
        {"roles": ["administrator"]},
        {"roles": "administrator"},
        {"roles": "user admin"},
        {"roles": "admin,user"},
        {"roles": ["admin "]},
        {"roles": [["admin"]]},
        {"roles": {"admin": True}},
        {"roles": [{"name": "admin"}]},
        {"roles": True},
        {"roles": 1},
        {"role": "admin"},
        {"ROLES": ["admin"]},
        {"realm_access": ["admin"]},
        {"realm_access": "admin"},
        {"realm_access": {"roles": {"admin": 1}}},
        {"resource_access": {"account": {"roles": ["admin"]}}},
        {"scope": "admin"},
    ],
)
def test_what_only_looks_like_a_role_is_none(claims: dict[str, Any]) -> None:
    assert not admits(require("admin"), claims)


def test_one_of_several_roles_is_enough_and_all_scopes_are_needed() -> None:
    assert admits(require("admin", "editor"), {"roles": ["editor"]})
    assert admits(require_scopes("read", "write"), {"scope": "write read more"})
    assert not admits(require_scopes("read", "write"), {"scope": "read"})


@pytest.mark.parametrize(
    ("claims", "admitted"),
    [
        ({"scope": "read"}, True),
        ({"scope": "openid read"}, True),
        ({"scp": ["read"]}, True),
        ({"scp": "read write"}, True),
        ({"scope": ["read", "write"]}, True),
        ({"scope": "openid", "scp": ["read"]}, True),
        ({}, False),
        ({"scope": "readonly"}, False),
        ({"scope": "READ"}, False),
        ({"scope": "no-read"}, False),
        ({"scope": "read,write"}, False),
        ({"scope": "read\twrite"}, False),
        ({"scope": {"read": 1}}, False),
        ({"scope": 5}, False),
        ({"roles": ["read"]}, False),
    ],
)
def test_scopes(claims: dict[str, Any], admitted: bool) -> None:
    assert admits(require_scopes("read"), claims) is admitted


def test_where_they_stand_can_be_said() -> None:
    claims = {"https://shop.example/roles": ["admin"], "app": {"groups": {"names": ["ops"]}}, "perms": "read"}
    assert admits(require("admin", claim="https://shop.example/roles"), claims)
    assert admits(require("ops", claim=["roles", "app.groups.names"]), claims)
    assert admits(require_scopes("read", claim="perms"), claims)
    assert not admits(require("admin", claim="https://shop.example"), claims)


def test_requirements_are_joined() -> None:
    both = require("admin") & require_scopes("write")
    assert admits(both, {"roles": ["admin"], "scope": "write"})
    assert not admits(both, {"roles": ["admin"]})
    assert not admits(both, {"scope": "write"})
    three = both & require("auditor")
    assert not admits(three, {"roles": ["admin"], "scope": "write"})
    assert admits(three, {"roles": ["admin", "auditor"], "scope": "write"})
    assert (three & require_scopes("read")).all_scopes == {"read", "write"}
    assert admits(NOTHING_MORE, {})
    assert not admits(NOTHING_MORE & require("admin"), {})


@pytest.mark.parametrize("wrong", [lambda: require(), lambda: require(""), lambda: require_scopes(), lambda: require("admin", 5)])  # type: ignore[arg-type]
def test_a_requirement_that_would_let_everybody_in_cannot_be_made(wrong: Any) -> None:
    with pytest.raises(ValueError, match="name at least one"):
        wrong()


def test_what_cannot_be_a_scope_or_a_claim_is_said() -> None:
    with pytest.raises(ValueError, match="'read write' is not one scope"):
        require_scopes("read write")
    for claim in ("", [], ["roles", ""]):
        with pytest.raises(ValueError, match="claim= names a claim"):
            require("admin", claim=claim)


def test_what_is_missing_is_said_for_the_log() -> None:
    with pytest.raises(Forbidden, match="the caller has none of the roles admin, editor"):
        require("editor", "admin").check({"roles": ["x"]})
    with pytest.raises(Forbidden, match="the caller lacks the scopes write"):
        require_scopes("read", "write").check({"scope": "read"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["admin", "read", "user", "admin read"]) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["roles", "scope", "realm_access", "admin", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["roles", "realm_access", "scope", "scp", "x", "realm_access.roles"]), JSON, max_size=5))
def test_whatever_claims_say_only_whole_texts_count(claims: dict[str, Any]) -> None:
    found = roles_of(claims) | scopes_of(claims)
    assert all(isinstance(name, str) for name in found)
    if admits(require("admin"), claims):
        assert any("admin" in _texts(place) for place in (claims.get("roles"), claims.get("realm_access.roles"), _inner(claims)))


def _texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _inner(claims: dict[str, Any]) -> Any:
    inner = claims.get("realm_access")
    return inner.get("roles") if isinstance(inner, dict) else None
