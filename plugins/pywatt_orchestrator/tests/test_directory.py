"""Who offers which service: the list by itself, told to watchers however slow, and real modules under a real `pywatt up`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.errors import ChannelClosed, RemoteError
from pywatt_core.protocol.messages import (
    DiscoverServiceProviders,
    Message,
    ProviderInfo,
    RegisterServiceProvider,
    RoutedModuleMessage,
    ServiceType,
)
from pywatt_core.protocol.payloads import read_payload
from pywatt_orchestrator import directory as room
from pywatt_orchestrator.directory import MOST, MOST_OF_ALL, MOST_TYPES
from pywatt_orchestrator.hub import Hub
from pywatt_orchestrator.logs import Journal

Running = Callable[[], Any]
SEARCH = ServiceType.custom("search")


class Peer:
    """A process: keeps what it is sent; `gate` closed means that it does not read."""

    rust = False

    def __init__(self, module_id: str) -> None:
        self.module_id, self.module = module_id, module_id.partition(".")[0]
        self.hangs = False
        self.notes: list[str] = []
        self.told: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False

    def reads(self, format: str) -> bool:
        return False

    def note(self, text: str, *, level: str = "info") -> None:
        self.notes.append(text)

    async def deliver(self, message: Message) -> None:
        assert isinstance(message, RoutedModuleMessage)
        if self.broken:
            raise ChannelClosed("cut")
        await self.gate.wait()
        payload = read_payload(message.payload)
        assert (message.source_module_id, payload.metadata.properties) == (
            "__orchestrator__",
            {"endpoint": "__providers__", "notification": True},
        )
        self.told.append(payload.decode(dict))


class World:
    """A hub, and shorthand for what is asked of its directory."""

    def __init__(self) -> None:
        self.hub = Hub(Journal())
        self.directory = self.hub.directory

    def peer(self, module_id: str, *, ready: bool = True) -> Any:
        peer = Peer(module_id)
        if ready:
            self.hub.ready(peer)  # type: ignore[arg-type]
        return peer

    def offer(self, peer: Any, name: str = "s", kind: ServiceType = SEARCH, **more: Any) -> str:
        """The provider's id."""
        answer = self.directory.register(peer, RegisterServiceProvider(service_type=kind, name=name, **{"address": "a:1", **more}))
        assert answer.success, answer.error
        assert answer.provider_id
        return answer.provider_id

    def refused(self, peer: Any, **more: Any) -> str:
        message = RegisterServiceProvider(**{"service_type": SEARCH, "name": "s", "address": "a:1", **more})
        answer = self.directory.register(peer, message)
        assert (answer.success, answer.provider_id) == (False, None)
        return answer.error or ""

    def find(self, peer: Any, kind: ServiceType = SEARCH, *, all: bool | None = True) -> list[ProviderInfo]:
        answer = self.directory.discover(peer, DiscoverServiceProviders(service_type=kind, all_providers=all))
        assert answer.success
        return answer.providers

    async def watch(self, peer: Any, kind: ServiceType = SEARCH, **more: Any) -> Any:
        return await self.directory.watch(peer, {"service_type": kind.wire, **more}, {})


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


# ── offering and finding ────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_offered_is_found_by_its_type_as_it_was_offered() -> None:
    world = World()
    users = world.peer("users")
    id = world.offer(users, "main", version="2", address="postgres://db", metadata={"region": "eu"})
    world.offer(users, "other", ServiceType.CACHE)
    assert world.find(world.peer("orders")) == [
        ProviderInfo(
            provider_id=id, module_id="users", service_type=SEARCH, name="main", version="2", address="postgres://db",
            metadata={"region": "eu"}, is_healthy=True,
        )
    ]  # fmt: skip
    assert world.find(users, ServiceType.DATABASE) == []


async def test_the_same_offer_again_replaces_the_earlier_one_and_keeps_its_id() -> None:
    world = World()
    users, others = world.peer("users"), world.peer("others")
    id = world.offer(users, "main", address="a:1")
    assert world.offer(users, "main", address="a:2") == id
    assert world.offer(others, "main") != id
    assert [one.address for one in world.find(users)] == ["a:2", "a:1"]


async def test_a_provider_is_as_healthy_as_its_process_and_healthy_ones_are_given_first() -> None:
    world = World()
    starting, hanging, well = world.peer("starting", ready=False), world.peer("hanging"), world.peer("well")
    for peer in (starting, hanging, well):
        world.offer(peer, peer.module)
    hanging.hangs = True
    assert {one.module_id: one.is_healthy for one in world.find(well)} == {"starting": False, "hanging": False, "well": True}
    for asked in (False, None):
        assert [one.module_id for one in world.find(well, all=asked)] == ["well"]
    world.hub.ready(starting)
    hanging.hangs = False
    assert all(one.is_healthy for one in world.find(well))
    world.hub.leaving(well)
    world.hub.leaving(starting)
    hanging.hangs = True
    assert [(one.module_id, one.is_healthy) for one in world.find(well, all=False)] == [("hanging", False)]


