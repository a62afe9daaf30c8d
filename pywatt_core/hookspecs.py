"""Every hook, in the order of a module's life. Hooks describe and return at once; none is async, none is on a hot path.

All but `pywatt_make_server` are collecting: each plugin's answer counts. A plugin implements those it needs, each a
plain function decorated with `hookimpl`; pluggy matches arguments by name, and a plugin may leave out the ones that it
does not use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from .interfaces import (
        Authenticator,
        Cache,
        Channel,
        Command,
        Database,
        Handler,
        Provider,
        SecretSource,
        Serializer,
        Server,
        ServerOptions,
        TopSection,
    )
    from .protocol.messages import Message

PROJECT = "pywatt"
"""The entry-point group, which is also the version of this API: an incompatible API would read another group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def pywatt_register_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Sub-commands of ``pywatt``."""


@hookspec
def pywatt_register_sections() -> Iterable[TopSection]:  # type: ignore[empty-body]
    """Top-level tables of the configuration file that this plugin reads itself, so that a typo in them is found too."""


@hookspec
def pywatt_register_secret_sources() -> Iterable[Provider[SecretSource]]:  # type: ignore[empty-body]
    """Places that secrets come from, for ``[secrets.NAME]``; they are asked in the order of the file."""


@hookspec
def pywatt_register_serializers() -> Iterable[Provider[Serializer]]:  # type: ignore[empty-body]
    """Ways to turn payloads and cache values into bytes."""


@hookspec
def pywatt_register_channels() -> Iterable[Provider[Channel]]:  # type: ignore[empty-body]
    """Ways to the orchestrator beside stdio, for ``[channels.NAME]``."""


@hookspec
def pywatt_register_databases() -> Iterable[Provider[Database]]:  # type: ignore[empty-body]
    """Databases, for ``[databases.NAME]``."""


@hookspec
def pywatt_register_caches() -> Iterable[Provider[Cache]]:  # type: ignore[empty-body]
    """Caches, for ``[caches.NAME]``."""


@hookspec
def pywatt_register_authenticators() -> Iterable[Provider[Authenticator]]:  # type: ignore[empty-body]
    """Ways to check a bearer token, for ``[auth.NAME]``."""


@hookspec(firstresult=True)
def pywatt_make_server(app: object, options: ServerOptions) -> Server | None:
    """Return a `Server` where `app` is of this plugin's framework, None where it is not; nothing is bound or started yet."""


@hookspec
def pywatt_register_handlers(state: Any) -> Mapping[type[Message], Handler]:  # type: ignore[empty-body]
    """Handlers for messages of the orchestrator; two for one message type are an error that names both plugins."""


@hookspec
def pywatt_lifespan(state: Any) -> AbstractAsyncContextManager[None] | None:
    """An async context manager entered after the state is open and left after the server has drained, or None."""
