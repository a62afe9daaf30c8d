"""Offering and finding over a real link to a scripted orchestrator."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pywatt_core.errors import ChannelClosed, RemoteError, RequestTimeout
from pywatt_core.protocol.failures import success_reply
from pywatt_core.protocol.messages import (
    ORCHESTRATOR,
    DiscoverServiceProviders,
    DiscoverServiceProvidersResponse,
    Message,
    Metadata,
    ProviderInfo,
    RegisterServiceProvider,
    RegisterServiceProviderResponse,
    RoutedModuleMessage,
    RoutedModuleResponse,
    RouteToModule,
    ServiceType,
)
from pywatt_core.protocol.payloads import read_payload, write_payload
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.services.channels import Channels
from pywatt_core.services.discovery import Discovery
from pywatt_core.services.messaging import Messaging
from pywatt_core.services.providers import ServiceProvider, ServiceProviderBuilder
from pywatt_core.services.receivers import Receivers
from pywatt_core.services.watching import ProviderChange
from pywatt_core.transports.link import Link, new_id


class Orchestrator:
    """The other end of a module's link: answers from `providers`, or as `script` says."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self.asked: list[tuple[str, Any]] = []
        self.providers: list[ProviderInfo] = []
        self.script: Callable[[Message, Link], Any] | None = None
        self.link: Link | None = None

    def take(self, message: Message, link: Link) -> None:
        self.received.append(message)
        if self.script is not None:
            self.script(message, link)
        elif isinstance(message, RegisterServiceProvider):
            link.post(RegisterServiceProviderResponse(success=True, provider_id=f"p{len(self.received)}"))
        elif isinstance(message, DiscoverServiceProviders):
            link.post(DiscoverServiceProvidersResponse(success=True, providers=self.providers))
        elif isinstance(message, RouteToModule):
            self.answer(message, link)

    def answer(self, message: RouteToModule, link: Link) -> None:
        payload = read_payload(message.payload)
        content: Any = payload.decode(dict)
        assert message.target_module_id == ORCHESTRATOR
        self.asked.append((message.target_endpoint, content))
        found: Any = True
        if message.target_endpoint == "watch":
            plain = [{**_plain(one)} for one in self.providers]
            found = {"serial": 7, "providers": plain}
        reply = success_reply(found, payload.metadata.properties or {}, id=new_id(), source=ORCHESTRATOR, destination="m")
        link.post(RoutedModuleResponse(ORCHESTRATOR, message.request_id, reply))

    def tell(self, note: dict[str, Any], source: str = ORCHESTRATOR) -> None:
        """A note on providers."""
        id = new_id()
        metadata = Metadata(source=source, properties={"endpoint": "__providers__", "notification": True})
        assert self.link is not None
        self.link.post(RoutedModuleMessage(source, id, write_payload(note, metadata, id=id)))


def _plain(one: ProviderInfo) -> dict[str, Any]:
    return {
        "provider_id": one.provider_id, "module_id": one.module_id, "service_type": one.service_type.wire, "name": one.name,
        "address": one.address, "metadata": one.metadata, "is_healthy": one.is_healthy,
    }  # fmt: skip


def info(id: str, *, healthy: bool = True, **metadata: str) -> ProviderInfo:
    return ProviderInfo(
        provider_id=id,
        module_id=f"module_{id}",
        service_type=ServiceType.CACHE,
        name=id,
        address=f"{id}:1",
        metadata=metadata,
        is_healthy=healthy,
    )


@asynccontextmanager
async def module() -> AsyncIterator[tuple[Discovery, Orchestrator]]:
    """A module's discovery, and the orchestrator at the other end of its link."""
    end, loop = Orchestrator(), asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    working: set[asyncio.Task[Any]] = set()

    def take(message: Message, link: Link) -> None:
        assert isinstance(message, RoutedModuleMessage)
        working.add(asyncio.create_task(messaging.take(message)))

    def make(role: Role, act: Callable[[Message, Link], None]) -> Callable[[], Link]:
        return lambda: Link(Session(role, Wire.CHANNEL, new_id=new_id), on_message=act)

    _, link = await loop.create_unix_connection(make(Role.MODULE, take), sock=ours)
    _, end.link = await loop.create_unix_connection(make(Role.ORCHESTRATOR, end.take), sock=theirs)
    messaging = Messaging(Channels(link), "m", Receivers())
    try:
        yield Discovery(messaging), end
    finally:
        await link.close()
        await end.link.close()
        await asyncio.gather(*working)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


