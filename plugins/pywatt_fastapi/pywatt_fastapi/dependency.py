"""The module's `AppState` inside a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import HTTPConnection  # noqa: TC002  FastAPI evaluates the annotation

from pywatt_core.http.asgi_front import STATE_KEY

if TYPE_CHECKING:
    from pywatt_core.state import AppState


def state(connection: HTTPConnection) -> AppState[Any]:
    """The module's `AppState`, by way of the ASGI scope: the same in mounted applications and WebSockets.

    In FastAPI a dependency, elsewhere a function of the request or WebSocket. Raises RuntimeError where the application
    runs outside a PyWatt module.
    """
    try:
        return connection.scope[STATE_KEY]  # type: ignore[no-any-return]
    except KeyError:
        raise RuntimeError(
            "there is no AppState in this request: the application is not served by a PyWatt module "
            "(in a test, use pywatt_core.testing.app, or dependency_overrides[pywatt_fastapi.state])"
        ) from None
