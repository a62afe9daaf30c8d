"""HTTP requests that come over a link, into the real application; and what every server puts before an application.

Reading order: `mapping` (a message becomes the parts of a request, parts become a message), `asgi` and `wsgi` (one call
into an application), `streams` with `asgi_stream` and `wsgi_stream` (one whose bodies travel in pieces), `calls` (those under
way over links), `arrival` (what the headers say of where a request came from),
`asgi_front` and `wsgi_front` (the application as a server runs it: prefix, extra routes, forwarded headers, request ids,
metrics). Nothing here knows a framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily
from .arrival import AUTH_MARK, BARE_MARK, ExtraRoutes, below, clean_prefix, literal_path, under
from .mapping import MAX_BODY, BadRequest, plain

if TYPE_CHECKING:
    from ..protocol.http_tcp import HttpTcpRequest, HttpTcpResponse
    from .api import ApiResponse
    from .asgi import Lifespan, call_asgi
    from .asgi_front import AsgiFront
    from .asgi_stream import stream_asgi
    from .calls import Calls, refuse, unavailable
    from .failures import HttpError, HttpIpcError, HttpTcpError
    from .router import HttpIpcMetrics, HttpIpcRequest, HttpIpcResponse, HttpIpcRouter
    from .router_asgi import RouterApp
    from .streams import Disconnected, Stream
    from .tcp_client import HttpTcpClient, HttpTcpRequestBuilder
    from .tcp_router import HttpTcpApiResponse, HttpTcpRouter
    from .tcp_server import HttpTcpServer, start_http_server
    from .wsgi import call_wsgi
    from .wsgi_front import WsgiFront
    from .wsgi_stream import stream_wsgi

__all__ = [
    "AUTH_MARK",
    "BARE_MARK",
    "MAX_BODY",
    "ApiResponse",
    "AsgiFront",
    "BadRequest",
    "Calls",
    "Disconnected",
    "ExtraRoutes",
    "HttpError",
    "HttpIpcError",
    "HttpIpcMetrics",
    "HttpIpcRequest",
    "HttpIpcResponse",
    "HttpIpcRouter",
    "HttpTcpApiResponse",
    "HttpTcpClient",
    "HttpTcpError",
    "HttpTcpRequest",
    "HttpTcpRequestBuilder",
    "HttpTcpResponse",
    "HttpTcpRouter",
    "HttpTcpServer",
    "Lifespan",
    "RouterApp",
    "Stream",
    "WsgiFront",
    "below",
    "call_asgi",
    "call_wsgi",
    "clean_prefix",
    "literal_path",
    "plain",
    "refuse",
    "start_http_server",
    "stream_asgi",
    "stream_wsgi",
    "unavailable",
    "under",
]

# What belongs to one kind of application waits until it is asked for: a module serves one kind.
__getattr__ = lazily(
    __name__,
    {
        "api": "ApiResponse",
        "asgi": "Lifespan call_asgi",
        "asgi_front": "AsgiFront",
        "calls": "Calls refuse unavailable",
        "failures": "HttpError HttpIpcError HttpTcpError",
        "router": "HttpIpcMetrics HttpIpcRequest HttpIpcResponse HttpIpcRouter",
        "router_asgi": "RouterApp",
        "asgi_stream": "stream_asgi",
        "wsgi_stream": "stream_wsgi",
        "streams": "Disconnected Stream",
        "tcp_client": "HttpTcpClient HttpTcpRequest HttpTcpRequestBuilder HttpTcpResponse",
        "tcp_router": "HttpTcpApiResponse HttpTcpRouter",
        "tcp_server": "HttpTcpServer start_http_server",
        "wsgi": "call_wsgi",
        "wsgi_front": "WsgiFront",
    },
)
