"""Tokens are made: with the key that the configuration says, with the times and names that it says, and nothing that would be refused."""

from __future__ import annotations

import base64
import gc
import json
import math
import weakref
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pydantic
import pytest
from joserfc import jwt

from pywatt_core.redaction import Secret
from pywatt_jwt import JwtAuthError, JwtConfig, JwtIssuer, JwtValidator, create_token

from .making import KINDS, NOW, SECRET, key_of, private_pem, public_pem


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    head, body, _ = token.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(one + "===")) for one in (head, body))


def config(alg: str = "HS256", **more: Any) -> JwtConfig:
    key: dict[str, Any] = {"secret_key": SECRET} if KINDS[alg] == "oct" else {"private_key": private_pem(KINDS[alg])}
    return JwtConfig(algorithms=[alg], **key, **more)


@pytest.mark.parametrize("alg", KINDS)
def test_every_algorithm_signs_what_others_can_check(alg: str) -> None:
    made = create_token({"sub": "ada"}, config(alg), now=NOW)
    assert parts(made)[0] == {"alg": alg, "typ": "JWT"}
    key = key_of(KINDS[alg])
    if alg == "EdDSA":
        with pytest.warns():  # joserfc would rather have the newer name
            assert jwt.decode(made, key, algorithms=[alg]).claims["sub"] == "ada"
    else:
        assert jwt.decode(made, key, algorithms=[alg]).claims["sub"] == "ada"
    assert JwtValidator(config(alg), clock=lambda: NOW).validate(made)["sub"] == "ada"


@pytest.mark.parametrize(
    ("kind", "alg"), [("oct", "HS256"), ("RSA", "RS256"), ("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512"), ("Ed25519", "EdDSA")]
)
def test_where_nobody_says_it_the_key_decides_what_it_signs_with(kind: str, alg: str) -> None:
    key: dict[str, Any] = {"secret_key": SECRET} if kind == "oct" else {"private_key": private_pem(kind)}
    assert parts(create_token({}, JwtConfig(**key)))[0]["alg"] == alg


def test_the_times_and_names_of_the_configuration_are_added() -> None:
    made = create_token({"sub": "ada"}, config(issuer="me", audience="shop", token_ttl=60), now=NOW + 0.9)
    assert parts(made)[1] == {"iat": int(NOW), "exp": int(NOW) + 60, "iss": "me", "aud": "shop", "sub": "ada"}
    several = parts(create_token({}, config(issuer=["me", "other"], audience=["a", "b"]), ttl=5, now=NOW))[1]
    assert (several["iss"], several["aud"], several["exp"]) == ("me", ["a", "b"], int(NOW) + 5)


def test_what_the_claims_say_themselves_counts() -> None:
    said = {"iat": 5, "exp": NOW + 7, "iss": "me", "aud": ["x"], "nbf": 3}
    assert parts(create_token(said, config(issuer="other", audience="shop"), now=NOW))[1] == said


def test_moments_may_be_datetimes() -> None:
    said = {"exp": datetime(2030, 1, 1, tzinfo=UTC), "nbf": datetime(2020, 1, 1, tzinfo=UTC)}
    assert {name: parts(create_token(said, config()))[1][name] for name in said} == {"exp": 1893456000, "nbf": 1577836800}
    with pytest.raises(JwtAuthError, match="exp is a datetime without a time zone"):
        create_token({"exp": datetime(2030, 1, 1)}, config())


def test_a_name_of_the_key_stands_in_the_header() -> None:
    assert parts(create_token({}, config(kid="today")))[0] == {"alg": "HS256", "typ": "JWT", "kid": "today"}
    own = JwtConfig(key=json.dumps(key_of("P-256").as_dict(private=True, kid="own")))
    made = create_token({}, own)
    assert parts(made)[0]["kid"] == "own"
    assert jwt.decode(made, key_of("P-256"), algorithms=["ES256"])


def test_a_type_that_the_configuration_wants_is_written() -> None:
    only = config(token_types=["at+jwt"])
    assert parts(create_token({}, only))[0]["typ"] == "at+jwt"
    assert JwtValidator(only).validate(create_token({}, only))


@dataclass
class Member:
    sub: str
    roles: list[str]
    exp: int | None = None


class MemberStruct(msgspec.Struct):
    sub: str
    roles: list[str]


class MemberModel(pydantic.BaseModel):
    sub: str
    roles: list[str]


