"""Tokens are checked."""

from __future__ import annotations

import pytest

from pywatt_core.errors import ExpiredToken, InvalidToken
from pywatt_jwt import JwtConfig, JwtValidator, create_token

KEY = "a test key that is long enough for HS256"


def test_a_token_that_was_made_here_is_good_here() -> None:
    config = JwtConfig(secret_key=KEY)
    assert JwtValidator(config).validate(create_token({"sub": "ada"}, config))["sub"] == "ada"


def test_an_expired_token_is_refused() -> None:
    config = JwtConfig(secret_key=KEY)
    with pytest.raises(ExpiredToken):
        JwtValidator(config).validate(create_token({"sub": "ada"}, config, now=1000.0))


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(InvalidToken):
        JwtValidator(JwtConfig(secret_key=KEY)).validate(create_token({"sub": "ada"}, KEY + "x"))
