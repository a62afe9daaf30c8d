"""The default providers, registered through the same hooks as any plugin's: secrets, storage, JSON, handlers for messages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..hookspecs import hookimpl
from ..interfaces import Provider, TopSection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..interfaces import Authenticator, Cache, Channel, Database, Handler, SecretSource, Serializer, Server, ServerOptions
    from ..protocol.messages import Message

# Everything is named by where it is, and imported when it is used: a module pays only for what its configuration names.


@hookimpl
def pywatt_register_secret_sources() -> Iterable[Provider[SecretSource]]:
    here = "pywatt_core.builtin"
    options = f"{here}.secret_options"
    return [
        Provider("env", f"{options}:EnvOptions", f"{here}.secrets:open_env"),
        Provider("dotenv", f"{options}:DotenvOptions", f"{here}.file_secrets:open_dotenv"),
        Provider("file", f"{options}:FileOptions", f"{here}.file_secrets:open_file"),
        Provider("folder", f"{options}:FolderOptions", f"{here}.folder_secrets:open_folder"),
        Provider("memory", f"{options}:MemorySecretsOptions", f"{here}.secrets:open_memory_secrets"),
        Provider(
            "orchestrator",
            f"{options}:OrchestratorSecretOptions",
            "pywatt_core.services.orchestrator_secrets:open_orchestrator_secrets",
        ),
    ]


@hookimpl
def pywatt_register_caches() -> Iterable[Provider[Cache]]:
    here, hosted = "pywatt_core.builtin", "pywatt_core.services"
    return [
        Provider("memory", f"{here}.memory_options:MemoryOptions", f"{here}.memory_cache:open_memory"),
        Provider("file", f"{here}.file_options:FileOptions", f"{here}.file_cache:open_file_cache"),
        Provider("orchestrator", f"{hosted}.hosted_options:HostedCacheOptions", f"{hosted}.hosted_cache:open_hosted_cache"),
    ]


@hookimpl
def pywatt_register_databases() -> Iterable[Provider[Database]]:
    hosted = "pywatt_core.services"
    return [Provider("orchestrator", f"{hosted}.hosted_options:HostedDatabaseOptions", f"{hosted}.hosted_database:open_hosted_database")]


@hookimpl
def pywatt_register_authenticators() -> Iterable[Provider[Authenticator]]:
    hosted = "pywatt_core.services"
    return [Provider("orchestrator", f"{hosted}.hosted_options:HostedAuthOptions", f"{hosted}.hosted_auth:open_hosted_auth")]


@hookimpl
def pywatt_register_serializers() -> Iterable[Provider[Serializer]]:
    here = "pywatt_core.builtin.serializers"
    return [Provider("json", f"{here}:JsonOptions", f"{here}:open_json")]


@hookimpl
def pywatt_register_channels() -> Iterable[Provider[Channel]]:
    here = "pywatt_core.builtin"
    return [
        Provider("tcp", f"{here}.channel_options:TcpOptions", f"{here}.channels:open_tcp_channel"),
        Provider("unix", f"{here}.channel_options:UnixOptions", f"{here}.channels:open_unix_channel"),
    ]


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
