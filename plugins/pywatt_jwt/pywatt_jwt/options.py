"""The keys of an ``[auth.NAME]`` section with ``use = "jwt"``, checked as far as that goes without a library for keys."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pywatt_core.redaction import Secret

HMAC_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""What a key of each needs at least (RFC 7518 3.2)."""

ALGORITHMS: Final = (
    *HMAC_BYTES, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
)  # fmt: skip
"""Those that can be named. ``EdDSA`` is the older name of ``Ed25519`` (RFC 9864)."""

LONGEST_TOKEN: Final = 16_384
LONGEST_LEEWAY: Final = 86_400.0

LOCAL: Final = ("secret_key", "key", "private_key", "public_key", "jwks", "jwks_file", "jwks_url", "openid_issuer")
"""Any of these says where keys are."""

_SECRETS: Final = ("secret_key", "secret", "key", "private_key", "private_key_password")
_LISTS: Final = ("algorithms", "issuer", "audience", "required_claims", "token_types", "previous_keys")
_SECONDS: Final = ("poll", "fetch_timeout", "refetch_interval", "jwks_lifetime", "stale", "timeout")


@dataclass(frozen=True, kw_only=True)
class JwtOptions:
    """The keys of a section ``[auth.NAME]`` with ``use = "jwt"``. Times are in seconds. Several keys and sets of keys count together."""

    secret_key: Secret | None = None
    """The key of the HMAC algorithms: random text, at least 32 bytes for HS256, 48 for HS384, 64 for HS512."""
    secret: Secret | None = None
    """The same as `secret_key`."""
    key: Secret | None = None
    """A key of any kind as a JWK, a JWK Set or PEM: it checks tokens, and signs where it can."""
    private_key: Secret | None = None
    """A private key as PEM or JWK: it signs, and its public half checks."""
    private_key_password: Secret | None = None
    """The password of an encrypted PEM in `private_key`."""
    public_key: str = ""
    """A public key or a certificate as PEM, or a JWK: it checks."""
    previous_keys: tuple[Secret, ...] = ()
    """Keys that still check and no longer sign, each as in `secret_key` or `key`: for the lifetime of the tokens that they signed."""
    jwks: str = ""
    """A JWK Set of public keys, as JSON."""
    jwks_file: Path | None = None
    """A file with a JWK Set, a JWK or PEM; read anew when it changes."""
    jwks_url: str = ""
    """Where a JWK Set of public keys is fetched from: ``https``, and ``http`` on this machine."""
    openid_issuer: str = ""
    """The issuer whose OpenID configuration says where its keys are; `issuer` is the same where it is not set."""
    kid: str = ""
    """The name of the key that signs, in the header of tokens made here."""
    algorithms: tuple[str, ...] = ()
    """The algorithms that are accepted; the first that the signing key can do signs. None named: those that the keys are for, of the
    HMAC ones HS256 alone."""
    issuer: str | tuple[str, ...] = ()
    """Who may have made a token (its ``iss``); one of several. None named: anybody with the key."""
    audience: str | tuple[str, ...] = ()
    """Whom a token has to be for (its ``aud``); one of several. None named: a token that is for somebody is refused."""
    leeway: float = 60.0
    """How far the clock of who made the token may be from ours."""
    required_claims: tuple[str, ...] = ("exp",)
    """Claims that have to be there. `issuer` and `audience` require theirs anyway."""
    token_types: tuple[str, ...] = ("JWT", "at+jwt")
    """What ``typ`` in the header may be, in any case. A token without one is a JWT."""
    compat_no_exp_check: bool = False
    """Accept expired tokens, as the inherited middleware does: ``exp`` has to be a number, whatever it says. For a migration only."""
    mode: Literal["auto", "local", "proxy"] = "auto"
    """``local``: checked here. ``proxy``: by the orchestrator, which has the keys. ``auto``: here where keys are configured."""
    service: str = ""
    """``proxy``: the NAME of the orchestrator's ``[services.NAME]``, by default that of the section."""
    timeout: float = 10.0
    """``proxy``: how long the check of one token may take."""
    token_ttl: float = 3600.0
    """How long a token that is made here is good, where its claims do not say so. 0: no ``exp`` is added."""
    max_token: int = LONGEST_TOKEN
    """Characters of a token; a longer one is refused unread. That of a request has at most 16384 anyway."""
    remembered: int = 4096
    """How many signatures that held are remembered, so that a token that comes again is checked for its times and claims alone. 0: none.
    Each takes about 120 bytes, only digests are kept, and whoever changes the keys begins anew. Never those of HMAC: they are cheap."""
    poll: float = 1.0
    """How often `jwks_file` is looked at, at most."""
    jwks_lifetime: float = 600.0
    """How long fetched keys count as fresh where the server does not say; what it says counts from 60 seconds to a day."""
    stale: float = 86_400.0
    """How long keys that are no longer fresh stay in use while they cannot be fetched. After that nothing is accepted."""
    refetch_interval: float = 30.0
    """Keys are fetched at most this often, whatever names of keys tokens come with."""
    fetch_timeout: float = 5.0
    """How long fetching keys may take, all in all."""
    max_jwks: int = 262_144
    """Bytes of a JWK Set; a longer one is refused."""
    allow_http: bool = False
    """Fetch over plain ``http`` from other machines: whoever sits between can then make tokens."""
    ca_cert: Path | None = None
    """PEM file with the authorities that may have signed the certificate of `jwks_url`; those of the system by default."""

    def __post_init__(self) -> None:
        self._settle()
        self._check_numbers()
        self._check_names()
        self._check_keys()

    @property
    def is_local(self) -> bool:
        """Whether tokens are checked in this process."""
        return self.mode == "local" or (self.mode == "auto" and self.has_keys)

    @property
    def has_keys(self) -> bool:
        """Whether any key, or a place that has some, is named."""
        return any(getattr(self, name) for name in LOCAL)

    def _settle(self) -> None:
        """From what code may pass to the types that the fields say."""
        for name in _SECRETS:
            if isinstance(value := getattr(self, name), str):
                self._set(name, Secret(value))
        for name in _LISTS:
            value = getattr(self, name)
            self._set(name, (value,) if isinstance(value, str | Secret) else tuple(value or ()))
        self._set("previous_keys", tuple(Secret(one) if isinstance(one, str) else one for one in self.previous_keys))
        for name in ("jwks_file", "ca_cert"):
            if isinstance(value := getattr(self, name), str):
                self._set(name, Path(value))
        if not isinstance(self.jwks, str):
            self._set("jwks", json.dumps(self.jwks))
        if self.secret is not None:
            if self.secret_key is not None:
                raise ValueError("secret is the same as secret_key: set one of them")
            self._set("secret_key", self.secret)
            self._set("secret", None)
        if self.openid_issuer and not self.issuer:
            self._set("issuer", (self.openid_issuer,))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_numbers(self) -> None:
        if not 0 <= self.leeway <= LONGEST_LEEWAY:
            raise ValueError(f"leeway is {self.leeway}: a number of seconds from 0 to {LONGEST_LEEWAY:g} is needed")
        if not 0 <= self.token_ttl < math.inf:
            raise ValueError(f"token_ttl is {self.token_ttl}: a number of seconds, 0 or more, is needed")
        if not self.token_ttl and "exp" in self.required_claims:
            raise ValueError("token_ttl is 0, and required_claims has exp: tokens made here would not be accepted here")
        for name in _SECONDS:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}: a number of seconds above 0 is needed")
        for name, least, most in (("max_token", 128, 1 << 20), ("remembered", 0, 1 << 20), ("max_jwks", 128, 1 << 24)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}: a number from {least} to {most} is needed")

    def _check_names(self) -> None:
        for algorithm in self.algorithms:
            if algorithm not in ALGORITHMS:
                raise ValueError(f"algorithms has {algorithm!r}; there are {', '.join(ALGORITHMS)}")
        for name in ("issuer", "audience", "required_claims", "token_types"):
            if not all(isinstance(one, str) and one for one in getattr(self, name)):
                raise ValueError(f"{name} has an empty entry")
        if not self.token_types:
            raise ValueError('token_types is empty: nothing would be accepted; "JWT" stands for tokens without a type')
        if self.openid_issuer and self.openid_issuer not in self.issuer:
            raise ValueError("issuer and openid_issuer differ: the keys of one would prove tokens of another")
        for name in ("jwks_url", "openid_issuer"):
            if text := getattr(self, name):
                check_url(text, name, allow_http=self.allow_http)

    def _check_keys(self) -> None:
        for name in (*_SECRETS, "previous_keys"):
            value = getattr(self, name)
            if any(not one for one in (value if isinstance(value, tuple) else (value,)) if one is not None):
                raise ValueError(f"{name} is empty")
        if self.mode == "local" and not self.has_keys:
            raise ValueError(f"mode is local, and there is no key: set one of {', '.join(LOCAL)}")
        if self.mode == "proxy" and self.has_keys:
            named = next(name for name in LOCAL if getattr(self, name))
            raise ValueError(f"{named} is set, and mode is proxy: the keys are the orchestrator's then, remove one of the two")
        if self.jwks_url and self.openid_issuer:
            raise ValueError("jwks_url and openid_issuer are both set: use one of them")
        if self.private_key_password is not None and self.private_key is None:
            raise ValueError("private_key_password needs private_key")
        if self.secret_key is not None:
            check_hmac(self.secret_key.expose_secret().encode("utf-8", "surrogatepass"), self.algorithms, "secret_key")