async def test_offers_end_with_their_process_also_where_it_was_never_ready() -> None:
    world = World()
    ready, starting = world.peer("a"), world.peer("b", ready=False)
    for peer in (ready, starting):
        world.offer(peer)
        world.hub.leaving(peer)
        world.hub.gone(peer)
        assert world.refused(peer) == "the module is ending"
    assert world.find(ready) == []
    assert not world.directory._providers
    assert not world.directory._types


async def test_an_offer_is_taken_back_by_its_own_module_alone() -> None:
    world = World()
    users, orders = world.peer("users"), world.peer("orders")
    id = world.offer(users)
    assert not await world.directory.unregister(orders, {"provider_id": id}, {})
    assert not await world.directory.unregister(users, {"provider_id": "nobody's"}, {})
    assert not await world.directory.unregister(users, ["odd"], {})
    assert len(world.find(users)) == 1
    assert await world.directory.unregister(users, {"provider_id": id}, {})
    assert not await world.directory.unregister(users, {"provider_id": id}, {})
    assert world.find(users) == []


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        ({"name": " "}, "the provider has no name"),
        ({"address": ""}, "the provider has no address"),
        ({"name": "x" * 501}, "the provider's name has more than 500 characters"),
        ({"address": "a\n"}, "the provider's address has .* one that cannot be printed"),
        ({"version": "x" * 501}, "the provider's version"),
        ({"service_type": ServiceType.custom("x" * 501)}, "the provider's service_type"),
        ({"metadata": {"k": "x" * 4096}}, "the provider's metadata has more than 4096 characters"),
    ],
)
async def test_an_offer_that_makes_no_sense_is_refused_with_the_reason_which_the_log_has_too(offer: dict[str, Any], reason: str) -> None:
    world = World()
    users = world.peer("users")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(world.refused(users, **offer))
    assert "it could not offer the service" in users.notes[0]


async def test_offers_are_limited_by_process_and_in_all() -> None:
    world = World()
    greedy = world.peer("greedy")
    for number in range(MOST):
        world.offer(greedy, str(number))
    assert "100 services are offered already" in world.refused(greedy)
    world.offer(greedy, "0", address="elsewhere:1")
    for number in range(MOST, MOST_OF_ALL):
        if number % MOST == 0:
            peer = world.peer(f"m{number}")
        world.offer(peer, str(number))
    assert "2000 services are offered already" in world.refused(world.peer("late"))


# ── watching ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_watcher_gets_what_is_there_and_then_every_change() -> None:
    world = World()
    users, watcher = world.peer("users"), world.peer("watcher")
    first = world.offer(users, "first")
    world.offer(users, "other type", ServiceType.CACHE)
    state = await world.watch(watcher)
    assert (state["serial"], [one["provider_id"] for one in state["providers"]]) == (0, [first])
    second = world.offer(users, "second", address="b:2")
    await until(lambda: len(watcher.told) == 1)
    note = watcher.told[0]
    assert (note["serial"], note["removed"], note["lost"]) == (1, [], False)
    assert note["changed"] == [
        {
            "provider_id": second, "module_id": "users", "service_type": {"Custom": "search"}, "name": "second", "version": None,
            "address": "b:2", "metadata": {}, "is_healthy": True,
        }
    ]  # fmt: skip
    users.hangs = True
    world.hub.health_changed(users)
    await until(lambda: len(watcher.told) == 2)
    assert [(one["name"], one["is_healthy"]) for one in watcher.told[1]["changed"]] == [("first", False), ("second", False)]
    world.hub.leaving(users)
    await until(lambda: len(watcher.told) == 3)
    gone = [{"service_type": {"Custom": "search"}, "provider_id": id} for id in (first, second)]
    assert (watcher.told[2]["serial"], watcher.told[2]["removed"], watcher.told[2]["changed"]) == (3, gone, [])


