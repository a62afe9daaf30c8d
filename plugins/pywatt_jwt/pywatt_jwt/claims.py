"""What claims have to say (RFC 7519 4.1), and as what they are handed on. Time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from pywatt_core.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from pywatt_core.protocol.typed import from_plain, guarded_reader

from .errors import ExpiredSignature, InvalidClaims, SerializationError
from .options import JwtOptions
from .tokens import is_time

TIMES: Final = ("exp", "nbf", "iat")
TEXTS: Final = ("iss", "sub", "jti")


class ClaimRules:
    """The rules of one configuration. Whoever gets this far holds a token whose signature is good, and is told which rule it breaks."""

    def __init__(self, options: JwtOptions) -> None:
        self._issuers = frozenset(options.issuer)
        self._audiences = frozenset(options.audience)
        self._leeway = options.leeway
        self._ignores_expiry = options.compat_no_exp_check
        required = dict.fromkeys(options.required_claims)
        if options.issuer:
            required["iss"] = None
        if options.audience:
            required["aud"] = None
        if options.compat_no_exp_check:
            required["exp"] = None
        self._required = tuple(required)

    def check(self, claims: Mapping[str, Any], now: float) -> None:
        """Raises `InvalidClaims`, or `ExpiredSignature`, for the first rule that is broken at the time `now`."""
        for name in self._required:
            if claims.get(name) is None:
                raise _missing(name)
        check_forms(claims)
        expires = claims.get("exp")
        if expires is not None and not self._ignores_expiry and expires <= now - self._leeway:
            raise ExpiredSignature("the token has expired", reason="ExpiredSignature")
        begins = claims.get("nbf")
        if begins is not None and begins > now + self._leeway:
            raise InvalidClaims("the token is not good yet", reason="ImmatureSignature")
        made = claims.get("iat")
        if made is not None and made > now + self._leeway:
            raise InvalidClaims("the token was made in the future", reason="ImmatureSignature")
        if self._issuers and claims["iss"] not in self._issuers:
            raise InvalidClaims("the token is of another issuer", reason="InvalidIssuer")
        self._check_audience(claims.get("aud"))

    def _check_audience(self, audience: Any) -> None:
        if audience is None:
            return
        if audience.__class__ is str:
            if audience in self._audiences:
                return
        elif not self._audiences.isdisjoint(audience):
            return
        elif not audience:  # for nobody in particular
            if not self._audiences:
                return
            raise _missing("aud")
        if self._audiences:
            raise InvalidClaims("the token is for somebody else", reason="InvalidAudience")
        raise InvalidClaims("the token is for somebody, and audience does not say that we are that", reason="InvalidAudience")


def check_forms(claims: Mapping[str, Any]) -> None:
    """Raises `InvalidClaims` where a registered claim is not of its type: times are finite numbers, names are texts."""
    for name in TIMES:
        value = claims.get(name)
        if value is not None and not is_time(value):
            raise _missing(name) if name == "exp" else _misshapen(name)
    for name in TEXTS:
        value = claims.get(name)
        if value is not None and value.__class__ is not str:
            raise _misshapen(name)
    audience = claims.get("aud")
    if audience is None or audience.__class__ is str:
        return
    if audience.__class__ is not list or any(one.__class__ is not str for one in audience):
        raise _misshapen("aud")


def _missing(name: str) -> InvalidClaims:
    return InvalidClaims(f"the token lacks the claim {name}", reason=f"Missing required claim: {name}")


def _misshapen(name: str) -> InvalidClaims:
    return InvalidClaims(f"the claim {name} is not of its type", reason=f"InvalidClaimFormat: {name}")


@lru_cache(maxsize=128)
def reader_of(kind: Any) -> Callable[[dict[str, Any]], Any] | None:
    """What makes a `kind` of claims: a dataclass, Struct, pydantic model or TypedDict; None where they stay a dict.

    It raises `SerializationError` that names the field and shows nothing of it.
    """
    if kind is None or kind is Any or kind is dict or kind is Mapping:
        return None
    read = guarded_reader(lambda claims: from_plain(claims, kind))
    name = getattr(kind, "__name__", str(kind))

    def read_claims(claims: dict[str, Any]) -> Any:
        try:
            return read(claims)
        except LocalProtocolError as error:
            raise ConfigError(f"claims cannot be read as {name}: {error}") from None
        except RemoteProtocolError as error:
            raise SerializationError(f"the claims cannot be read as {name}: {error}", reason="JSON error") from None

    return read_claims
