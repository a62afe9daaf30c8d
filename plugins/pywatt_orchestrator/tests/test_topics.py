"""What one module publishes and others hear: real processes under a real `pywatt up`, and the orchestrator's part by itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from pywatt_core.errors import ChannelClosed, LocalProtocolError, RemoteError
from pywatt_core.protocol.messages import Message, RoutedModuleMessage
from pywatt_core.protocol.payloads import read_payload
from pywatt_core.protocol.topics import PubSubMessage
from pywatt_orchestrator.topics import MOST_BYTES, MOST_MESSAGES, MOST_SUBSCRIPTIONS, Topics

Running = Callable[[], Any]

SHOP = """
import json
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import PyWattError, pywatt_module

@pywatt_module()
async def app(state):
    async def publish(request):
        said = request.query_params
        options = json.loads(said.get("options", "{}"))
        try:
            return JSONResponse(await state.publish(said["topic"], json.loads(said.get("payload", "null")), **options))
        except PyWattError as error:
            return JSONResponse({"error": str(error), "code": getattr(error, "code", type(error).__name__)})

    async def heard(request):
        return JSONResponse(HEARD)

    return Starlette(routes=[Route("/publish", publish), Route("/heard", heard)])

HEARD = []

@app.on_topic("orders.#")
async def own(payload):
    HEARD.append(payload)
"""

HEARER = """
import asyncio, logging
from dataclasses import dataclass
from pywatt_core import AppState, pywatt_module
from starlette.applications import Starlette

log = logging.getLogger("hearer")

@pywatt_module()
async def app(state):
    return Starlette()

@dataclass
class Order:
    id: int

@app.on_topic("orders.*")
async def order(order: Order, state: AppState, message):
    if order.id < 0:
        raise ValueError("no such order")
    log.warning("%s heard %s of %s: %s", state.module_id, message.topic, message.publisher, order)

@app.on_topic("raw.#")
def raw(data: bytes):
    log.warning("bytes: %s", data.hex())

@app.on("late")
async def late(state):
    async with state.subscribe("late.*", queue=2, overflow="wait") as messages:
        log.warning("late listens")
        async for message in messages:
            log.warning("late took %s", message.decode())
            if message.decode() == "hold":
                await asyncio.sleep(3600)
            if message.decode() == "end":
                return

@app.on("die")
async def die():
    import os
    os._exit(1)
"""

TELLER = """
import json
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import pywatt_module

@pywatt_module()
async def app(state):
    async def tell(request):
        await state.send_message(request.query_params["target"])
        return JSONResponse(None)

    return Starlette(routes=[Route("/tell", tell)])
