"""Messages that are part of a request which is under way: they go to the very process at its other end, one that is leaving included.

Their endpoint names the request: ``__stream__/UUID``. What belongs to no request of the sender's is nobody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .sides import Side

STREAM: Final = "__stream_"
"""How the endpoints of the parts of streams begin; the one that opens a stream names no request, it is one."""


def is_part(endpoint: str) -> bool:
    """Whether a message for this endpoint is part of a request."""
    return endpoint.startswith(STREAM) and "/" in endpoint


def other_end(side: Side, endpoint: str) -> Side | None:
    """Who has the request that the endpoint names together with `side`; None where there is no such request."""
    id = endpoint.partition("/")[2]
    pending = side.asked.get(id) or side.serving.get(id)
    if pending is None:
        return None
    return pending.requester if pending.target is side else pending.target
