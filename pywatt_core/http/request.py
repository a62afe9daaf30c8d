"""A request as the handlers of the routers see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload
from urllib.parse import parse_qsl

from ..errors import RemoteProtocolError
from ..protocol.payloads import reader
from .failures import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

SHOWN = 100
"""Bytes of a body that is no JSON which the error shows."""


class RouterRequest:
    """One request. `headers` have lower-case names, `params` are the path's, percent-decoded.

    `HttpIpcRequest` and `HttpTcpRequest` of a handler are this.
    """

    __slots__ = ("_query", "body", "claims", "headers", "method", "params", "path", "request_id", "state", "uri")

    def __init__(
        self,
        method: str,
        uri: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        request_id: str = "",
        state: Any = None,
        params: Mapping[str, str] | None = None,
        claims: Mapping[str, Any] | None = None,
    ) -> None:
        self.method = method.upper()
        self.uri = uri
        self.path = uri.partition("?")[0]
        """As it came, percent-escapes and all."""
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        self.body = body
        self.request_id = request_id
        self.state = state
        """The module's `AppState`."""
        self.params = dict(params or {})
        self.claims = claims
        """What the request's token proved, where something checked it; None where nothing did."""
        self._query: dict[str, str] | None = None

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters, decoded; of several with one name the last."""
        if self._query is None:
            self._query = dict(self.query_list)
        return self._query

    @property
    def query_list(self) -> list[tuple[str, str]]:
        """All of them, in their order."""
        return parse_qsl(self.uri.partition("?")[2].partition("#")[0], keep_blank_values=True)

    def text(self) -> str:
        """The body as UTF-8, empty where there is none. Raises `InvalidRequest`."""
        try:
            return (self.body or b"").decode()
        except UnicodeDecodeError:
            raise InvalidRequest("the body is not UTF-8") from None

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, type: type[T]) -> T: ...
    def json(self, type: Any = Any) -> Any:
        """The body, read into `type`. Raises `InvalidRequest`, which names the field that does not fit."""
        if self.body is None:
            raise InvalidRequest("Request body is required")
        try:
            return reader(type)(self.body)
        except RemoteProtocolError as error:
            raise InvalidRequest(f"Invalid JSON body: Error: {error}, {_beginning(self.body)}") from None

    def __repr__(self) -> str:
        return f"<{self.method} {self.path} {self.request_id}>"


def _beginning(body: bytes) -> str:
    """The first bytes of a body, cut between two characters."""
    try:
        shown = body[:SHOWN].decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data" or len(body) <= SHOWN:
            return "non-UTF8 data"
        shown = body[: error.start].decode()
    return f"JSON: {shown}..."
