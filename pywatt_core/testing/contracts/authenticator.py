"""The contract of an authenticator."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import string
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import pytest

from pywatt_core.access import Authenticator, TokenIssuer
from pywatt_core.errors import AuthError, ExpiredToken, InvalidToken
from pywatt_core.http.bearer import refusal_of

Backend: TypeAlias = AbstractAsyncContextManager[Authenticator]
TokenFor: TypeAlias = Callable[[Mapping[str, Any]], str]

CANARY = "contract-canary-subject"

NO_TOKENS = [
    "",
    " ",
    ".",
    "..",
    "...",
    "....",
    "a.b.c",
    "a" * 100,
    "null",
    "Bearer",
    "\x00",
    "\n",
    "\ud800",
    "ü.ü.ü",
    "e30.e30.",
    "e30.e30.e30",
    "..e30",
    "{}.{}.{}",
    "eyJhbGciOiJub25lIn0.e30.",
    "%00.%00.%00",
    "../../etc/passwd",
    "' OR 1=1 --",
    "a" * 1_000_000,
    "." * 1_000_000,
    "e30." * 250_000,
]

NO_ALGORITHMS: list[Any] = ["none", "None", "NONE", "nOnE", "", "null", None, False, 0, [], {}, ["none"], "none ", "HS0", "hs256"]


class AuthContract:
    """Everything that `pywatt_core.access.Authenticator` promises, and `TokenIssuer`. A plugin's test file holds::

        class TestMine(AuthContract):
            issues = True

            @pytest.fixture
            def backend(self):
                return open_mine(Options(…), Context(module_id="test", section="auth.main"))

            @pytest.fixture
            def token_for(self):
                return lambda claims: …

            @pytest.fixture
            def foreign_token_for(self):
                return lambda claims: …

    `backend` gives an async context manager that opens the authenticator. `token_for` makes a genuine token of claims, with ``exp`` among
    them, and adds whatever the configuration wants beside; `foreign_token_for` makes one like it with a key that is not trusted.
    """

    issues = False
    """Whether it makes tokens too."""
    jwts = True
    """Whether tokens are JSON Web Tokens: three parts, of which the first two can be read."""
    hidden: tuple[str, ...] = ()
    """What may never be seen: the keys."""

    async def test_a_genuine_token_proves_its_claims(self, backend: Backend, token_for: TokenFor) -> None:
        said = {"sub": "ada", "roles": ["admin", "member"], "nested": {"deep": [1, 2.5, None, True]}, "text": "Grüße 😀"}
        async with backend as authenticator:
            claims = await authenticator.authenticate(token_for(living(said)))
        assert isinstance(claims, Mapping)
        assert {name: claims[name] for name in said} == said

    async def test_who_changes_claims_changes_nobody_elses(self, backend: Backend, token_for: TokenFor) -> None:
        token = token_for(living({"sub": "ada", "roles": ["member"]}))
        async with backend as authenticator:
            for _ in range(3):
                claims: Any = await authenticator.authenticate(token)
                assert claims["roles"] == ["member"]
                claims["roles"].append("admin")
                if isinstance(claims, dict):
                    claims["sub"] = "mallory"
            assert (await authenticator.authenticate(token))["sub"] == "ada"

    async def test_a_token_that_was_good_once_is_an_expired_one(self, backend: Backend, token_for: TokenFor) -> None:
        async with backend as authenticator:
            with pytest.raises(ExpiredToken) as caught:
                await authenticator.authenticate(token_for({"sub": "ada", "exp": int(time.time()) - 100_000}))
        assert refusal_of(caught.value).status == 401

    async def test_a_token_of_another_key_is_invalid_and_nothing_else_is_said(
        self, backend: Backend, token_for: TokenFor, foreign_token_for: TokenFor
    ) -> None:
        answers = []
        async with backend as authenticator:
            for claims in (living({"sub": "ada"}), {"sub": "ada", "exp": 1}, {"sub": "ada"}, living({"sub": 5, "nbf": "x"})):
                with pytest.raises(InvalidToken) as caught:
                    await authenticator.authenticate(foreign_token_for(claims))
                assert not isinstance(caught.value, ExpiredToken)
                answers.append(refusal_of(caught.value))
            if self.jwts:
                head, body, proof = token_for(living({"sub": "ada"})).split(".")
                for token in (f"{head}.{body}.{'A' * len(proof)}", f"{head}.{body}.", f"{head}.{body}.AAAA"):
                    with pytest.raises(InvalidToken) as caught:
                        await authenticator.authenticate(token)
                    answers.append(refusal_of(caught.value))
        assert all(answer == answers[0] for answer in answers)
        assert answers[0].body == b'{"error":"Unauthorized: InvalidToken"}'

    async def test_a_token_that_was_touched_anywhere_is_refused(self, backend: Backend, token_for: TokenFor) -> None:
        token = token_for(living({"sub": "ada"}))
        source = random.Random(15)
        places = range(len(token)) if len(token) < 400 else [*range(0, len(token), len(token) // 300), *range(len(token) - 90, len(token))]
        async with backend as authenticator:
            await authenticator.authenticate(token)
            for place in places:
                other = source.choice([one for one in string.ascii_letters + string.digits + "-_.=+/ " if one != token[place]])
                await refused(authenticator, token[:place] + other + token[place + 1 :])
                await refused(authenticator, token[:place] + token[place + 1 :])
                await refused(authenticator, token[:place] + token[place] + token[place:])
            for wrapped in (token + "\n", "\n" + token, token + " ", f" {token}", token + "=", token + "\x00", f'"{token}"', token + token):
                await refused(authenticator, wrapped)

    @pytest.mark.parametrize("token", NO_TOKENS, ids=lambda token: repr(token[:24]) + ("…" if len(token) > 24 else ""))
    async def test_what_is_no_token_is_invalid(self, backend: Backend, token: str) -> None:
        async with backend as authenticator:
            await refused(authenticator, token)

    async def test_random_text_is_invalid(self, backend: Backend) -> None:
        source = random.Random(16)
        alphabet = string.ascii_letters + string.digits + "-_."
        async with backend as authenticator:
            for _ in range(500):
                await refused(authenticator, "".join(source.choices(alphabet, k=source.randrange(1, 120))))

    async def test_a_token_without_a_signature_is_refused_however_it_says_so(self, backend: Backend, token_for: TokenFor) -> None:
        if not self.jwts:
            return
        _, body, proof = token_for(living({"sub": "ada", "admin": True})).split(".")
        async with backend as authenticator:
            for name in NO_ALGORITHMS:
                head = base64.urlsafe_b64encode(json.dumps({"alg": name, "typ": "JWT"}).encode()).rstrip(b"=").decode()
                for signature in ("", proof, "AAAA"):
                    await refused(authenticator, f"{head}.{body}.{signature}")

    async def test_an_error_shows_nothing_of_the_token_and_nothing_of_a_key(
        self, backend: Backend, token_for: TokenFor, foreign_token_for: TokenFor
    ) -> None:
        tokens = [
            foreign_token_for(living({"sub": CANARY})),
            foreign_token_for({"sub": CANARY, "exp": 1}),
            token_for({"sub": CANARY, "exp": int(time.time()) - 100_000}),
            token_for(living({"sub": CANARY}))[:-10],
            f"{CANARY}.{CANARY}.{CANARY}",
        ]
        async with backend as authenticator:
            for token in tokens:
                error: BaseException | None = await refused(authenticator, token)
                while error is not None:
                    shown = f"{error!r} {error} {vars(error)} {getattr(error, '__notes__', '')}"
                    assert CANARY not in shown
                    assert not any(part in shown for part in token.split(".") if len(part) > 8)
                    assert not any(secret in shown for secret in self.hidden)
                    error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
            assert not any(secret in f"{authenticator!r} {authenticator}" for secret in self.hidden)

    async def test_many_at_once_do_not_mix(self, backend: Backend, token_for: TokenFor, foreign_token_for: TokenFor) -> None:
        tokens = [(foreign_token_for if number % 7 == 3 else token_for)(living({"sub": f"user {number}"})) for number in range(70)]
        async with backend as authenticator:
            answers = await asyncio.gather(*(authenticator.authenticate(token) for token in tokens), return_exceptions=True)
        for number, answer in enumerate(answers):
            if number % 7 == 3:
                assert isinstance(answer, InvalidToken)
            else:
                assert not isinstance(answer, BaseException)
                assert answer["sub"] == f"user {number}"

    async def test_a_caller_that_gives_up_spoils_nothing(self, backend: Backend, token_for: TokenFor) -> None:
        token = token_for(living({"sub": "ada"}))
        async with backend as authenticator:
            for _ in range(20):
                asking = asyncio.ensure_future(authenticator.authenticate(token))
                await asyncio.sleep(0)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            assert (await authenticator.authenticate(token))["sub"] == "ada"

    async def test_a_refused_token_does_not_make_the_next_one_refused(
        self, backend: Backend, token_for: TokenFor, foreign_token_for: TokenFor
    ) -> None:
        good, bad = token_for(living({"sub": "ada"})), foreign_token_for(living({"sub": "ada"}))
        async with backend as authenticator:
            for _ in range(50):
                await refused(authenticator, bad)
                assert (await authenticator.authenticate(good))["sub"] == "ada"

    async def test_it_says_rightly_whether_it_makes_tokens(self, backend: Backend) -> None:
        async with backend as authenticator:
            assert isinstance(authenticator, Authenticator)
            assert isinstance(authenticator, TokenIssuer) == self.issues

    async def test_a_token_that_it_makes_proves_what_it_was_made_of(self, backend: Backend) -> None:
        async with backend as authenticator:
            if not isinstance(authenticator, TokenIssuer):
                return
            token = await authenticator.issue({"sub": "ada", "roles": ["admin"], "nested": {"a": [1, None]}})
            claims = await authenticator.authenticate(token)
            assert (claims["sub"], claims["roles"], claims["nested"]) == ("ada", ["admin"], {"a": [1, None]})
            assert claims["exp"] > time.time()
            with pytest.raises(ExpiredToken):
                await authenticator.authenticate(await authenticator.issue({"sub": "ada", "exp": 1_000_000}))

    async def test_claims_that_cannot_be_written_are_refused(self, backend: Backend) -> None:
        wrong: list[Any] = [
            {"x": object()},
            {"x": float("nan")},
            {"x": float("inf")},
            [],
            "text",
            None,
            {1: 2},
            {"sub": 5},
            {"exp": "soon"},
        ]
        async with backend as authenticator:
            if not isinstance(authenticator, TokenIssuer):
                return
            for claims in wrong:
                with pytest.raises(AuthError):
                    await authenticator.issue(claims)


def living(claims: Mapping[str, Any]) -> dict[str, Any]:
    """`claims` that are good for ten minutes."""
    return {**claims, "exp": int(time.time()) + 600}


async def refused(authenticator: Authenticator, token: str) -> InvalidToken:
    """The error that a token is refused with; a test fails where it is accepted, or where the error is of another kind."""
    try:
        await authenticator.authenticate(token)
    except InvalidToken as error:
        return error
    pytest.fail(f"a token of {len(token)} characters was accepted that must not be")
