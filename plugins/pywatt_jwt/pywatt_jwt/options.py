"""The keys of an ``[auth.NAME]`` section with ``use = "jwt"``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pywatt_core.redaction import Secret

LONGEST_TOKEN = 16_384
ALGORITHMS = (
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
)  # fmt: skip
"""Those that can be named. ``EdDSA`` is the older name of ``Ed25519`` (RFC 9864)."""


@dataclass(frozen=True, kw_only=True)
class JwtOptions:
    """The keys of a section ``[auth.NAME]`` with ``use = "jwt"``. Times are in seconds."""

    secret_key: Secret | None = None
    """The key of the HMAC algorithms: random text, at least 32 bytes for HS256, 48 for HS384, 64 for HS512."""
    secret: Secret | None = None
    """The same as `secret_key`."""
    algorithms: tuple[str, ...] = ()
    """The algorithms that are accepted. None named: those that the keys are for, of the HMAC ones HS256 alone."""
    issuer: str | tuple[str, ...] = ()
    """Who may have made a token (its ``iss``); one of several. None named: anybody with the key."""
    audience: str | tuple[str, ...] = ()
    """Whom a token has to be for (its ``aud``); one of several. None named: a token that is for somebody is refused."""
    leeway: float = 60.0
    """How far the clock of who made the token may be from ours."""
    required_claims: tuple[str, ...] = ("exp",)
    """Claims that have to be there."""
    compat_no_exp_check: bool = False
    """Accept expired tokens, as the inherited middleware does: ``exp`` has to be a number, whatever it says. For a migration only."""
    mode: Literal["auto", "local", "proxy"] = "auto"
    """``local``: checked here. ``proxy``: by the orchestrator, which has the key. ``auto``: here where a key is configured."""
    token_ttl: float = 3600.0
    """How long a token that is made here is good, where its claims do not say so."""
    max_token: int = LONGEST_TOKEN
    """Characters of a token; a longer one is refused unread."""

    def __post_init__(self) -> None:
        for name in ("secret_key", "secret"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, Secret(value, name=f"jwt {name}"))
        for name in ("algorithms", "issuer", "audience", "required_claims"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value or ()))
        if self.secret is not None:
            if self.secret_key is not None:
                raise ValueError("secret is the same as secret_key: set one of them")
            object.__setattr__(self, "secret_key", self.secret)
            object.__setattr__(self, "secret", None)
