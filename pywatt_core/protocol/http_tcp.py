"""HTTP over framed TCP: requests and responses without `op`, enveloped in both directions (protocol 7.1)."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import msgspec
from msgspec import field, structs
from msgspec.structs import replace

from ..errors import LocalProtocolError, RemoteError, RemoteProtocolError
from .envelope import UNWRITABLE, Envelope
from .lenient import Unreadable, safe_text, too_deep
from .payloads import reader
from .values import U16, Body, Discreet, Metadata, octets, with_article
from .volume import LARGE, TOO_MANY, too_many_in_json

T = TypeVar("T")


class _Http(Discreet, frozen=True, omit_defaults=True):
    hidden = frozenset({"headers", "body"})


def _check_body(message: Any) -> None:
    if message.body is not None and not isinstance(message.body, bytes):
        structs.force_setattr(message, "body", octets(message.body, "body"))


def _no_headers() -> dict[str, str]:
    """Not plain `dict`, which msgspec would leave out of what is written."""
    return {}


class HttpTcpRequest(_Http, frozen=True, omit_defaults=True):
    """A request. `request_id` pairs it with its response, `uri` is path and query, or a whole URL."""

    request_id: str
    method: str
    uri: str
    headers: dict[str, str] = field(default_factory=_no_headers)
    body: Body | None = None

    def __post_init__(self) -> None:
        _check_body(self)


class HttpTcpResponse(_Http, frozen=True, omit_defaults=True):
    """A response. Without a body there is no member `body`."""

    request_id: str
    status_code: U16
    headers: dict[str, str] = field(default_factory=_no_headers)
    body: Body | None = None

    def __post_init__(self) -> None:
        _check_body(self)

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code <= 299

    def header(self, name: str) -> str | None:
        """The value of a header, whatever its case."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)

    def raise_for_status(self) -> HttpTcpResponse:
        """Itself, where the status is 2xx. Raises `RemoteError` whose ``code`` is the status and whose text holds the body's."""
        if self.ok:
            return self
        body = "No response body" if self.body is None else self.body.decode(errors="replace")
        raise RemoteError(f"Response error ({self.status_code}): {body}", code=str(self.status_code))

    def text(self) -> str:
        """The body as UTF-8, empty where there is none. Raises what `raise_for_status` does, and `RemoteProtocolError`."""
        self.raise_for_status()
        try:
            return (self.body or b"").decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("the body of the response is not UTF-8") from None

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, type: type[T]) -> T: ...
    def json(self, type: Any = Any) -> Any:
        """The body, read into `type`. Raises what `raise_for_status` does, and `RemoteProtocolError` that names the field."""
        self.raise_for_status()
        if self.body is None:
            raise RemoteProtocolError("the response has no body")
        return reader(type)(self.body)


class _Numbers(bytes):
    """A body on its way into JSON, where it is an array of numbers."""

    __slots__ = ()


def _plain(value: Any) -> Any:
    if isinstance(value, _Numbers):
        return list(value)
    raise TypeError(f"{with_article(type(value).__name__)} cannot be sent")


_to_json = msgspec.json.Encoder(enc_hook=_plain).encode
_readers: dict[type[Any], tuple[Any, Any]] = {
    kind: (msgspec.json.Decoder(Envelope[kind]).decode, msgspec.json.Decoder(kind).decode)  # type: ignore[valid-type]
    for kind in (HttpTcpRequest, HttpTcpResponse)
}


def write(message: HttpTcpRequest | HttpTcpResponse, *, id: str, metadata: Metadata | None = None) -> bytes:
    """The message in its envelope. Raises `LocalProtocolError` where it holds what cannot travel."""
    if isinstance(message, HttpTcpResponse) and not 100 <= message.status_code <= 599:
        raise LocalProtocolError("an HTTP response cannot be sent: its status_code is not between 100 and 599")
    content = message if message.body is None else replace(message, body=_Numbers(message.body))
    try:
        return _to_json(Envelope(id=id, content=content, metadata=metadata or Metadata()))
    except UNWRITABLE as error:
        reason = "text with a lone surrogate" if isinstance(error, UnicodeError) else str(error)
        raise LocalProtocolError(f"an HTTP message cannot be sent: {reason}") from None


def read_request(data: bytes) -> HttpTcpRequest:
    """A request, in an envelope or bare. Raises `Unreadable`, whose ``members`` hold what is known of it."""
    found = _read(data, HttpTcpRequest)
    assert isinstance(found, HttpTcpRequest)
    return found


def read_response(data: bytes) -> HttpTcpResponse:
    """A response, in an envelope or bare. Raises `Unreadable`, whose ``members`` hold what is known of it."""
    found = _read(data, HttpTcpResponse)
    assert isinstance(found, HttpTcpResponse)
    return found


def _read(data: bytes, kind: type[HttpTcpRequest | HttpTcpResponse]) -> HttpTcpRequest | HttpTcpResponse:
    read_enveloped, read_bare = _readers[kind]
    if len(data) > LARGE and too_many_in_json(data):
        raise Unreadable(TOO_MANY)
    try:
        data.decode()
        if data.count(b"[") + data.count(b"{") > 127 and too_deep(data):
            raise Unreadable("nested deeper than 127 containers")
        found: HttpTcpRequest | HttpTcpResponse = read_enveloped(data).content
        return found
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8", kind="encoding") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        if isinstance(error, Unreadable):
            raise
        reason = error
    members = _members(data)
    if "content" in members:
        content = members["content"]
        raise Unreadable(safe_text(reason), members=content if isinstance(content, dict) else {})
    try:
        bare: HttpTcpRequest | HttpTcpResponse = read_bare(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Unreadable(safe_text(error), members=members) from None
    return bare


def _members(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(safe_text(error), kind="text") from None
    if not isinstance(found, dict):
        raise Unreadable("Expected a JSON object", kind="text")
    return found
