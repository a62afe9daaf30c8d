"""HTTP whose bodies travel in pieces, between PyWatt peers alone: both have to have offered the feature ``http_stream``.

    orchestrator                                       module
    http_stream_request (first piece, credit)    ──►
                                                 ◄──   http_request_credit      how much more of the request it takes
    http_request_piece …                         ──►
                                                 ◄──   http_response_start (first piece)
                                                 ◄──   http_response_piece …
    http_response_credit                         ──►                            how much more of the response it takes
    http_request_cancel                          ──►   or   ◄── http_response_abort

One `http_response_start` answers each request, a cancelled one too: nothing is owed for ever. Whoever sends more than it was
granted is cut off (`flow`). Header names and values are pairs, so that several cookies stay several; bodies are Base64 in
JSON and bytes in MessagePack.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from .kinds import ModuleMessage, OrchestratorMessage
from .values import U16

HTTP_STREAM: Final = "http_stream"
"""The feature that init and announce offer."""

MAX_PIECE: Final = 65_536
"""Bytes of body in one message; what is longer is cut by its sender."""

WINDOW: Final = 262_144
"""Bytes of one body that may be on their way, or wait for who reads them."""

Amount: TypeAlias = Annotated[int, Meta(ge=1, le=2**31)]
Headers: TypeAlias = list[tuple[str, str]]


# ── orchestrator to module ──────────────────────────────────────────────────────────────────────────────────────────


class HttpStreamRequest(OrchestratorMessage, frozen=True, omit_defaults=True):
    """A request; `more` says that further pieces of its body follow. `credit` is how much of the response may come at once.

    The first piece of a body, `MAX_PIECE` bytes at most, needs no credit.
    """

    hidden = frozenset({"headers", "body"})

    request_id: str
    method: str
    uri: str
    headers: Headers
    credit: Amount
    body: bytes = b""
    more: bool = False


class HttpRequestPiece(OrchestratorMessage, frozen=True, omit_defaults=True):
    """More of a request's body; the last piece, which may be empty, has no `more`."""

    hidden = frozenset({"body"})

    request_id: str
    body: bytes = b""
    more: bool = False


class HttpResponseCredit(OrchestratorMessage, frozen=True, gc=False):
    """So many bytes more of the response may come."""

    request_id: str
    amount: Amount


class HttpRequestCancel(OrchestratorMessage, frozen=True, gc=False):
    """Nobody waits for the response any more."""

    request_id: str


# ── module to orchestrator ──────────────────────────────────────────────────────────────────────────────────────────


class HttpResponseStart(ModuleMessage, frozen=True, omit_defaults=True):
    """Status, headers and the first piece of the body; `more` says that further ones follow."""

    hidden = frozenset({"headers", "body"})

    request_id: str
    status_code: U16
    headers: Headers
    body: bytes = b""
    more: bool = False


class HttpResponsePiece(ModuleMessage, frozen=True, omit_defaults=True):
    """More of a response's body; the last piece, which may be empty, has no `more`."""

    hidden = frozenset({"body"})

    request_id: str
    body: bytes = b""
    more: bool = False


class HttpRequestCredit(ModuleMessage, frozen=True, gc=False):
    """So many bytes more of the request's body may come."""

    request_id: str
    amount: Amount


class HttpResponseAbort(ModuleMessage, frozen=True, gc=False):
    """The response that was begun will never be whole."""

    request_id: str
