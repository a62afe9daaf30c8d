"""Where a message of a module built on the Rust SDK wants to go, said once more within its payload.

The SDK names the endpoint beside the payload alone, where the target is never told (protocol 12.2, 12.4). PyWatt's own modules
write it into the payload's envelope, and theirs are carried unread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Raw
from msgspec.structs import replace

from pywatt_core.errors import PyWattError
from pywatt_core.protocol.payloads import read_payload, write_payload

if TYPE_CHECKING:
    from pywatt_core.protocol.messages import EncodedMessage, RouteToModule


def addressed(message: RouteToModule, source: str) -> EncodedMessage:
    """The payload with the endpoint and the `source` in its envelope. What says its endpoint itself, or is no JSON, stays as it is."""
    try:
        payload = read_payload(message.payload)
        if not payload.enveloped:
            payload.decode(Raw)  # to see that it is JSON
        said = payload.metadata.properties or {}
        if "endpoint" in said or payload.format != "Json":
            return message.payload
        metadata = replace(payload.metadata, source=source, properties={**said, "endpoint": message.target_endpoint})
        return write_payload(Raw(payload.content), metadata, id=payload.id or message.request_id)
    except PyWattError:
        return message.payload


def asks_for_an_envelope(data: bytes) -> bool:
    """Whether a PyWatt module wrote this request; False says nothing. Found without searching what may be a large content.

    Behind an envelope's id comes its content, so that the metadata stand at the end: there the words are looked for.
    """
    if not data.startswith(b'","content":', 43):
        return False
    found = data.rfind(b'"reply":"envelope"')
    return found > 0 and data.find(b"notification", found) < 0
