"""Who offers which service: providers of modules, found by type, and told to whoever watches (protocol 10.6).

A provider is as healthy as its process: not before that is ready, not while it hangs, and gone when it ends. Watchers are
told states, not events: for each there is at most one pending note a provider, the latest, however slow the watcher is.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pywatt_core.errors import PyWattError, RemoteError
from pywatt_core.protocol.messages import (
    ORCHESTRATOR,
    DiscoverServiceProviders,
    DiscoverServiceProvidersResponse,
    Metadata,
    ProviderInfo,
    RegisterServiceProvider,
    RegisterServiceProviderResponse,
    RoutedModuleMessage,
    ServiceType,
)
from pywatt_core.protocol.payloads import write_payload
from pywatt_core.transports.link import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .hub import Hub, Peer

PROVIDERS: Final = "__providers__"
"""The endpoint at which watchers hear of changes."""

MOST: Final = 100
"""Providers of one process."""
MOST_OF_ALL: Final = 2000
"""Providers of all processes, so that all of them fit into one message."""
MOST_TYPES: Final = 100
"""Service types that one process watches."""
LONGEST: Final = 500
"""Characters of a name, version or address, and of a service type."""
LARGEST: Final = 4096
"""Characters of a provider's metadata, names and values together."""
AT_ONCE: Final = 200
"""Providers of which one note tells."""
MOST_PENDING: Final = 10_000
"""Providers of which a watcher has not been told yet; beyond that it is told to ask for all of them."""


class Provider:
    """One offer."""

    __slots__ = ("id", "message", "peer")

    def __init__(self, id: str, peer: Peer, message: RegisterServiceProvider) -> None:
        self.id, self.peer, self.message = id, peer, message

    @property
    def key(self) -> tuple[ServiceType, str]:
        """What makes it the same offer when it is made again."""
        return self.message.service_type, self.message.name


