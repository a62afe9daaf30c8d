"""The form in which each message leaves: bare, enveloped or wrapped, by wire, sender and format (protocol 3.1, 4.2, 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .codec import UNWRITABLE, Write, encode_enveloped, encode_init, encode_metadata, encode_wrapped, encoder, refuse
from .framing import JSON
from .messages import HttpResponse, Init, Message, Metadata, Role
from .tables import Wire


class Outgoing:
    """Writes the messages of one session."""

    def __init__(self, role: Role, wire: Wire, module_id: str, new_id: Callable[[], str]) -> None:
        self.format = JSON
        self._role, self._wire = role, wire
        self._module_id = module_id
        self._new_id = new_id
        self._source = Metadata(source=(role is Role.MODULE and module_id) or None)

    @property
    def envelops(self) -> bool:
        """True where metadata travels."""
        return self._wire is Wire.CHANNEL and (self._role is Role.MODULE or self.format != JSON)

    def writer(self, kind: type[Message]) -> Write:
        """The function for messages of this type; it raises what `codec.encoder` says."""
        if self._wire is Wire.STDIO:
            if kind is Init:
                return encode_init
            if kind is HttpResponse:
                return self._wrapped
        elif self._role is Role.MODULE and self.format == JSON:
            return self._enveloped(encoder(kind))
        return encoder(kind, self.format)

    def _wrapped(self, message: Any) -> bytes:
        return encode_wrapped(message, self._new_id(), self._module_id)

    def _enveloped(self, write: Write) -> Write:
        new_id = self._new_id
        end = b',"metadata":' + encode_metadata(self._source) + b"}"

        def write_enveloped(message: Any) -> bytes:
            return b'{"id":"' + new_id().encode() + b'","content":' + write(message) + end

        return write_enveloped

    def write_with(self, metadata: Metadata, message: Message) -> bytes:
        """The message with `metadata`, where that travels; its source is this module unless it names another."""
        if not self.envelops:
            try:
                return self.writer(type(message))(message)
            except UNWRITABLE as error:
                refuse(message, error)
        if metadata.source is None and self._source.source is not None:
            metadata = metadata_from(metadata, self._source.source)
        return encode_enveloped(message, self._new_id() if self.format == JSON else None, metadata, self.format)


def metadata_from(metadata: Metadata, source: str) -> Metadata:
    """The same with another source."""
    return Metadata(metadata.id, metadata.timestamp, source, metadata.destination, metadata.properties)


def is_notification(metadata: Metadata) -> bool:
    """True for a request that says that it wants no answer (protocol 12.4)."""
    return metadata.properties is not None and metadata.properties.get("notification") is True
