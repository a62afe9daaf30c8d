"""What claims have to say, at every edge of time; and as what they are handed on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry

from pywatt_core.errors import ConfigError, ExpiredToken, InvalidToken
from pywatt_core.http.bearer import refusal_of
from pywatt_jwt import ExpiredSignature, InvalidClaims, JwtConfig, SerializationError
from pywatt_jwt.claims import ClaimRules, reader_of

from .making import NOW, SECRET, living

BASE: dict[str, Any] = {"secret_key": SECRET}


def check(claims: dict[str, Any], **options: Any) -> str:
    """The reason why claims are refused at `NOW`; "" where they are not."""
    try:
        ClaimRules(JwtConfig(**BASE, **options)).check(claims, NOW)
    except InvalidClaims as error:
        assert error.reason
        assert isinstance(error, ExpiredToken) == (error.reason == "ExpiredSignature")
        assert refusal_of(error).body.decode() == f'{{"error":"Unauthorized: {error.reason}"}}'
        return error.reason
    return ""


# ── times ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("exp", "reason"),
    [
        (NOW + 1, ""),
        (NOW, ""),
        (NOW - 59, ""),
        (NOW - 59.999, ""),
        (NOW - 60, "ExpiredSignature"),
        (NOW - 61, "ExpiredSignature"),
        (0, "ExpiredSignature"),
        (-1, "ExpiredSignature"),
        (-(10**400), "ExpiredSignature"),
        (10**400, ""),
        (1e300, ""),
        (-1e300, "ExpiredSignature"),
        (None, "Missing required claim: exp"),
        ("9999999999", "Missing required claim: exp"),
        (True, "Missing required claim: exp"),
        ([], "Missing required claim: exp"),
        ({}, "Missing required claim: exp"),
        (math.inf, "Missing required claim: exp"),
        (math.nan, "Missing required claim: exp"),
        (-math.inf, "Missing required claim: exp"),
    ],
)
def test_a_token_ends_when_its_time_and_the_leeway_are_over(exp: Any, reason: str) -> None:
    assert check({"exp": exp}) == reason


def test_without_leeway_a_token_ends_at_its_second() -> None:
    assert check({"exp": NOW}, leeway=0) == "ExpiredSignature"
    assert check({"exp": NOW + 0.001}, leeway=0) == ""


@pytest.mark.parametrize("name", ["nbf", "iat"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (NOW, ""),
        (0, ""),
        (-5, ""),
        (NOW + 60, ""),
        (NOW + 60.001, "ImmatureSignature"),
        (NOW + 3600, "ImmatureSignature"),
        (10**400, "ImmatureSignature"),
        (1e300, "ImmatureSignature"),
        (None, ""),
        ("0", "InvalidClaimFormat"),
        (True, "InvalidClaimFormat"),
        (False, "InvalidClaimFormat"),
        ([], "InvalidClaimFormat"),
        ({}, "InvalidClaimFormat"),
        (math.nan, "InvalidClaimFormat"),
        (-math.inf, "InvalidClaimFormat"),
    ],
)
def test_a_token_from_the_future_is_refused(name: str, value: Any, reason: str) -> None:
    assert check(living(**{name: value})) == (f"{reason}: {name}" if reason == "InvalidClaimFormat" else reason)


def test_the_inherited_way_looks_whether_there_is_an_end_and_not_when() -> None:
    assert check({"exp": 1}, compat_no_exp_check=True) == ""
    assert check({"exp": 1.5}, compat_no_exp_check=True, required_claims=[]) == ""
    assert check({}, compat_no_exp_check=True, required_claims=[]) == "Missing required claim: exp"
    assert check({"exp": "1"}, compat_no_exp_check=True) == "Missing required claim: exp"
    assert check({"exp": 1, "nbf": NOW + 3600}, compat_no_exp_check=True) == "ImmatureSignature"


def test_an_end_may_be_left_out_only_where_the_operator_says_so() -> None:
    assert check({"sub": "a"}) == "Missing required claim: exp"
    assert check({"sub": "a"}, required_claims=["sub"]) == ""
    assert check({"sub": "a", "exp": 1}, required_claims=["sub"]) == "ExpiredSignature"
    assert check(living(), required_claims=["exp", "sub", "jti"]) == "Missing required claim: jti"
    assert check(living(jti=None), required_claims=["jti"]) == "Missing required claim: jti"


# ── who, and for whom ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("issuer", "reason"),
    [
        ("a", ""), ("b", ""), ("A", "InvalidIssuer"), ("a/", "InvalidIssuer"), ("", "InvalidIssuer"), (None, "Missing required claim: iss"),
        (["a"], "InvalidClaimFormat: iss"), (5, "InvalidClaimFormat: iss"), ({"a": 1}, "InvalidClaimFormat: iss"),
    ],
)  # fmt: skip
def test_a_token_is_of_an_issuer_that_is_named(issuer: Any, reason: str) -> None:
    assert check(living(iss=issuer), issuer=["a", "b"]) == reason


@pytest.mark.parametrize(
    ("audience", "named", "nobody_named"),
    [
        ("shop", "", "InvalidAudience"),
        (["shop"], "", "InvalidAudience"),
        (["x", "shop"], "", "InvalidAudience"),
        (["x", "other"], "", "InvalidAudience"),
        ("Shop", "InvalidAudience", "InvalidAudience"),
        (["x"], "InvalidAudience", "InvalidAudience"),
        ("", "InvalidAudience", "InvalidAudience"),
        ([], "Missing required claim: aud", ""),
        (None, "Missing required claim: aud", ""),
        (5, "InvalidClaimFormat: aud", "InvalidClaimFormat: aud"),
        ({"shop": 1}, "InvalidClaimFormat: aud", "InvalidClaimFormat: aud"),
        (["shop", 5], "InvalidClaimFormat: aud", "InvalidClaimFormat: aud"),
        ([["shop"]], "InvalidClaimFormat: aud", "InvalidClaimFormat: aud"),
        (True, "InvalidClaimFormat: aud", "InvalidClaimFormat: aud"),
        ("shop other", "InvalidAudience", "InvalidAudience"),
    ],
)
def test_a_token_is_for_us_or_for_nobody(audience: Any, named: str, nobody_named: str) -> None:
    assert check(living(aud=audience), audience=["shop", "other"]) == named
    assert check(living(aud=audience)) == nobody_named


@pytest.mark.parametrize("name", ["sub", "jti", "iss"])
@pytest.mark.parametrize("value", [5, True, [], ["a"], {}, 1.5])
def test_names_are_texts(name: str, value: Any) -> None:
    assert check(living(**{name: value})) == f"InvalidClaimFormat: {name}"


# ── against joserfc ─────────────────────────────────────────────────────────────────────────────────────────────────

TIMES = st.one_of(
    st.none(), st.integers(int(NOW) - 200, int(NOW) + 200), st.floats(NOW - 200, NOW + 200), st.booleans(), st.text(max_size=3),
    st.floats(), st.lists(st.integers(), max_size=1),
)  # fmt: skip
NAMES = st.one_of(st.none(), st.sampled_from(["a", "b", ""]), st.integers(), st.lists(st.sampled_from(["a", "b", 5]), max_size=2))


@given(
    st.fixed_dictionaries({}, optional={"exp": TIMES, "nbf": TIMES, "iat": TIMES, "iss": NAMES, "aud": NAMES, "sub": NAMES, "jti": NAMES})
)
def test_what_we_accept_joserfc_accepts_too(claims: dict[str, Any]) -> None:
    if check(claims, issuer="a", audience="a"):
        return
    present = {name: value for name, value in claims.items() if value is not None}
    registry = JWTClaimsRegistry(
        now=int(NOW), leeway=61, exp={"essential": True}, iss={"essential": True, "value": "a"}, aud={"essential": True, "value": "a"}
    )  # its clock has whole seconds: one more of leeway
    try:
        registry.validate(present)
    except JoseError as error:  # pragma: no cover
        pytest.fail(f"joserfc refuses what was accepted: {error}")


# ── types ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Member:
    sub: str
    exp: int
    roles: list[str] = field(default_factory=list)
    plan: Literal["free", "paid"] = "free"


class MemberStruct(msgspec.Struct, kw_only=True):
    sub: str
    exp: int | float
    roles: list[str] = []
    plan: Literal["free", "paid"] = "free"


class MemberModel(pydantic.BaseModel):
    sub: str
    exp: int
    roles: list[str] = []
    plan: Literal["free", "paid"] = "free"


class MemberDict(TypedDict, total=False):
    sub: str
    exp: int
    roles: list[str]
    plan: Literal["free", "paid"]


KINDS = [Member, MemberStruct, MemberModel, MemberDict]


@pytest.mark.parametrize("kind", KINDS)
def test_claims_become_what_is_asked_for(kind: Any) -> None:
    read = reader_of(kind)
    assert read is not None
    made = read(living(roles=["admin"], unknown="is ignored"))
    found = made if isinstance(made, dict) else {name: getattr(made, name) for name in ("sub", "roles")}
    assert isinstance(made, dict if kind is MemberDict else kind)
    assert (found["sub"], found["roles"]) == ("ada", ["admin"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "value"), [("sub", 5), ("roles", "canary-role"), ("plan", "canary-plan"), ("roles", ["canary", 5])])
def test_claims_that_do_not_fit_are_refused_and_the_field_named(kind: Any, name: str, value: Any) -> None:
    read = reader_of(kind)
    assert read is not None
    with pytest.raises(SerializationError) as caught:
        read(living(**{name: value}))
    assert name in str(caught.value)
    assert "canary" not in f"{caught.value} {caught.value.__cause__}"
    assert caught.value.reason == "JSON error"
    assert isinstance(caught.value, InvalidToken)
    assert not isinstance(caught.value, ExpiredSignature)


def test_a_check_of_the_types_own_refuses_without_showing_what_it_said() -> None:
    class Strict(pydantic.BaseModel):
        sub: str

        @pydantic.field_validator("sub")
        @classmethod
        def known(cls, value: str) -> str:
            raise ValueError(f"canary {value}")

    read = reader_of(Strict)
    assert read is not None
    with pytest.raises(SerializationError) as caught:
        read(living(sub="canary"))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("kind", [None, dict, Any])
def test_without_a_type_claims_stay_a_dict(kind: Any) -> None:
    assert reader_of(kind) is None


def test_a_type_that_can_never_be_read_is_the_programs_fault() -> None:
    class Plain:
        def __init__(self, sub: str) -> None:
            self.sub = sub

    read = reader_of(Plain)
    assert read is not None
    with pytest.raises(ConfigError, match="Plain"):
        read(living())