class Directory:
    """All providers, and who watches."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._providers: dict[str, Provider] = {}
        self._types: dict[ServiceType, dict[str, Provider]] = {}
        self._left: weakref.WeakSet[Peer] = weakref.WeakSet()
        self._watchers: dict[Peer, _Watcher] = {}

    def begin(self) -> None:
        """Answer what modules ask of the orchestrator itself; the hub calls it."""
        self._hub.broker.serve("watch", self.watch)
        self._hub.broker.serve("unwatch", self.unwatch)
        self._hub.broker.serve("unregister", self.unregister)

    # ── offering ────────────────────────────────────────────────────────────────────────────────────────────────────

    def register(self, peer: Peer, message: RegisterServiceProvider) -> RegisterServiceProviderResponse:
        """Take an offer; one with the type and name of an earlier one of the same process takes its place and keeps its id."""
        mine = [one for one in self._providers.values() if one.peer is peer]
        before = next((one for one in mine if one.key == (message.service_type, message.name)), None)
        error = _fault(message)
        if peer in self._left:
            error = "the module is ending"
        elif before is None and len(mine) >= MOST:
            error = f"{MOST} services are offered already, which is as many as one process may offer"
        elif before is None and len(self._providers) >= MOST_OF_ALL:
            error = f"{MOST_OF_ALL} services are offered already, which is as many as there may be"
        if error:
            peer.note(f"it could not offer the service {message.service_type}: {error}", level="warning")
            return RegisterServiceProviderResponse(success=False, error=error)
        provider = before or Provider(new_id(), peer, message)
        provider.message = message
        self._providers[provider.id] = self._types.setdefault(message.service_type, {})[provider.id] = provider
        self._tell([provider])
        return RegisterServiceProviderResponse(success=True, provider_id=provider.id)

    async def unregister(self, peer: Peer, payload: Any, properties: Mapping[str, Any]) -> bool:
        """Take back the offer ``{"provider_id": …}``; whether there was one. Another module's is none."""
        provider = self._providers.get(_member(payload, "provider_id"))
        if provider is None or provider.peer is not peer:
            return False
        self._remove([provider])
        return True

    # ── finding ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def discover(self, peer: Peer, message: DiscoverServiceProviders) -> DiscoverServiceProvidersResponse:
        """Who offers it: all of them, or the first that is healthy, or the first."""
        found = self._of_type(message.service_type)
        if not message.all_providers:
            found = ([one for one in found if one.is_healthy] or found)[:1]
        return DiscoverServiceProvidersResponse(success=True, providers=found)

    def _of_type(self, service_type: ServiceType) -> list[ProviderInfo]:
        return [self._info(one) for one in self._types.get(service_type, {}).values()]

    def _info(self, provider: Provider) -> ProviderInfo:
        message, peer = provider.message, provider.peer
        return ProviderInfo(
            provider_id=provider.id,
            module_id=peer.module_id,
            service_type=message.service_type,
            name=message.name,
            version=message.version,
            address=message.address,
            metadata=dict(message.metadata or {}),
            is_healthy=peer in self._hub.peers and not peer.hangs,
        )

    # ── what becomes of peers ───────────────────────────────────────────────────────────────────────────────────────

    def changed(self, peer: Peer) -> None:
        """It is ready, hangs, or hangs no more: its offers are as healthy as it is."""
        if peer in self._watchers:
            self._watchers[peer].wake()
        self._tell(one for one in self._providers.values() if one.peer is peer)

    def leaving(self, peer: Peer) -> None:
        """Its offers are void, it offers nothing any more, and it is told nothing. May be called twice."""
        self._left.add(peer)
        if (watcher := self._watchers.pop(peer, None)) is not None:
            watcher.close()
        self._remove([one for one in self._providers.values() if one.peer is peer])

    def close(self) -> None:
        """The orchestrator ends."""
        for watcher in self._watchers.values():
            watcher.close()
        self._watchers.clear()

    def _remove(self, providers: Iterable[Provider]) -> None:
        for provider in providers:
            del self._providers[provider.id]
            same = self._types[provider.message.service_type]
            del same[provider.id]
            if not same:
                del self._types[provider.message.service_type]
            for watcher in self._watchers.values():
                watcher.note(provider.message.service_type, provider.id, None)

    def _tell(self, providers: Iterable[Provider]) -> None:
        for provider in providers:
            for watcher in self._watchers.values():
                watcher.note(provider.message.service_type, provider.id, self._info(provider))

    # ── watching ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def watch(self, peer: Peer, payload: Any, properties: Mapping[str, Any]) -> dict[str, Any]:
        """Tell `peer` of every change of ``{"service_type": …}`` from now on.

        Returns ``{"serial": number, "providers": […]}``: the present state, and the number of the last note, so that a lost one
        shows. With ``{"serial": number}`` in the payload, ``providers`` is left out where that is still the last.
        """
        kind = _service_type(payload)
        watcher = self._watchers.get(peer)
        if watcher is None:
            if peer in self._left:
                raise RemoteError("the module is ending", code="unavailable")
            watcher = self._watchers[peer] = _Watcher(self._hub, peer)
        if kind not in watcher.types and len(watcher.types) >= MOST_TYPES:
            text = f"{MOST_TYPES} service types are watched already, which is as many as one process may watch"
            raise RemoteError(text, code="overloaded")
        known = kind in watcher.types
        watcher.types.add(kind)
        if known and _member(payload, "serial") == watcher.serial and not watcher.owes(kind):
            return {"serial": watcher.serial}
        watcher.settle(kind)
        return {"serial": watcher.serial, "providers": [_plain(one) for one in self._of_type(kind)]}

    async def unwatch(self, peer: Peer, payload: Any, properties: Mapping[str, Any]) -> bool:
        """Tell it no more of ``{"service_type": …}``; whether it was told before."""
        watcher, kind = self._watchers.get(peer), _service_type(payload)
        if watcher is None or kind not in watcher.types:
            return False
        watcher.types.discard(kind)
        watcher.settle(kind)
        if not watcher.types:
            self._watchers.pop(peer).close()
        return True


