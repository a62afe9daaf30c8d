"""A WSGI application as a server runs it: prefix, extra routes, forwarded headers, request ids."""

from __future__ import annotations

import logging
import sys
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .arrival import NOTHING_SAID, ExtraRoutes, arrival, below, clean_prefix, figures, named
from .bearer import AUTHENTICATOR_KEY, CLAIMS_KEY, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..interfaces import ServerOptions
    from .guarding import Guard, Wanted
    from .wsgi import Environ, WsgiApp

logger = logging.getLogger("pywatt.http")

STATE_KEY = "pywatt.state"
"""Where the module's `AppState` is found in the environ of every request."""

SAID = ("HTTP_X_FORWARDED_PREFIX", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST")


class WsgiFront:
    """The application that a server is given in place of the user's own.

    * `options.prefix`: the user's routes live below it and see it as part of ``SCRIPT_NAME``; anything else is 404.
    * `options.behind_gateway`: ``X-Forwarded-Prefix``, ``-For``, ``-Proto`` and ``-Host`` are believed, otherwise never.
    * `options.guard`: requests to guarded endpoints reach the application with a good token only; what it proves is found
      under `bearer.CLAIMS_KEY` in their environ.
    """

    def __init__(self, app: WsgiApp, options: ServerOptions) -> None:
        self.extra = ExtraRoutes()
        self._app = app
        self._state = options.state
        self._prefix = clean_prefix(options.prefix)
        self._believing = options.behind_gateway
        self._guard = options.guard
        if self._guard is not None:
            self._guard.attach()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path in self.extra:
            if self._guard is not None and (refusal := self._refusal(self._guard, environ, self._guard.needed_beside(path))) is not None:
                return turn_away(start_response, refusal)
            status, headers, body = self.extra.answer(path, environ["REQUEST_METHOD"])
            return _reply(start_response, status, headers, body)
        rest = below(self._prefix, path)
        if rest is None:
            return _plain(start_response, 404)
        self._place(environ, rest)
        call = _Call(environ, start_response)
        try:
            guard = self._guard
            refusal = None if guard is None else self._refusal(guard, environ, guard.needed_in_environ(environ))
            pieces = self._app(environ, call.start_response) if refusal is None else turn_away(call.start_response, refusal)
        except (Exception, SystemExit, KeyboardInterrupt) as exc:
            logger.error("exception in the application", exc_info=exc)
            call.end()
            return _plain(start_response, 500, sys.exc_info())
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(pieces, (list, tuple, wrapper) if isinstance(wrapper, type) else (list, tuple)):
            call.end()  # nothing of the application runs any more, and the server looks for a length or a file
            return pieces
        return _Pieces(pieces, call)

    def _refusal(self, guard: Guard, environ: Environ, wanted: Wanted) -> Refusal | None:
        """What to answer in the application's place; None where it may see the request."""
        if not wanted:
            return None
        said = environ.get("HTTP_AUTHORIZATION")
        checked = guard.check_blocking(wanted, [] if said is None else [said], self._state)
        if isinstance(checked, Refusal):
            return checked
        environ[CLAIMS_KEY], environ[AUTHENTICATOR_KEY] = checked, wanted[0]
        return None

    def _place(self, environ: Environ, rest: str) -> None:
        """Say in the environ where the application stands: SCRIPT_NAME is what PATH_INFO no longer has."""
        told = arrival(*[environ.get(key, "") for key in SAID]) if self._believing else NOTHING_SAID
        environ["SCRIPT_NAME"] = told.prefix + self._prefix
        environ["PATH_INFO"] = rest
        environ[STATE_KEY] = self._state
        if told.client:
            environ["REMOTE_ADDR"] = environ["REMOTE_HOST"] = told.client
            environ.pop("REMOTE_PORT", None)
        if told.scheme:
            environ["wsgi.url_scheme"] = told.scheme
        if told.host:
            environ["HTTP_HOST"] = told.host


def turn_away(start_response: Callable[..., Any], refusal: Refusal) -> list[bytes]:
    """Answer in the application's place."""
    return _reply(start_response, refusal.status, [*refusal.headers, ("content-length", str(len(refusal.body)))], refusal.body)


def _reply(start_response: Callable[..., Any], status: int, headers: list[tuple[str, str]], body: bytes) -> list[bytes]:
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]


def _plain(start_response: Callable[..., Any], status: int, *exc_info: Any) -> list[bytes]:
    phrase = HTTPStatus(status).phrase
    headers = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(phrase)))]
    start_response(f"{status} {phrase}", headers, *exc_info)
    return [phrase.encode()]


class _Call:
    """One request under way: its ids are bound, in this thread, until `end`."""

    __slots__ = ("_began", "_binding", "_method", "_start_response", "_status")

    def __init__(self, environ: Environ, start_response: Callable[..., Any]) -> None:
        self._method = environ["REQUEST_METHOD"]
        self._start_response = start_response
        self._status = 500
        self._began = perf_counter()
        self._binding = named(environ.get("HTTP_X_REQUEST_ID"), environ.get("HTTP_TRACEPARENT"))
        self._binding.__enter__()

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self._status = int(status[:3])
        return self._start_response(status, headers) if exc_info is None else self._start_response(status, headers, exc_info)

    def end(self) -> None:
        self._binding.__exit__(None, None, None)
        figures.count(self._method, self._status, perf_counter() - self._began)


class _Pieces:
    """The application's pieces of body; the call ends with the last of them."""

    def __init__(self, pieces: Iterable[bytes], call: _Call) -> None:
        self._pieces = pieces
        self._call: _Call | None = call

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._pieces
        except SystemExit as exc:  # would end the server's worker, and leave the client without an end
            raise RuntimeError(f"the application called exit({exc.code!r})") from exc
        except KeyboardInterrupt as exc:
            raise RuntimeError("the application raised KeyboardInterrupt") from exc

    def close(self) -> None:
        try:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()
        finally:
            call, self._call = self._call, None
            if call is not None:
                call.end()
