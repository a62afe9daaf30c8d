"""Which applications are Starlette's, without importing Starlette to find out that one is not."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pywatt_core.http.asgi import AsgiApp

logger = logging.getLogger("pywatt.fastapi")

DEPTH = 32
"""Layers of middleware that are looked through."""


class Application(NamedTuple):
    """What is served, and the application within that has the routes."""

    app: AsgiApp
    inner: Any


def recognise(app: object) -> Application | None:
    """`app` as something to serve: routers become applications; None where it is not Starlette's."""
    from starlette.applications import Starlette
    from starlette.routing import BaseRoute, Router

    if (fastapi := sys.modules.get("fastapi")) is not None and isinstance(app, fastapi.APIRouter):
        return _from_router(app)
    if isinstance(app, BaseRoute):
        app = Starlette(routes=[app])
    inner = app
    for _ in range(DEPTH):
        if isinstance(inner, (Starlette, Router)):
            return Application(app, inner)  # type: ignore[arg-type]
        if not callable(inner) or isinstance(inner, type):
            return None
        inner = getattr(inner, "app", None)
    return None


def _from_router(router: Any) -> Application:
    from fastapi import FastAPI

    # An application of our own making leaves telemetry to PyWatt: otherwise FastAPI configures exporters from the environment.
    app = FastAPI(telemetry={"auto_configure": False})
    app.include_router(router)
    return Application(app, app)


def take_root_path(application: Application) -> None:
    """Unset an application's own ``root_path`` where the server says what the prefix is.

    FastAPI puts its ``root_path`` over the server's; the path then no longer begins with it, and every Mount is 404.
    """
    root_path = getattr(application.inner, "root_path", "")
    if root_path:
        logger.warning("FastAPI(root_path=%r) is not used: the prefix is told by PyWatt with each request", root_path)
        application.inner.root_path = ""
