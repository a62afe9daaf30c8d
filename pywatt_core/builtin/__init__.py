"""The default providers, registered through the same hooks as any plugin's: secrets, storage, JSON, handlers for messages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..hookspecs import hookimpl
from ..interfaces import Channel, Provider, SecretSource, Serializer, TopSection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from ..interfaces import Cache, Context, Database, Handler, Server, ServerOptions
    from ..protocol.messages import Message
    from ..services.hosted_options import HostedCacheOptions, HostedDatabaseOptions
    from .channel_options import TcpOptions, UnixOptions
    from .file_options import FileOptions
    from .memory_options import MemoryOptions

# Each hook imports what it offers itself: a module asks only for the kinds that its configuration names.


@hookimpl
def pywatt_register_secret_sources() -> Iterable[Provider[SecretSource]]:
    from .secrets import DotenvOptions, EnvOptions, FileOptions, MemorySecretsOptions, open_dotenv, open_env, open_file, open_memory_secrets

    return [
        Provider("env", EnvOptions, open_env),
        Provider("dotenv", DotenvOptions, open_dotenv),
        Provider("file", FileOptions, open_file),
        Provider("memory", MemorySecretsOptions, open_memory_secrets),
    ]


def open_memory_cache(options: MemoryOptions, context: Context) -> AbstractAsyncContextManager[Cache]:
    """The cache lives in a file of its own, imported when one is opened."""
    from .memory_cache import open_memory

    return open_memory(options, context)


def open_file_cache(options: FileOptions, context: Context) -> AbstractAsyncContextManager[Cache]:
    """Likewise."""
    from .file_cache import open_file_cache

    return open_file_cache(options, context)


def open_hosted_cache(options: HostedCacheOptions, context: Context) -> AbstractAsyncContextManager[Cache]:
    """Likewise."""
    from ..services.hosted_cache import open_hosted_cache

    return open_hosted_cache(options, context)


def open_hosted_database(options: HostedDatabaseOptions, context: Context) -> AbstractAsyncContextManager[Database]:
    """Likewise."""
    from ..services.hosted_database import open_hosted_database

    return open_hosted_database(options, context)


@hookimpl
def pywatt_register_caches() -> Iterable[Provider[Cache]]:
    from ..services.hosted_options import HostedCacheOptions
    from .file_options import FileOptions
    from .memory_options import MemoryOptions

    return [
        Provider("memory", MemoryOptions, open_memory_cache),
        Provider("file", FileOptions, open_file_cache),
        Provider("orchestrator", HostedCacheOptions, open_hosted_cache),
    ]


@hookimpl
def pywatt_register_databases() -> Iterable[Provider[Database]]:
    from ..services.hosted_options import HostedDatabaseOptions

    return [Provider("orchestrator", HostedDatabaseOptions, open_hosted_database)]


@hookimpl
def pywatt_register_serializers() -> Iterable[Provider[Serializer]]:
    from .serializers import JsonOptions, open_json

    return [Provider("json", JsonOptions, open_json)]


def open_tcp(options: TcpOptions, context: Context) -> AbstractAsyncContextManager[Channel]:
    """The channels live in a file of their own, imported when one is opened."""
    from .channels import open_tcp_channel

    return open_tcp_channel(options, context)


def open_unix(options: UnixOptions, context: Context) -> AbstractAsyncContextManager[Channel]:
    """Likewise."""
    from .channels import open_unix_channel

    return open_unix_channel(options, context)


@hookimpl
def pywatt_register_channels() -> Iterable[Provider[Channel]]:
    from .channel_options import TcpOptions, UnixOptions

    return [Provider("tcp", TcpOptions, open_tcp), Provider("unix", UnixOptions, open_unix)]


@hookimpl
def pywatt_register_sections() -> Iterable[TopSection]:
    """``[routing]``."""
    return [TopSection("routing", "pywatt_core.services.routing_options:RoutingOptions")]


@hookimpl
def pywatt_register_handlers(state: Any) -> Mapping[type[Message], Handler]:
    from .handlers import handlers

    return handlers(state)


@hookimpl
def pywatt_make_server(app: object, options: ServerOptions) -> Server | None:
    """A server for an `HttpIpcRouter` without a port; with one it is a server plugin's."""
    routers = sys.modules.get("pywatt_core.http.router")  # not imported: then nobody can have made one
    if options.port or routers is None or not isinstance(app, routers.HttpIpcRouter):
        return None
    from ..http.link_server import LinkServer

    return LinkServer(app, options)
