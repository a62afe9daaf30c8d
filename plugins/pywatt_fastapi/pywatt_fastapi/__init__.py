"""FastAPI and every other Starlette application as PyWatt modules, served by uvicorn.

Inside a request, ``Depends(pywatt_fastapi.state)`` is the module's `AppState`; without FastAPI's dependencies
``pywatt_fastapi.state_of(request)``, with any Starlette request or WebSocket.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pywatt_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from pywatt_core.interfaces import Server, ServerOptions

    from .dependency import state as state
    from .dependency import state_of as state_of

__all__ = ["state", "state_of"]


@hookimpl
def pywatt_make_server(app: object, options: ServerOptions) -> Server | None:
    """A server for FastAPI, APIRouter, Starlette, Router and Mount, also inside ASGI middleware, and for PyWatt's own router.

    None for anything else.
    """
    routers = sys.modules.get("pywatt_core.http.router")
    if routers is not None and isinstance(app, routers.HttpIpcRouter):
        return _router_server(app, options) if options.port else None
    if "starlette.routing" not in sys.modules:  # then nobody can have made an application of it
        return None
    from .applications import recognise

    application = recognise(app)
    if application is None:
        return None
    from .server import StarletteServer

    return StarletteServer(application, options)


def _router_server(router: Any, options: ServerOptions) -> Server:
    from pywatt_core.http import RouterApp

    from .applications import Application
    from .server import StarletteServer

    app = RouterApp(router)
    return StarletteServer(Application(app, app), options)


def __getattr__(name: str) -> Any:
    if name in __all__:  # imported late: they need Starlette, and looking at what is installed must not
        from . import dependency

        return getattr(dependency, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
