"""Flask applications and blueprints as PyWatt modules, served by waitress.

`state` stands for the module's `AppState` inside a request, as Flask's ``current_app`` stands for the application:
``pywatt_flask.state.sync.execute_query(…)``. ``pywatt_flask.state()`` is the object itself, to be handed to other threads.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pywatt_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from pywatt_core.interfaces import Server, ServerOptions

    from .current import state as state

__all__ = ["state"]


@hookimpl
def pywatt_make_server(app: object, options: ServerOptions) -> Server | None:
    """A server for Flask and Blueprint, also inside WSGI middleware; None for anything else."""
    if "flask" not in sys.modules:  # then nobody can have made an application of it
        return None
    from .applications import recognise

    application = recognise(app)
    if application is None:
        return None
    from .server import FlaskServer

    return FlaskServer(application, options)


def __getattr__(name: str) -> Any:
    if name == "state":  # imported late: it needs Flask, and looking at what is installed must not
        from .current import state

        return state
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
