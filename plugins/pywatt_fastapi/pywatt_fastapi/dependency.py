"""The module's `AppState` inside a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import HTTPConnection

from pywatt_core.http.asgi_front import STATE_KEY

if TYPE_CHECKING:
    from pywatt_core.state import AppState


def state_of(connection: HTTPConnection) -> AppState[Any]:
    """The module's `AppState`, from a request or WebSocket of any Starlette application, mounted ones included.

    Raises RuntimeError where the application runs outside a PyWatt module.
    """
    try:
        return connection.scope[STATE_KEY]  # type: ignore[no-any-return]
    except KeyError:
        raise RuntimeError(
            "there is no AppState in this request: the application is not served by a PyWatt module "
            "(in a test, use pywatt_core.testing.app, or dependency_overrides[pywatt_fastapi.state])"
        ) from None


async def state(connection: HTTPConnection) -> Any:
    """`state_of` as a dependency: ``Depends(pywatt_fastapi.state)``.

    A coroutine, because FastAPI runs plain functions in a thread, which costs more than the rest of a small request.
    """
    return state_of(connection)
