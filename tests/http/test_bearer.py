"""Bearer tokens in requests, and what is answered where there is none or it is no good."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import AuthError, ExpiredToken, Forbidden, InvalidToken, PyWattError, Unavailable
from pywatt_core.http.bearer import MAX_TOKEN, MissingToken, reason_of, refusal_of, text_of, token_of

TOKEN = "eyJhbGciOiJIUzI1NiJ9.e30.abc-_~+/=="


@pytest.mark.parametrize("said", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER {TOKEN}", f" \tBearer {TOKEN}\t "])
def test_the_token(said: str) -> None:
    assert token_of([said]) == TOKEN


@pytest.mark.parametrize(
    "said",
    [
        "", "Bearer", "Bearer ", f"Bearer\t{TOKEN}", f"Bearer{TOKEN}", f"Token {TOKEN}", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}\n",
        f"Bearer\n {TOKEN}", f"Bearer {TOKEN}\x00", f"Bearer \xe9{TOKEN}", "Bearer ٣٤٥", f"\u00a0Bearer {TOKEN}",
        f"Bearer\u00a0{TOKEN}", f"Béarer {TOKEN}", f"Bearer {TOKEN}\x7f", f"BEARER\x00 {TOKEN}", f"Bear\u0435r {TOKEN}",
    ],
)  # fmt: skip
def test_what_is_no_bearer_token_is_none(said: str) -> None:
    with pytest.raises(MissingToken, match="no Authorization header with a bearer token"):
        token_of([said])


@pytest.mark.parametrize(
    "said",
    [
        f"Bearer  {TOKEN}", f"Bearer {TOKEN} ,", f"Bearer {TOKEN}, Bearer {TOKEN}", f"Bearer {TOKEN},Bearer {TOKEN}", f"bearer a=b{TOKEN}",
        "Bearer =", 'Bearer "a"', f"Bearer Bearer {TOKEN}", f"Bearer \t{TOKEN}", f"Bearer {TOKEN} {TOKEN}", "Bearer {}", "Bearer a%2Eb",
    ],
)  # fmt: skip
def test_what_is_said_after_the_scheme_is_no_good_where_it_is_no_token(said: str) -> None:
    with pytest.raises(InvalidToken, match="characters that no token has") as caught:
        token_of([said])
    assert not isinstance(caught.value, MissingToken)
    assert refusal_of(caught.value).body == b'{"error":"Unauthorized: InvalidToken"}'


def test_none_and_several_are_refused() -> None:
    with pytest.raises(MissingToken):
        token_of([])
    for said in ([f"Bearer {TOKEN}"] * 2, ["", f"Bearer {TOKEN}"], [f"Bearer {TOKEN}", "Basic YTpi"], [""] * 1000):
        with pytest.raises(InvalidToken, match="more than one Authorization header") as caught:
            token_of(said)
        assert not isinstance(caught.value, MissingToken)


def test_a_long_token_is_refused_unread() -> None:
    assert token_of(["Bearer " + "a" * MAX_TOKEN]) == "a" * MAX_TOKEN
    for length in (MAX_TOKEN + 1, 1_000_000, 10_000_000):
        with pytest.raises(InvalidToken, match="longer than a token of 16384 characters"):
            token_of(["Bearer " + "a" * length])


@given(st.text(max_size=200))
def test_whatever_is_said_a_token_has_no_other_characters(said: str) -> None:
    try:
        token = token_of([said])
    except InvalidToken:
        return
    assert set(token) <= set(string.ascii_letters + string.digits + "-._~+/=")
    assert token in said


@pytest.mark.parametrize(
    ("error", "status", "text", "challenge"),
    [
        (MissingToken("why"), 401, "Missing Authorization header", "Bearer"),
        (InvalidToken("the canary"), 401, "Unauthorized: InvalidToken", 'Bearer error="invalid_token"'),
        (InvalidToken("the canary", reason="InvalidAudience"), 401, "Unauthorized: InvalidAudience", 'Bearer error="invalid_token"'),
        (ExpiredToken("the canary"), 401, "Unauthorized: ExpiredSignature", 'Bearer error="invalid_token"'),
        (Forbidden("the canary"), 403, "Forbidden", 'Bearer error="insufficient_scope"'),
        (Unavailable("the canary"), 503, "Tokens cannot be checked now", None),
        (AuthError("the canary"), 500, "Tokens cannot be checked", None),
        (PyWattError("the canary"), 500, "Tokens cannot be checked", None),
    ],
)
def test_an_answer_tells_nothing_but_the_kind(error: PyWattError, status: int, text: str, challenge: str | None) -> None:
    refusal = refusal_of(error)
    headers = dict(refusal.headers)
    assert (refusal.status, json.loads(refusal.body), headers.get("www-authenticate")) == (status, {"error": text}, challenge)
    assert (headers["content-type"], headers["cache-control"]) == ("application/json", "no-store")
    assert ("retry-after" in headers) is (status == 503)
    assert text_of(refusal) == text
    assert "canary" not in repr(refusal)


SAID_OTHERWISE = {
    "http_body_jwt_expired_or_bad": "which part of a token is wrong is told to nobody who could not have made it",
    "http_body_jwt_proxy_unavailable": "it cannot be told now: 503, and nothing about how the module was built",
}


def test_bodies_are_the_references_byte_for_byte_where_they_tell_as_little() -> None:
    known = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
    vectors = {
        vector["name"]: (vector["status"], vector["json"].encode()) for vector in known if vector["name"].startswith("http_body_jwt")
    }
    errors = {
        "http_body_jwt_missing": MissingToken("why"),
        "http_body_jwt_no_exp": InvalidToken("why", reason="Missing required claim: exp"),
    }
    assert vectors.keys() == {*errors, *SAID_OTHERWISE}
    for name, error in errors.items():
        refusal = refusal_of(error)
        assert (refusal.status, refusal.body) == vectors[name]


def test_the_reason() -> None:
    assert reason_of(InvalidToken("x")) == "InvalidToken"
    assert reason_of(ExpiredToken("x")) == "ExpiredSignature"
    assert reason_of(InvalidToken("x", reason="ImmatureSignature")) == "ImmatureSignature"