@pytest.mark.parametrize("kind", [Member, MemberStruct, MemberModel])
def test_an_object_becomes_its_claims_and_they_become_the_object(kind: Any) -> None:
    member = kind(sub="ada", roles=["admin"])
    checked = config(claims_type=kind)
    back = JwtValidator(checked).validate(create_token(member, checked))
    assert (back.sub, back.roles) == ("ada", ["admin"])
    assert isinstance(back, kind)


# ── what is not made ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "claims",
    [
        None, 5, "text", [], ["a"], {"x": object()}, {"x": math.nan}, {"x": math.inf}, {"x": [-math.inf]}, {1: 2}, {None: 1},
        {"exp": "soon"}, {"exp": True}, {"exp": math.nan}, {"iat": "now"}, {"nbf": []}, {"sub": 5}, {"iss": ["a"]},
        {"aud": 5}, {"aud": [5]}, {"jti": 1}, {"x": "\ud800"}, {"x": json.loads("[" * 50 + "]" * 50)},
    ],
)  # fmt: skip
def test_claims_that_would_be_refused_are_not_written(claims: Any) -> None:
    with pytest.raises(JwtAuthError):
        create_token(claims, config())


def test_claims_within_themselves_are_not_written() -> None:
    circle: dict[str, Any] = {}
    circle["x"] = circle
    with pytest.raises(JwtAuthError):
        create_token(circle, config())


def test_a_token_that_would_be_too_long_is_not_made() -> None:
    with pytest.raises(JwtAuthError, match="and one with more than 16384 is refused"):
        create_token({"x": "y" * 20_000}, config())


@pytest.mark.parametrize("ttl", [0, -5, math.nan, math.inf])
def test_a_lifetime_is_a_number_of_seconds(ttl: float) -> None:
    with pytest.raises(JwtAuthError, match="ttl"):
        create_token({}, config(), ttl=ttl)


def test_without_an_end_only_where_the_operator_says_so() -> None:
    endless = config(token_ttl=0, required_claims=["sub"])
    assert "exp" not in parts(create_token({"sub": "ada"}, endless))[1]
    assert JwtValidator(endless).validate(create_token({"sub": "ada"}, endless))


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (lambda: JwtConfig(public_key=public_pem("RSA")), "there is no key to sign with"),
        (lambda: JwtConfig(jwks_url="https://id.example.com/keys"), "there is no key to sign with"),
        (lambda: JwtConfig(secret_key=SECRET + "x", previous_keys=[SECRET], mode="local", algorithms=["HS384"]), ""),
        (lambda: JwtConfig(), "there is no key to sign with"),
    ],
)
def test_only_keys_that_sign_sign(made: Any, complaint: str) -> None:
    if complaint:
        with pytest.raises(JwtAuthError, match=complaint):
            create_token({}, made())
    else:
        assert create_token({}, made())


def test_an_algorithm_that_the_key_does_not_have_is_refused() -> None:
    with pytest.raises(JwtAuthError, match="no key signs with RS256"):
        create_token({}, config(), algorithm="RS256")
    both = JwtConfig(secret_key=SECRET, private_key=private_pem("RSA"), algorithms=["HS256", "RS256"])
    assert parts(create_token({}, both))[0]["alg"] == "HS256"
    assert parts(create_token({}, both, algorithm="RS256"))[0]["alg"] == "RS256"


# ── in short ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", [SECRET, Secret(SECRET)])
def test_a_key_alone_is_enough(key: Any) -> None:
    assert JwtValidator(JwtConfig(secret_key=SECRET)).validate(create_token({"sub": "ada"}, key))["sub"] == "ada"
    assert parts(create_token({}, key, algorithm="HS512"))[0]["alg"] == "HS512"
    with pytest.raises(JwtAuthError, match="algorithms names none of HS256"):
        create_token({}, key, algorithm="RS256")


def test_a_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(JwtAuthError, match="needs at least 32"):
        create_token({}, "canary-short")


def test_the_keys_of_a_configuration_are_read_once_for_as_long_as_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    own = config("RS256")
    create_token({}, own)
    monkeypatch.setattr("pywatt_jwt.issuing.fixed_keys", lambda options: pytest.fail("they were read again"))
    create_token({}, own)
    gone = weakref.ref(own)
    del own
    gc.collect()
    assert gone() is None


def test_an_issuer_has_a_clock() -> None:
    assert parts(JwtIssuer(config(), clock=lambda: NOW).create({}))[1]["iat"] == int(NOW)
