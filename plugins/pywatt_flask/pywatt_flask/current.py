"""The module's `AppState` inside a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import has_request_context, request
from werkzeug.local import LocalProxy

from pywatt_core.http.wsgi_front import STATE_KEY

if TYPE_CHECKING:
    from pywatt_core.state import AppState


def _current() -> AppState[Any]:
    if not has_request_context():
        raise RuntimeError(
            "pywatt_flask.state was used outside of a request: it belongs to the request that is being answered; "
            "hand the object itself, pywatt_flask.state(), to threads that you start"
        )
    try:
        return request.environ[STATE_KEY]  # type: ignore[no-any-return]
    except KeyError:
        raise RuntimeError(
            "there is no AppState in this request: the application is not served by a PyWatt module "
            "(in a test, use pywatt_core.testing.app)"
        ) from None


class _State(LocalProxy[Any]):
    """Stands for the `AppState` of the request; called, it is the `AppState` itself."""

    __slots__ = ()

    def __call__(self) -> AppState[Any]:
        return _current()


state: Any = _State(_current, unbound_message="pywatt_flask.state was used outside of a request")
