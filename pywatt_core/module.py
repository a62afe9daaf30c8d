"""`@pywatt_module`: turns a function ``AppState -> application`` into a `Module`. It runs nothing by itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar, overload

from .definition import Definition, refuse_unknown

if TYPE_CHECKING:
    from .protocol.messages import AnnouncedEndpoint
    from .state import AppState

Build = Callable[..., Any]
F = TypeVar("F", bound=Callable[..., Any])


class Module:
    """An application that an orchestrator can start, or that runs alone. Made by `pywatt_module`.

    Calling it with an `AppState` builds the application, as the decorated function would.
    """

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.__doc__ = definition.build.__doc__ or type(self).__doc__
        self.__wrapped__ = definition.build

    def __call__(self, state: AppState[Any]) -> Any:
        return self.definition.build(state)

    def __repr__(self) -> str:
        return f"Module({self.definition.name!r})"

    def on(self, endpoint: str) -> Callable[[F], F]:
        """``@module.on("endpoint")``: the function answers requests and messages of other modules for ``"NAME:endpoint"``."""
        return self.definition.receivers.on(endpoint)

    def on_source(self, module: str) -> Callable[[F], F]:
        """``@module.on_source("users")``: the function gets what that module sends to no endpoint that is received here."""
        return self.definition.receivers.on_source(module)

    def on_default(self, function: F) -> F:
        """``@module.on_default``: the function gets every message that no other function receives."""
        return self.definition.receivers.on_default(function)

    def on_topic(self, pattern: str, *, queue: int = 1000, overflow: str = "drop") -> Callable[[F], F]:
        """``@module.on_topic("orders.*")``: the function gets what is published to the topics that the pattern fits.

        `queue` messages wait for it at most; more drive out the oldest, or make the publisher wait with ``overflow="wait"``.
        """
        return self.definition.receivers.on_topic(pattern, queue=queue, overflow=overflow)

    def on_stream(self, endpoint: str, *, max_size: int | None = 1 << 30) -> Callable[[F], F]:
        """``@module.on_stream("upload")``: the function gets the streams that other modules send to ``"NAME:upload"``.

        `max_size` is in bytes, 1 GiB by default; None takes streams of any size.
        """
        return self.definition.receivers.on_stream(endpoint, max_size=max_size)

    def run(self) -> NoReturn:
        """Live until the orchestrator, a signal or a failure ends it, then end the process with the exit code.

        Under an orchestrator its first act is to take standard input and output for the wire; alone it serves HTTP on
        ``127.0.0.1:8000``, or where ``specific_port=``, ``listen_addr=``, the configuration or systemd says.
        """
        from .running import exit_with, is_orchestrated, run

        with exit_with():
            wire = None
            if is_orchestrated(os.environ):
                from .transports.stdio import take_wire

                wire = take_wire()
        sys.exit(run(self.definition, wire))


@overload
def pywatt_module(function: Build, /) -> Module: ...
@overload
def pywatt_module(
    function: None = None,
    /,
    *,
    secrets: Sequence[str] = (),
    rotate: bool = False,
    endpoints: Sequence[AnnouncedEndpoint] | None = None,
    health: str | None = "/health",
    metrics: bool | str = False,
    version: str | None = None,
    state_builder: Callable[[Any, list[Any]], Any] | None = None,
    config: Mapping[str, Any] | None = None,
    framework: str | None = None,
    bind_http: bool = True,
    specific_port: int | None = None,
    listen_addr: str | None = None,
) -> Callable[[Build], Module]: ...
def pywatt_module(function: Build | None = None, /, **arguments: Any) -> Module | Callable[[Build], Module]:
    """Make a module of a function ``AppState -> FastAPI | APIRouter | Starlette | Flask | Blueprint`` (plain or async).

    `secrets`: names that must be delivered before the function is called. `rotate`: keep them fresh. `endpoints`: what
    is announced, by default what the application's own router contains. `health`: path of the health route, None for
    none. `metrics`: serve Prometheus text at ``/metrics``, or at the path given. `version`: ``"v1"`` puts the routes
    below ``/v1``. `state_builder`: ``(init, secrets) -> user_state``. `config`: configuration of the lowest precedence.
    `bind_http`: False serves requests over the links alone. `specific_port`, `listen_addr`: where to listen alone.
    `framework`: the server plugin, never required.

    Raises `TypeError` that names the argument, and the nearest one where it is unknown.
    """
    refuse_unknown(arguments)
    if function is not None and not callable(function):
        raise TypeError("pywatt_module takes keyword arguments only: @pywatt_module(secrets=[…])")

    def decorate(build: Build) -> Module:
        return Module(Definition(build=build, name=_module_name(build), **arguments))

    return decorate if function is None else decorate(function)


def application_module(application: object, name: str) -> Module:
    """A module that serves a plain, undecorated application."""
    return Module(Definition(build=lambda _state: application, name=name))


def _module_name(build: Build) -> str:
    """A readable name for a module that runs alone: its file's, else its function's."""
    file = getattr(getattr(build, "__code__", None), "co_filename", "")
    stem = os.path.splitext(os.path.basename(file))[0]  # noqa: PTH119, PTH122 - pathlib is not worth importing for this
    return stem if stem.isidentifier() and stem != "__main__" else getattr(build, "__name__", "module")


# ── the earlier SDK's ways to serve ─────────────────────────────────────────────────────────────────────────────────


class ServeOptions(NamedTuple):
    """How a module is served: over a port (`specific_port`, `listen_addr`) or over the links alone."""

    bind_http: bool = True
    specific_port: int | None = None
    listen_addr: str | None = None


async def serve_module(application: Any, *, secrets: Sequence[str] = (), **arguments: Any) -> int:
    """Serve an application, or a function ``AppState -> application``, until the end; return the exit code."""
    refuse_unknown(arguments)
    return await _serve(Definition(build=_builder(application), secrets=secrets, **arguments))


async def serve_with_options(application: Any, options: ServeOptions) -> int:
    """Like `serve_module`, with `ServeOptions`."""
    return await serve_module(
        application, bind_http=options.bind_http, specific_port=options.specific_port, listen_addr=options.listen_addr
    )


async def serve_module_full(
    *,
    router_builder: Build,
    secret_keys: Sequence[str] = (),
    endpoints: Sequence[AnnouncedEndpoint] | None = None,
    state_builder: Callable[[Any, list[Any]], Any] | None = None,
    framework: str | None = None,
    options: ServeOptions | None = None,
) -> int:
    """The whole life of a module from one call; returns the exit code. `router_builder` is ``AppState -> application``."""
    options = options or ServeOptions()
    return await _serve(
        Definition(
            build=router_builder,
            secrets=secret_keys,
            endpoints=endpoints,
            state_builder=state_builder,
            framework=framework,
            bind_http=options.bind_http,
            specific_port=options.specific_port,
            listen_addr=options.listen_addr,
        )
    )


serve_module_with_lifecycle = serve_module_full


def _builder(application: Any) -> Build:
    import inspect

    if isinstance(application, Module):
        return application.definition.build
    return application if inspect.isfunction(application) or inspect.ismethod(application) else lambda _state: application


async def _serve(definition: Definition) -> int:
    from .running import is_orchestrated, supervise

    wire = None
    if is_orchestrated(os.environ):
        from .transports.stdio import take_wire

        wire = take_wire()
    return await supervise(definition, wire, os.environ)
