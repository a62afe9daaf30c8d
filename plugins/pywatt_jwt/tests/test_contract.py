"""The authenticator ``jwt`` keeps the contract of an authenticator with keys of every kind, and the contract notices where it does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import pytest

from pywatt_core.errors import ExpiredToken, InvalidToken
from pywatt_core.interfaces import Authenticator, Context
from pywatt_core.testing.contracts import AuthContract
from pywatt_jwt import JwtConfig, JwtOptions, open_jwt
from pywatt_jwt.key_sets import KeySet
from pywatt_jwt.tokens import json_object, unbase64
from pywatt_jwt.validator import JwtValidator

from .making import SECRET, private_pem, public_jwk, public_pem, token_of

CONTEXT = Context(module_id="test", section="auth.main")


class JwtContract(AuthContract):
    issues = True
    options: JwtOptions = JwtConfig(secret_key=SECRET)
    alg = "HS256"
    hidden = (SECRET,)

    @pytest.fixture
    def backend(self) -> AbstractAsyncContextManager[Authenticator]:
        return open_jwt(self.options, CONTEXT)

    @pytest.fixture
    def token_for(self) -> Callable[[Mapping[str, Any]], str]:
        return lambda claims: token_of({"iss": "https://id.example.com", "aud": "shop", **claims}, alg=self.alg)

    @pytest.fixture
    def foreign_token_for(self) -> Callable[[Mapping[str, Any]], str]:
        return lambda claims: token_of({"iss": "https://id.example.com", "aud": "shop", **claims}, alg=self.alg, number=1)


class TestHmac(JwtContract):
    options = JwtConfig(secret_key=SECRET, audience=["shop", "other"])


class TestHmac512(JwtContract):
    options = JwtConfig(secret_key=SECRET, algorithms=["HS512"], issuer="https://id.example.com", audience="shop")
    alg = "HS512"


class TestRsa(JwtContract):
    issues = False
    options = JwtConfig(public_key=public_pem("RSA"), audience="shop")
    alg = "RS256"


class TestRsaThatSigns(JwtContract):
    options = JwtConfig(private_key=private_pem("RSA"), audience="shop", algorithms=["PS256"])
    alg = "PS256"
    hidden = (private_pem("RSA"),)


class TestEllipticCurve(JwtContract):
    options = JwtConfig(private_key=private_pem("P-256"), audience="shop", kid="today")
    alg = "ES256"


class TestEdwards(JwtContract):
    options = JwtConfig(private_key=private_pem("Ed25519"), audience="shop", remembered=0)
    alg = "EdDSA"


class TestSetOfKeys(JwtContract):
    issues = False
    options = JwtConfig(
        jwks=json.dumps({"keys": [public_jwk("RSA", kid="a"), public_jwk("P-256", kid="b"), public_jwk("Ed25519", kid="c")]}),
        audience="shop",
        remembered=4,
    )
    alg = "ES256"


# ── the contract bites ──────────────────────────────────────────────────────────────────────────────────────────────

contract = TestHmac()
OPTIONS = TestHmac.options


def genuine(claims: Mapping[str, Any]) -> str:
    return token_of({"aud": "shop", **claims})


def foreign(claims: Mapping[str, Any]) -> str:
    return token_of({"aud": "shop", **claims}, number=1)


@asynccontextmanager
async def opened(kind: type[JwtValidator]) -> Any:
    yield kind(OPTIONS)


class Credulous(JwtValidator):
    """Believes every signature."""

    def _verify(self, *arguments: Any) -> None:
        return None


class Forgiving(JwtValidator):
    """Takes what surrounds a token away."""

    def _checked(self, token: str, now: float | None) -> dict[str, Any]:
        return super()._checked(token.strip(), now)


class Talkative(JwtValidator):
    """Says what it was given."""

    def _checked(self, token: str, now: float | None) -> dict[str, Any]:
        try:
            return super()._checked(token, now)
        except ExpiredToken:
            raise
        except InvalidToken as error:
            raise InvalidToken(f"{error}: {token}") from None


class Hurried(JwtValidator):
    """Looks at the time before the signature."""

    def _checked(self, token: str, now: float | None) -> dict[str, Any]:
        _, _, rest = token.partition(".")
        with suppress(ValueError):
            self._rules.check(json_object(unbase64(rest.partition(".")[0].encode())), self._clock())
        return super()._checked(token, now)


class Sharing(JwtValidator):
    """Hands the same claims to everybody."""

    def _checked(self, token: str, now: float | None) -> dict[str, Any]:
        kept: dict[str, dict[str, Any]] = self.__dict__.setdefault("kept", {})
        return kept.setdefault(token, super()._checked(token, now))


class Fragile(JwtValidator):
    """Lets errors of its own out."""

    def _checked(self, token: str, now: float | None) -> dict[str, Any]:
        token.encode("ascii")
        return super()._checked(token, now)


@pytest.mark.parametrize(
    ("kind", "check", "arguments"),
    [
        (Credulous, contract.test_a_token_of_another_key_is_invalid_and_nothing_else_is_said, (genuine, foreign)),
        (Credulous, contract.test_a_token_that_was_touched_anywhere_is_refused, (genuine,)),
        (Credulous, contract.test_many_at_once_do_not_mix, (genuine, foreign)),
        (Forgiving, contract.test_a_token_that_was_touched_anywhere_is_refused, (genuine,)),
        (Talkative, contract.test_an_error_shows_nothing_of_the_token_and_nothing_of_a_key, (genuine, foreign)),
        (Hurried, contract.test_a_token_of_another_key_is_invalid_and_nothing_else_is_said, (genuine, foreign)),
        (Sharing, contract.test_who_changes_claims_changes_nobody_elses, (genuine,)),
        (Fragile, contract.test_what_is_no_token_is_invalid, ("ü.ü.ü",)),
        (JwtValidator, contract.test_it_says_rightly_whether_it_makes_tokens, ()),
    ],
)
async def test_the_contract_notices(kind: type[JwtValidator], check: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with pytest.raises((AssertionError, UnicodeError, pytest.fail.Exception)):
        await check(opened(kind), *arguments)


async def test_the_contract_notices_a_memory_that_is_confused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeySet, "remembers", lambda keys, digest: bool(keys._younger))
    held = TestRsa()
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await held.test_a_refused_token_does_not_make_the_next_one_refused(
            open_jwt(TestRsa.options, CONTEXT),
            lambda claims: token_of({"aud": "shop", **claims}, alg="RS256"),
            lambda claims: token_of({"aud": "shop", **claims}, alg="RS256", number=1),
        )
