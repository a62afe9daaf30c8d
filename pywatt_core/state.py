"""`AppState`: what the application is handed. Databases, caches, secrets and configuration, opened from names."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import ref

from .errors import ConfigError
from .held import Blocking
from .opened import Opened, name_of_the_one, the_one
from .services.channels import Channels
from .services.receivers import Receivers

if TYPE_CHECKING:
    from pathlib import Path

    from .access import Authenticator
    from .builtin.typed_cache import TypedCache
    from .config import Settings
    from .interfaces import Cache, Database, Params, Row, Serializer
    from .policies.channels import ChannelCapabilities
    from .protocol.messages import Init, ServiceType
    from .protocol.priorities import StreamPriority
    from .redaction import Secret
    from .services.channels import ChannelStatus
    from .services.discovery import Discovery, RegisteredProvider
    from .services.messaging import Messaging
    from .services.providers import ServiceProvider
    from .services.registration import Capabilities, HealthSource, ModuleInfo, Registration
    from .services.secrets import SecretClient
    from .services.stream_out import OutboundStream
    from .services.streams import Streams
    from .services.subscriptions import Subscription
    from .services.topics import Topics
    from .telemetry.channel_metrics import ChannelMetrics, SlaStatus

T = TypeVar("T")

BLOCKING_TIMEOUT = 30.0
"""Seconds that one call through ``state.sync`` may take."""


class AppState(Generic[T]):
    """Everything the application may use, for the whole life of the module.

    `user_state` is what ``state_builder`` made (None without one). `init` is the orchestrator's init message, None
    stand-alone. Nothing is opened that the configuration does not name.
    """

    def __init__(
        self,
        *,
        module_id: str,
        config: Settings,
        secrets: SecretClient,
        init: Init | None = None,
        databases: Mapping[str, Database] | None = None,
        caches: Mapping[str, Cache] | None = None,
        channels: Channels | None = None,
        receivers: Receivers | None = None,
    ) -> None:
        self.module_id = module_id
        self.config = config
        self.secrets = secrets
        self.init = init
        self.databases: dict[str, Database] = Opened(databases or {}, config, "databases")
        self.caches: dict[str, Cache] = Opened(caches or {}, config, "caches")
        self.authenticators: dict[str, Authenticator] = Opened({}, config, "auth")
        """``[auth.NAME]``: what checks bearer tokens."""
        self.serializers: dict[str, Serializer] = {}
        """``[serializers.NAME]``: for values in caches, and for payloads that go elsewhere."""
        self.channels = channels or Channels()
        """Every way to the orchestrator; none stand-alone."""
        self.receivers = receivers or Receivers()
        self.user_state: T = None  # type: ignore[assignment]
        self._stack = AsyncExitStack()
        self._registrations: list[Registration] = []
        self._typed: dict[str, TypedCache] = {}
        self._blocking = Blocking(self, asyncio.get_running_loop(), threading.get_ident(), BLOCKING_TIMEOUT)

    @property
    def database(self) -> Database:
        """``[databases.main]``, or the only one. Raises `ConfigError` with the lines to add where none is configured."""
        return the_one(self.databases, self.config, "databases")

    @property
    def cache(self) -> Cache:
        """``[caches.main]``, or the only one. Raises `ConfigError` with the lines to add where none is configured."""
        return the_one(self.caches, self.config, "caches")

    @property
    def authenticator(self) -> Authenticator:
        """``[auth.main]``, or the only one. Raises `ConfigError` with the lines to add where none is configured."""
        return the_one(self.authenticators, self.config, "auth")

    @property
    def sync(self) -> Blocking:
        """Every method of this state, its databases and caches in blocking form, for threads: ``state.sync.database.fetch_all(…)``.

        Each call has a deadline of 30 s (``state.sync.within(5)`` sets another) and raises `RuntimeError` on the loop's
        own thread.
        """
        return self._blocking

    # ── other modules ───────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def messaging(self) -> Messaging:
        """Requests and messages to other modules, and what answers theirs."""
        from .services.messaging import Messaging

        limits = self.config.module
        return Messaging(
            self.channels,
            self.module_id,
            self.receivers,
            self,
            at_once=limits.messages_at_once,
            waiting=limits.messages_waiting,
            most_bytes=limits.messages_bytes,
        )

    @cached_property
    def topics(self) -> Topics:
        """Publishing and subscribing."""
        from .services.topics import Topics

        return Topics(self.messaging)

    @cached_property
    def streams(self) -> Streams:
        """Streams of bytes to other modules, and theirs."""
        from .services.streams import Streams

        return Streams(self.messaging)

    @cached_property
    def discovery(self) -> Discovery:
        """Who offers which service."""
        from .services.discovery import Discovery

        return Discovery(self.messaging)

    async def send_request(
        self, target: str, payload: Any = None, response_type: Any = Any, timeout: float | None = None, unwrap_result: bool = False
    ) -> Any:
        """Ask ``"module:endpoint"`` and return its result as `response_type`. `timeout` is in seconds, None means 30.

        `unwrap_result` takes a Rust module's ``{"Ok": value}`` apart. Raises what `Messaging.request` raises: `RemoteError` with a
        code, `RequestTimeout`, `ChannelClosed`.
        """
        self.messaging.refuse_reserved(target)
        return await self.messaging.request(target, payload, response_type, timeout=timeout, unwrap_result=unwrap_result)

    async def send_message(self, target: str, payload: Any = None) -> None:
        """Tell ``"module:endpoint"`` something; nobody says whether it arrived. Raises `ChannelClosed` or `LocalProtocolError`."""
        self.messaging.refuse_reserved(target)
        await self.messaging.send(target, payload)

    async def publish(
        self,
        topic: str,
        payload: Any = None,
        *,
        priority: StreamPriority | str = "Normal",
        ttl: float | None = None,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> int:
        """Tell everybody who subscribed to `topic`, in this module and all others; how many that were. See `Topics.publish`."""
        return await self.topics.publish(topic, payload, priority=priority, ttl=ttl, metadata=metadata, timeout=timeout)

    def subscribe(self, pattern: str, *, queue: int = 1000, overflow: str = "drop") -> Subscription:
        """``async with state.subscribe("orders.#") as messages: async for message in messages: …``. See `Topics.subscribe`."""
        return self.topics.subscribe(pattern, queue=queue, overflow=overflow)

    def open_stream(
        self,
        target: str,
        *,
        total_size: int | None = None,
        content_type: str | None = None,
        priority: StreamPriority | str = "Normal",
        properties: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> OutboundStream:
        """``async with state.open_stream("files:upload") as stream: await stream.write(data)``. See `Streams.open`."""
        details: dict[str, Any] = {"content_type": content_type, "priority": priority, "properties": properties, "timeout": timeout}
        return self.streams.open(target, total_size=total_size, **details)

    async def send_file(self, target: str, path: str | Path, **options: Any) -> Any:
        """Send a file to a stream's endpoint; what the receiving function returned. See `Streams.send_file`."""
        return await self.streams.send_file(target, path, **options)

    # ── services ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def register_service_provider(
        self,
        provider: ServiceProvider | ServiceType | str,
        name: str = "",
        address: str = "",
        *,
        version: str | None = None,
        metadata: Mapping[str, str] | None = None,
        capabilities: Iterable[str] = (),
    ) -> RegisteredProvider:
        """Offer a service to other modules until this one ends. Raises what `Discovery.register` raises."""
        details: dict[str, Any] = {"version": version, "metadata": metadata, "capabilities": capabilities}
        return await self.discovery.register(provider, name, address, **details)

    async def discover_service_providers(
        self,
        service_type: ServiceType | str,
        *,
        metadata: Mapping[str, str] | None = None,
        capabilities: Iterable[str] = (),
        healthy_only: bool = False,
    ) -> list[ServiceProvider]:
        """Who offers a service, with all of `metadata` and `capabilities`. Raises what `Discovery.discover` raises."""
        return await self.discovery.discover(service_type, metadata=metadata, capabilities=capabilities, healthy_only=healthy_only)

    async def discover_service_provider(self, service_type: ServiceType | str, **wanted: Any) -> ServiceProvider | None:
        """The first of `discover_service_providers`, healthy ones before others; None where there is none."""
        return await self.discovery.discover_one(service_type, **wanted)

    async def register_module(
        self,
        address: str,
        info: ModuleInfo,
        *,
        capabilities: Capabilities | None = None,
        health: HealthSource | None = None,
        interval: float = 30.0,
    ) -> Registration:
        """Register at the orchestrator at ``host:port`` that did not start this module; heartbeats until this module ends, then farewell.

        Raises what `pywatt_core.services.registration.register_module` raises.
        """
        from .services.registration import register_module

        registration = await register_module(address, info)
        self._stack.push_async_callback(registration.close)
        self._registrations.append(registration)
        if capabilities is not None:
            await registration.advertise_capabilities(capabilities)
        registration.start_heartbeats(interval, health=health)
        return registration

    async def end(self) -> None:
        """The module takes no new work: what it offers to others is taken back. The life cycle calls it before the drain."""
        for registration in self._registrations:
            await registration.close()
        self._registrations.clear()
        if "discovery" in self.__dict__:
            await self.discovery.end()
        if "topics" in self.__dict__:
            await self.topics.end()

    async def begin(self) -> None:
        """The module is announced and serves: subscribe to what its functions want to hear. The life cycle calls it."""
        if self.receivers.topics:
            self._stack.push_async_callback(self.topics.close)
            await self.topics.begin()

    # ── ways to the orchestrator ────────────────────────────────────────────────────────────────────────────────────

    def channel_health(self) -> dict[str, ChannelStatus]:
        """How each way to the orchestrator is now, by name; empty where the module runs alone."""
        return self.channels.health()

    def channel_metrics(self) -> dict[str, ChannelMetrics]:
        """What each way carried, how fast and how well, by name."""
        return self.channels.metrics()

    def channel_capabilities(self) -> dict[str, ChannelCapabilities]:
        """What each way can carry, by name."""
        return self.channels.capabilities()

    def sla_status(self) -> dict[str, SlaStatus]:
        """How each way does against the targets of ``[routing]``, by name."""
        return self.channels.sla()

    def recommend_channel(self, target: str = "") -> str | None:
        """The name of the way that the preferences want for a target; None where none is open that may be used."""
        return self.channels.recommend(target)

    # ── secrets and storage ─────────────────────────────────────────────────────────────────────────────────────────

    async def get_secret(self, name: str) -> Secret:
        """The secret; ask for its value with ``.expose_secret()``. Raises `SecretNotFound` or `SecretError`."""
        return await self.secrets.get(name)

    async def set_secret(self, name: str, value: str) -> None:
        """Set a secret for this process alone; it is redacted from now on. Its source does not change: ``secrets.set`` is for that.

        Raises `SecretError` where somebody who depends on it refuses the value, see `SecretClient.subscribe`.
        """
        await self.secrets.change({name: value})

    async def validate_jwt_token(self, token: str) -> Mapping[str, Any]:
        """The claims that a token proves to the main authenticator. Raises `InvalidToken`, `ExpiredToken` or `Unavailable` (ask again)."""
        return await self.authenticator.authenticate(token)

    async def execute_query(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement on the main database and return its rows, none for a statement that yields none."""
        return await self.database.fetch_all(sql, params)

    async def cache_get(self, key: str, type: type[Any] = object) -> Any:
        """The value under `key` in the main cache, as `cache_set` stored it, or None; `type` checks and converts it."""
        return await self.typed_cache().get(key, type)

    async def cache_set(self, key: str, value: object, ttl: float | None = None) -> None:
        """Store a value (dataclasses, Structs, pydantic models, plain values) for `ttl` seconds, or the cache's default."""
        await self.typed_cache().set(key, value, ttl=ttl)

    def typed_cache(self, name: str | None = None) -> TypedCache:
        """``[caches.NAME]``, or the main cache, for typed values: its option ``serializer`` names what turns them into bytes.

        Raises `ConfigError` with the lines to add where the cache or the serializer is not configured.
        """
        chosen = name_of_the_one(self.caches, self.config, "caches") if name is None else name
        if chosen not in self._typed:
            from .builtin.typed_cache import TypedCache

            cache = self.caches[chosen if chosen in self.caches else self.config.pick("caches", chosen).name]
            self._typed[chosen] = TypedCache(cache, self._serializer_of(chosen))
        return self._typed[chosen]

    def _serializer_of(self, cache: str) -> Serializer:
        section = self.config.caches.get(cache)
        wanted = section.serializer if section is not None and section.serializer else "json"
        if wanted in self.serializers:
            return self.serializers[wanted]
        if wanted != "json":
            raise ConfigError(
                f'[caches.{cache}] serializer = "{wanted}": the configuration names no serializer {wanted}. '
                f"Add to pywatt.toml:\n\n[serializers.{wanted}]"
            )
        from .builtin.serializers import JsonSerializer

        return JsonSerializer()

    async def close(self) -> None:
        """Close what the state opened, in reverse. The life cycle calls it; calling it again does nothing."""
        global _current
        if _current is not None and _current() is self:
            _current = None
        await self._stack.aclose()

    def __repr__(self) -> str:
        return f"AppState({self.module_id!r}, databases={sorted(self.databases)}, caches={sorted(self.caches)})"


_current: ref[AppState[Any]] | None = None


def current_state() -> AppState[Any] | None:
    """The state of the module that this process runs; None where it runs none, or it has ended."""
    return _current() if _current is not None else None


def make_current(state: AppState[Any]) -> None:
    """From now on `current_state` gives this one, until it is closed."""
    global _current
    _current = ref(state)
