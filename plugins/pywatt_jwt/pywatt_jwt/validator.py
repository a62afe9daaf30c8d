"""Tokens are checked: signature first, claims after, and nothing of either is believed before."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from pywatt_core.errors import ConfigError

from .claims import ClaimRules, reader_of
from .errors import InvalidSignature, JwtError, MissingToken, ProxyError, own_errors
from .key_sets import Clock, FileKeys, FixedKeys, Keyring, KeySet, Source, fixed_keys
from .options import LOCAL, JwtOptions
from .tokens import Header, header_of, json_object, unbase64

if TYPE_CHECKING:
    from concurrent.futures import Future

    from pywatt_core.state import AppState

T = TypeVar("T")

HEADERS: Final = 512
"""Headers that are remembered, twice: those of one key are all alike."""

LONGEST_HEADER: Final = 1024
"""Characters of a header that is remembered."""


class UnknownKey(JwtError):
    """There is no key here that may have signed the token."""


class UnknownSigner(InvalidSignature):
    """None of the keys here signed the token, and none of them is the one that it names."""


YET_TO_COME: Final = (UnknownKey, UnknownSigner, ProxyError)
"""With newer keys the answer may be another."""


class JwtValidator:
    """Checks tokens: ``JwtValidator(JwtConfig(secret_key="…")).validate(token)``. One serves a whole process, any number of threads.

    Raises `ConfigError` where the keys cannot be used. Relative paths count from `folder`. `clock` gives the time in seconds since 1970,
    `monotonic` one that only goes forward.
    """

    def __init__(
        self,
        config: JwtOptions,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Clock = time.monotonic,
        folder: Path | None = None,
    ) -> None:
        if not isinstance(config, JwtOptions):
            raise TypeError(f"JwtValidator takes a JwtConfig, not {type(config).__name__}: JwtValidator(JwtConfig(secret_key=…))")
        self.config = config
        self._clock = clock
        self._rules = ClaimRules(config)
        self._read = reader_of(getattr(config, "claims_type", None))
        self._types = frozenset(kind.lower().removeprefix("application/") for kind in config.token_types)
        self._longest = config.max_token
        self._headers: dict[bytes, Header] = {}
        self._older_headers: dict[bytes, Header] = {}
        self._keyring = keyring_of(config, folder or Path(), monotonic) if config.is_local else None

    # ── for whoever checks ──────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def validate(self, token: str, into: type[T], *, now: float | None = None) -> T: ...
    @overload
    def validate(self, token: str, into: None = None, *, now: float | None = None) -> Any: ...
    def validate(self, token: str, into: Any = None, *, now: float | None = None) -> Any:
        """The claims that a token proves, as `into`, else as `JwtConfig.claims_type`, else as a dict.

        Raises a `JwtAuthError`: `MissingToken`, `JwtError`, `InvalidSignature`, `InvalidClaims`, `ExpiredSignature`, `SerializationError`,
        or `ProxyError` where it cannot be told now. It may block for as long as fetching keys takes: in a coroutine `validate_async`.
        """
        if self._keyring is None:
            with own_errors():
                proved = _state().sync.validate_jwt_token(token)
            return self._converted(proved, into)
        try:
            claims = self._checked(token, now)
        except YET_TO_COME:
            refetches = self._keyring.refetches()
            if not refetches:
                raise
            wait(refetches, self._patience)
            claims = self._checked(token, now)
        return self._converted(claims, into)

    @overload
    async def validate_async(self, token: str, into: type[T], *, now: float | None = None) -> T: ...
    @overload
    async def validate_async(self, token: str, into: None = None, *, now: float | None = None) -> Any: ...
    async def validate_async(self, token: str, into: Any = None, *, now: float | None = None) -> Any:
        """As `validate`, and the loop goes on where keys have to be fetched first."""
        if self._keyring is None:
            with own_errors():
                proved = await _state().validate_jwt_token(token)
            return self._converted(proved, into)
        try:
            claims = self._checked(token, now)
        except YET_TO_COME:
            refetches = self._keyring.refetches()
            if not refetches:
                raise
            await self._arrived(refetches)
            claims = self._checked(token, now)
        return self._converted(claims, into)

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        """The claims as a mapping: `pywatt_core.access.Authenticator`."""
        claims: Mapping[str, Any] = await self.validate_async(token, dict)
        return claims

    async def load(self) -> None:
        """Fetch what has to be fetched, so that the first token need not wait. What does not come is logged, and tried again later."""
        if self._keyring is None:
            return
        try:
            self._keyring.current()
        except ProxyError:
            missing = True
        else:
            missing = self._keyring.missing is not None
        if missing:
            await self._arrived(self._keyring.refetches())

    # ── checking ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _checked(self, token: str, now: float | None) -> dict[str, Any]:
        """The claims of a token whose signature holds and that keeps the rules."""
        if not token:
            raise MissingToken("Missing JWT token")
        if len(token) > self._longest:
            raise JwtError(f"the token is longer than {self._longest} characters")
        if not (isinstance(token, str) and token.isascii()):
            raise JwtError("the token is not ASCII text")
        data = token.encode()
        message, _, signature = data.rpartition(b".")
        head, _, body = message.partition(b".")
        try:
            if not head or not body or not signature or b"." in body:
                raise ValueError("the token does not have three parts")
            self._verify(self._headers.get(head) or self._header(head), data, message, unbase64(signature))
            claims = json_object(unbase64(body))
        except ValueError as error:
            raise JwtError(str(error)) from None
        self._rules.check(claims, self._clock() if now is None else now)
        return claims

    def _header(self, head: bytes) -> Header:
        """The header behind its text, read once for all tokens of one key. Raises `ValueError`."""
        found = self._older_headers.get(head) or header_of(head)
        if len(head) <= LONGEST_HEADER:
            if len(self._headers) >= HEADERS:
                self._older_headers, self._headers = self._headers, {}
            self._headers[head] = found
        return found

    def _verify(self, header: Header, data: bytes, message: bytes, signature: bytes) -> None:
        """Raises `InvalidSignature`, or `JwtError` where no key can be asked."""
        assert self._keyring is not None
        if header.type not in self._types:
            raise JwtError("the token is of a type that is not accepted here")
        keys = self._keyring.current()
        candidates = keys.candidates(header.kid, header.algorithm)
        named = header.kid is not None and keys.knows(header.kid)
        if candidates:
            digest = b""
            if not candidates[0].is_shared:  # a digest costs as much as HMAC
                digest = hashlib.sha256(data).digest()
                if keys.remembers(digest):
                    return
            for key in candidates:
                if key.verify(header.algorithm, message, signature):
                    if digest:
                        keys.remember(digest)
                    return
        elif named:
            raise JwtError("the key that the token names is not for its algorithm")
        if named:
            raise InvalidSignature("the signature does not hold")
        if self._keyring.missing is not None:
            raise self._keyring.missing
        if candidates:
            raise UnknownSigner("the signature does not hold with any key that it may be of")
        raise UnknownKey("there is no key for the token")

    # ── waiting, converting ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _patience(self) -> float:
        """How long to wait for a fetch: it has its own deadline, which does not count what the system does before and after."""
        return self.config.fetch_timeout + 2.0

    async def _arrived(self, futures: list[Future[None]]) -> None:
        if futures:
            await asyncio.wait([asyncio.wrap_future(future) for future in futures], timeout=self._patience)

    def _converted(self, claims: Mapping[str, Any], into: Any) -> Any:
        read = self._read if into is None else reader_of(into)
        return claims if read is None else read(dict(claims))


def _state() -> AppState[Any]:
    """The state of the module that runs here: its authenticator checks where there are no keys."""
    from pywatt_core.state import current_state

    state = current_state()
    if state is None:
        raise ProxyError("JWT proxy service not initialized: there is no key here, and no module runs whose orchestrator has one")
    return state


def keyring_of(options: JwtOptions, folder: Path, clock: Clock) -> Keyring:
    """All keys that `options` name. Raises `ConfigError`."""
    if not options.has_keys:
        raise ConfigError(f"there is no key to check tokens with: set one of {', '.join(LOCAL)}")
    try:
        fixed = fixed_keys(options)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    sources: list[Source] = [FixedKeys(KeySet(fixed, remembered=options.remembered))] if fixed else []
    if options.jwks_file is not None:
        path = folder / options.jwks_file
        sources.append(FileKeys(path, "jwks_file", options.algorithms, poll=options.poll, remembered=options.remembered, clock=clock))
    if options.jwks_url or options.openid_issuer:
        from .discovery import keys_of_issuer
        from .remote import RemoteKeys, at

        issuer = options.openid_issuer
        find = keys_of_issuer(issuer, allow_http=options.allow_http) if issuer else at(options.jwks_url)
        sources.append(RemoteKeys("openid_issuer" if issuer else "jwks_url", find, options, folder, clock=clock))
    return Keyring(sources, remembered=options.remembered)
