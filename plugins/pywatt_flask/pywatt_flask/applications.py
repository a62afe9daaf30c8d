"""Which applications are Flask's, without importing Flask to find out that one is not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from flask import Flask

    from pywatt_core.http.wsgi import WsgiApp

DEPTH = 32
"""Layers of middleware that are looked through."""


class Application(NamedTuple):
    """What is served, the Flask application within that has the routes, and what a dispatcher mounts beside it."""

    app: WsgiApp
    flask: Flask
    mounts: tuple[str, ...] = ()


def recognise(app: object) -> Application | None:
    """`app` as something to serve: a blueprint becomes an application; None where it is not Flask's."""
    from flask import Blueprint, Flask

    if isinstance(app, Blueprint):
        flask = Flask(app.import_name)
        flask.register_blueprint(app)
        return Application(flask, flask)
    inner = app
    mounts: list[str] = []
    for _ in range(DEPTH):
        if isinstance(inner, Flask):
            return Application(app, inner, tuple(mounts))  # type: ignore[arg-type]
        if not callable(inner) or isinstance(inner, type):
            return None
        mounts += _mounts(inner)
        inner = getattr(inner, "app", None)
    return None


def _mounts(middleware: object) -> list[str]:
    dispatcher = sys.modules.get("werkzeug.middleware.dispatcher")
    if dispatcher is not None and isinstance(middleware, dispatcher.DispatcherMiddleware):
        return [path.rstrip("/") for path in middleware.mounts]
    return []
