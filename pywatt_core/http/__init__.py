"""HTTP requests that come over a link, into the real application; and what every server puts before an application.

Reading order: `mapping` (a message becomes the parts of a request, parts become a message), `asgi` and `wsgi` (one call into
an application), `arrival` (what the headers say of where a request came from), `asgi_front` and `wsgi_front` (the
application as a server runs it: prefix, extra routes, forwarded headers, request ids, metrics). Nothing here knows a
framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .arrival import AUTH_MARK, ExtraRoutes, below, clean_prefix, literal_path, under
from .mapping import MAX_BODY, BadRequest, plain

if TYPE_CHECKING:
    from .asgi import Lifespan, call_asgi
    from .asgi_front import AsgiFront
    from .wsgi import call_wsgi
    from .wsgi_front import WsgiFront

__all__ = [
    "AUTH_MARK",
    "MAX_BODY",
    "AsgiFront",
    "BadRequest",
    "ExtraRoutes",
    "Lifespan",
    "WsgiFront",
    "below",
    "call_asgi",
    "call_wsgi",
    "clean_prefix",
    "literal_path",
    "plain",
    "under",
]

_LATER = {"Lifespan": "asgi", "call_asgi": "asgi", "AsgiFront": "asgi_front", "call_wsgi": "wsgi", "WsgiFront": "wsgi_front"}


def __getattr__(name: str) -> Any:
    """What belongs to one kind of application is loaded when it is first asked for: a module serves one kind."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = value
    return value
