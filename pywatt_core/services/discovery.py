"""Offering services to other modules, finding theirs, and hearing of changes (protocol 10.6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import PyWattError, RemoteError, RemoteProtocolError, RequestTimeout
from ..protocol.messages import (
    ORCHESTRATOR,
    DiscoverServiceProviders,
    DiscoverServiceProvidersResponse,
    Message,
    RegisterServiceProvider,
    RegisterServiceProviderResponse,
    ServiceType,
)
from .providers import ServiceProvider, service_type_of
from .watching import Note, ProviderEvent, Watch

if TYPE_CHECKING:
    from .arrivals import Arrival
    from .messaging import Messaging

log = logging.getLogger(__name__)

PROVIDERS: Final = "__providers__"
"""The endpoint at which the orchestrator tells of changes."""

TIMEOUT: Final = 30.0
"""Seconds that the orchestrator may take to answer."""

FAREWELL: Final = 1.0
"""Seconds for taking back what was offered when the module ends."""


class RegisteredProvider:
    """An offer that the orchestrator knows. It ends with the process, or with `unregister`."""

    def __init__(self, discovery: Discovery, provider: ServiceProvider, provider_id: str) -> None:
        self.provider, self.provider_id = provider, provider_id
        self._discovery = discovery

    async def unregister(self) -> bool:
        """Take the offer back; False where it was none any more. Raises what `Messaging.request` raises."""
        return await self._discovery.unregister(self.provider_id)

    def __repr__(self) -> str:
        return f"RegisteredProvider({self.provider_id!r}, {self.provider!r})"


class Discovery:
    """Offering services to other modules, and finding theirs."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging
        self._registering = asyncio.Lock()
        self._discovering = asyncio.Lock()
        """Answers carry no key: one question of each kind is under way at a time (protocol 3.4)."""
        self._watches: dict[ServiceType, Watch] = {}
        self._offered: dict[str, None] = {}
        self._hears = False

    async def register(
        self,
        provider: ServiceProvider | ServiceType | str,
        name: str = "",
        address: str = "",
        *,
        version: str | None = None,
        metadata: Mapping[str, str] | None = None,
        capabilities: Iterable[str] = (),
        timeout: float = TIMEOUT,
    ) -> RegisteredProvider:
        """Offer a service: a `ServiceProvider`, or a type with the rest. The same type and name again replaces the earlier offer.

        Raises `RemoteError` (``code`` is ``"registration_failed"``) where the orchestrator does not take it, `RequestTimeout`,
        `ChannelClosed`, and `ValueError` for what cannot be offered.
        """
        if not isinstance(provider, ServiceProvider):
            listed = frozenset({capabilities} if isinstance(capabilities, str) else capabilities)
            kind, said = service_type_of(provider), metadata or {}
            provider = ServiceProvider(service_type=kind, name=name, address=address, version=version, metadata=said, capabilities=listed)
        provider.check()
        message = RegisterServiceProvider(
            service_type=provider.service_type,
            name=provider.name,
            version=provider.version,
            address=provider.address,
            metadata=provider.wire_metadata,
        )
        answer = await self._ask(message, self._registering, timeout)
        assert isinstance(answer, RegisterServiceProviderResponse)
        if not answer.success or not answer.provider_id:
            reason = answer.error or ("the orchestrator named no reason" if not answer.success else "the orchestrator gave it no id")
            raise RemoteError(f"the service {provider.name!r} could not be offered: {reason}", code="registration_failed")
        self._offered[answer.provider_id] = None
        return RegisteredProvider(self, provider, answer.provider_id)

    async def unregister(self, provider_id: str) -> bool:
        """Take an offer of this module back; False where there is none of this id."""
        taken: bool = await self._messaging.ask_orchestrator("unregister", {"provider_id": provider_id}, response_type=bool)
        self._offered.pop(provider_id, None)
        return taken

    async def end(self) -> None:
        """Take back every offer, as at the end of the module; 1 s at most, and what goes wrong is logged."""
        if not self._offered:
            return
        try:
            async with asyncio.timeout(FAREWELL):
                await asyncio.gather(*(self.unregister(provider_id) for provider_id in list(self._offered)))
        except (PyWattError, TimeoutError) as error:
            log.debug("offers could not be taken back, and end with the process: %s", error or "no answer in time")

    async def discover(
        self,
        service_type: ServiceType | str,
        *,
        metadata: Mapping[str, str] | None = None,
        capabilities: Iterable[str] = (),
        healthy_only: bool = False,
        timeout: float = TIMEOUT,
    ) -> list[ServiceProvider]:
        """Who offers it and has all of `metadata` and `capabilities`; healthy ones first, each group in the order of registration.

        Raises `RemoteError` (``code`` is ``"discovery_failed"``), `RequestTimeout`, `ChannelClosed`.
        """
        message = DiscoverServiceProviders(service_type=service_type_of(service_type), all_providers=True)
        answer = await self._ask(message, self._discovering, timeout)
        assert isinstance(answer, DiscoverServiceProvidersResponse)
        if not answer.success:
            reason = answer.error or "the orchestrator named no reason"
            raise RemoteError(f"providers of {message.service_type} could not be found: {reason}", code="discovery_failed")
        wanted = (ServiceProvider.found(info) for info in answer.providers)
        found = [one for one in wanted if one.matches(metadata, capabilities) and (one.is_healthy or not healthy_only)]
        return sorted(found, key=lambda one: not one.is_healthy)

    async def discover_one(self, service_type: ServiceType | str, **wanted: Any) -> ServiceProvider | None:
        """The first of those that `discover` finds, None where it finds none."""
        found = await self.discover(service_type, **wanted)
        return found[0] if found else None

    def watch(self, service_type: ServiceType | str) -> AsyncIterator[ProviderEvent]:
        """``async for event in discovery.watch(kind)``: those that are there as ADDED, then every change, until the loop is left.

        Whoever is slow hears of the latest state of a provider alone, not of those between. Raises `RemoteError` where the
        orchestrator is not PyWatt's, `RequestTimeout` or `ChannelClosed` where it cannot be asked at the beginning.
        """
        return self._watching(service_type_of(service_type))

    async def _watching(self, kind: ServiceType) -> AsyncIterator[ProviderEvent]:
        if not self._hears:
            self._hears = True
            self._messaging.reserve(PROVIDERS, self._heard)
        watch = self._watches.get(kind)
        if watch is None:
            watch = self._watches[kind] = Watch(self._messaging, kind)
        view = watch.open()
        try:
            await watch.started()
            while True:
                yield await view.next()
        finally:
            watch.views.discard(view)
            if not watch.views and self._watches.get(kind) is watch:
                del self._watches[kind]
                await watch.end()

    async def _ask(self, message: Message, turn: asyncio.Lock, seconds: float) -> Message:
        try:
            async with asyncio.timeout(seconds), turn:
                return await self._messaging.channels.request(message, timeout=seconds)
        except TimeoutError:
            raise RequestTimeout(f"{message.op!r} was not answered within {seconds:g} s") from None

    async def _heard(self, arrival: Arrival) -> None:
        """The orchestrator tells of changes."""
        if arrival.source != ORCHESTRATOR:
            log.warning("a module that is not the orchestrator told of providers, which is ignored", extra={"source": arrival.source})
            return
        try:
            note: Note = arrival.decode(Note)
        except RemoteProtocolError as error:
            log.warning("a note on providers cannot be read: %s", error)
            return
        for watch in list(self._watches.values()):
            watch.hear(note)
