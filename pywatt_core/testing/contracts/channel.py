"""The contract of a channel to the orchestrator."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest

from pywatt_core.errors import ChannelClosed, LocalProtocolError, RequestTimeout
from pywatt_core.interfaces import Channel, ChannelContext, ChannelState
from pywatt_core.protocol.messages import (
    EncodedMessage,
    Heartbeat,
    HeartbeatAck,
    Init,
    Message,
    RoutedModuleMessage,
    RoutedModuleResponse,
    RouteToModule,
    Shutdown,
)
from pywatt_core.protocol.session import Facts, Problem, Role, Session, Wire
from pywatt_core.transports.link import Link, new_id

DEADLINE = 30.0
"""Seconds that a test waits for what has to come."""
TURNS = 200
"""Turns of the event loop in which something that may not happen would have happened."""


class Bench(Protocol):
    """The other end, which a plugin's fixture brings."""

    def listen(self, make_link: Callable[[], Link]) -> AbstractAsyncContextManager[None]:
        """Accept connections, each with a link of its own, until the context is left; the same place each time."""
        ...

    def open(self, init: Callable[..., Init], context: Callable[[Init], ChannelContext]) -> AbstractAsyncContextManager[Channel]:
        """Open the channel: ``context(init(…))`` with the members of the init line that it needs."""
        ...


class _End(Link):
    """The orchestrator's end of one connection."""

    accepted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.accepted = True


class Scene:
    """Both ends of one channel, and what they have seen."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.at_module: list[Message] = []
        self.at_orchestrator: list[Message] = []
        self.states: list[ChannelState] = []
        self.problems: list[Problem] = []
        self.links: list[_End] = []
        self.answering = True
        self.act: Callable[[Message, Any], None] = lambda message, link: None

    def _link(self) -> Link:
        session = Session(Role.ORCHESTRATOR, Wire.CHANNEL, on_problem=self.problems.append, new_id=new_id)
        self.links.append(_End(session, on_message=self._arrived))
        return self.links[-1]

    def _arrived(self, message: Message, link: Link) -> None:
        self.at_orchestrator.append(message)
        if self.answering and isinstance(message, RouteToModule):
            link.post(RoutedModuleResponse(source_module_id="b", request_id=message.request_id, payload=message.payload))

    def _take(self, message: Message, link: Any) -> None:
        self.at_module.append(message)
        self.act(message, link)

    def listening(self) -> AbstractAsyncContextManager[None]:
        return self.bench.listen(self._link)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Channel]:
        """The channel, connected or not yet."""

        def init(**members: Any) -> Init:
            return Init(**{"orchestrator_api": "", "module_id": "contract", "env": {}, "listen": "/x", **members})

        def context(init: Init) -> ChannelContext:
            return ChannelContext(
                module_id="contract",
                section="channels.contract",
                init=init,
                facts=Facts(complete=True),
                on_message=self._take,
                on_problem=self.problems.append,
                on_state=self.states.append,
            )

        async with self.bench.open(init, context) as channel:
            yield channel

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Channel]:
        """The channel, and somebody who listens."""
        async with self.listening(), self.opened() as channel:
            await self.until(lambda: channel.state is ChannelState.CONNECTED and self.live)
            yield channel

    @property
    def live(self) -> list[_End]:
        """The orchestrator's ends that are connected."""
        return [link for link in self.links if not link.closed.done() and link.accepted]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110 - it may be about the other process's end
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        for link in self.links:
            if not link.closed.done():
                link.abort(ConnectionError("the test is over"))


def request(text: str = "x") -> RouteToModule:
    payload = EncodedMessage(data=text.encode(), format="Binary")
    return RouteToModule(target_module_id="b", target_endpoint="echo", request_id=str(uuid.uuid4()), payload=payload)