class _Watcher:
    """One process that watches: what it has not been told yet, and the task that tells it."""

    def __init__(self, hub: Hub, peer: Peer) -> None:
        self._hub, self._peer = hub, peer
        self.types: set[ServiceType] = set()
        self.serial = 0
        """The number of the last note that was sent."""
        self._pending: dict[str, tuple[ServiceType, ProviderInfo | None]] = {}
        self._lost = False
        self._task: asyncio.Task[None] | None = None

    def note(self, kind: ServiceType, id: str, info: ProviderInfo | None) -> None:
        """Something is different now; None where the provider is gone."""
        if kind not in self.types:
            return
        self._pending[id] = (kind, info)
        if len(self._pending) > MOST_PENDING:
            self._pending.clear()
            self._lost = True
        self.wake()

    def owes(self, kind: ServiceType) -> bool:
        """Whether there is something of this type that it has not been told."""
        return self._lost or any(pending is kind or pending == kind for pending, _ in self._pending.values())

    def settle(self, kind: ServiceType) -> None:
        """It is told the whole state of this type in another way."""
        self._pending = {id: entry for id, entry in self._pending.items() if entry[0] != kind}

    def wake(self) -> None:
        """Tell it what there is to tell, if it can be told."""
        if (self._pending or self._lost) and self._task is None and self._peer in self._hub.peers:
            self._task = asyncio.get_running_loop().create_task(self._tell(), name=f"providers for {self._peer.module_id}")

    def close(self) -> None:
        """Tell it nothing any more."""
        self.types.clear()
        self._pending.clear()
        self._lost = False
        if self._task is not None:
            self._task.cancel()

    async def _tell(self) -> None:
        try:
            while self._pending or self._lost:
                pending = {id: self._pending.pop(id) for id in list(itertools.islice(self._pending, AT_ONCE))}
                lost, self._lost = self._lost, False
                self.serial += 1
                changed = [_plain(info) for _, info in pending.values() if info is not None]
                removed = [{"service_type": kind.wire, "provider_id": id} for id, (kind, info) in pending.items() if info is None]
                content = {"serial": self.serial, "changed": changed, "removed": removed, "lost": lost}
                said = {"endpoint": PROVIDERS, "notification": True}
                id = new_id()
                metadata = Metadata(source=ORCHESTRATOR, destination=self._peer.module_id, properties=said)
                await self._peer.deliver(RoutedModuleMessage(ORCHESTRATOR, id, write_payload(content, metadata, id=id)))
        except PyWattError as error:
            # Its way broke, or it ends. It sees the gap in the numbers, or asks again by itself.
            self._peer.note(f"it could not be told of providers: {error}", level="debug")
        finally:
            self._task = None


def _fault(message: RegisterServiceProvider) -> str:
    """What is wrong with an offer; "" where nothing is."""
    for name in ("name", "address"):
        if not getattr(message, name).strip():
            return f"the provider has no {name}"
    for name, text in (
        ("name", message.name),
        ("address", message.address),
        ("version", message.version or ""),
        ("service_type", message.service_type.name),
    ):
        if len(text) > LONGEST or not text.isprintable():
            return f"the provider's {name} has more than {LONGEST} characters, or one that cannot be printed"
    if sum(len(key) + len(value) for key, value in (message.metadata or {}).items()) > LARGEST:
        return f"the provider's metadata has more than {LARGEST} characters"
    return ""


def _plain(info: ProviderInfo) -> Any:
    return msgspec.to_builtins(info, enc_hook=lambda value: value.wire)


def _member(payload: Any, name: str) -> Any:
    return payload.get(name) if isinstance(payload, Mapping) else None


def _service_type(payload: Any) -> ServiceType:
    try:
        kind = ServiceType.parse(_member(payload, "service_type"))
    except ValueError as error:
        raise RemoteError(f"{error} - at `$.service_type`", code="bad_request") from None
    if len(kind.name) > LONGEST:
        raise RemoteError(f"a service type has at most {LONGEST} characters - at `$.service_type`", code="bad_request")
    return kind
