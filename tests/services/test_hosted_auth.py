"""A module's end of an authenticator that its orchestrator hosts: the golden bytes, what refusals mean, and nothing of tokens in texts."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pywatt_core.access import Authenticator, TokenIssuer
from pywatt_core.errors import (
    AuthError,
    ChannelClosed,
    ConfigError,
    ExpiredToken,
    Forbidden,
    InvalidToken,
    PyWattError,
    RequestTimeout,
    Unavailable,
)
from pywatt_core.interfaces import Context, Orchestrator
from pywatt_core.protocol.hosted import HOSTING, failure_of
from pywatt_core.protocol.messages import ServiceOperationResult, ServiceResponse, ServiceType
from pywatt_core.registry import Registry
from pywatt_core.services.hosted_auth import LONGEST_REASON, MOST_CHARACTERS, HostedAuthenticator, open_hosted_auth
from pywatt_core.services.hosted_options import HostedAuthOptions

from .test_hosted import Ways, context, golden

TOKEN = "eyJ.e30.sig"


@asynccontextmanager
async def opened(ways: Any, *features: str, section: str = "auth.main", **options: Any) -> AsyncIterator[HostedAuthenticator]:
    async with open_hosted_auth(HostedAuthOptions(**options), context(ways, section, *features)) as authenticator:
        ways.sent.clear()
        yield authenticator


def refusing(ways: Ways, text: str, error: PyWattError | None = None) -> None:
    """The next answer is a refusal; `error` says of which kind, as a PyWatt orchestrator would."""
    ways.answers.append(ServiceOperationResult(success=False, result={"failure": failure_of(error)} if error else None, error=text))


# ── the golden bytes ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_everything_is_asked_as_the_reference_asks() -> None:
    ways = Ways()
    async with open_hosted_auth(HostedAuthOptions(service="tokens"), context(ways, "auth.main")) as authenticator:
        ways.answer("result_jwt_validate")
        assert await authenticator.authenticate(TOKEN) == {"exp": 4102444800, "sub": "u1"}
        ways.answer("result_jwt_generate")
        assert await authenticator.issue({"sub": "u1", "exp": 4102444800}) == TOKEN
    request, *operations = ways.sent
    assert json.dumps(request["config"]) == json.dumps(golden("service_request_jwt")["config"]) == '{"config": {}}'
    assert request["service_type"] == "Jwt" and request["id"].startswith("jwt_request_")
    expected = [golden(name) for name in ("op_jwt_validate", "op_jwt_generate", "op_jwt_close")]
    assert [json.dumps(one) for one in operations] == [json.dumps(one) for one in expected]


@pytest.mark.parametrize(("options", "service"), [({}, "members"), ({"service": "tokens"}, "tokens")])
async def test_a_pywatt_orchestrator_is_told_which_service_and_asked_for_kinds_of_errors(options: dict[str, Any], service: str) -> None:
    ways = Ways()
    async with open_hosted_auth(HostedAuthOptions(**options), context(ways, "auth.members", HOSTING)) as authenticator:
        ways.answer("result_jwt_validate")
        await authenticator.authenticate(TOKEN)
    request, validate, close = ways.sent
    assert request["config"] == {"config": {"service": service}, "pywatt_values": True}
    assert (validate["operation"], close["operation"]) == ("validate", "close")
    assert validate["request_id"] != close["request_id"]


# ── what refusals mean ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "error",
    [
        InvalidToken("the signature does not hold"),
        InvalidToken("for somebody else", reason="InvalidAudience"),
        ExpiredToken("over since yesterday"),
        Forbidden("not today"),
        AuthError("no"),
        Unavailable("the keys cannot be fetched"),
    ],
)
async def test_what_the_authenticator_raised_is_raised_here(error: PyWattError) -> None:
    ways = Ways()
    async with opened(ways, HOSTING) as authenticator:
        for call in (authenticator.authenticate(TOKEN), authenticator.issue({})):
            refusing(ways, str(error), error)
            with pytest.raises(PyWattError) as caught:
                await call
            assert (type(caught.value), str(caught.value), vars(caught.value)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("said", ["InvalidSignature", "", "boom " * 1000])
async def test_a_refusal_of_the_reference_is_an_invalid_token_with_its_text(said: str) -> None:
    ways = Ways()
    async with opened(ways) as authenticator:
        refusing(ways, said)
        with pytest.raises(InvalidToken) as caught:
            await authenticator.authenticate(TOKEN)
        assert type(caught.value) is InvalidToken and caught.value.reason == ""
        assert str(caught.value) == (said[:LONGEST_REASON] or "Unknown error")
        refusing(ways, said)
        with pytest.raises(AuthError) as failed:
            await authenticator.issue({})
        assert type(failed.value) is AuthError


@pytest.mark.parametrize("features", [(), (HOSTING,)])
@pytest.mark.parametrize("claims", [None, "text", 5, True, ["sub"]])
async def test_claims_that_are_none_prove_nothing(features: tuple[str, ...], claims: Any) -> None:
    ways = Ways()
    async with opened(ways, *features) as authenticator:
        ways.answers.append(ServiceOperationResult(success=True, result=claims))
        with pytest.raises(InvalidToken, match="^No claims returned from validation$"):
            await authenticator.authenticate(TOKEN)


@pytest.mark.parametrize("token", [None, "", 5, {"token": "x"}])
async def test_a_token_that_is_none_is_not_given_to_anybody(token: Any) -> None:
    ways = Ways()
    async with opened(ways) as authenticator:
        ways.answers.append(ServiceOperationResult(success=True, result=token))
        with pytest.raises(AuthError, match="^Invalid token format$"):
            await authenticator.issue({})


@pytest.mark.parametrize(
    "broken",
    [
        RequestTimeout("late"),
        ChannelClosed("gone", executed="no"),
        ChannelClosed("gone"),
        ServiceOperationResult(success=False, result={"failure": {"kind": "storage"}}, error="odd"),
        ServiceOperationResult(success=False, result={"failure": {"kind": "not_found"}}, error="no such connection"),
        ServiceOperationResult(success=False, result=None, error="no word about its kind"),
    ],
)
async def test_whatever_else_goes_wrong_is_unavailable_and_never_a_bad_token(broken: Any) -> None:
    ways = Ways()
    async with opened(ways, HOSTING) as authenticator:
        for call in (authenticator.authenticate(TOKEN), authenticator.issue({})):
            ways.answers.append(broken)
            with pytest.raises(Unavailable) as caught:
                await call
            assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("broken", [RequestTimeout("late"), ChannelClosed("gone", executed="no")])
async def test_an_orchestrator_of_others_that_does_not_answer_is_unavailable_too(broken: Exception) -> None:
    ways = Ways()
    async with opened(ways) as authenticator:
        ways.answers.append(broken)
        with pytest.raises(Unavailable):
            await authenticator.authenticate(TOKEN)


async def test_after_its_end_it_is_unavailable() -> None:
    ways = Ways()
    async with opened(ways, HOSTING) as authenticator:
        pass
    with pytest.raises(Unavailable, match="the authenticator is closed"):
        await authenticator.authenticate(TOKEN)
    assert not ways.sent[1:], "nothing may be sent behind `close`"


# ── what is sent, and when ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", ["", "x" * (MOST_CHARACTERS + 1), "é", "a\udc80", None, b"abc", 5])
async def test_what_cannot_be_a_token_is_refused_without_asking(token: Any) -> None:
    ways = Ways()
    async with opened(ways) as authenticator:
        with pytest.raises(InvalidToken, match="cannot be one"):
            await authenticator.authenticate(token)
        assert ways.sent == []


DEEP: Any = []
for _ in range(40):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (None, "a mapping with text as names"),
        (["sub"], "a mapping with text as names"),
        ({5: "x"}, "a mapping with text as names"),
        ("sub", "a mapping with text as names"),
        ({"x": object()}, "the claim 'x' holds an object that JSON does not have"),
        ({"x": [{"y": float("nan")}]}, "the claim 'x' holds a float"),
        ({"x": float("-inf")}, "the claim 'x' holds a float"),
        ({"x": 2**63}, "the claim 'x' holds an int"),
        ({"x": b"y"}, "the claim 'x' holds a bytes"),
        ({"x": {5: "y"}}, "the claim 'x' holds a dict"),
        ({"x": "\ud800"}, "characters that UTF-8 cannot express"),
        ({"x": DEEP}, "lies too deep"),
    ],
)
async def test_claims_that_would_not_arrive_as_they_are_are_not_sent(claims: Any, reason: str) -> None:
    ways = Ways()
    async with opened(ways) as authenticator:
        with pytest.raises(AuthError, match=reason):
            await authenticator.issue(claims)
        assert ways.sent == []


async def test_claims_are_sent_as_json_has_them() -> None:
    ways = Ways()
    async with opened(ways) as authenticator:
        ways.answers.append(ServiceOperationResult(success=True, result=TOKEN))
        await authenticator.issue({"b": (1, 2.5), "a": {"x": None, "t": True}, "min": -(2**63)})
    assert json.dumps(ways.sent[0]["params"]) == json.dumps({"claims": {"a": {"x": None, "t": True}, "b": [1, 2.5], "min": -(2**63)}})


@pytest.mark.parametrize(("features", "at_once"), [((), 1), ((HOSTING,), 20)])
async def test_many_tokens_are_checked_at_once_where_the_orchestrator_can(features: tuple[str, ...], at_once: int) -> None:
    ways = Ways()
    async with opened(ways, *features) as authenticator:
        ways.answers = [ServiceOperationResult(success=True, result={"sub": str(number)}) for number in range(20)]
        ways.gate.clear()
        asking = [asyncio.create_task(authenticator.authenticate(f"token-{number}")) for number in range(20)]
        while ways.under_way < at_once:
            await asyncio.sleep(0)
        ways.gate.set()
        assert sorted(int(claims["sub"]) for claims in await asyncio.gather(*asking)) == list(range(20))
        assert ways.most_at_once == at_once


async def test_a_check_that_nobody_waits_for_is_called_off() -> None:
    ways = Ways()
    async with opened(ways, HOSTING) as authenticator:
        ways.gate.clear()
        asking = asyncio.create_task(authenticator.authenticate(TOKEN))
        while not ways.under_way:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        ways.gate.set()
        while len(ways.sent) < 2:
            await asyncio.sleep(0)
    assert ways.sent[1]["operation"] == "cancel" and ways.sent[1]["params"] == {"request_id": ways.sent[0]["request_id"]}


# ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_it_is_the_provider_orchestrator_of_auth() -> None:
    ways = Ways()
    claim = Registry().claim("auth", "orchestrator")
    assert claim.options is HostedAuthOptions
    async with open_hosted_auth(HostedAuthOptions(), context(ways)) as authenticator:
        assert isinstance(authenticator, Authenticator) and isinstance(authenticator, TokenIssuer)


async def test_without_an_orchestrator_it_says_so() -> None:
    for alone in (None, Orchestrator(type("NoWays", (), {"stdio": None, "names": ()})(), None)):
        with pytest.raises(ConfigError, match=r'\[auth.main\] use = "orchestrator": this module runs without one'):
            async with open_hosted_auth(HostedAuthOptions(), Context(module_id="x", section="auth.main", orchestrator=alone)):
                pass


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ServiceResponse("r", ServiceType.JWT, success=False, error="not for you"), "did not open the authenticator: not for you"),
        (ServiceResponse("r", ServiceType.JWT, success=False), "did not open the authenticator: Unknown connection error"),
        (ServiceResponse("r", ServiceType.JWT, success=True), "did not open the authenticator: No connection ID returned"),
        (RequestTimeout("late"), "did not open the authenticator within 30 s"),
        (ChannelClosed("gone"), "the orchestrator cannot be reached: gone"),
    ],
)
async def test_what_does_not_open_says_why(answer: Any, expected: str) -> None:
    class Refusing(Ways):
        async def request(self, message: Any, *, timeout: float) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    with pytest.raises(Unavailable) as caught:
        async with open_hosted_auth(HostedAuthOptions(), context(Refusing(), "auth.main")):
            pass
    assert str(caught.value).startswith("[auth.main] ") and expected in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_time_limit_is_one(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout is"):
        HostedAuthOptions(timeout=timeout)


# ── nothing of a token ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_text_shows_the_token_whatever_the_orchestrator_says(caplog: pytest.LogCaptureFixture) -> None:
    secret = "canary.of.a-token"
    ways = Ways()
    texts = []
    with caplog.at_level(logging.DEBUG):
        async with opened(ways) as authenticator:
            for said in (f"cannot read {secret}", f"{secret}{secret}", "x" * (LONGEST_REASON - 5) + secret):
                refusing(ways, said)
                try:
                    await authenticator.authenticate(secret)
                except InvalidToken as error:
                    texts += [str(error), repr(error), "".join(traceback.format_exception(error))]
            ways.answers.append(RequestTimeout("late"))
            try:
                await authenticator.authenticate(secret)
            except Unavailable as error:
                texts += [str(error), "".join(traceback.format_exception(error))]
            texts.append(repr(authenticator))
    assert len(texts) == 12
    for text in (*texts, caplog.text):
        assert "canary" not in text
