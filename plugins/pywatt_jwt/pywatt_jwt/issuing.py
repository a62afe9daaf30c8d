"""Tokens are made."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from joserfc.util import urlsafe_b64encode

from pywatt_core.protocol.payloads import plain
from pywatt_core.redaction import Secret

from .claims import TIMES, check_forms
from .config import JwtConfig
from .errors import InvalidClaims, JwtAuthError
from .key_sets import fixed_keys
from .keys import Key
from .options import JwtOptions
from .tokens import json_object

PREFERRED: Final = ("HS256", "RS256", "Ed25519", "ES256", "ES384", "ES512")
"""What a key that is for several signs with, where nobody says."""

_ADDED: Final = ("exp", "iat", "nbf", "iss", "aud")
"""Claims for which None means that they are not said, as in an object whose field has no value."""


class JwtIssuer:
    """Makes tokens: ``JwtIssuer(JwtConfig(secret_key="…")).create({"sub": "ada"})``. Safe for any number of threads.

    Raises `JwtAuthError` where the configuration holds no key that signs.
    """

    def __init__(self, config: JwtOptions, *, clock: Callable[[], float] = time.time) -> None:
        if not isinstance(config, JwtOptions):
            raise TypeError(f"JwtIssuer takes a JwtConfig, not {type(config).__name__}: JwtIssuer(JwtConfig(secret_key=…))")
        self.config = config
        self._clock = clock
        try:
            keys = [key for key in fixed_keys(config) if key.signs]
        except ValueError as error:
            raise JwtAuthError(str(error)) from None
        if not keys:
            raise JwtAuthError("there is no key to sign with: set secret_key, private_key, or key to one that can")
        self._keys = keys

    def create(self, claims: Mapping[str, Any] | Any, *, algorithm: str = "", ttl: float | None = None, now: float | None = None) -> str:
        """A token that proves `claims`: a mapping, dataclass, Struct or pydantic model. Raises `JwtAuthError`.

        ``iat``, ``exp`` (`ttl` seconds, else `JwtConfig.token_ttl`), ``iss`` and ``aud`` are added where the claims do not say them.
        """
        key, chosen = self._signer(algorithm)
        header = {"alg": chosen, "typ": self._type()} | ({"kid": key.kid} if key.kid is not None else {})
        payload = self._payload(claims, ttl, self._clock() if now is None else now)
        message = urlsafe_b64encode(_json(header)) + b"." + urlsafe_b64encode(payload)
        token = (message + b"." + urlsafe_b64encode(key.sign("Ed25519" if chosen == "EdDSA" else chosen, message))).decode()
        if len(token) > self.config.max_token:
            raise JwtAuthError(f"the token would have {len(token)} characters, and one with more than {self.config.max_token} is refused")
        return token

    def _signer(self, wanted: str) -> tuple[Key, str]:
        """The key that signs, and the algorithm as the header writes it: Ed25519 under the name that more of those who check know."""
        named = (wanted,) if wanted else self.config.algorithms
        for name in named or PREFERRED:
            for key in self._keys:
                if ("Ed25519" if name == "EdDSA" else name) in key.algorithms:
                    return key, "EdDSA" if name == "Ed25519" and not named else name
        if not named:
            key = self._keys[0]
            return key, key.algorithms[0]
        raise JwtAuthError(f"no key signs with {', '.join(named)}")

    def _type(self) -> str:
        return next((kind for kind in self.config.token_types if kind.upper() == "JWT"), self.config.token_types[0])

    def _payload(self, claims: Any, ttl: float | None, now: float) -> bytes:
        if isinstance(claims, Mapping):
            if not all(isinstance(name, str) for name in claims):
                raise JwtAuthError("claims have text as names")
            claims = {name: _time(name, value) if name in TIMES else value for name, value in claims.items()}
        try:
            said = plain(claims)
        except (TypeError, ValueError, RecursionError) as error:
            raise JwtAuthError(f"the claims cannot be written: {type(error).__name__}") from None
        if not isinstance(said, dict):
            raise JwtAuthError("claims are a mapping or an object with fields")
        said = {name: value for name, value in said.items() if value is not None or name not in _ADDED}
        seconds = self.config.token_ttl if ttl is None else ttl
        if not 0 <= seconds < math.inf or (ttl is not None and not ttl):
            raise JwtAuthError(f"ttl is {ttl}: a number of seconds above 0 is needed")
        made = int(now)
        added: dict[str, Any] = {"iat": made}
        if seconds:
            added["exp"] = made + math.ceil(seconds)
        if self.config.issuer:
            added["iss"] = self.config.issuer[0]
        if self.config.audience:
            added["aud"] = self.config.audience[0] if len(self.config.audience) == 1 else list(self.config.audience)
        whole = added | said
        try:
            data = _json(whole)
            check_forms(json_object(data))
        except InvalidClaims as error:
            raise JwtAuthError(f"the claims cannot be written: {error}") from None
        except (TypeError, ValueError, RecursionError):
            raise JwtAuthError("the claims cannot be written as JSON that says everything once") from None
        return data


def _time(name: str, value: Any) -> Any:
    """Seconds for a moment; everything else as it is."""
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise JwtAuthError(f"{name} is a datetime without a time zone")
    return int(value.timestamp())


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def create_token(
    claims: Mapping[str, Any] | Any,
    config: JwtOptions | Secret | str,
    *,
    algorithm: str = "",
    ttl: float | None = None,
    now: float | None = None,
) -> str:
    """A signed token that proves `claims`, as `JwtIssuer.create` makes it. `config` is what checks it, or the key of HS256 alone.

    The keys of a configuration are read once, for as long as it lives. Raises `JwtAuthError`.
    """
    if isinstance(config, str | Secret):
        try:
            config = JwtConfig(secret_key=config, algorithms=(algorithm,) if algorithm else ())
        except ValueError as error:
            raise JwtAuthError(str(error)) from None
        return JwtIssuer(config).create(claims, ttl=ttl, now=now)
    issuer: JwtIssuer | None = config.__dict__.get("_issuer")
    if issuer is None:  # two threads may both make one: they are alike
        issuer = JwtIssuer(config)
        object.__setattr__(config, "_issuer", issuer)
    return issuer.create(claims, algorithm=algorithm, ttl=ttl, now=now)
