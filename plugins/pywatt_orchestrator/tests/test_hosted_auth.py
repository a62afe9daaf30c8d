"""Authenticators that the orchestrator hosts: a process of its own has the keys, the module is this one."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.access import Authenticator, TokenIssuer
from pywatt_core.errors import AuthError, ExpiredToken, Forbidden, InvalidToken, PyWattError, StorageError, Unavailable
from pywatt_core.protocol.messages import ServiceOperation, ServiceOperationResult, ServiceRequest, ServiceResponse, ServiceType
from pywatt_core.services.hosted_auth import open_hosted_auth
from pywatt_core.services.hosted_options import HostedAuthOptions
from pywatt_core.testing.contracts import AuthContract

from .authenticators import install
from .host import module, running

KEY = "canary-of-the-key-that-stays-here"
WAIT = 20.0


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("h"), install(tmp_path_factory.mktemp("site"))) as path:
        yield path


def services(*, modules: list[str] | None = None, issue: list[str] | None = None, limits: Any = None, **words: Any) -> dict[str, Any]:
    tokens = {"modules": modules or ["users"], "issue": issue or [], "auth": {"use": "words", "key": KEY, **words}, **(limits or {})}
    return {"tokens": tokens, "store": {"modules": ["*"], "cache": {"use": "memory"}}}


@asynccontextmanager
async def opened(host: str, folder: Path, hosted: dict[str, Any], *, frames: str = "msgpack", **options: Any) -> AsyncIterator[TokenIssuer]:
    options.setdefault("service", "tokens")
    context = module(host, hosted, folder, section="auth.main", frames=frames)
    async with context as here, open_hosted_auth(HostedAuthOptions(**options), here) as authenticator:
        yield authenticator


class Rust:
    """A module that speaks as the Rust SDK does."""

    def __init__(self, channels: Any) -> None:
        self._channels = channels

    async def open(self, config: Any) -> ServiceResponse:
        answer = await self._channels.request(ServiceRequest(f"jwt_request_{uuid.uuid4()}", ServiceType.JWT, config), timeout=WAIT)
        assert isinstance(answer, ServiceResponse) and answer.service_type == ServiceType.JWT
        return answer

    async def ask(self, connection: str | None, operation: str, **params: Any) -> Any:
        answer = await self._channels.request(ServiceOperation(connection or "", ServiceType.JWT, operation, params), timeout=WAIT)
        assert isinstance(answer, ServiceOperationResult)
        echo = {"connection_id": connection, "service_type": "Jwt", "operation": operation, "params": params}
        assert answer.params == echo, "the reference would not find the caller that waits for it"
        if not answer.success:
            assert answer.result is None, "the reference knows no kinds of errors"
            return StorageError(answer.error)
        return answer.result


@asynccontextmanager
async def rust(host: str, folder: Path, hosted: dict[str, Any], name: str = "users") -> AsyncIterator[Rust]:
    async with module(host, hosted, folder, pywatt=False, name=name, frames="json") as context:
        assert context.orchestrator is not None
        yield Rust(context.orchestrator.channels)


# ── the contract of every authenticator ─────────────────────────────────────────────────────────────────────────────


def jwt(claims: Mapping[str, Any], key: str = KEY) -> str:
    """A token as the reference makes them: HS256."""
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    proof = hmac.digest(key.encode(), signed, "sha256")
    return (signed + b"." + base64.urlsafe_b64encode(proof).rstrip(b"=")).decode()


class TestHostedJwt(AuthContract):
    issues = True
    hidden = (KEY,)

    @pytest.fixture
    def backend(self, host: str, tmp_path: Path) -> AbstractAsyncContextManager[Authenticator]:
        tokens = {"modules": ["users"], "issue": ["users"], "auth": {"use": "jwt", "secret_key": KEY}}
        return opened(host, tmp_path, {"tokens": tokens})

    @pytest.fixture
    def token_for(self) -> Callable[[Mapping[str, Any]], str]:
        return jwt

    @pytest.fixture
    def foreign_token_for(self) -> Callable[[Mapping[str, Any]], str]:
        return lambda claims: jwt(claims, "another key that is not trusted here at all")


# ── what a token proves ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("frames", ["msgpack", "json"])
async def test_a_token_is_checked_where_the_key_is(host: str, tmp_path: Path, frames: str) -> None:
    async with opened(host, tmp_path, services(), frames=frames) as authenticator:
        assert await authenticator.authenticate("good.ada") == {"sub": "ada", "roles": ["user"]}


@pytest.mark.parametrize(
    ("token", "kind", "text", "reason"),
    [
        ("what.is-this", InvalidToken, "no word of it is known", ""),
        ("audience.x", InvalidToken, "the token is for somebody else", "InvalidAudience"),
        ("expired.x", ExpiredToken, "the token has expired", "ExpiredSignature"),
        ("forbidden.x", Forbidden, "the token may not do this", None),
        ("auth.x", AuthError, "the token is odd", None),
        ("unavailable.x", Unavailable, "the keys cannot be fetched", None),
        ("nothing.x", Unavailable, "the authenticator 'tokens' gave no claims", None),
        ("bug.x", Unavailable, "the authenticator 'tokens' failed: ValueError", None),
        ("exit.x", Unavailable, "the authenticator 'tokens' failed: SystemExit", None),
        ("cancelled.x", Unavailable, "the authenticator 'tokens' broke it off", None),
        ("secret.x", Unavailable, "the authenticator 'tokens' cannot tell now: the key [REDACTED] is no key", None),
    ],
)
async def test_errors_cross_with_their_kind_and_without_the_key(
    host: str, tmp_path: Path, token: str, kind: type[PyWattError], text: str, reason: str | None
) -> None:
    async with opened(host, tmp_path, services()) as authenticator:
        with pytest.raises(PyWattError) as caught:
            await authenticator.authenticate(token)
        assert (type(caught.value), str(caught.value), getattr(caught.value, "reason", None)) == (kind, text, reason)
        assert KEY not in repr(caught.value.__cause__)
        assert await authenticator.authenticate("good.still") == {"sub": "still", "roles": ["user"]}


@pytest.mark.parametrize("frames", ["msgpack", "json"])
async def test_claims_that_json_does_not_have_arrive_as_text(host: str, tmp_path: Path, frames: str) -> None:
    async with opened(host, tmp_path, services(), frames=frames) as authenticator:
        expected = {"huge": str(2**70), "when": "2026-01-02T00:00:00", "bytes": "eA==", "nan": None, "deep": {"a": [{"b": 1}]}}
        assert await authenticator.authenticate("odd.x") == expected


async def test_many_tokens_are_checked_beside_each_other(host: str, tmp_path: Path) -> None:
    async with opened(host, tmp_path, services()) as authenticator, asyncio.timeout(WAIT):
        found = await asyncio.gather(*(authenticator.authenticate("together.64") for _ in range(64)))
        assert [claims["sub"] for claims in found] == ["64"] * 64


async def test_a_check_that_takes_too_long_is_unavailable_and_stopped(host: str, tmp_path: Path) -> None:
    async with opened(host, tmp_path, services(limits={"operation_timeout": 0.2})) as authenticator:
        with pytest.raises(Unavailable, match=r"validate was stopped after 0.2 s \(operation_timeout in \[services.tokens\]\)"):
            await authenticator.authenticate("waits.x")
    async with opened(host, tmp_path, services(limits={"operations": 1}), timeout=0.2) as authenticator:
        with pytest.raises(Unavailable, match="validate was not answered within 0.2 s"):
            await authenticator.authenticate("waits.x")
        async with asyncio.timeout(WAIT):  # what nobody waits for has been called off, or there would be no place for another
            while True:
                try:
                    assert await authenticator.authenticate("good.ada")
                    break
                except Unavailable:
                    await asyncio.sleep(0.01)


async def test_checks_under_way_are_limited(host: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with opened(host, tmp_path, services(limits={"operations": 2}, log=str(log))) as authenticator:
        waiting = [asyncio.create_task(authenticator.authenticate("waits.x")) for _ in range(2)]
        async with asyncio.timeout(WAIT):
            while log.read_text() != "opened\nwaits.x\nwaits.x\n":
                await asyncio.sleep(0.01)
        with pytest.raises(Unavailable, match=r"operations = 2 in \[services.tokens\]"):
            await authenticator.authenticate("good.ada")
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


# ── who may have one made ───────────────────────────────────────────────────────────────────────────────────────────


async def test_only_who_may_has_tokens_made(host: str, tmp_path: Path) -> None:
    async with opened(host, tmp_path, services(issues=True)) as authenticator:
        with pytest.raises(Forbidden, match=r'users may not have tokens made: add "users" to issue in \[services.tokens\]'):
            await authenticator.issue({"sub": "ada"})
    async with opened(host, tmp_path, services(issues=True, issue=["others"])) as authenticator:
        with pytest.raises(Forbidden):
            await authenticator.issue({"sub": "ada"})
    for issue in (["users"], ["*"]):
        async with opened(host, tmp_path, services(issues=True, issue=issue)) as authenticator:
            token = await authenticator.issue({"sub": "ada"})
            assert await authenticator.authenticate(token) == {"sub": "ada", "roles": ["user"]}


async def test_what_makes_no_token_says_so(host: str, tmp_path: Path) -> None:
    async with opened(host, tmp_path, services(issue=["users"])) as authenticator:
        with pytest.raises(AuthError, match="^the authenticator 'tokens' checks tokens and makes none$"):
            await authenticator.issue({"sub": "ada"})
    async with opened(host, tmp_path, services(issues=True, issue=["users"])) as authenticator:
        with pytest.raises(AuthError, match="^these claims are not signed$"):
            await authenticator.issue({"refuse": True})
        with pytest.raises(Unavailable, match="^the authenticator 'tokens' made no token$"):
            await authenticator.issue({"nothing": True})


# ── who gets which ──────────────────────────────────────────────────────────────────────────────────────────────────

TWO = services()["tokens"]
SEVERAL: dict[str, Any] = {"one": TWO, "two": TWO, "theirs": {**TWO, "modules": ["others"]}}


@pytest.mark.parametrize(
    ("hosted", "config", "refusal"),
    [
        (services(), {"config": {}}, None),
        (services(), {}, None),
        (services(), {"config": {"service": "tokens"}}, None),
        (services(), {"config": {"service": ""}}, None),
        (services(), {"config": {"service": "store"}}, "there is no authenticator 'store' for users (it may use: tokens)"),
        (services(modules=["*"]), {"config": {}}, None),
        (services(modules=["others"]), {"config": {}}, "which authenticator is meant is not clear (it may use: none)"),
        (services(modules=["others"]), {"config": {"service": "tokens"}}, 'add "users" to modules in [services.tokens]'),
        (SEVERAL, {"config": {}}, "which authenticator is meant is not clear (it may use: one, two)"),
        (SEVERAL, {"config": {"service": "two"}}, None),
        ({**SEVERAL, "main": TWO}, {"config": {}}, None),
        ({"store": services()["store"]}, {"config": {}}, "this orchestrator hosts no Jwt"),
        ({}, {"config": {}}, "this orchestrator hosts no services"),
    ],
)
async def test_a_bare_request_gets_the_only_one_or_is_told_which_there_are(
    host: str, tmp_path: Path, hosted: dict[str, Any], config: Any, refusal: str | None
) -> None:
    async with rust(host, tmp_path, hosted) as peer:
        answer = await peer.open(config)
        if refusal is None:
            assert answer.success and (await peer.ask(answer.connection_id, "validate", token="good.ada"))["sub"] == "ada"
        else:
            assert not answer.success and refusal in (answer.error or "")


async def test_a_section_gets_the_service_of_its_own_name(host: str, tmp_path: Path) -> None:
    hosted = {"main": TWO, "other": {**TWO, "auth": {"use": "words", "key": "out-of-reach"}}}
    async with opened(host, tmp_path, hosted, service=None) as authenticator:
        assert await authenticator.authenticate("good.ada")
    with pytest.raises(
        Unavailable, match=r"\[auth.main\] the orchestrator did not open the authenticator: the server with the keys is away"
    ):
        async with opened(host, tmp_path, hosted, service="other"):
            pass


# ── modules built on the Rust SDK ───────────────────────────────────────────────────────────────────────────────────


async def test_an_authenticator_answers_in_the_words_of_the_reference(host: str, tmp_path: Path) -> None:
    async with rust(host, tmp_path, services(issues=True, issue=["users"])) as peer:
        id = (await peer.open({"config": {}})).connection_id
        assert await peer.ask(id, "validate", token="good.ada") == {"sub": "ada", "roles": ["user"]}
        token = await peer.ask(id, "generate", claims={"sub": "bob", "exp": 4102444800})
        assert await peer.ask(id, "validate", token=token) == {"sub": "bob", "roles": ["user"]}
        assert str(await peer.ask(id, "validate", token="expired.x")) == "the token has expired"
        assert KEY not in str(await peer.ask(id, "validate", token="secret.x"))
        assert "validate: Object missing required field `token`" in str(await peer.ask(id, "validate"))
        assert "validate: Expected `str`, got `int` - at `$.token`" in str(await peer.ask(id, "validate", token=5))
        assert "generate: Expected `object`, got `array` - at `$.claims`" in str(await peer.ask(id, "generate", claims=[1]))
        assert "an authenticator has no operation 'cancel'" in str(await peer.ask(id, "cancel", request_id="x"))
        assert "an authenticator has no operation 'key'" in str(await peer.ask(id, "key"))
        assert await peer.ask(id, "close") is None
        assert "no connection with this id" in str(await peer.ask(id, "validate", token="good.ada"))


async def test_a_module_of_pywatts_checks_tokens_with_the_inherited_protocol_alone(host: str, tmp_path: Path) -> None:
    context = module(host, services(issues=True, issue=["users"]), tmp_path, section="auth.whatever", pywatt=False, frames="json")
    async with context as here, open_hosted_auth(HostedAuthOptions(), here) as authenticator:
        found = await asyncio.gather(*(authenticator.authenticate(f"good.{number}") for number in range(20)))
        assert [claims["sub"] for claims in found] == [str(number) for number in range(20)]
        assert await authenticator.issue({"sub": "ada"}) == "good.ada"
        with pytest.raises(InvalidToken, match="^the token has expired$") as caught:
            await authenticator.authenticate("expired.x")
        assert type(caught.value) is InvalidToken