# ── offering ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_offer_travels_as_the_protocol_has_it_however_it_was_made() -> None:
    async with module() as (discovery, end):
        built = ServiceProviderBuilder(ServiceType.DATABASE, "main", "db:1").version("2").metadata("k", "v").capability("b", "a").build()
        for offered in (
            await discovery.register(built),
            await discovery.register("database", "main", "db:1", version="2", metadata={"k": "v"}, capabilities=["a", "b"]),
        ):
            assert offered.provider == built
            assert end.received[-1] == RegisterServiceProvider(
                service_type=ServiceType.DATABASE, name="main", version="2", address="db:1", metadata={"k": "v", "capabilities": "a,b"}
            )
        assert [offered.provider_id] == ["p2"]
        await discovery.register("search", "s", "a:1")
        assert end.received[-1] == RegisterServiceProvider(service_type=ServiceType.custom("search"), name="s", address="a:1")


async def test_an_offer_that_cannot_be_made_is_not_sent() -> None:
    async with module() as (discovery, end):
        with pytest.raises(ValueError, match="a provider has no address"):
            await discovery.register("search", "s")
        assert not end.received


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (RegisterServiceProviderResponse(success=False, error="full"), "the service 's' could not be offered: full"),
        (RegisterServiceProviderResponse(success=False), "the orchestrator named no reason"),
        (RegisterServiceProviderResponse(success=True), "the orchestrator gave it no id"),
    ],
)
async def test_an_offer_that_is_not_taken_says_why(answer: RegisterServiceProviderResponse, reason: str) -> None:
    async with module() as (discovery, end):
        end.script = lambda message, link: link.post(answer)
        with pytest.raises(RemoteError, match=reason) as caught:
            await discovery.register("search", "s", "a:1")
        assert caught.value.code == "registration_failed"


async def test_offers_are_taken_back_one_by_one_or_all_at_the_end() -> None:
    async with module() as (discovery, end):
        first = await discovery.register("search", "a", "a:1")
        await discovery.register("search", "b", "a:1")
        assert await first.unregister()
        await discovery.end()
        await discovery.end()
        assert end.asked == [("unregister", {"provider_id": "p1"}), ("unregister", {"provider_id": "p2"})]


async def test_an_end_without_an_orchestrator_is_an_end_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pywatt_core.services.discovery.FAREWELL", 0.05)
    async with module() as (discovery, end):
        await discovery.register("search", "a", "a:1")
        end.script = lambda message, link: None
        await discovery.end()


# ── finding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_found_has_what_is_wanted_healthy_ones_first() -> None:
    async with module() as (discovery, end):
        end.providers = [
            info("ill", healthy=False, region="eu"), info("eu", region="eu", capabilities="ttl,tags"), info("us", region="us")
        ]  # fmt: skip

        async def found(**wanted: Any) -> list[str]:
            return [one.name for one in await discovery.discover(ServiceType.CACHE, **wanted)]

        assert await found() == ["eu", "us", "ill"]
        assert await found(metadata={"region": "eu"}) == ["eu", "ill"]
        assert await found(metadata={"region": "eu"}, healthy_only=True) == ["eu"]
        assert await found(capabilities=["ttl"]) == ["eu"]
        assert await found(capabilities="us") == []
        one = await discovery.discover_one("cache")
        assert isinstance(one, ServiceProvider)
        assert (one.name, dict(one.metadata), one.capabilities, one.module_id) == (
            "eu",
            {"region": "eu"},
            frozenset({"ttl", "tags"}),
            "module_eu",
        )
        assert await discovery.discover_one("cache", metadata={"region": "mars"}) is None
        assert all(message == DiscoverServiceProviders(service_type=ServiceType.CACHE, all_providers=True) for message in end.received)


async def test_a_failed_search_says_why() -> None:
    async with module() as (discovery, end):
        end.script = lambda message, link: link.post(DiscoverServiceProvidersResponse(success=False, error="none"))
        with pytest.raises(RemoteError, match="providers of cache could not be found: none") as caught:
            await discovery.discover("cache")
        assert caught.value.code == "discovery_failed"