"""


def modules(project: Any, more: str = "") -> None:
    project.write(SHOP, "shop.py")
    project.write(HEARER, "hearer.py")
    project.write(TELLER, "teller.py")
    project.write(f'[modules.shop]\nrun = "shop.py"\n[modules.mail]\nrun = "hearer.py"\n[modules.teller]\nrun = "teller.py"\n{more}')


async def publish(project: Any, topic: str, payload: Any = None, **options: Any) -> Any:
    query = urlencode({"topic": topic, "payload": json.dumps(payload), "options": json.dumps(options)})
    return json.loads((await project.http(f"/shop/publish?{query}")).text)


async def test_modules_hear_what_another_publishes_and_a_module_hears_itself_once(running: Running) -> None:
    async with running() as project:
        modules(project, '[modules.audit]\nrun = "hearer.py"\ninstances = 2\n')
        await project.start()
        await project.ready("shop", "mail", "audit.1", "audit.2")
        # A module subscribes when it has announced itself, which it may do after it is ready to answer.
        while await publish(project, "orders.probe", {"id": 0}) < 4:
            await asyncio.sleep(0.02)
        assert await publish(project, "orders.created", {"id": 7}) == 4, "its own function, and one process each"
        for name in ("mail", "audit.1", "audit.2"):
            await project.line(f"{name} heard orders.created of shop: Order(id=7)", module=name)
        assert await publish(project, "orders.created.late", {"id": 8}) == 1, "one segment more than the others want"
        heard = json.loads((await project.http("/shop/heard")).text)
        assert [one for one in heard if one["id"]] == [{"id": 7}, {"id": 8}]
        assert await publish(project, "users.created", {"id": 9}) == 0
        assert project.said("users.created") is None
        assert await project.stop() == 0


async def test_what_cannot_be_read_or_fails_costs_nothing_but_itself(running: Running) -> None:
    async with running() as project:
        modules(project)
        await project.start()
        await project.ready("shop", "mail")
        while await publish(project, "orders.probe", {"id": 0}) < 2:
            await asyncio.sleep(0.02)
        await publish(project, "orders.created", {"id": "seven"})
        await project.line("a published message cannot be read", module="mail")
        await publish(project, "orders.created", {"id": -1})
        await project.line("dealing with a published message failed", module="mail")
        await publish(project, "orders.created", {"id": 5})
        await project.line("mail heard orders.created of shop: Order(id=5)", module="mail")
        assert (await publish(project, "orders.*", 1))["error"] == (
            "it cannot be published: a topic has no wildcards, they are for who subscribes: 'orders.*'"
        )
        assert (await publish(project, "a", 1, priority="urgent"))["code"] == "LocalProtocolError"


async def test_a_subscription_ends_with_its_process_and_the_next_one_subscribes_again(running: Running) -> None:
    async with running() as project:
        modules(project)
        await project.start()
        await project.ready("shop", "mail", "teller")
        while await publish(project, "orders.probe", {"id": 0}) < 2:
            await asyncio.sleep(0.02)
        after = len(project.lines)
        await project.http("/teller/tell?target=mail:die")
        await project.ready("mail", after=after)
        while await publish(project, "orders.created", {"id": 3}) < 2:
            await asyncio.sleep(0.02)
        await project.line("mail heard orders.created of shop: Order(id=3)", module="mail", after=after)


async def test_who_must_not_miss_anything_makes_the_publisher_wait(running: Running) -> None:
    async with running() as project:
        modules(project)
        await project.start()
        await project.ready("shop", "mail", "teller")
        await project.http("/teller/tell?target=mail:late")
        await project.line("late listens", module="mail")
        for number in range(20):
            assert await publish(project, "late.x", number) == 1
        await project.line("late took 19", module="mail")
        assert await publish(project, "late.x", "hold") == 1
        await project.line("late took hold", module="mail")
        counts = [await publish(project, "late.x", number, timeout=1.5) for number in range(4)]
        assert 1 in counts
        refused = counts[-1]
        assert (refused["error"], refused["code"]) == (
            "mail does not keep up with 'late.x', and does not want to miss any of it",
            "overloaded",
        )
        after = len(project.lines)
        os.kill((await project.ps())["mail"]["pid"], signal.SIGKILL)
        await project.ready("mail", after=after)
        assert await publish(project, "late.x", "anybody") == 0


# ── the orchestrator's part by itself ───────────────────────────────────────────────────────────────────────────────


class Process:
    """One process as the orchestrator sees it; it takes what it is sent while `open` is set."""

    rust = hangs = False

    def __init__(self, name: str, *, msgpack: bool = True) -> None:
        self.module = self.module_id = name
        self.got: list[PubSubMessage] = []
        self.formats: list[str] = []
        self.notes: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.is_gone = self.refuses = False
        self._msgpack = msgpack

    def reads(self, format: str) -> bool:
        return self._msgpack and format == "msgpack"

    async def deliver(self, message: Message) -> None:
        self.asked.set()
        await self.open.wait()
        if self.is_gone:
            raise ChannelClosed("gone", executed="no")
        if self.refuses:
            raise LocalProtocolError("too large")
        assert isinstance(message, RoutedModuleMessage)
        payload = read_payload(message.payload)
        assert payload.metadata.properties == {"endpoint": "__topic__", "notification": True}
        self.formats.append(message.payload.format)
        self.got.append(payload.decode(PubSubMessage))

    def note(self, text: str, *, level: str = "info") -> None:
        self.notes.append(text)

    async def until(self, count: int) -> list[Any]:
        """Wait until so many have arrived; what they say."""
        async with asyncio.timeout(30):
            while len(self.got) < count:
                await asyncio.sleep(0)
        return [message.decode() for message in self.got]


class Desk:
    """What modules may ask about topics, without the broker in between."""

    def __init__(self) -> None:
        self.services: dict[str, Any] = {}
        self.broker = self
        self.topics = Topics(self)  # type: ignore[arg-type]
        self.topics.begin()

    def serve(self, endpoint: str, function: Any) -> None:
        self.services[endpoint] = function

    async def subscribe(self, process: Process, pattern: str, window: int = 0, id: str = "") -> None:
        wanted = {"id": id or pattern, "pattern": pattern, "window": window}
        await self.services["subscribe"](process, {"subscriptions": [wanted]}, {})

    async def publish(self, process: Process, topic: str, value: Any = None, *, timeout: int = 30_000, **members: Any) -> int:
        message = {"topic": topic, "payload": json.dumps(value).encode(), **members}
        return int((await self.services["publish"](process, message, {"timeout": timeout}))["delivered"])


async def test_each_process_hears_a_message_once_and_in_a_form_that_it_reads() -> None:
    desk, shop, mail, old = Desk(), Process("shop"), Process("mail"), Process("old", msgpack=False)
    for pattern in ("orders.*", "orders.#", "orders/created"):
        await desk.subscribe(mail, pattern)
    await desk.subscribe(old, "#")
    await desk.subscribe(shop, "#")
    assert await desk.publish(shop, "orders.created", 1, publisher="somebody else", metadata={"k": "v"}) == 2
    assert await mail.until(1) == await old.until(1) == [1]
    assert (mail.formats, old.formats) == (["MessagePack"], ["Json"])
    assert (mail.got[0].publisher, mail.got[0].metadata) == ("shop", {"k": "v"}), "who publishes is known, not believed"
    assert shop.got == []


async def test_nothing_is_heard_after_the_end_of_a_subscription_or_of_a_process() -> None:
    desk, shop, mail = Desk(), Process("shop"), Process("mail")
    await desk.subscribe(mail, "a")
    await desk.subscribe(mail, "b")
    await desk.services["unsubscribe"](mail, {"ids": ["a", "never"]}, {})
    assert [await desk.publish(shop, topic) for topic in "ab"] == [0, 1]
    await mail.until(1)
    desk.topics.leaving(mail)  # type: ignore[arg-type]
    assert await desk.publish(shop, "b") == 0
    await desk.subscribe(mail, "b")
    mail.is_gone = True
    assert await desk.publish(shop, "b") == 1
    async with asyncio.timeout(30):
        while desk.topics.counts()["subscriptions"]:
            await asyncio.sleep(0)


async def test_a_slow_process_loses_the_oldest_of_the_lowest_priority_and_costs_others_nothing() -> None:
    desk, shop, slow, fast = Desk(), Process("shop"), Process("slow"), Process("fast")
    await desk.subscribe(slow, "#")
    await desk.subscribe(fast, "#")
    slow.open.clear()
    await desk.publish(shop, "t", "first")
    await slow.asked.wait()
    await desk.publish(shop, "t", "urgent", priority="Critical")
    for number in range(MOST_MESSAGES + 5):
        await desk.publish(shop, "t", number)
        await fast.until(number + 3)
    slow.open.set()
    heard = await slow.until(MOST_MESSAGES + 1)
    assert heard == ["first", "urgent", *range(6, MOST_MESSAGES + 5)]
    assert len(fast.got) == MOST_MESSAGES + 7
    assert desk.topics.counts()["slow"] == 6
    assert slow.notes[0] == "it does not keep up with its topics: 1 messages to it were dropped"
    assert len(slow.notes) == 3, "at the first, the second and the fourth"


async def test_bytes_on_their_way_are_bounded_too() -> None:
    desk, shop, slow = Desk(), Process("shop"), Process("slow")
    await desk.subscribe(slow, "#")
    slow.open.clear()
    big = "x" * (MOST_BYTES // 4)
    await desk.publish(shop, "t", "first")
    await slow.asked.wait()
    for number in range(6):
        await desk.publish(shop, "t", [number, big])
    slow.open.set()
    assert [one if one == "first" else one[0] for one in await slow.until(4)] == ["first", 3, 4, 5]


async def test_what_is_too_old_is_not_delivered_and_the_rest_says_how_old_it_is() -> None:
    desk, shop, slow = Desk(), Process("shop"), Process("slow")
    await desk.subscribe(slow, "#")
    slow.open.clear()
    await desk.publish(shop, "t", "first")
    await slow.asked.wait()
    await desk.publish(shop, "t", "old", ttl={"secs": 0, "nanos": 1})
    await desk.publish(shop, "t", "good", ttl={"secs": 60, "nanos": 0})
    slow.open.set()
    assert await slow.until(2) == ["first", "good"]
    left = slow.got[1].ttl
    assert left is not None
    assert 0 < left.seconds < 60


async def test_a_window_makes_the_publisher_wait_until_it_is_taken() -> None:
    desk, shop, careful = Desk(), Process("shop"), Process("careful")
    await desk.subscribe(careful, "#", window=2, id="w1")
    assert await desk.publish(shop, "t", 1) == 1
    assert await desk.publish(shop, "t", 2) == 1
    third = asyncio.create_task(desk.publish(shop, "t", 3))
    fourth = asyncio.create_task(desk.publish(shop, "t", 4))
    assert await careful.until(2) == [1, 2]
    await desk.services["topic_taken"](careful, {"id": "w1", "count": 1, "size": 1}, {})
    assert await third == 1
    assert not fourth.done()
    with pytest.raises(RemoteError, match="careful does not keep up with 't', and does not want to miss any of it") as caught:
        await desk.publish(shop, "t", 5, timeout=1)
    assert caught.value.code == "overloaded"
    await desk.services["topic_taken"](careful, {"id": "w1", "count": 2, "size": 2}, {})
    assert await fourth == 1
    assert await careful.until(4) == [1, 2, 3, 4]


async def test_what_was_too_old_to_be_delivered_takes_no_place_in_a_window() -> None:
    desk, shop, careful = Desk(), Process("shop"), Process("careful")
    await desk.subscribe(careful, "#", window=2, id="w1")
    careful.open.clear()
    await desk.publish(shop, "t", "first")
    await careful.asked.wait()
    await desk.publish(shop, "t", "old", ttl={"secs": 0, "nanos": 1})
    careful.open.set()
    assert await desk.publish(shop, "t", "good") == 1
    assert await careful.until(2) == ["first", "good"]


async def test_what_cannot_be_sent_takes_no_place_in_a_window() -> None:
    desk, shop, careful = Desk(), Process("shop"), Process("careful")
    await desk.subscribe(careful, "#", window=1, id="w1")
    careful.refuses = True
    await desk.publish(shop, "t", "never")
    await careful.asked.wait()
    careful.refuses = False
    assert await desk.publish(shop, "t", "good") == 1
    assert await careful.until(1) == ["good"]
    assert careful.notes == ["a message on t could not be sent to it: too large"]


async def test_who_keeps_up_hears_what_another_has_no_room_for() -> None:
    desk, shop, stuck, careful = Desk(), Process("shop"), Process("stuck"), Process("careful")
    await desk.subscribe(stuck, "#", window=1)
    await desk.subscribe(careful, "#", window=5)
    assert await desk.publish(shop, "t", 1) == 2
    second = asyncio.create_task(desk.publish(shop, "t", 2))
    assert await careful.until(2) == [1, 2]
    assert not second.done()
    with pytest.raises(RemoteError, match="stuck does not keep up"):
        await desk.publish(shop, "t", 3, timeout=1)
    assert await careful.until(3) == [1, 2, 3]
    desk.topics.leaving(stuck)  # type: ignore[arg-type]
    assert await second == 1


async def test_a_publisher_does_not_wait_for_a_process_that_is_gone() -> None:
    desk, shop, careful = Desk(), Process("shop"), Process("careful")
    await desk.subscribe(careful, "#", window=1)
    await desk.publish(shop, "t", 1)
    second = asyncio.create_task(desk.publish(shop, "t", 2))
    await careful.until(1)
    desk.topics.leaving(careful)  # type: ignore[arg-type]
    assert await second == 0


@pytest.mark.parametrize(
    ("endpoint", "asked", "code", "text"),
    [
        ("subscribe", {"subscriptions": [{"id": "1", "pattern": "a..b"}]}, "bad_request", "a topic pattern has no empty segments: 'a..b'"),
        ("subscribe", {"subscriptions": [{"id": "1"}]}, "bad_request", r"missing required field `pattern` - at `\$.subscriptions\[0\]`"),
        ("subscribe", None, "bad_request", "cannot read the request"),
        ("publish", {"topic": "a.#", "payload": []}, "bad_request", "a topic has no wildcards"),
        ("publish", {"topic": "a", "payload": "YQ=="}, "bad_request", "`payload`"),
        (
            "subscribe",
            {"subscriptions": [{"id": str(number), "pattern": "a"} for number in range(MOST_SUBSCRIPTIONS + 1)]},
            "overloaded",
            "a module has 1000 subscriptions at most",
        ),
        ("subscribe", {"subscriptions": [{"id": "1", "pattern": "a", "window": 10_001}]}, "overloaded", "allow 10000 messages at most"),
    ],
)
async def test_what_cannot_be_done_says_why(endpoint: str, asked: Any, code: str, text: str) -> None:
    desk, process = Desk(), Process("shop")
    with pytest.raises(RemoteError, match=text) as caught:
        await desk.services[endpoint](process, asked, {})
    assert caught.value.code == code
    assert desk.topics.counts()["subscriptions"] == 0