class ChannelContract:
    """Everything that `pywatt_core.interfaces.Channel` promises. A plugin's test file holds::

        class TestMyChannel(ChannelContract):
            @pytest.fixture
            def bench(self):
                return MyBench()

    `bench` is a `Bench`: it listens as an orchestrator would, and opens the channel to it.
    """

    reconnects = True
    """Whether a lost connection is made again without anybody's word."""

    @pytest.fixture
    def scene(self, bench: Bench) -> Scene:
        return Scene(bench)

    async def test_it_says_when_it_is_connected(self, scene: Scene) -> None:
        async with scene.connected() as channel:
            assert (channel.state, scene.states[-1]) == (ChannelState.CONNECTED, ChannelState.CONNECTED)
            assert isinstance(channel.name, str) and channel.name
        assert (channel.state, scene.states[-1]) == (ChannelState.DISCONNECTED, ChannelState.DISCONNECTED)

    async def test_messages_arrive_in_their_order_both_ways(self, scene: Scene) -> None:
        scene.answering = False
        async with scene.connected() as channel:
            sent = [request(str(number)) for number in range(300)]
            for number, message in enumerate(sent):
                channel.post(message) if number % 3 else await channel.send(message)
            payload = EncodedMessage(data=b"{}", format="Json")
            back = [RoutedModuleMessage(source_module_id="b", original_request_id=str(uuid.uuid4()), payload=payload) for _ in range(300)]
            for one in back:
                scene.live[0].post(one)
            await scene.until(lambda: len(scene.at_orchestrator) == 300 and len(scene.at_module) == 300)
            assert [message.request_id for message in scene.at_orchestrator] == [message.request_id for message in sent]  # type: ignore[attr-defined]
            assert scene.at_module == back
            assert scene.problems == []

    async def test_many_requests_at_once_each_get_their_own_answer(self, scene: Scene) -> None:
        async with scene.connected() as channel:
            asked = [request(str(number)) for number in range(200)]
            answers = await asyncio.gather(*(channel.request(one, timeout=DEADLINE) for one in asked))
            assert [answer.payload.data for answer in answers] == [one.payload.data for one in asked]  # type: ignore[attr-defined]

    async def test_a_reply_goes_back_on_the_link_that_a_message_came_on(self, scene: Scene) -> None:
        scene.act = lambda message, link: link.post(HeartbeatAck()) if isinstance(message, Heartbeat) else None
        async with scene.connected():
            scene.live[0].post(Heartbeat())
            await scene.until(lambda: any(isinstance(message, HeartbeatAck) for message in scene.at_orchestrator))

    async def test_a_word_to_end_is_a_message_like_any_other(self, scene: Scene) -> None:
        async with scene.connected() as channel:
            scene.live[0].post(Shutdown())
            await scene.until(lambda: scene.at_module)
            assert isinstance(scene.at_module[0], Shutdown)
            assert channel.state is ChannelState.CONNECTED

    async def test_a_large_message_comes_back_whole(self, scene: Scene) -> None:
        async with scene.connected() as channel:
            text = "0123456789abcdef" * 65536
            answer: Any = await channel.request(request(text), timeout=DEADLINE)
            assert answer.payload.data == text.encode()

    async def test_a_request_that_nobody_answers_times_out_and_the_channel_goes_on(self, scene: Scene) -> None:
        async with scene.connected() as channel:
            scene.answering = False
            with pytest.raises(RequestTimeout):
                await channel.request(request(), timeout=0.01)
            scene.answering = True
            await channel.request(request(), timeout=DEADLINE)

    async def test_a_message_that_nothing_answers_cannot_be_requested(self, scene: Scene) -> None:
        async with scene.connected() as channel:
            scene.live[0].post(Heartbeat())
            await scene.until(lambda: scene.at_module)
            with pytest.raises(LocalProtocolError):
                await channel.request(HeartbeatAck(), timeout=DEADLINE)

    async def test_a_caller_that_gives_up_spoils_nothing(self, scene: Scene) -> None:
        async with scene.connected() as channel:
            for _ in range(20):
                asking = asyncio.ensure_future(channel.request(request(), timeout=DEADLINE))
                await asyncio.sleep(0)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            answer: Any = await channel.request(request("still there"), timeout=DEADLINE)
            assert answer.payload.data == b"still there"

    async def test_one_that_acts_on_a_message_and_fails_does_not_end_it(self, scene: Scene) -> None:
        def fail(message: Message, link: Any) -> None:
            raise ValueError("on purpose")

        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        scene.act = fail
        async with scene.connected() as channel:
            scene.live[0].post(Heartbeat())
            await scene.until(lambda: scene.at_module)
            await channel.request(request(), timeout=DEADLINE)

    # ── keeping up ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_a_sender_waits_for_a_peer_that_does_not_read_and_still_hears_it(self, scene: Scene) -> None:
        scene.answering = False
        async with scene.connected() as channel:
            scene.live[0].pause_reading()
            sent = 0

            async def flood() -> None:
                nonlocal sent
                for _ in range(400):
                    await channel.send(request("x" * 100_000))
                    sent += 1

            flooding = asyncio.create_task(flood())
            before = -1
            while sent != before:
                before = sent
                for _ in range(TURNS):
                    await asyncio.sleep(0)
            assert sent < 200, "nobody reads, and yet all is taken"
            scene.live[0].post(Heartbeat())
            await scene.until(lambda: scene.at_module)
            scene.live[0].resume_reading()
            async with asyncio.timeout(DEADLINE):
                await flooding
            await scene.until(lambda: len(scene.at_orchestrator) == 400)

    # ── losing it ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_what_is_sent_while_nobody_is_there_was_not_executed(self, scene: Scene) -> None:
        async with scene.opened() as channel:
            for sending in (channel.send(request()), channel.request(request(), timeout=DEADLINE)):
                with pytest.raises(ChannelClosed) as caught:
                    await sending
                assert caught.value.executed == "no"
            with pytest.raises(ChannelClosed):
                channel.post(request())

    async def test_what_was_under_way_when_it_broke_may_have_been_executed(self, scene: Scene) -> None:
        scene.answering = False
        async with scene.connected() as channel:
            asking = [asyncio.create_task(channel.request(request(), timeout=DEADLINE)) for _ in range(10)]
            await scene.until(lambda: len(scene.at_orchestrator) == 10)
            scene.live[0].abort(ConnectionError("cut"))
            for one in asking:
                with pytest.raises(ChannelClosed) as caught:
                    await one
                assert caught.value.executed == "unknown"

    async def test_a_lost_connection_is_made_again(self, scene: Scene) -> None:
        if not self.reconnects:
            pytest.skip("this channel does not connect again by itself")
        async with scene.connected() as channel:
            for _ in range(3):
                broken = scene.live[0]
                broken.abort(ConnectionError("cut"))
                await broken.closed
                await scene.until(lambda broken=broken: channel.state is ChannelState.CONNECTED and scene.live)  # type: ignore[misc]
                await self._asked(channel)
            assert ChannelState.DISCONNECTED in scene.states
            assert ChannelState.FAILED not in scene.states

    async def _asked(self, channel: Channel) -> None:
        """One request that is answered; on a connection that is just breaking it may take another."""
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    await channel.request(request(), timeout=DEADLINE)
                    return
                except ChannelClosed:
                    await asyncio.sleep(0.001)

    async def test_it_connects_when_somebody_begins_to_listen(self, scene: Scene) -> None:
        if not self.reconnects:
            pytest.skip("this channel does not connect again by itself")
        async with scene.opened() as channel:
            await scene.until(lambda: ChannelState.DISCONNECTED in scene.states)
            async with scene.listening():
                await scene.until(lambda: channel.state is ChannelState.CONNECTED)
                await self._asked(channel)

    # ── ending it ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_it_may_be_closed_twice_and_nothing_can_be_sent_then(self, scene: Scene) -> None:
        async with scene.connected() as channel:
            await channel.close()
            await channel.close()
            assert channel.state is ChannelState.DISCONNECTED
            with pytest.raises(ChannelClosed) as caught:
                await channel.request(request(), timeout=DEADLINE)
            assert caught.value.executed == "no"
            await scene.until(lambda: not scene.live)

    async def test_what_was_handed_over_before_the_end_still_arrives(self, scene: Scene) -> None:
        scene.answering = False
        async with scene.connected() as channel:
            for _ in range(50):
                channel.post(request("x" * 1000))
            await channel.close()
            await scene.until(lambda: len(scene.at_orchestrator) == 50)

    async def test_it_may_be_closed_before_it_was_ever_connected(self, scene: Scene) -> None:
        async with scene.opened() as channel:
            await channel.close()
            assert channel.state in (ChannelState.DISCONNECTED, ChannelState.FAILED)

    async def test_a_peer_that_does_not_read_does_not_keep_it_from_closing(self, scene: Scene) -> None:
        scene.answering = False
        async with scene.connected() as channel:
            scene.live[0].pause_reading()
            flooding = [asyncio.create_task(channel.send(request("x" * 1_000_000))) for _ in range(20)]
            for _ in range(TURNS):
                await asyncio.sleep(0)
            async with asyncio.timeout(DEADLINE):
                await channel.close()
            await asyncio.gather(*flooding, return_exceptions=True)
        await scene.close()