def check_hmac(key: bytes, algorithms: tuple[str, ...], where: str) -> None:
    """Raises `ValueError` where `key` is too short for the HMAC algorithms among `algorithms`, or for HS256 where none is named."""
    named = [name for name in algorithms if name in HMAC_BYTES]
    if algorithms and not named:
        raise ValueError(f"{where} is a key of HMAC, and algorithms names none of {', '.join(HMAC_BYTES)}")
    for name in named or ["HS256"]:
        if len(key) < HMAC_BYTES[name]:
            raise ValueError(
                f"{where} has {len(key)} bytes, and {name} needs at least {HMAC_BYTES[name]} random ones: whoever sees a token can "
                "try short keys until one fits"
            )


def check_url(text: str, name: str, *, allow_http: bool) -> None:
    """Raises `ValueError` that begins with `name` for an address that keys may not be fetched from."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{name} is not a URL") from None
    if not host or not text.isprintable() or not text.isascii() or " " in text:
        raise ValueError(f"{name} is not a URL such as https://id.example.com/keys")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{name} holds a user or a password: keys are public, and fetched without")
    if parts.fragment or (parts.query and name == "openid_issuer"):
        raise ValueError(f"{name} has a part behind ? or #, which has no meaning there")
    if parts.scheme != "https" and not (parts.scheme == "http" and (allow_http or is_loopback(host))):
        raise ValueError(f"{name} has to begin with https:// (http:// is for this machine, or with allow_http = true)")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or number alone: nobody is asked."""
    if host == "localhost":
        return True
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