async def test_who_does_not_read_is_told_the_latest_state_of_each_once_it_does() -> None:
    world = World()
    users, watcher = world.peer("users"), world.peer("watcher")
    await world.watch(watcher)
    watcher.gate.clear()
    world.offer(users, "held")
    await asyncio.sleep(0)
    for number in range(1000):
        world.offer(users, "busy", address=f"a:{number}")
    short = world.offer(users, "short")
    await world.directory.unregister(users, {"provider_id": short}, {})
    assert len(world.directory._watchers[watcher]._pending) <= 3
    watcher.gate.set()
    await until(lambda: len(watcher.told) == 2)
    assert [one["address"] for one in watcher.told[1]["changed"] if one["name"] == "busy"] == ["a:999"]
    assert [one["provider_id"] for one in watcher.told[1]["removed"]] == [short]


async def test_more_changes_than_are_kept_are_told_as_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_PENDING", 10)
    world = World()
    users, watcher = world.peer("users"), world.peer("watcher")
    await world.watch(watcher)
    watcher.gate.clear()
    for number in range(12):
        world.offer(users, str(number))
    watcher.gate.set()
    await until(lambda: any(note["lost"] for note in watcher.told))
    state = await world.watch(watcher)
    assert len(state["providers"]) == 12


async def test_many_changes_are_told_in_several_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "AT_ONCE", 4)
    world = World()
    users, watcher = world.peer("users"), world.peer("watcher")
    await world.watch(watcher)
    for number in range(10):
        world.offer(users, str(number))
    await until(lambda: sum(len(note["changed"]) for note in watcher.told) == 10)
    assert [len(note["changed"]) for note in watcher.told] == [4, 4, 2]
    assert [note["serial"] for note in watcher.told] == [1, 2, 3]


async def test_asking_again_gives_the_state_only_where_something_was_missed() -> None:
    world = World()
    users, watcher = world.peer("users"), world.peer("watcher")
    await world.watch(watcher)
    assert await world.watch(watcher, serial=0) == {"serial": 0}
    watcher.broken = True
    world.offer(users)
    await until(lambda: watcher.notes)
    assert watcher.notes == ["it could not be told of providers: cut"]
    state = await world.watch(watcher, serial=0)
    assert (state["serial"], len(state["providers"])) == (1, 1)
    watcher.broken = False
    world.offer(users, "second")
    await until(lambda: watcher.told)
    assert watcher.told[0]["serial"] == 2


async def test_who_is_not_ready_yet_is_told_when_it_is() -> None:
    world = World()
    users, watcher = world.peer("users"), world.peer("watcher", ready=False)
    await world.watch(watcher)
    world.offer(users)
    await asyncio.sleep(0)
    assert watcher.told == []
    world.hub.ready(watcher)
    await until(lambda: watcher.told)


async def test_who_stops_to_watch_or_leaves_is_told_nothing_more_and_costs_nothing() -> None:
    world = World()
    users, one, two = world.peer("users"), world.peer("one"), world.peer("two")
    for watcher in (one, two):
        await world.watch(watcher)
        await world.watch(watcher, ServiceType.CACHE)
    assert await world.directory.unwatch(one, {"service_type": {"Custom": "search"}}, {})
    assert not await world.directory.unwatch(one, {"service_type": {"Custom": "search"}}, {})
    world.hub.leaving(two)
    world.offer(users)
    world.offer(users, "c", ServiceType.CACHE)
    await until(lambda: one.told)
    assert [provider["name"] for provider in one.told[0]["changed"]] == ["c"]
    assert await world.directory.unwatch(one, {"service_type": "Cache"}, {})
    assert not world.directory._watchers
    assert two.told == []
    with pytest.raises(RemoteError, match="the module is ending"):
        await world.watch(two)


async def test_what_is_watched_is_a_service_type_and_not_too_many_of_them() -> None:
    world = World()
    watcher = world.peer("watcher")
    for odd in ({}, {"service_type": 5}, {"service_type": {"Custom": "x" * 501}}, None):
        with pytest.raises(RemoteError, match=r"at `\$\.service_type`") as caught:
            await world.directory.watch(watcher, odd, {})
        assert caught.value.code == "bad_request"
    for number in range(MOST_TYPES):
        await world.watch(watcher, ServiceType.custom(str(number)))
    with pytest.raises(RemoteError) as caught:
        await world.watch(watcher)
    assert caught.value.code == "overloaded"
    await world.watch(watcher, ServiceType.custom("0"))


# ── as a whole ──────────────────────────────────────────────────────────────────────────────────────────────────────

OFFERS = """
import asyncio, os
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from pywatt_core import ServiceProviderBuilder, ServiceType, pywatt_module

@pywatt_module()
async def app(state):
    region = os.environ["REGION"]
    builder = ServiceProviderBuilder(ServiceType.ANALYTICS, "main", f"{state.module_id}:count").version("2").metadata("region", region)
    offered = await state.register_service_provider(builder.capability("count", "sum").build())
    await state.register_service_provider("search", "index", "127.0.0.1:7700")

    async def withdraw(request):
        return PlainTextResponse(str(await offered.unregister()))

    return Starlette(routes=[Route("/withdraw", withdraw)])
"""

