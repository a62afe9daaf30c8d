"""HTTP requests that come over a link, into the real application; and what every server puts before an application.

Reading order: `mapping` (a message becomes the parts of a request, parts become a message), `asgi` and `wsgi` (one call into
an application), `arrival` (what the headers say of where a request came from), `asgi_front` and `wsgi_front` (the
application as a server runs it: prefix, extra routes, forwarded headers, request ids, metrics). Nothing here knows a
framework.
"""

from __future__ import annotations

from .arrival import AUTH_MARK, ExtraRoutes, below, clean_prefix, literal_path, under
from .asgi import Lifespan, call_asgi
from .asgi_front import AsgiFront
from .mapping import MAX_BODY, BadRequest, plain
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
