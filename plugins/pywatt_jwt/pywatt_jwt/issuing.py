"""Tokens are made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

from pywatt_core.redaction import Secret

from .config import JwtConfig
from .errors import JwtAuthError
from .options import JwtOptions


def create_token(
    claims: Mapping[str, Any] | Any,
    config: JwtOptions | str | Secret,
    *,
    algorithm: str = "",
    ttl: float | None = None,
    now: float | None = None,
) -> str:
    """A signed token that proves `claims`: a mapping, or an object with fields. Raises `JwtAuthError`.

    `config` is what checks it, or the key of HS256 alone. ``iat``, ``exp`` (`ttl`, else `JwtConfig.token_ttl`), ``iss`` and ``aud`` are
    added where `claims` does not say them and the configuration does.
    """
    if isinstance(config, (str, Secret)):
        config = JwtConfig(secret_key=config)
    if config.secret_key is None:
        raise JwtAuthError("there is no key to sign with")
    made = int(time.time() if now is None else now)
    said = {"iat": made, "exp": made + int(config.token_ttl if ttl is None else ttl), **claims}
    key = OctKey.import_key(config.secret_key.expose_secret().encode())
    return jwt.encode({"alg": algorithm or "HS256"}, said, key, algorithms=[algorithm or "HS256"])