FINDS = """
import asyncio, json
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import ServiceType, pywatt_module

SEEN = []

@pywatt_module()
async def app(state):
    async def find(request):
        wanted = json.loads(request.query_params.get("wanted", "{}"))
        found = await state.discover_service_providers(request.query_params.get("type", "analytics"), **wanted)
        return JSONResponse([
            {"module": one.module_id, "address": one.address, "version": one.version, "healthy": one.is_healthy,
             "metadata": one.metadata, "capabilities": sorted(one.capabilities)}
            for one in found
        ])

    async def first(request):
        one = await state.discover_service_provider(request.query_params["type"])
        return JSONResponse(one and one.module_id)

    async def seen(request):
        return JSONResponse(SEEN)

    async def watch():
        async for event in state.discovery.watch(ServiceType.ANALYTICS):
            SEEN.append([event.change.value, event.provider.module_id, event.provider.is_healthy])
            print("saw", event.change.value, event.provider.module_id, event.provider.is_healthy, flush=True)

    app.task = asyncio.create_task(watch())
    return Starlette(routes=[Route("/find", find), Route("/first", first), Route("/seen", seen)])
"""


async def test_modules_find_what_others_offer_and_hear_of_every_change(running: Running) -> None:
    async with running() as project:
        project.write(OFFERS, "offers.py")
        project.write(FINDS, "finds.py")
        text = ""
        for name, region in (("eu", "europe"), ("us", "america")):
            text += f'[modules.{name}]\nrun = "offers.py"\nenv = {{ REGION = "{region}" }}\n\n'
        project.write(text + '[modules.finds]\nrun = "finds.py"\n')
        await project.start()
        await project.ready("eu", "us", "finds")

        async def find(query: str = "", path: str = "find") -> Any:
            return json.loads((await project.http(f"/finds/{path}{query}")).text)

        found = sorted(await find(), key=lambda one: one["module"])
        assert found[0] == {
            "module": "eu", "address": "eu:count", "version": "2", "healthy": True, "metadata": {"region": "europe"},
            "capabilities": ["count", "sum"],
        }  # fmt: skip
        assert [one["module"] for one in found] == ["eu", "us"]
        assert [one["module"] for one in await find('?wanted={"metadata":{"region":"america"}}')] == ["us"]
        assert len(await find('?wanted={"capabilities":["sum","count"],"healthy_only":true}')) == 2
        assert await find('?wanted={"capabilities":["sum","average"]}') == []
        assert await find("?type=nothing") == []
        assert await find("?type=nothing", path="first") is None
        assert await find("?type=search", path="first") in ("eu", "us")
        for module in ("eu", "us"):
            await project.line("saw", module, "True", module="finds")

        mark = len(project.lines)
        assert (await project.http("/eu/withdraw")).text == "True"
        await project.line("saw removed eu", module="finds", after=mark)

        mark = len(project.lines)
        pid = (await project.ps())["us"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        await project.line("saw changed us False", module="finds", after=mark)
        assert [one["healthy"] for one in await find()] == [False]
        assert await find('?wanted={"healthy_only":true}') == []
        os.kill(pid, signal.SIGCONT)
        await project.line("saw changed us True", module="finds", after=mark)

        mark = len(project.lines)
        os.kill(pid, signal.SIGKILL)
        await project.line("saw removed us", module="finds", after=mark)
        await project.line("saw added us", module="finds", after=mark)
        await project.ready("us", after=mark)
        assert await project.stop() == 0


async def test_a_rust_module_offers_a_service_with_its_golden_line(running: Running) -> None:
    peer = Path(__file__).with_name("rust_peer.py")
    vectors = Path(__file__).parents[3] / "tests" / "data" / "vectors.json"
    async with running() as project:
        project.write(FINDS, "finds.py")
        command = [sys.executable, str(peer), str(vectors), "register_service_provider_minimal"]
        project.write(f'[modules.rusty]\ncommand = {json.dumps(command)}\n\n[modules.finds]\nrun = "finds.py"\n')
        await project.start()
        line = await project.line('"op":"register_service_provider_response"', module="rusty")
        answer = json.loads(line["message"].removeprefix("stdin "))
        assert (answer["success"], answer["error"]) == (True, None)
        assert answer["provider_id"]
        await project.ready("rusty", "finds")
        found = json.loads((await project.http("/finds/find?type=database")).text)
        assert [(one["module"], one["address"], one["healthy"]) for one in found] == [("rusty", "127.0.0.1:5432", True)]
