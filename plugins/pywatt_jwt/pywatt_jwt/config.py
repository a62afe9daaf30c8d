"""`JwtConfig`: the options of a section, for code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .options import LONGEST_TOKEN, JwtOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Literal

    from pywatt_core.redaction import Secret


@dataclass(frozen=True, kw_only=True)
class JwtConfig(JwtOptions):
    """How tokens are checked and made: ``JwtConfig(secret_key="…", audience="shop")``. Keys may be text or `Secret`, lists may be lists.

    Raises `ValueError` where the options contradict each other.
    """

    claims_type: Any = None
    """What `JwtValidator.validate` returns: a dataclass, Struct, pydantic model or TypedDict; None: a dict."""

    if TYPE_CHECKING:  # what `JwtOptions.__post_init__` takes beside the types of its fields

        def __init__(
            self,
            *,
            secret_key: Secret | str | None = None,
            secret: Secret | str | None = None,
            key: Secret | str | None = None,
            private_key: Secret | str | None = None,
            private_key_password: Secret | str | None = None,
            public_key: str = "",
            previous_keys: Sequence[Secret | str] = (),
            jwks: str | Mapping[str, Any] = "",
            jwks_file: Path | str | None = None,
            jwks_url: str = "",
            openid_issuer: str = "",
            kid: str = "",
            algorithms: Sequence[str] = (),
            issuer: str | Sequence[str] = (),
            audience: str | Sequence[str] = (),
            leeway: float = 60.0,
            required_claims: Sequence[str] = ("exp",),
            token_types: Sequence[str] = ("JWT", "at+jwt"),
            compat_no_exp_check: bool = False,
            mode: Literal["auto", "local", "proxy"] = "auto",
            service: str = "",
            timeout: float = 10.0,
            token_ttl: float = 3600.0,
            max_token: int = LONGEST_TOKEN,
            remembered: int = 4096,
            poll: float = 1.0,
            jwks_lifetime: float = 600.0,
            stale: float = 86_400.0,
            refetch_interval: float = 30.0,
            fetch_timeout: float = 5.0,
            max_jwks: int = 262_144,
            allow_http: bool = False,
            ca_cert: Path | str | None = None,
            claims_type: Any = None,
        ) -> None: ...
