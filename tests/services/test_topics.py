from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from pywatt_core.errors import LocalProtocolError, RemoteError
from pywatt_core.held import Blocking
from pywatt_core.protocol.failures import OVERLOADED, Failure
from pywatt_core.protocol.messages import ORCHESTRATOR
from pywatt_core.services.channels import Channels
from pywatt_core.services.messaging import Messaging
from pywatt_core.services.receivers import Receivers
from pywatt_core.services.topics import LARGEST, Topics

from .switchboard import Switchboard


def alone(receivers: Receivers | None = None) -> Topics:
    """A module without an orchestrator."""
    return Topics(Messaging(Channels(), "alone", receivers or Receivers()))


class Board(Switchboard):
    """An orchestrator that keeps subscriptions, and says what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, Any]] = []
        self.refuses: Failure | None = None
        for endpoint in ("subscribe", "unsubscribe", "publish", "topic_taken"):
            self.services[endpoint] = self._service(endpoint)

    def _service(self, endpoint: str) -> Any:
        async def serve(source: str, asked: Any) -> Any:
            self.asked.append((endpoint, asked))
            if self.refuses is not None:
                return self.refuses
            return {"delivered": 3} if endpoint == "publish" else None

        return serve

    async def tell(self, target: str, topic: str, payload: bytes, **members: Any) -> None:
        """Deliver a publication as the orchestrator does."""
        message = {"topic": topic, "payload": list(payload), **members}
        if ORCHESTRATOR not in self.modules:
            self.add(ORCHESTRATOR)
        await self.modules[ORCHESTRATOR].send(f"{target}:__topic__", message)


# ── within a module ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_module_without_an_orchestrator_hears_itself() -> None:
    topics = alone()
    async with topics.subscribe("orders.*") as messages, topics.subscribe("#") as everything:
        assert await topics.publish("orders.created", {"id": 1}, metadata={"k": "v"}) == 2
        assert await topics.publish("users.created") == 1
        message = await anext(messages)
        assert (message.topic, message.decode(), message.publisher, message.metadata) == ("orders.created", {"id": 1}, "alone", {"k": "v"})
        assert [(await anext(everything)).topic for _ in range(2)] == ["orders.created", "users.created"]
    assert await topics.publish("orders.created") == 0


async def test_iterating_ends_with_the_subscription() -> None:
    topics = alone()
    heard = []
    async with topics.subscribe("a") as messages:

        async def hear() -> None:
            async for message in messages:
                heard.append(message.decode())

        hearing = asyncio.create_task(hear())
        await topics.publish("a", 1)
        while not heard:
            await asyncio.sleep(0)
    await hearing
    assert heard == [1]
    with pytest.raises(LocalProtocolError, match="a subscription is entered once"):
        await messages.__aenter__()


async def test_what_is_published_is_read_as_its_type() -> None:
    @dataclass
    class Order:
        id: int

    topics = alone()
    async with topics.subscribe("#") as messages:
        await topics.publish("a", Order(7))
        await topics.publish("a", b"\xff\x00")
        assert (await anext(messages)).decode(Order) == Order(7)
        raw = await anext(messages)
        assert raw.decode() == b"\xff\x00"
        assert raw.metadata == {"content-type": "application/octet-stream"}


async def test_a_thread_publishes_and_hears_through_the_blocking_face() -> None:
    face = Blocking(alone(), asyncio.get_running_loop(), threading.get_ident(), 30)

    def talk() -> list[Any]:
        with face.subscribe("a") as messages:
            face.publish("a", 1)
            face.publish("a", 2)
            return [message.decode() for message in itertools.islice(messages, 2)]

    assert await asyncio.to_thread(talk) == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (("a..b",), {}, "it cannot be published: a topic has no empty segments: 'a..b'"),
        (("a", float("nan")), {}, "NaN and infinity have no form in JSON"),
        (("a", object()), {}, "cannot be sent"),
        (("a",), {"ttl": -1}, "it cannot be published: a duration is 0 seconds or more, not -1"),
        (("a",), {"priority": "urgent"}, "it cannot be published: a priority is one of"),
        (("a",), {"metadata": {"k": 1}}, "it cannot be published: Expected `str`, got `int`"),
        (("a", b"x" * (LARGEST + 1)), {}, "16777217 bytes are too many to publish: 16777216 at most; send a stream"),
    ],
)
async def test_what_cannot_be_published_says_why(arguments: Any, options: Any, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        await alone().publish(*arguments, **options)


# ── the module's functions ──────────────────────────────────────────────────────────────────────────────────────────


async def test_functions_get_what_they_ask_for_one_message_after_the_other(caplog: pytest.LogCaptureFixture) -> None:
    receivers = Receivers()
    calls: list[Any] = []
    done = asyncio.Event()

    @receivers.on_topic("numbers.*")
    async def number(value: int, message: Any) -> None:
        calls.append((value, message.topic))
        await asyncio.sleep(0)
        if value == 2:
            raise RuntimeError("not two")
        calls.append(value)
        if value == 3:
            done.set()

    @receivers.on_topic("numbers.#")
    def plain() -> None:
        calls.append("plain")

    topics = alone(receivers)
    await topics.begin()
    with caplog.at_level(logging.WARNING):
        for payload in (1, "two", 2, 3):
            await topics.publish("numbers.n", payload)
        async with asyncio.timeout(30):
            await done.wait()
            while calls.count("plain") < 4:
                await asyncio.sleep(0)
    assert [call for call in calls if call != "plain"] == [(1, "numbers.n"), 1, (2, "numbers.n"), (3, "numbers.n"), 3]
    assert [record.message for record in caplog.records] == [
        "a published message cannot be read",
        "dealing with a published message failed",
    ]
    await topics.end()
    await topics.close()
    assert await topics.publish("numbers.n", 4) == 0


async def test_what_a_function_is_dealing_with_is_finished_at_the_end() -> None:
    receivers = Receivers()
    begun, go, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @receivers.on_topic("a")
    async def slow() -> None:
        begun.set()
        await go.wait()
        finished.set()

    topics = alone(receivers)
    await topics.begin()
    await topics.publish("a")
    await topics.publish("a")
    await begun.wait()
    ending = asyncio.create_task(topics.end())
    await asyncio.sleep(0)
    go.set()
    await ending
    assert finished.is_set()


async def test_a_function_that_cannot_be_called_is_known_before_anything_is_heard() -> None:
    receivers = Receivers()

    @receivers.on_topic("a")
    async def two(one: int, other: int) -> None: ...

    with pytest.raises(TypeError, match="'other' is one too many"):
        await alone(receivers).begin()


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (("a.#.b",), {}, "'#' is the last segment of a topic pattern"),
        ((None,), {}, "a topic pattern is a text"),
        (("a",), {"queue": 0}, "queue= is a number above 0 and overflow= is 'drop' or 'wait', not 0 and 'drop'"),
        (("a",), {"overflow": "burst"}, "not 1000 and 'burst'"),
    ],
)
def test_a_decorator_with_wrong_arguments_says_so_at_once(arguments: Any, options: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Receivers().on_topic(*arguments, **options)


# ── across modules ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_orchestrator_is_told_of_a_pattern_once_and_of_its_end_once() -> None:
    board = Board()
    topics = Topics(board.add("a"))
    async with topics.subscribe("orders.*"), topics.subscribe("orders/*"):
        assert await topics.publish("orders.created", 1) == 5
    assert board.asked == [
        ("subscribe", {"subscriptions": [{"id": "orders/*", "pattern": "orders.*", "window": 0}]}),
        (
            "publish",
            {
                "topic": "orders.created",
                "payload": b"1",
                "priority": "Normal",
                "ttl": None,
                "publisher": "a",
                "metadata": {},
            },
        ),
        ("unsubscribe", {"ids": ["orders/*"]}),
    ]


async def test_a_module_hears_itself_where_another_does_not_keep_up() -> None:
    board = Board()
    topics = Topics(board.add("a"))
    async with topics.subscribe("t") as messages:
        board.refuses = Failure(OVERLOADED, "b does not keep up")
        with pytest.raises(RemoteError, match="b does not keep up"):
            await topics.publish("t", 1)
        async with asyncio.timeout(30):
            assert (await anext(messages)).decode() == 1


async def test_publishing_here_and_elsewhere_has_one_time_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    topics = Topics(board.add("a"))
    loop, passed = asyncio.get_running_loop(), 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + passed)
    answer = board.services["publish"]

    async def slow(source: str, asked: Any) -> Any:
        nonlocal passed
        passed = 19.9
        return await answer(source, asked)

    async with topics.subscribe("t", queue=1, overflow="wait"):
        await topics.publish("t", 1)
        board.services["publish"] = slow
        async with asyncio.timeout(25):
            with pytest.raises(RemoteError, match="a does not keep up with 't' itself"):
                await topics.publish("t", 2, timeout=20)


async def test_what_the_orchestrator_brings_is_heard_in_its_order() -> None:
    board = Board()
    topics = Topics(board.add("a"))
    async with topics.subscribe("n.*") as messages:
        for number in range(50):
            await board.tell("a", "n.x", str(number).encode(), publisher="b")
        heard = [await anext(messages) for _ in range(50)]
    assert [message.decode() for message in heard] == list(range(50))
    assert heard[0].publisher == "b"


async def test_a_refused_subscription_hears_nothing_and_raises() -> None:
    board = Board()

    async def refuse(source: str, asked: Any) -> Any:
        raise RuntimeError("the switchboard answers nothing")

    topics = Topics(board.add("a"))
    board.services["subscribe"] = refuse
    messages = topics.subscribe("a")
    opening = asyncio.create_task(messages.__aenter__())
    while not board.carried:
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    board.services["publish"] = board._service("publish")
    assert await topics.publish("a") == 3, "nobody here"


async def test_an_orchestrator_of_somebody_else_is_not_asked(caplog: pytest.LogCaptureFixture) -> None:
    board = Board()
    topics = Topics(board.add("a", pywatt=False))
    async with topics.subscribe("a") as messages:
        assert await topics.publish("a", 1) == 1
        assert (await anext(messages)).decode() == 1
    assert board.carried == []
    assert [record.message for record in caplog.records] == [
        "the orchestrator is not PyWatt's and carries no topics: they stay within this module"
    ]
