"""The options of ``use = "jwt"``: what contradicts itself or is too weak is refused before any token is seen."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.config import check_section
from pywatt_core.redaction import Secret
from pywatt_jwt import JwtConfig, JwtOptions
from pywatt_jwt.options import check_url, is_loopback
from tools.environment import ROOT

from .making import SECRET


def test_lists_and_texts_and_secrets_may_be_given_as_code_has_them() -> None:
    config = JwtConfig(
        secret=SECRET, algorithms=["HS256"], issuer="me", audience=["a", "b"], previous_keys=[SECRET], jwks={"keys": []}, jwks_file="a.json"
    )
    assert config.secret_key == Secret(SECRET)
    assert config.secret is None
    assert (config.algorithms, config.issuer, config.audience) == (("HS256",), ("me",), ("a", "b"))
    assert config.previous_keys == (Secret(SECRET),)
    assert config.jwks == '{"keys": []}'
    assert config.jwks_file == Path("a.json")


def test_a_configuration_shows_no_key() -> None:
    config = JwtConfig(secret_key=SECRET, key=SECRET, private_key=SECRET, private_key_password=SECRET, previous_keys=[SECRET])
    assert SECRET not in f"{config!r} {config}"


def test_what_code_may_pass_is_every_option_and_the_type_of_claims() -> None:
    source = inspect.getsource(JwtConfig)
    for one in fields(JwtConfig):
        assert f"{one.name}: " in source, f"{one.name} is missing from JwtConfig.__init__ for those who check types"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"secret_key": "canary-key"}, "secret_key has 10 bytes, and HS256 needs at least 32"),
        ({"secret_key": ""}, "secret_key is empty"),
        ({"key": ""}, "key is empty"),
        ({"private_key": ""}, "private_key is empty"),
        ({"previous_keys": ["", SECRET], "secret_key": SECRET}, "previous_keys is empty"),
        ({"secret_key": "x" * 31}, "HS256 needs at least 32"),
        ({"secret_key": "x" * 47, "algorithms": ["HS384"]}, "HS384 needs at least 48"),
        ({"secret_key": "x" * 63, "algorithms": ["HS256", "HS512"]}, "HS512 needs at least 64"),
        ({"secret_key": SECRET, "algorithms": ["RS256"]}, "algorithms names none of HS256"),
        ({"secret_key": SECRET, "secret": SECRET}, "secret is the same as secret_key"),
        ({"secret_key": SECRET, "algorithms": ["none"]}, "algorithms has 'none'; there are HS256"),
        ({"secret_key": SECRET, "algorithms": ["hs256"]}, "algorithms has 'hs256'"),
        ({"secret_key": SECRET, "algorithms": ["HS256", "ES256K"]}, "algorithms has 'ES256K'"),
        ({"secret_key": SECRET, "leeway": -1}, "leeway"),
        ({"secret_key": SECRET, "leeway": float("nan")}, "leeway"),
        ({"secret_key": SECRET, "leeway": 1e9}, "leeway"),
        ({"secret_key": SECRET, "token_ttl": -1}, "token_ttl"),
        ({"secret_key": SECRET, "token_ttl": 0}, "required_claims has exp"),
        ({"secret_key": SECRET, "max_token": 5}, "max_token"),
        ({"secret_key": SECRET, "max_token": 10**9}, "max_token"),
        ({"secret_key": SECRET, "remembered": -1}, "remembered"),
        ({"secret_key": SECRET, "refetch_interval": 0}, "refetch_interval"),
        ({"secret_key": SECRET, "stale": float("inf")}, "stale"),
        ({"secret_key": SECRET, "issuer": ["a", ""]}, "issuer has an empty entry"),
        ({"secret_key": SECRET, "token_types": []}, "token_types is empty"),
        ({"mode": "local"}, "mode is local, and there is no key"),
        ({"mode": "proxy", "secret_key": SECRET}, "secret_key is set, and mode is proxy"),
        ({"private_key_password": "x", "secret_key": SECRET}, "private_key_password needs private_key"),
        ({"jwks_url": "https://a.example", "openid_issuer": "https://a.example"}, "both set"),
        ({"openid_issuer": "https://a.example", "issuer": "https://b.example"}, "issuer and openid_issuer differ"),
        ({"jwks_url": "http://a.example/keys"}, "jwks_url has to begin with https://"),
        ({"jwks_url": "file:///etc/passwd"}, "jwks_url"),
        ({"jwks_url": "https://user:pw@a.example/"}, "holds a user or a password"),
        ({"jwks_url": "https://a.example/#x"}, "behind"),
        ({"openid_issuer": "https://a.example/?x=1"}, "behind"),
        ({"jwks_url": "https://a.example:99999/"}, "not a URL"),
        ({"jwks_url": "https://a.example/a b"}, "not a URL"),
        ({"jwks_url": "https://ä.example/"}, "not a URL"),
        ({"jwks_url": "//a.example/"}, "jwks_url"),
    ],
)
def test_what_cannot_work_or_is_too_weak_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        JwtConfig(**options)
    assert "canary-key" not in str(caught.value)


def test_a_fault_in_a_section_is_told_as_that_of_its_option() -> None:
    _, problems = check_section({"secret_key": "too short for that", "leeway": 5}, JwtOptions, "auth.main")
    assert [problem.path for problem in problems] == ["auth.main.secret_key"]
    assert "too short for that" not in str(problems)


def test_a_section_waits_for_its_secret() -> None:
    assert check_section({"secret_key": "secret:JWT_KEY", "audience": "shop"}, JwtOptions, "auth.main") == (None, [])
    made, problems = check_section({"secret_key": SECRET, "audience": "shop", "issuer": ["a", "b"]}, JwtOptions, "auth.main")
    assert not problems
    assert made is not None
    assert made.audience == ("shop",)


def test_who_checks_is_decided_by_the_keys() -> None:
    assert JwtConfig(secret_key=SECRET).is_local
    assert JwtConfig(jwks_url="https://a.example/keys").is_local
    assert not JwtConfig().is_local
    assert not JwtConfig(mode="proxy").is_local
    assert JwtConfig(openid_issuer="https://a.example").issuer == ("https://a.example",)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_may_be_asked_without_tls(host: str) -> None:
    assert is_loopback(host)
    check_url(f"http://{f'[{host}]' if ':' in host else host}:8080/keys", "jwks_url", allow_http=False)


@pytest.mark.parametrize("host", ["localhost.example.com", "127.0.0.1.example.com", "10.0.0.1", "0.0.0.0", "", "2130706433", "0x7f000001"])
def test_other_machines_may_not(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ValueError, match="jwks_url"):
        check_url(f"http://{host}/keys", "jwks_url", allow_http=False)


def test_the_reference_lists_every_option() -> None:
    page = (ROOT / "docs" / "reference" / "jwt.md").read_text(encoding="utf-8")
    assert [one.name for one in fields(JwtOptions) if f"`{one.name}`" not in page] == []
