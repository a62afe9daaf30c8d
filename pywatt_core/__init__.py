"""PyWatt: ordinary FastAPI, Flask and Starlette applications as supervised modules of one product.

Names are imported when they are first used, so that ``import pywatt_core`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazily

if TYPE_CHECKING:
    from .bootstrap import (
        BootstrapResult,
        Handshake,
        announce_from_router,
        bootstrap_module,
        process_ipc_messages,
        read_init,
        send_announce,
    )
    from .build_info import BuildInfo, get_build_info
    from .builtin.file_cache import FileCache
    from .builtin.memory_cache import InMemoryCache, MemoryCache
    from .builtin.typed_cache import TypedCache
    from .errors import (
        AuthError,
        BootstrapError,
        ChannelClosed,
        ConfigError,
        Conflict,
        ExpiredToken,
        Forbidden,
        InvalidToken,
        LocalProtocolError,
        NotFound,
        PluginError,
        ProtocolError,
        PyWattError,
        PyWattSDKError,
        RemoteError,
        RemoteProtocolError,
        RequestTimeout,
        Result,
        SecretError,
        SecretNotFound,
        ServerError,
        StorageError,
        Unavailable,
    )
    from .hookspecs import hookimpl
    from .http import (
        ApiResponse,
        HttpIpcError,
        HttpIpcRequest,
        HttpIpcResponse,
        HttpIpcRouter,
        HttpTcpClient,
        HttpTcpError,
        HttpTcpRequest,
        HttpTcpResponse,
        HttpTcpRouter,
        HttpTcpServer,
        start_http_server,
    )
    from .interfaces import (
        Cache,
        CacheLock,
        CacheStats,
        Channel,
        ChannelState,
        Command,
        Context,
        Database,
        Params,
        Provider,
        Queries,
        Row,
        Serializer,
        Server,
        ServerOptions,
    )
    from .module import (
        Module,
        ServeOptions,
        pywatt_module,
        serve_module,
        serve_module_full,
        serve_module_with_lifecycle,
        serve_with_options,
    )
    from .policies import (
        Backoff,
        ChannelCapabilities,
        ChannelPreferences,
        ChannelRouter,
        ChannelType,
        Characteristics,
        CircuitBreaker,
        MessagePriority,
        ReconnectPolicy,
        Retry,
        RoutingDecision,
        RoutingMatrix,
    )
    from .protocol.encoded import EncodedMessage, EncodingFormat, Message, MessageMetadata
    from .protocol.messages import AnnouncedEndpoint, ServiceType
    from .protocol.priorities import PriorityMessageQueue, StreamPriority
    from .protocol.streams import StreamAck, StreamChunk, StreamConfig, StreamMetadata
    from .protocol.topics import PubSubMessage, TopicPattern
    from .redaction import Secret, TypedSecret
    from .services.arrivals import Arrival
    from .services.channels import ChannelStatus
    from .services.discovery import RegisteredProvider
    from .services.orchestrator_secrets import OrchestratorSecretProvider
    from .services.ports import (
        NegotiatedPort,
        PortNegotiation,
        PortOptions,
        get_pre_allocated_port,
        negotiate_port,
        set_pre_allocated_port,
    )
    from .services.providers import ServiceProvider, ServiceProviderBuilder
    from .services.registration import (
        Capabilities,
        HealthSource,
        HealthStatus,
        ModuleInfo,
        RegisteredModule,
        Registration,
        register_module,
    )
    from .services.secret_chain import SecretChain
    from .services.secrets import SecretClient, SecretMode
    from .services.stream_in import InboundStream
    from .services.stream_out import OutboundStream
    from .services.subscriptions import Subscription
    from .services.watching import ProviderChange, ProviderEvent
    from .state import AppState
    from .storage import (
        CacheConfig,
        CachePolicy,
        CacheService,
        CacheType,
        DatabaseConfig,
        DatabaseConnection,
        DatabaseType,
        create_cache_service,
        create_database_connection,
    )
    from .telemetry.channel_metrics import Alert, AlertSeverity, AlertType, ChannelMetrics, PoolMetrics, SlaMetric, SlaStatus
    from .transports.channel import ChannelHealth, ReconnectingChannel
    from .transports.encoded_stream import EncodedStream
    from .transports.pool import ConnectionPool, PoolStats

_HOMES = {
    "bootstrap": "BootstrapResult Handshake announce_from_router bootstrap_module process_ipc_messages read_init send_announce",
    "build_info": "BuildInfo get_build_info",
    "builtin.file_cache": "FileCache",
    "builtin.memory_cache": "InMemoryCache MemoryCache",
    "builtin.typed_cache": "TypedCache",
    "errors": (
        "AuthError BootstrapError ChannelClosed ConfigError Conflict ExpiredToken Forbidden InvalidToken LocalProtocolError NotFound "
        "PluginError ProtocolError PyWattError PyWattSDKError RemoteError RemoteProtocolError RequestTimeout Result SecretError "
        "SecretNotFound ServerError StorageError Unavailable"
    ),
    "hookspecs": "hookimpl",
    "http": (
        "ApiResponse HttpIpcError HttpIpcRequest HttpIpcResponse HttpIpcRouter HttpTcpClient HttpTcpError HttpTcpRequest HttpTcpResponse "
        "HttpTcpRouter HttpTcpServer start_http_server"
    ),
    "interfaces": (
        "Cache CacheLock CacheStats Channel ChannelState Command Context Database Params Provider Queries Row Serializer Server "
        "ServerOptions"
    ),
    "module": "Module ServeOptions pywatt_module serve_module serve_module_full serve_module_with_lifecycle serve_with_options",
    "policies": (
        "Backoff ChannelCapabilities ChannelPreferences ChannelRouter ChannelType Characteristics CircuitBreaker MessagePriority "
        "ReconnectPolicy Retry RoutingDecision RoutingMatrix"
    ),
    "protocol.encoded": "EncodedMessage EncodingFormat Message MessageMetadata",
    "protocol.messages": "AnnouncedEndpoint ServiceType",
    "protocol.priorities": "PriorityMessageQueue StreamPriority",
    "protocol.streams": "StreamAck StreamChunk StreamConfig StreamMetadata",
    "protocol.topics": "PubSubMessage TopicPattern",
    "redaction": "Secret TypedSecret",
    "services.arrivals": "Arrival",
    "services.channels": "ChannelStatus",
    "services.discovery": "RegisteredProvider",
    "services.orchestrator_secrets": "OrchestratorSecretProvider",
    "services.ports": "NegotiatedPort PortNegotiation PortOptions get_pre_allocated_port negotiate_port set_pre_allocated_port",
    "services.providers": "ServiceProvider ServiceProviderBuilder",
    "services.registration": "Capabilities HealthSource HealthStatus ModuleInfo RegisteredModule Registration register_module",
    "services.secret_chain": "SecretChain",
    "services.secrets": "SecretClient SecretMode",
    "services.watching": "ProviderChange ProviderEvent",
    "services.stream_in": "InboundStream",
    "services.stream_out": "OutboundStream",
    "services.subscriptions": "Subscription",
    "state": "AppState",
    "storage": (
        "CacheConfig CachePolicy CacheService CacheType DatabaseConfig DatabaseConnection DatabaseType create_cache_service "
        "create_database_connection"
    ),
    "transports.channel": "ChannelHealth ReconnectingChannel",
    "transports.pool": "ConnectionPool PoolStats",
    "telemetry.channel_metrics": "Alert AlertSeverity AlertType ChannelMetrics PoolMetrics SlaMetric SlaStatus",
    "transports.encoded_stream": "EncodedStream",
}

__version__ = "0.1.0"
__all__ = [
    "Alert",
    "AlertSeverity",
    "AlertType",
    "AnnouncedEndpoint",
    "ApiResponse",
    "AppState",
    "Arrival",
    "AuthError",
    "Backoff",
    "BootstrapError",
    "BootstrapResult",
    "BuildInfo",
    "Cache",
    "CacheConfig",
    "CacheLock",
    "CachePolicy",
    "CacheService",
    "CacheStats",
    "CacheType",
    "Capabilities",
    "Channel",
    "ChannelCapabilities",
    "ChannelClosed",
    "ChannelHealth",
    "ChannelMetrics",
    "ChannelPreferences",
    "ChannelRouter",
    "ChannelState",
    "ChannelStatus",
    "ChannelType",
    "Characteristics",
    "CircuitBreaker",
    "Command",
    "ConfigError",
    "Conflict",
    "ConnectionPool",
    "Context",
    "Database",
    "DatabaseConfig",
    "DatabaseConnection",
    "DatabaseType",
    "EncodedMessage",
    "EncodedStream",
    "EncodingFormat",
    "ExpiredToken",
    "FileCache",
    "Forbidden",
    "Handshake",
    "HealthSource",
    "HealthStatus",
    "HttpIpcError",
    "HttpIpcRequest",
    "HttpIpcResponse",
    "HttpIpcRouter",
    "HttpTcpClient",
    "HttpTcpError",
    "HttpTcpRequest",
    "HttpTcpResponse",
    "HttpTcpRouter",
    "HttpTcpServer",
    "InMemoryCache",
    "InboundStream",
    "InvalidToken",
    "LocalProtocolError",
    "MemoryCache",
    "Message",
    "MessageMetadata",
    "MessagePriority",
    "Module",
    "ModuleInfo",
    "NegotiatedPort",
    "NotFound",
    "OrchestratorSecretProvider",
    "OutboundStream",
    "Params",
    "PluginError",
    "PoolMetrics",
    "PoolStats",
    "PortNegotiation",
    "PortOptions",
    "PriorityMessageQueue",
    "ProtocolError",
    "Provider",
    "ProviderChange",
    "ProviderEvent",
    "PubSubMessage",
    "PyWattError",
    "PyWattSDKError",
    "Queries",
    "ReconnectPolicy",
    "ReconnectingChannel",
    "RegisteredModule",
    "RegisteredProvider",
    "Registration",
    "RemoteError",
    "RemoteProtocolError",
    "RequestTimeout",
    "Result",
    "Retry",
    "RoutingDecision",
    "RoutingMatrix",
    "Row",
    "Secret",
    "SecretChain",
    "SecretClient",
    "SecretError",
    "SecretMode",
    "SecretNotFound",
    "Serializer",
    "ServeOptions",
    "Server",
    "ServerError",
    "ServerOptions",
    "ServiceProvider",
    "ServiceProviderBuilder",
    "ServiceType",
    "SlaMetric",
    "SlaStatus",
    "StorageError",
    "StreamAck",
    "StreamChunk",
    "StreamConfig",
    "StreamMetadata",
    "StreamPriority",
    "Subscription",
    "TopicPattern",
    "TypedCache",
    "TypedSecret",
    "Unavailable",
    "announce_from_router",
    "bootstrap_module",
    "create_cache_service",
    "create_database_connection",
    "get_build_info",
    "get_pre_allocated_port",
    "hookimpl",
    "negotiate_port",
    "process_ipc_messages",
    "pywatt_module",
    "read_init",
    "register_module",
    "send_announce",
    "serve_module",
    "serve_module_full",
    "serve_module_with_lifecycle",
    "serve_with_options",
    "set_pre_allocated_port",
    "start_http_server",
]

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
