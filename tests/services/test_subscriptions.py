from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from pywatt_core.errors import LocalProtocolError, RemoteError
from pywatt_core.services.subscriptions import MOST_BYTES
from pywatt_core.services.topics import Topics

from .test_topics import Board, alone


async def test_a_slow_subscriber_loses_the_oldest_and_knows_how_many(caplog: pytest.LogCaptureFixture) -> None:
    topics = alone()
    async with topics.subscribe("a", queue=3) as messages:
        for number in range(8):
            await topics.publish("a", number)
        assert len(messages) == 3
        assert [(await anext(messages)).decode() for _ in range(3)] == [5, 6, 7]
        assert messages.dropped == 5
        assert repr(messages) == "Subscription('a', waiting=0, dropped=5, expired=0)"
    assert [record.dropped for record in caplog.records] == [1, 2, 4]  # type: ignore[attr-defined]
    assert caplog.records[0].levelno == logging.WARNING


async def test_what_is_more_important_goes_first_and_is_lost_last() -> None:
    topics = alone()
    async with topics.subscribe("a", queue=2) as messages:
        for value, priority in (("old", "normal"), ("urgent", "critical"), ("new", "normal"), ("idle", "low")):
            await topics.publish("a", value, priority=priority)
        assert [(await anext(messages)).decode() for _ in range(2)] == ["urgent", "new"]
        assert messages.dropped == 2


async def test_what_waits_is_bounded_in_bytes_too() -> None:
    topics = alone()
    async with topics.subscribe("a") as messages:
        for number in range(6):
            await topics.publish("a", bytes([number]) * (MOST_BYTES // 4))
        assert [(await anext(messages)).decode()[0] for _ in range(4)] == [2, 3, 4, 5]


async def test_what_is_too_old_when_it_is_taken_is_passed_over() -> None:
    topics = alone()
    async with topics.subscribe("a") as messages:
        await topics.publish("a", "old", ttl=0)
        await topics.publish("a", "good", ttl=60)
        assert (await anext(messages)).decode() == "good"
        assert messages.expired == 1


async def test_who_must_not_miss_anything_holds_its_own_module_back() -> None:
    topics = alone()
    async with topics.subscribe("a", queue=2, overflow="wait") as messages:
        await topics.publish("a", 1)
        await topics.publish("a", 2)
        third = asyncio.create_task(topics.publish("a", 3))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not third.done()
        assert (await anext(messages)).decode() == 1
        await third
        fourth = asyncio.create_task(topics.publish("a", 4))
        await asyncio.sleep(0)
    await fourth
    assert messages.dropped == 0


async def test_a_module_that_does_not_keep_up_with_itself_is_told_so_in_time() -> None:
    topics = alone()
    async with topics.subscribe("a", queue=1, overflow="wait"):
        await topics.publish("a", 1)
        with pytest.raises(RemoteError, match="alone does not keep up with 'a' itself") as caught:
            await topics.publish("a", 2, timeout=0.01)
    assert caught.value.code == "overloaded"


async def test_a_publisher_that_is_cancelled_leaves_its_place_to_the_next() -> None:
    topics = alone()
    async with topics.subscribe("a", queue=1, overflow="wait") as messages:
        await topics.publish("a", 1)
        waiting = [asyncio.create_task(topics.publish("a", number)) for number in (2, 3)]
        for _ in range(5):
            await asyncio.sleep(0)
        await anext(messages)
        waiting[0].cancel()
        assert await waiting[1] == 1
        assert (await anext(messages)).decode() in (2, 3)


async def taken(board: Board, count: int) -> list[Any]:
    """What the orchestrator was told was taken, once it was told so often."""
    async with asyncio.timeout(30):
        while len(found := [asked for endpoint, asked in board.asked if endpoint == "topic_taken"]) < count:
            await asyncio.sleep(0)
    return found


async def test_the_orchestrator_is_told_what_was_taken_when_it_is_half_of_the_window() -> None:
    board = Board()
    topics = Topics(board.add("a"))
    async with topics.subscribe("a", queue=4, overflow="wait") as messages:
        ((_, asked),) = board.asked
        (wanted,) = asked["subscriptions"]
        assert (wanted["pattern"], wanted["window"]) == ("a", 4)
        for number in range(4):
            await board.tell("a", "a", str(number).encode())
            await topics.publish("a", f"own {number}")
        heard = [(await anext(messages)).decode() for _ in range(8)]
        assert heard == [0, "own 0", 1, "own 1", 2, "own 2", 3, "own 3"]
        assert messages.dropped == 0, "what the orchestrator brings has places of its own"
        assert await taken(board, 2) == [{"id": wanted["id"], "count": 2, "size": 2}] * 2


async def test_much_that_was_taken_is_told_early() -> None:
    board = Board()
    topics = Topics(board.add("a"))
    async with topics.subscribe("a", queue=100, overflow="wait") as messages:
        await board.tell("a", "a", b'"' + b"x" * (MOST_BYTES // 2) + b'"')
        await anext(messages)
        ((found),) = await taken(board, 1)
        assert (found["count"], found["size"]) == (1, MOST_BYTES // 2 + 2)


@pytest.mark.parametrize(
    ("pattern", "options", "text"),
    [
        ("a..b", {}, "no subscription: a topic pattern has no empty segments: 'a..b'"),
        ("a", {"queue": 0}, "no subscription: limit must be at least 1, not 0"),
        ("a", {"overflow": "burst"}, "no subscription: overflow is 'drop' or 'wait', not 'burst'"),
    ],
)
async def test_a_subscription_that_makes_no_sense_says_so(pattern: str, options: Any, text: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        alone().subscribe(pattern, **options)
    assert str(caught.value) == text
