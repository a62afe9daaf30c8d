"""The key of an authenticator changes while tokens are checked: those of the new key are good from then on, and no check is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pywatt_core import AppState, HttpIpcRouter, pywatt_module
from pywatt_core.access import Authenticator, TokenIssuer
from pywatt_core.errors import InvalidToken
from pywatt_core.testing import app
from tools.under_load import Load

KEYS = [f"key-number-{number}-of-at-least-32-bytes" for number in range(4)]
MAIN = {"auth": {"main": {"use": "jwt", "secret_key": "secret:JWT_KEY"}}}


@pywatt_module()
async def guarded(state: AppState[None]) -> Any:
    return HttpIpcRouter()


async def test_tokens_of_the_new_key_are_good_and_those_of_the_old_one_are_not() -> None:
    async with app(guarded, secrets={"JWT_KEY": KEYS[0]}, config=MAIN) as client:
        authenticator: Any = client.state.authenticator
        assert isinstance(authenticator, Authenticator)
        assert isinstance(authenticator, TokenIssuer)
        old = await authenticator.issue({"sub": "ada"})
        assert (await client.state.validate_jwt_token(old))["sub"] == "ada"
        assert (await client.rotate({"JWT_KEY": KEYS[1]})).status == "success"
        with pytest.raises(InvalidToken):
            await client.state.validate_jwt_token(old)
        new = await authenticator.issue({"sub": "ada"})
        assert (await client.state.validate_jwt_token(new))["sub"] == "ada"
        assert (await asyncio.to_thread(client.state.sync.authenticator.authenticate, new))["sub"] == "ada"


async def test_a_key_that_is_too_short_is_refused_and_the_old_one_stays() -> None:
    async with app(guarded, secrets={"JWT_KEY": KEYS[0]}, config=MAIN) as client:
        authenticator: Any = client.state.authenticator
        token = await authenticator.issue({"sub": "ada"})
        acknowledgement = await client.rotate({"JWT_KEY": "too-short-a-key"})
        assert acknowledgement.status == "error"
        assert (acknowledgement.message or "").startswith("auth.main")
        assert "too-short-a-key" not in (acknowledgement.message or "")
        assert (await client.state.validate_jwt_token(token))["sub"] == "ada"


async def test_a_token_that_is_issued_is_good_whatever_rotates_beside_it() -> None:
    """Issuing and checking are two calls: a rotation between them is the only thing that may come in the way."""
    async with app(guarded, secrets={"JWT_KEY": KEYS[0]}, config=MAIN) as client:
        authenticator: Any = client.state.authenticator
        rotations = 0

        async def use() -> None:
            before = rotations
            try:
                await authenticator.authenticate(await authenticator.issue({"sub": "ada"}))
            except InvalidToken:
                assert rotations > before
            await asyncio.sleep(0)

        async with Load(use) as load:
            for number in range(20):
                rotations += 1
                assert (await client.rotate({"JWT_KEY": KEYS[number % len(KEYS)]})).status == "success"
                await load.more(20)
                rotations += 1
        assert load.failures == []
