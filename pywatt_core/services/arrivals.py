"""What another module sent, as functions and services of this one see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import RemoteProtocolError

if TYPE_CHECKING:
    from ..protocol.payloads import Payload

T = TypeVar("T")

NOTHING: Mapping[str, Any] = {}


class Misfit(RemoteProtocolError):
    """A payload is not what the function that receives it takes; the text names the field."""


class Arrival:
    """A request or message of another module. A receiving function gets it where it has a parameter ``message: Arrival``.

    `source`: the module id of the sender, ``"orders"`` or ``"orders.2"``. `endpoint`: what it was sent to, empty where the sender
    named none. `request_id`: its id on the wire. `properties`: what the sender said beside the content. `is_notification`: the
    sender wants no answer. `deadline`: when the sender stops to wait, by the event loop's clock, or None. `size`: the bytes of the
    whole payload as it arrived.
    """

    __slots__ = ("deadline", "endpoint", "is_notification", "payload", "properties", "request_id", "size", "source")

    def __init__(self, source: str, request_id: str, payload: Payload, *, deadline: float | None = None, size: int = 0) -> None:
        self.source, self.request_id, self.payload, self.deadline, self.size = source, request_id, payload, deadline, size
        self.properties: Mapping[str, Any] = payload.metadata.properties or NOTHING
        endpoint = self.properties.get("endpoint")
        self.endpoint: str = endpoint if isinstance(endpoint, str) else ""
        self.is_notification = self.properties.get("notification") is True

    @property
    def content(self) -> bytes:
        """The content, still encoded in `format`."""
        return self.payload.content

    @property
    def format(self) -> str:
        """``"Json"``, ``"MessagePack"``, ``"Cbor"`` or ``"Binary"``."""
        return self.payload.format

    def decode(self, type: type[T] | Any = Any) -> T:
        """The content as a value of `type`. Raises `Misfit` that names the field; a function that lets it pass answers ``bad_request``."""
        try:
            value: T = self.payload.decode(type)
        except RemoteProtocolError as error:
            raise Misfit(str(error)) from None
        return value

    def __repr__(self) -> str:
        return f"Arrival({self.source!r}, {self.endpoint!r}, {self.request_id!r})"
