"""Bearer tokens in requests, and what is answered where there is none or it is no good (protocol 15.1; RFC 6750).

The one place for it: the fronts of both servers, the gateway and the integrations of `pywatt-jwt` all speak through this file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from ..errors import ExpiredToken, Forbidden, InvalidToken, PyWattError, Unavailable

CLAIMS_KEY: Final = "pywatt.claims"
"""Where the claims that a token proved are found, in an ASGI scope and in a WSGI environ."""

AUTHENTICATOR_KEY: Final = "pywatt.authenticator"
"""Where the authenticator that proved them is found: whoever asks the same one again need not."""

MAX_TOKEN: Final = 16_384
"""Characters of a token; a longer one is refused unread."""

_BEARER = re.compile(r"(?i:bearer) ([\t -~]+)", re.ASCII)
"""The scheme in any case, one blank, visible ASCII; nothing else counts as said."""

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)
"""RFC 6750 2.1: what a token is made of."""


class Refusal(NamedTuple):
    """A complete answer to a request that may not pass."""

    status: int
    headers: list[tuple[str, str]]
    """With ``content-type``, without ``content-length``."""
    body: bytes


class MissingToken(InvalidToken):
    """The request brings no bearer token."""


def token_of(authorization: Sequence[str]) -> str:
    """The token of a request, from the values of all its ``Authorization`` headers. Raises `MissingToken` or `InvalidToken`.

    Several headers are refused, where the reference reads the first: what stands before us may have read another.
    """
    if len(authorization) > 1:
        raise InvalidToken("the request has more than one Authorization header")
    said = authorization[0] if authorization else ""
    if len(said) > MAX_TOKEN + len("Bearer "):
        raise InvalidToken(f"the Authorization header is longer than a token of {MAX_TOKEN} characters")
    found = _BEARER.fullmatch(said.strip(" \t"))
    if found is None:
        raise MissingToken("the request has no Authorization header with a bearer token")
    if _TOKEN.fullmatch(found[1]) is None:
        raise InvalidToken("what the request sends as a bearer token has characters that no token has")
    return found[1]


def refusal_of(error: PyWattError) -> Refusal:
    """What is answered to a request that `error` was raised over; it tells nothing but the kind.

    401 for `MissingToken` and `InvalidToken`, 403 for `Forbidden`, 503 where the authenticator cannot tell now.
    """
    if isinstance(error, MissingToken):
        return _refusal(401, "Missing Authorization header", ("www-authenticate", "Bearer"))
    if isinstance(error, Forbidden):
        return _refusal(403, "Forbidden", ("www-authenticate", 'Bearer error="insufficient_scope"'))
    if isinstance(error, InvalidToken):
        return _refusal(401, f"Unauthorized: {reason_of(error)}", ("www-authenticate", 'Bearer error="invalid_token"'))
    if isinstance(error, Unavailable):
        return _refusal(503, "Tokens cannot be checked now", ("retry-after", "1"))
    return _refusal(500, "Tokens cannot be checked")


def text_of(refusal: Refusal) -> str:
    """What a refusal says, for frameworks that have a shape of their own for errors."""
    text: str = json.loads(refusal.body)["error"]
    return text


def reason_of(error: InvalidToken) -> str:
    """The one word, in the reference's terms, that the client is told.

    A token whose signature does not hold is ``InvalidToken``, whatever is wrong with it: nothing about keys and algorithms can be
    learned by trying. Whoever holds a genuine token learns why it is not good here.
    """
    return error.reason or ("ExpiredSignature" if isinstance(error, ExpiredToken) else "InvalidToken")


def _refusal(status: int, text: str, *headers: tuple[str, str]) -> Refusal:
    body = json.dumps({"error": text}, separators=(",", ":")).encode()
    return Refusal(status, [("content-type", "application/json"), ("cache-control", "no-store"), *headers], body)
