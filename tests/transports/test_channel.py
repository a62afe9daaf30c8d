"""The wrapper that connects again: its states, what becomes of what was under way, its health. Scripted connections, real links."""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import ChannelClosed
from pywatt_core.interfaces import Channel, ChannelState
from pywatt_core.policies import ExponentialBackoff, FixedInterval, NoReconnect, ReconnectPolicy
from pywatt_core.protocol.framing import LengthFraming
from pywatt_core.protocol.messages import EncodedMessage, Heartbeat, Identify, Message, RoutedModuleResponse, RouteToModule
from pywatt_core.protocol.session import Facts, Role, Session, Wire
from pywatt_core.transports.channel import TRANSITIONS, Event, ReconnectingChannel
from pywatt_core.transports.channel_session import ChannelSession
from pywatt_core.transports.link import Link, new_id
from pywatt_core.transports.tcp import open_tcp


def request(text: str = "x") -> RouteToModule:
    payload = EncodedMessage(data=text.encode(), format="Json")
    return RouteToModule(target_module_id="b", target_endpoint="echo", request_id=str(uuid.uuid4()), payload=payload)


class Stage:
    """Makes connections over socket pairs; each attempt takes the next word of `script`, and works once there is none left."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.attempts = 0
        self.states: list[ChannelState] = []
        self.peers: list[Link] = []
        self.arrived: list[Message] = []
        self.answering = True
        self.now_connecting: asyncio.Event = asyncio.Event()

    async def connect(self, make_link: Any) -> Link:
        self.attempts += 1
        self.now_connecting.set()
        word = self.script.pop(0) if self.script else None
        if isinstance(word, asyncio.Event):
            await word.wait()
        elif word is not None:
            raise word
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        session = Session(Role.ORCHESTRATOR, Wire.CHANNEL, facts=Facts(complete=True), new_id=new_id)
        _, peer = await loop.create_unix_connection(lambda: Link(session, on_message=self._take), sock=theirs)
        self.peers.append(peer)
        _, link = await loop.create_unix_connection(make_link, sock=ours)
        return link  # type: ignore[no-any-return]

    def _take(self, message: Message, link: Link) -> None:
        self.arrived.append(message)
        if self.answering and isinstance(message, RouteToModule):
            link.post(RoutedModuleResponse(source_module_id="b", request_id=message.request_id, payload=message.payload))

    def channel(self, policy: ReconnectPolicy | None = None, **options: Any) -> ReconnectingChannel:
        clock = asyncio.get_running_loop().time
        return ReconnectingChannel(
            "scripted",
            self.connect,
            lambda: ChannelSession(facts=Facts(complete=True), clock=clock),
            on_message=lambda message, link: None,
            on_state=self.states.append,
            policy=policy or ExponentialBackoff(initial_delay=0.001, max_delay=0.01),
            **options,
        )

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)


# ── states ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.sampled_from(Event), max_size=50))
def test_a_failed_channel_stays_failed_and_only_an_attempt_leads_to_a_connection(events: list[Event]) -> None:
    state = ChannelState.DISCONNECTED
    for event in events:
        following = TRANSITIONS[state].get(event)
        if following is None:
            continue
        if state is ChannelState.FAILED:
            assert following is ChannelState.FAILED
        if following is ChannelState.CONNECTED:
            assert state is ChannelState.CONNECTING
        if event is Event.CLOSE:
            assert following in (ChannelState.DISCONNECTED, ChannelState.FAILED)
        state = following


def test_every_state_can_be_closed_and_reached() -> None:
    assert TRANSITIONS.keys() == set(ChannelState)
    assert all(Event.CLOSE in events for events in TRANSITIONS.values())
    assert {following for events in TRANSITIONS.values() for following in events.values()} == set(ChannelState)


async def test_each_change_of_state_is_told_once_and_in_order() -> None:
    stage = Stage(ConnectionRefusedError("nobody"))
    async with stage.channel():
        stage.peers[0].abort(ConnectionError("cut"))
        await stage.until(lambda: stage.states.count(ChannelState.CONNECTED) == 2)
    names = [state.value for state in stage.states]
    assert names == ["connecting", "disconnected", "connecting", "connected", "disconnected", "connecting", "connected", "disconnected"]
    assert isinstance(stage.channel(), Channel)


async def test_entering_waits_for_the_connection_and_raises_the_reason_where_there_is_none() -> None:
    stage = Stage(*[ConnectionRefusedError("nobody is there")] * 3)
    channel = stage.channel(FixedInterval(delay=0.001, max_attempts=3))
    with pytest.raises(ChannelClosed, match="channel scripted: reconnection failed after 3 attempts: nobody is there") as caught:
        async with channel:
            pass
    assert caught.value.executed == "no"
    assert (stage.attempts, channel.state) == (3, ChannelState.FAILED)


async def test_without_reconnecting_one_loss_is_the_end() -> None:
    stage = Stage()
    async with stage.channel(NoReconnect()) as channel:
        stage.peers[0].abort(ConnectionError("cut"))
        await stage.until(lambda: channel.state is ChannelState.FAILED)
        with pytest.raises(
            ChannelClosed, match="'route_to_module' was not sent: the channel scripted is failed: the peer closed the connection"
        ):
            await channel.send(request())
        assert stage.attempts == 1


async def test_the_first_connection_has_a_deadline() -> None:
    stage = Stage(asyncio.Event())
    channel = stage.channel()
    channel.start()
    with pytest.raises(ChannelClosed, match=r"channel scripted: not connected within 0\.01 s: no attempt has ended yet"):
        await channel.connected(0.01)
    await channel.close()


async def test_an_attempt_that_hangs_is_given_up_and_made_anew() -> None:
    stage = Stage(asyncio.Event())
    channel = stage.channel(connect_timeout=0.1)
    async with channel:
        assert stage.attempts >= 2
    assert channel.error == "no connection within 0.1 s (connect_timeout)"


async def test_an_error_that_no_attempt_mends_is_the_end() -> None:
    stage = Stage(PermissionError("not you"))
    channel = stage.channel(is_final=lambda error: isinstance(error, PermissionError))
    with pytest.raises(ChannelClosed, match="channel scripted: not you"):
        async with channel:
            pass
    assert stage.attempts == 1


async def test_an_unforeseen_error_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(ZeroDivisionError("a bug of the opener's"))
    async with stage.channel():
        pass
    assert any(record.exc_info and "unforeseen" in record.message for record in caplog.records)


async def test_a_row_of_failures_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stage = Stage(*[ConnectionRefusedError("nobody")] * 5)
    async with stage.channel():
        pass
    assert [record.message for record in caplog.records] == [
        "channel scripted cannot be connected: nobody",
        "channel scripted is connected",
    ]


async def test_closing_while_connecting_leaves_no_task_behind() -> None:
    stage = Stage(asyncio.Event())
    channel = stage.channel()
    channel.start()
    await stage.now_connecting.wait()
    await channel.close()
    assert channel.state is ChannelState.DISCONNECTED
    assert asyncio.all_tasks() == {asyncio.current_task()}
    channel.start()
    assert asyncio.all_tasks() == {asyncio.current_task()}


# ── what was under way ──────────────────────────────────────────────────────────────────────────────────────────────


async def cut_before_it_leaves(stage: Stage, channel: ReconnectingChannel) -> tuple[Any, Any]:
    """One request that the peer has, and one that was handed over while the connection broke: their outcomes."""
    stage.answering = False
    there = asyncio.create_task(channel.request(request("there"), timeout=20))
    await stage.until(lambda: stage.arrived)
    stage.answering = True
    link = channel._link
    assert link is not None
    # In this order: the cut, then the request, which is collected for the end of the tick, then the news of the cut.
    asyncio.get_running_loop().call_soon(link.abort, ConnectionError("cut"))
    late = asyncio.create_task(channel.request(request("late"), timeout=20))
    first, second = await asyncio.gather(there, late, return_exceptions=True)
    return first, second


def texts(stage: Stage) -> list[bytes]:
    return [message.payload.data for message in stage.arrived if isinstance(message, RouteToModule)]


async def test_what_did_not_leave_this_process_is_sent_once_more_and_what_did_is_not() -> None:
    stage = Stage()
    async with stage.channel(calm=0.0) as channel:
        there, late = await cut_before_it_leaves(stage, channel)
        assert isinstance(there, ChannelClosed) and there.executed == "unknown"
        assert late.payload.data == b"late"
    assert texts(stage) == [b"there", b"late"]


@pytest.mark.parametrize("calm", [0.0, 3600.0])
async def test_where_the_next_attempt_fails_or_has_to_wait_it_was_not_executed(calm: float) -> None:
    stage = Stage(None, ConnectionRefusedError("nobody"))
    policy = FixedInterval(delay=0.001 if calm == 0 else 3600.0)
    async with stage.channel(policy, calm=calm) as channel:
        there, late = await cut_before_it_leaves(stage, channel)
        assert [there.executed, late.executed] == ["unknown", "no"]
    assert texts(stage) == [b"there"]


async def test_a_second_loss_is_told_instead_of_a_third_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0

    async def lose(link: Link, message: Message, *, timeout: float, metadata: Any = None) -> Message:
        nonlocal attempts
        attempts += 1
        link.abort(ConnectionError("cut"))
        raise ChannelClosed("lost before it was sent", executed="no")

    monkeypatch.setattr(Link, "request", lose)
    async with Stage().channel(calm=0.0) as channel:
        with pytest.raises(ChannelClosed, match="lost before it was sent"):
            await channel.request(request(), timeout=20)
    assert attempts == 2


async def test_a_message_for_a_link_that_this_end_is_closing_takes_the_next_one() -> None:
    stage = Stage()
    async with stage.channel(calm=0.0) as channel:
        link = channel._link
        assert link is not None
        closing = asyncio.create_task(link.close())
        await asyncio.sleep(0)
        assert link.closing
        await channel.send(request("moved"))
        await closing
        await stage.until(lambda: stage.arrived)
        assert len(stage.peers) == 2


async def test_a_request_never_takes_longer_than_its_time() -> None:
    stage = Stage(None, asyncio.Event())
    async with stage.channel(calm=0.0) as channel:
        link = channel._link
        assert link is not None
        closing = asyncio.create_task(link.close())
        await asyncio.sleep(0)
        with pytest.raises(ChannelClosed) as caught:
            await channel.request(request(), timeout=0.02)
        assert caught.value.executed == "no"
        await closing


async def test_the_answer_of_an_earlier_connection_is_nobodys() -> None:
    stage = Stage()
    stage.answering = False
    async with stage.channel(calm=0.0) as channel:
        asking = asyncio.create_task(channel.request(request(), timeout=20))
        await stage.until(lambda: stage.arrived)
        (asked,) = stage.arrived
        assert isinstance(asked, RouteToModule)
        stage.peers[0].abort(ConnectionError("cut"))
        with pytest.raises(ChannelClosed):
            await asking
        await stage.until(lambda: channel.state is ChannelState.CONNECTED)
        stale = b'{"op":"routed_module_response","source_module_id":"b","request_id":"%s","payload":{"data":[49],"format":"Json"}}'
        writer: Any = stage.peers[1]._writer
        writer.write(LengthFraming().wrap(stale % asked.request_id.encode()))
        stage.answering = True
        assert (await channel.request(request("next"), timeout=20)).payload.data == b"next"  # type: ignore[attr-defined]


async def test_cut_at_every_byte_a_request_ends_once_and_is_never_told_not_executed_where_it_was() -> None:
    """The first connection is cut after so many bytes of the request, the next ones answer it."""
    message = request("all of it")

    def session() -> ChannelSession:
        return ChannelSession(facts=Facts(complete=True), clock=asyncio.get_running_loop().time)

    size = len(session().send(message)[0])
    for limit in range(size + 1):
        whole = 0

        async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int = limit) -> None:
            nonlocal whole
            whole += len(await reader.read(size) if limit == size else await reader.readexactly(limit)) >= size
            writer.transport.abort()

        server = await asyncio.start_server(cut, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()

        async def connect(make_link: Any, host: str = host, port: int = port) -> Link:
            return await open_tcp(host, port, make_link)

        channel = ReconnectingChannel("cut", connect, session, on_message=lambda message, link: None)
        try:
            async with channel, asyncio.timeout(20):
                await channel.request(message, timeout=20)
        except ChannelClosed as error:
            assert error.executed == "unknown" or not whole, f"cut after {limit} bytes"
        else:
            raise AssertionError("nobody answered")
        server.close()


# ── health ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_its_health_tells_what_it_did() -> None:
    stage = Stage(ConnectionRefusedError("nobody"))
    channel = stage.channel()
    assert channel.health()._replace(error="") == ("scripted", ChannelState.DISCONNECTED, 0, 0, 0, 0, None, None, "")
    async with channel:
        await channel.request(request(), timeout=20)
        health = channel.health()
        assert (health.state, health.connections, health.failures, health.sent, health.received) == (ChannelState.CONNECTED, 1, 1, 1, 1)
        assert health.last_seen is not None and health.connected_for is not None
        assert 0 <= health.last_seen <= health.connected_for
        assert health.error == "nobody"
        stage.peers[0].abort(ConnectionError("cut"))
        await stage.until(lambda: channel.health().connections == 2)
        await channel.request(request(), timeout=20)
        assert (channel.health().sent, channel.health().received) == (2, 2)
    assert channel.health().last_seen is None


async def test_silence_for_too_long_is_taken_for_a_loss(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    async with stage.channel(idle_timeout=0.05) as channel:
        await stage.until(lambda: channel.health().connections >= 2)
    assert any("nothing came for 0.05 s (idle_timeout)" in record.message for record in caplog.records)


async def test_a_peer_that_speaks_is_not_taken_for_silent_nor_one_that_we_do_not_listen_to() -> None:
    stage = Stage()
    async with stage.channel(idle_timeout=3600.0) as channel:
        link = channel._link
        assert link is not None
        session: Any = link.session
        session.heard_at -= 4000.0
        stage.peers[0].post(Heartbeat())
        await stage.until(lambda: link.messages_received)
        channel._look(link, 3600.0)
        assert link.error is None
        session.heard_at -= 4000.0
        link.pause_reading()
        channel._look(link, 3600.0)
        assert link.error is None
        link.resume_reading()
        channel._look(link, 3600.0)
        await link.closed
        assert str(link.error) == "nothing came for 3600 s (idle_timeout)"


async def test_a_greeting_comes_first_on_each_connection() -> None:
    stage = Stage()
    async with stage.channel(greet=lambda link: link.post(Identify(module_id="m"))) as channel:
        await channel.send(request())
        await stage.until(lambda: len(stage.arrived) == 2)
        stage.peers[0].abort(ConnectionError("cut"))
        await stage.until(lambda: len(stage.arrived) == 3)
        assert [type(message).__name__ for message in stage.arrived] == ["Identify", "RouteToModule", "Identify"]