async def test_one_question_of_each_kind_is_under_way_at_a_time_and_all_are_answered() -> None:
    held: list[tuple[Message, Link]] = []
    async with module() as (discovery, end):
        end.script = lambda message, link: held.append((message, link))
        asking = [asyncio.create_task(discovery.register("search", str(number), "a:1")) for number in range(3)]
        asking += [asyncio.create_task(discovery.discover("cache")) for _ in range(2)]  # type: ignore[arg-type]
        await until(lambda: len(held) == 2)
        assert {type(message) for message, _ in held} == {RegisterServiceProvider, DiscoverServiceProviders}
        end.script = None
        for message, link in held:
            end.take(message, link)
        await asyncio.gather(*asking)


async def test_a_question_without_an_answer_ends_and_its_late_answer_is_nobodys() -> None:
    held: list[tuple[Message, Link]] = []
    async with module() as (discovery, end):
        end.script = lambda message, link: held.append((message, link))
        end.providers = [info("late")]
        with pytest.raises(RequestTimeout):
            await discovery.discover("cache", timeout=0.05)
        end.script = None
        asking = asyncio.create_task(discovery.discover("cache"))
        await until(lambda: len(end.received) == 1)
        end.take(*held[0])
        end.providers = [info("new")]
        assert [one.name for one in await asking] in (["new"], ["late"])


async def test_who_waits_for_its_turn_has_a_deadline_too() -> None:
    async with module() as (discovery, end):
        end.script = lambda message, link: None
        first = asyncio.create_task(discovery.discover("cache", timeout=20))
        await until(lambda: end.received)
        with pytest.raises(RequestTimeout, match="'discover_service_providers' was not answered within 0.05 s"):
            await discovery.discover("cache", timeout=0.05)
        first.cancel()
        await asyncio.wait({first})


async def test_without_an_orchestrator_the_error_says_how_to_get_one() -> None:
    discovery = Discovery(Messaging(Channels(), "m", Receivers()))
    with pytest.raises(ChannelClosed, match="pywatt up"):
        await discovery.register("search", "s", "a:1")
    with pytest.raises(ChannelClosed, match="pywatt up"):
        async for _ in discovery.watch("search"):
            pass


# ── watching ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_two_loops_share_one_watch_which_ends_with_the_last_of_them() -> None:
    async with module() as (discovery, end):
        end.providers = [info("a")]
        one, two = discovery.watch("cache"), discovery.watch(ServiceType.CACHE)
        for events in (one, two):
            event = await anext(events)
            assert (event.change, event.provider.name) == (ProviderChange.ADDED, "a")
        end.tell({"serial": 8, "changed": [_plain(info("a", healthy=False))], "removed": [], "lost": False})
        for events in (one, two):
            assert (await anext(events)).provider.is_healthy is False
        await one.aclose()  # type: ignore[attr-defined]
        assert [endpoint for endpoint, _ in end.asked] == ["watch"]
        end.tell({"serial": 9, "changed": [], "removed": [{"service_type": "Cache", "provider_id": "a"}], "lost": False})
        assert (await anext(two)).change is ProviderChange.REMOVED
        await two.aclose()  # type: ignore[attr-defined]
        assert end.asked == [("watch", {"service_type": "Cache", "serial": -1}), ("unwatch", {"service_type": "Cache"})]
        assert not discovery._watches
        third = discovery.watch("cache")
        assert (await anext(third)).change is ProviderChange.ADDED
        await third.aclose()  # type: ignore[attr-defined]


async def test_a_loop_that_is_cancelled_leaves_nothing_behind() -> None:
    async with module() as (discovery, end):
        seen = []

        async def watch() -> None:
            async for event in discovery.watch("cache"):
                seen.append(event)

        end.providers = [info("a")]
        watching = asyncio.create_task(watch())
        await until(lambda: seen)
        watching.cancel()
        await asyncio.wait({watching})
        assert watching.cancelled()
        assert end.asked[-1][0] == "unwatch"
        assert not discovery._watches


async def test_notes_of_somebody_else_and_notes_that_are_none_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with module() as (discovery, end):
        end.providers = [info("a")]
        events = discovery.watch("cache")
        await anext(events)
        end.tell({"serial": 8, "changed": [_plain(info("evil"))]}, source="evil_module")
        end.tell({"serial": "eight"})
        end.tell({"serial": 8, "changed": [_plain(info("good"))]})
        assert (await anext(events)).provider.name == "good"
        await events.aclose()  # type: ignore[attr-defined]
        assert "a module that is not the orchestrator told of providers" in caplog.text
        assert "a note on providers cannot be read: Expected `int`, got `str` - at `$.serial`" in caplog.text
