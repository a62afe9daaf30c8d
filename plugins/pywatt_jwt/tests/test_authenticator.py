"""``[auth.NAME] use = "jwt"``: opened with its secrets, in a module, rotated, and the orchestrator's where it has the key."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from pywatt_core import AppState, pywatt_module
from pywatt_core.access import Authenticator, TokenIssuer
from pywatt_core.config import load
from pywatt_core.errors import AuthError, ConfigError, ExpiredToken, Forbidden, InvalidToken, PyWattError, RequestTimeout, Unavailable
from pywatt_core.http.bearer import MissingToken as CoreMissingToken
from pywatt_core.http.bearer import refusal_of
from pywatt_core.interfaces import Context, Orchestrator
from pywatt_core.protocol.messages import Message, ServiceOperation, ServiceOperationResult, ServiceRequest, ServiceResponse
from pywatt_core.registry import Registry
from pywatt_core.services.hosted_auth import HostedAuthenticator
from pywatt_core.testing import app
from pywatt_jwt import (
    ExpiredSignature,
    InvalidClaims,
    JwtAuthError,
    JwtConfig,
    JwtError,
    JwtIssuer,
    JwtOptions,
    JwtValidator,
    MissingToken,
    ProxyError,
    create_token,
    open_jwt,
)
from pywatt_jwt.authenticator import JwtAuthenticator, JwtTokenIssuer

from .key_server import KeyServer
from .making import SECRET, private_pem, public_jwk, public_pem, token_of

SECTION = {"use": "jwt", "secret_key": "secret:JWT_KEY", "audience": "shop"}


def later() -> int:
    return int(time.time()) + 600


def context(folder: Path = Path(), orchestrator: Orchestrator | None = None, name: str = "main") -> Context:
    return Context(module_id="shop", section=f"auth.{name}", folder=folder, orchestrator=orchestrator)


async def opened(section: Mapping[str, Any], **secrets: str) -> Any:
    """What the registry makes of a section."""

    async def secret(name: str) -> str | None:
        return secrets.get(name)

    (found,) = load(init={"auth": {"main": dict(section)}}).sections("auth").values()
    async with Registry().open("auth", found, context(), secrets=secret) as authenticator:
        return authenticator


# ── from a section ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_section_becomes_an_authenticator_that_makes_tokens_where_it_can() -> None:
    authenticator = await opened(SECTION, JWT_KEY=SECRET)
    assert isinstance(authenticator, TokenIssuer)
    claims = await authenticator.authenticate(await authenticator.issue({"sub": "ada"}))
    assert (claims["sub"], claims["aud"]) == ("ada", "shop")
    public = await opened({"use": "jwt", "public_key": public_pem("RSA")})
    assert isinstance(public, Authenticator)
    assert not isinstance(public, TokenIssuer)
    signing = await opened({"use": "jwt", "private_key": "secret:PEM", "kid": "today"}, PEM=private_pem("P-256"))
    assert isinstance(signing, JwtTokenIssuer)


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"use": "jwt", "secret_key": "secret:SHORT"}, "auth.main.secret_key"),
        ({"use": "jwt", "public_key": "nonsense"}, "auth.main: public_key is neither PEM nor a JWK"),
        ({"use": "jwt", "jwks_file": "nowhere.json"}, "auth.main: jwks_file cannot be read"),
        ({"use": "jwt", "jwks_url": "http://id.example.com/keys"}, "auth.main.jwks_url"),
        ({"use": "jwt", "secret_kye": "x"}, "secret_key"),
        ({"use": "jwt"}, "this module runs without an orchestrator"),
        ({"use": "jwt", "mode": "proxy"}, "this module runs without an orchestrator"),
    ],
)
async def test_a_section_that_cannot_work_is_told_with_its_name(section: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        await opened(section, SHORT="canary-short-key")
    assert "canary-short-key" not in str(caught.value)


async def test_relative_files_count_from_the_configurations_folder(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [public_jwk("P-256", kid="a")]}))
    async with open_jwt(JwtConfig(jwks_file="keys.json"), context(tmp_path)) as authenticator:
        assert await authenticator.authenticate(token_of({"exp": later()}, alg="ES256"))


async def test_keys_are_there_when_it_is_open(server: KeyServer) -> None:
    async with open_jwt(JwtConfig(jwks_url=f"{server.url}/keys"), context()) as authenticator:
        assert server.asked == ["/keys"]
        assert await authenticator.authenticate(token_of({"exp": later()}, alg="RS256", header={"alg": "RS256", "kid": "first"}))


async def test_a_server_that_is_away_stops_no_module(server: KeyServer) -> None:
    server.status = 503
    async with open_jwt(JwtConfig(jwks_url=f"{server.url}/keys"), context()) as authenticator:
        with pytest.raises(ProxyError, match="answered 503") as caught:
            await authenticator.authenticate(token_of({"exp": later()}, alg="RS256"))
    assert isinstance(caught.value, Unavailable)


async def test_what_is_unwise_is_told_when_it_opens(caplog: pytest.LogCaptureFixture) -> None:
    async with open_jwt(JwtConfig(secret_key=SECRET, compat_no_exp_check=True, allow_http=True), context()):
        assert "auth.main: compat_no_exp_check is set: expired tokens are accepted" in caplog.text
        assert "auth.main: allow_http is set" in caplog.text


async def test_keys_of_a_server_are_loaded_beside_those_of_the_section(server: KeyServer) -> None:
    async with open_jwt(JwtConfig(secret_key=SECRET, jwks_url=f"{server.url}/keys"), context()):
        assert server.asked == ["/keys"]


def test_what_is_open_shows_nothing() -> None:
    authenticator = JwtTokenIssuer(JwtValidator(JwtConfig(secret_key=SECRET)), None)  # type: ignore[arg-type]
    assert SECRET not in f"{authenticator!r} {authenticator} {vars(authenticator)}"
    assert repr(JwtAuthenticator(authenticator.validator)) == "JwtAuthenticator()"


def issuer_of(state: AppState[Any]) -> TokenIssuer:
    assert isinstance(state.authenticator, TokenIssuer)
    return state.authenticator


# ── in a module ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pywatt_module()
async def shop(state: Any) -> Starlette:
    return Starlette()


async def test_a_module_checks_tokens_and_its_key_may_rotate() -> None:
    old, new = SECRET, SECRET[::-1]
    async with app(shop, secrets={"JWT_KEY": old}, config={"auth": {"main": SECTION}}) as client:
        state = client.state
        before, after = (create_token({"sub": "ada"}, JwtConfig(secret_key=key, audience="shop")) for key in (old, new))
        assert (await state.validate_jwt_token(before))["sub"] == "ada"
        with pytest.raises(InvalidToken):
            await state.validate_jwt_token(after)
        assert (await client.rotate({"JWT_KEY": new})).status == "success"
        assert (await state.validate_jwt_token(after))["sub"] == "ada"
        with pytest.raises(InvalidToken):
            await state.validate_jwt_token(before)
        refused = await client.rotate({"JWT_KEY": "canary-short"})  # a key that may not be used changes nothing
        assert refused.status == "error"
        assert "HS256 needs at least 32" in str(refused.message)
        assert "canary" not in str(refused.message)
        assert (await state.validate_jwt_token(after))["sub"] == "ada"


async def test_old_keys_make_a_rotation_that_nobody_notices() -> None:
    section = {**SECTION, "previous_keys": ["secret:JWT_KEY_BEFORE"]}
    old, new = SECRET, SECRET[::-1]
    async with app(shop, secrets={"JWT_KEY": old, "JWT_KEY_BEFORE": old}, config={"auth": {"main": section}}) as client:
        token = await issuer_of(client.state).issue({"sub": "ada"})
        assert (await client.rotate({"JWT_KEY": new, "JWT_KEY_BEFORE": old})).status == "success"
        assert (await client.state.validate_jwt_token(token))["sub"] == "ada"
        assert (await client.state.validate_jwt_token(await issuer_of(client.state).issue({"sub": "ada"})))["sub"] == "ada"


async def test_code_without_a_key_asks_the_modules_own_authenticator() -> None:
    checker = JwtValidator(JwtConfig())
    async with app(shop, secrets={"JWT_KEY": SECRET}, config={"auth": {"main": SECTION}}) as client:
        token = await issuer_of(client.state).issue({"sub": "ada"})
        assert (await checker.validate_async(token))["sub"] == "ada"
        assert (await asyncio.to_thread(checker.validate, token))["sub"] == "ada"
        with pytest.raises(InvalidToken):
            await checker.validate_async(token + "x")
    async with app(shop):
        with pytest.raises(ConfigError, match=r"\[auth.main\]"):
            await checker.validate_async(token)
    with pytest.raises(ProxyError):
        await checker.validate_async(token)


class Refusing:
    """An authenticator that knows the core's errors alone, as the orchestrator's does."""

    def __init__(self, error: PyWattError) -> None:
        self._error = error

    async def authenticate(self, token: str) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (InvalidToken("canary"), JwtError, ""),
        (InvalidToken("canary", reason="InvalidAudience"), InvalidClaims, "InvalidAudience"),
        (ExpiredToken("canary"), ExpiredSignature, ""),
        (CoreMissingToken("canary"), MissingToken, ""),
        (Unavailable("canary"), ProxyError, None),
        (RequestTimeout("canary"), ProxyError, None),
        (AuthError("canary"), JwtAuthError, None),
        (Forbidden("canary"), Forbidden, None),
        (JwtError("canary"), JwtError, ""),
    ],
)
async def test_code_without_a_key_hears_the_same_errors(error: PyWattError, kind: type[PyWattError], reason: str | None) -> None:
    checker = JwtValidator(JwtConfig())
    async with app(shop) as client:
        client.state.authenticators["main"] = Refusing(error)
        blocking = asyncio.to_thread(lambda: checker.validate("a.b.c"))
        for check in (checker.validate_async("a.b.c"), blocking):
            with pytest.raises(kind, match="canary") as caught:
                await check
            assert type(caught.value) is kind
            assert getattr(caught.value, "reason", None) == reason
            if not isinstance(error, RequestTimeout):
                assert refusal_of(caught.value) == refusal_of(error)


# ── by the orchestrator ─────────────────────────────────────────────────────────────────────────────────────────────


class Ways:
    """Instead of channels to an orchestrator: it hosts an authenticator that answers by the inherited protocol."""

    names = ("stdio",)
    stdio = None

    def __init__(self) -> None:
        self.operations: list[tuple[str, Any]] = []

    async def request(self, message: Message, *, timeout: float) -> Message:
        if isinstance(message, ServiceRequest):
            return ServiceResponse(message.id, message.service_type, success=True, connection_id="conn-1")
        assert isinstance(message, ServiceOperation)
        self.operations.append((message.operation, message.params))
        return ServiceOperationResult(success=True, result={"sub": "ada"})


@pytest.mark.parametrize("options", [JwtOptions(), JwtOptions(mode="proxy"), JwtOptions(audience="shop", service="tokens")])
async def test_without_a_key_the_orchestrator_checks(options: JwtOptions) -> None:
    ways: Any = Ways()
    async with open_jwt(options, context(orchestrator=Orchestrator(ways, None))) as authenticator:
        assert isinstance(authenticator, HostedAuthenticator)
        assert await authenticator.authenticate("a.b.c") == {"sub": "ada"}
    assert ways.operations == [("validate", {"token": "a.b.c"}), ("close", {})]


class Nobody(Ways):
    """To an orchestrator that opens nothing."""

    async def request(self, message: Message, *, timeout: float) -> Message:
        assert isinstance(message, ServiceRequest)
        return ServiceResponse(message.id, message.service_type, success=False, error="it hosts no services")


async def test_who_forgot_the_key_hears_of_it_where_the_orchestrator_has_none_either() -> None:
    ways: Any = Nobody()
    for options, said in (
        (JwtOptions(), "it hosts no services. It was asked because no key is set here: secret_key, key"),
        (JwtOptions(mode="proxy"), "it hosts no services"),
    ):
        with pytest.raises(Unavailable) as caught:
            async with open_jwt(options, context(orchestrator=Orchestrator(ways, None))):
                pass
        assert said in str(caught.value)
        assert ("no key is set" in str(caught.value)) is (options.mode == "auto")


@pytest.mark.parametrize("made", [JwtValidator, JwtIssuer])
def test_a_key_alone_is_no_configuration(made: Any) -> None:
    with pytest.raises(TypeError, match=r"takes a JwtConfig, not str: \w+\(JwtConfig\(secret_key=…\)\)"):
        made(SECRET)


async def test_with_a_key_the_orchestrator_is_not_asked() -> None:
    ways: Any = Ways()
    async with open_jwt(JwtConfig(secret_key=SECRET), context(orchestrator=Orchestrator(ways, None))) as authenticator:
        await authenticator.authenticate(token_of({"exp": later()}))
    assert ways.operations == []


def test_looking_at_what_is_installed_imports_no_library() -> None:
    import subprocess
    import sys

    program = (
        "import sys, pywatt_jwt; from pywatt_jwt import JwtConfig, JwtOptions, JwtAuthError; pywatt_jwt.pywatt_register_authenticators();"
        "print([name for name in ('joserfc', 'cryptography', 'authlib', 'httpx') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, env=environment)
    assert done.stdout.strip() == "[]"
