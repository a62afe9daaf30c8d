"""Links over real sockets and pipes, with the real session at both ends."""

import asyncio
import os
import socket
import uuid

import pytest

from pywatt_core.errors import ChannelClosed, LocalProtocolError, RemoteProtocolError, RequestTimeout
from pywatt_core.protocol.messages import (
    EncodedMessage,
    GetSecret,
    Heartbeat,
    HeartbeatAck,
    RoutedModuleResponse,
    RouteToModule,
    Secret,
)
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.transports import link
from pywatt_core.transports.link import Link, new_id
from pywatt_core.transports.stdio import open_pipes


def route(text="x"):
    payload = EncodedMessage(data=text.encode(), format="Json")
    return RouteToModule(target_module_id="b", target_endpoint="echo", request_id=str(uuid.uuid4()), payload=payload)


def answer(message):
    return RoutedModuleResponse(source_module_id="b", request_id=message.request_id, payload=message.payload)


class Ends:
    """A module's and an orchestrator's end of one channel over a socket pair."""

    def __init__(self):
        self.arrived = []
        self.lost = []
        self.options = {}
        self.act = lambda message, link: link.post(answer(message)) if isinstance(message, RouteToModule) else None

    async def open(self, raw=False, wire=Wire.CHANNEL):
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()

        def make(role):
            return lambda: Link(Session(role, wire, new_id=new_id), on_message=self.take, on_close=self.note, **self.options)

        _, self.module = await loop.create_unix_connection(make(Role.MODULE), sock=ours)
        if raw:
            theirs.setblocking(False)
            self.peer = theirs
        else:
            _, self.orchestrator = await loop.create_unix_connection(make(Role.ORCHESTRATOR), sock=theirs)
        return self

    def take(self, message, link):
        self.arrived.append(message)
        self.act(message, link)

    def note(self, link, error):
        self.lost.append((link, error))

    async def close(self):
        await self.module.close()
        if hasattr(self, "orchestrator"):
            await self.orchestrator.close()
        else:
            self.peer.close()


@pytest.fixture
def ends():
    return Ends()


async def test_many_requests_at_once_each_get_their_own_answer(ends):
    await ends.open()
    requests = [route(str(number)) for number in range(200)]
    answers = await asyncio.gather(*(ends.module.request(request, timeout=20) for request in requests))
    assert [reply.payload.data for reply in answers] == [request.payload.data for request in requests]
    await ends.close()


async def test_order_is_kept_however_the_writes_are_coalesced(ends):
    await ends.open()
    ends.act = lambda message, link: None
    sent = [route(str(number)) for number in range(500)]
    for number, message in enumerate(sent):
        ends.module.post(message)
        if number % 7 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(20):
        while len(ends.arrived) < len(sent):
            await asyncio.sleep(0)
    assert [message.request_id for message in ends.arrived] == [message.request_id for message in sent]
    await ends.close()


async def test_a_request_that_nobody_answers_times_out_and_a_late_answer_disturbs_nothing(ends):
    await ends.open()
    ends.act = lambda message, link: None
    with pytest.raises(RequestTimeout, match="'route_to_module' was not answered in time; it may or may not have been executed"):
        await ends.module.request(route(), timeout=0.01)
    late = ends.arrived.pop()
    ends.act = lambda message, link: link.post(answer(message))
    ends.orchestrator.post(answer(late))
    assert (await ends.module.request(route("next"), timeout=20)).payload.data == b"next"
    await ends.close()


async def test_an_earlier_deadline_is_kept_although_a_later_one_was_set_first(ends):
    await ends.open()
    ends.act = lambda message, link: None
    patient = asyncio.create_task(ends.module.request(route(), timeout=3600))
    await asyncio.sleep(0)
    with pytest.raises(RequestTimeout):
        await ends.module.request(route(), timeout=0.01)
    assert not patient.done()
    await ends.close()
    with pytest.raises(ChannelClosed):
        await patient


async def test_a_cancelled_request_leaves_nothing_waiting(ends):
    await ends.open()
    ends.act = lambda message, link: None
    asking = asyncio.create_task(ends.module.request(route(), timeout=20))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    assert ends.module.session.abandon() == []
    await ends.close()


async def test_what_was_in_flight_when_the_peer_vanished_may_have_been_executed(ends):
    await ends.open()
    ends.act = lambda message, link: None
    asking = asyncio.create_task(ends.module.request(route(), timeout=20))
    async with asyncio.timeout(20):
        while not ends.arrived:
            await asyncio.sleep(0)
    await ends.orchestrator.close()
    with pytest.raises(ChannelClosed, match="the link closed before 'route_to_module' was answered") as caught:
        await asking
    assert caught.value.executed == "unknown"
    await ends.close()


async def test_what_is_sent_after_the_end_was_certainly_not_executed(ends):
    await ends.open()
    await ends.close()
    with pytest.raises(ChannelClosed, match="'route_to_module' was not sent: the link is closed") as caught:
        await ends.module.request(route(), timeout=20)
    assert caught.value.executed == "no"
    with pytest.raises(ChannelClosed):
        ends.module.post(HeartbeatAck())


async def test_the_end_is_told_once_to_each_side(ends):
    await ends.open()
    await ends.orchestrator.close()
    await ends.module.closed
    await ends.close()
    assert [(link is ends.orchestrator, error) for link, error in ends.lost] == [(True, None), (False, None)]


async def test_a_message_that_nothing_answers_cannot_be_requested(ends):
    await ends.open()
    with pytest.raises(LocalProtocolError, match="nothing answers 'heartbeat': send it"):
        await ends.orchestrator.request(Heartbeat(), timeout=1)
    await ends.close()


async def test_lost_framing_closes_the_link_with_the_reason(ends):
    await ends.open(raw=True)
    asking = asyncio.create_task(ends.module.request(route(), timeout=20))
    await asyncio.sleep(0)
    await asyncio.get_running_loop().sock_sendall(ends.peer, b"\xff\xff\xff\xff\x01")
    with pytest.raises(ChannelClosed):
        await asking
    await ends.module.closed
    assert isinstance(ends.module.error, RemoteProtocolError)
    assert len(ends.lost) == 1
    await ends.close()


async def test_a_handler_that_fails_does_not_end_the_link(ends):
    await ends.open()
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))

    def fail_once(message, link):
        if message.payload.data == b"bad":
            raise RuntimeError("on purpose")
        link.post(answer(message))

    ends.act = fail_once
    ends.module.post(route("bad"))
    assert (await ends.module.request(route("good"), timeout=20)).payload.data == b"good"
    assert [str(error) for error in reported] == ["on purpose"]
    await ends.close()


async def test_send_waits_while_the_peer_does_not_read_and_memory_stays_bounded(ends):
    await ends.open(raw=True)
    megabyte = route("x" * 100_000)
    sent = 0

    async def flood():
        nonlocal sent
        for _ in range(200):
            await ends.module.send(route(megabyte.payload.data.decode()))
            sent += 1

    flooding = asyncio.create_task(flood())
    for _ in range(1000):
        await asyncio.sleep(0)
    stuck = sent
    assert stuck < 20, "the sender feels that nobody reads"
    while not flooding.done():
        async with asyncio.timeout(20):
            await asyncio.get_running_loop().sock_recv(ends.peer, 1 << 20)
    assert sent == 200
    ends.peer.close()
    await ends.close()


async def test_a_request_waits_while_the_peer_does_not_read_and_says_that_it_was_not_sent(ends):
    await ends.open(raw=True)
    while ends.module.keeps_up:
        ends.module.post(route("x" * 100_000))
    before = ends.module.traffic
    with pytest.raises(RequestTimeout, match="not sent in time, and was not executed: the peer does not read"):
        await ends.module.request(route(), timeout=0.05)
    assert ends.module.traffic == before
    waiting = asyncio.create_task(ends.module.request(route(), timeout=60))
    while not ends.module.keeps_up:
        async with asyncio.timeout(20):
            await asyncio.get_running_loop().sock_recv(ends.peer, 1 << 20)
    while ends.module.traffic == before:
        await asyncio.sleep(0)
    ends.peer.close()
    with pytest.raises(ChannelClosed) as caught:
        await waiting
    assert caught.value.executed == "unknown"
    await ends.close()


async def test_who_waits_for_nobody_gets_the_link_cut_once_too_much_waits_for_the_peer(ends):
    ends.options = {"backlog": 3_000_000}
    await ends.open(raw=True)
    asking = asyncio.create_task(ends.module.request(route(), timeout=60))
    await asyncio.sleep(0)
    ends.module.post(route("x" * 1_000_000))
    most = 0
    with pytest.raises(ChannelClosed, match="the peer did not read, and the link was cut") as caught:
        while True:
            ends.module.post(route("x" * 100_000))
            ends.module._flush()
            most = max(most, ends.module._writer.get_write_buffer_size())
    assert caught.value.executed == "no"
    assert most < 3_000_000 + 500_000, "the backlog and one message"
    with pytest.raises(ChannelClosed, match="closed before 'route_to_module' was answered"):
        await asking
    ((_, reason),) = ends.lost
    assert str(reason) == "the peer does not read: more than 3000000 bytes wait for it"
    await ends.close()


async def test_closing_waits_patiently_and_no_longer_for_a_peer_that_does_not_read(ends, monkeypatch):
    monkeypatch.setattr(link, "CLOSE_PATIENCE", 0.05)
    await ends.open(raw=True)
    while ends.module.keeps_up:
        ends.module.post(route("x" * 100_000))
    async with asyncio.timeout(20):
        await ends.module.close()
    assert ends.lost == [(ends.module, None)]
    await ends.close()


async def test_a_message_on_an_idle_line_leaves_at_once_and_the_others_of_its_tick_together(ends):
    await ends.open()
    count = [ends.module.traffic[2]]
    for _ in range(3):
        ends.module.post(GetSecret(f"s{len(count)}"))
        count.append(ends.module.traffic[2])
    assert count[1] > count[0], "the first leaves at once"
    assert count[1] == count[2] == count[3], "the others wait for the end of the tick"
    while ends.module.traffic[2] == count[3]:
        await asyncio.sleep(0)
    assert ends.module.traffic[2] == 3 * count[1]
    ends.module.post(GetSecret(f"s{len(count)}"))
    assert ends.module.traffic[2] == 4 * count[1], "the line is idle again"
    await ends.close()


async def test_tasks_that_answer_what_came_at_once_write_once_a_tick(ends):
    await ends.open()
    tasks, writes = set(), 0

    class Counting:
        """The real transport, and how often it is written to."""

        def __init__(self, transport):
            self._transport = transport

        def write(self, data):
            nonlocal writes
            writes += 1
            self._transport.write(data)

        def __getattr__(self, name):
            return getattr(self._transport, name)

    async def answer_later(message, link):
        await asyncio.sleep(0)
        link.post(answer(message))

    def begin(message, link):
        tasks.add(asyncio.create_task(answer_later(message, link)))

    ends.act = begin
    ends.orchestrator._writer = Counting(ends.orchestrator._writer)
    first, *others = [ends.module.request(route(str(number)), timeout=20) for number in range(65)]
    await first
    assert writes == 1
    await asyncio.gather(*others)
    assert writes < 1 + 64 / 4
    await ends.close()


async def test_a_tick_that_sends_much_hands_it_over_in_pieces_in_order(ends):
    await ends.open()
    requests = [route(f"{number:06}" * 5000) for number in range(40)]
    answers = await asyncio.gather(*(ends.module.request(request, timeout=20) for request in requests))
    assert [reply.payload.data for reply in answers] == [request.payload.data for request in requests]
    assert [message.request_id for message in ends.arrived] == [request.request_id for request in requests]
    await ends.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_in_a_long_turn_the_peer_gets_what_is_there_already(loop, monkeypatch):
    monkeypatch.setattr(link, "SOON", -1.0)
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None

    async def scenario():
        ends, kept = Ends(), []
        await ends.open()
        for number in range(40):
            ends.module.post(GetSecret(f"s{number}"))
            kept.append(len(ends.module._outgoing))
        assert kept.count(0) >= 5, "the first alone, and then eight at a time"
        assert not ends.module.unwritten, "the system has them, and the turn is not over"
        assert ends.module.keeps_up
        while len(ends.arrived) < 40:
            await asyncio.sleep(0)
        assert [message.name for message in ends.arrived] == [f"s{number}" for number in range(40)]
        await ends.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())


async def test_only_what_was_never_handed_over_was_certainly_not_executed(ends, monkeypatch):
    monkeypatch.setattr(link, "SOON", float("inf"))  # all of it in one turn, however long that takes here
    await ends.open(raw=True)
    sent = [asyncio.create_task(ends.module.request(route("x" * 20_000), timeout=60)) for _ in range(8)]
    await asyncio.sleep(0)  # each has run up to its wait; what did not fill a piece leaves at the end of the tick
    ends.module.abort(ConnectionResetError("cut"))
    ends.module.connection_lost(None)
    outcomes = [error.executed for error in await asyncio.gather(*sent, return_exceptions=True)]
    assert outcomes[:2] == ["unknown", "unknown"], "the first went at once, on an idle line"
    assert outcomes[-1] == "no"
    assert outcomes == sorted(outcomes, reverse=True)
    await ends.close()


async def test_a_link_that_does_not_read_makes_the_peer_wait(ends):
    await ends.open(raw=True)
    ends.module.pause_reading()
    loop = asyncio.get_running_loop()
    frame = b'{"op":"heartbeat"}'
    await loop.sock_sendall(ends.peer, len(frame).to_bytes(4, "big") + b"\x01" + frame)
    for _ in range(100):
        await asyncio.sleep(0)
    assert ends.arrived == []
    ends.module.resume_reading()
    async with asyncio.timeout(20):
        while not ends.arrived:
            await asyncio.sleep(0)
    await ends.close()


async def pipes():
    """Both ends of a pair of pipes as links, the module's past its handshake."""
    to_module, from_orchestrator = os.pipe()
    to_orchestrator, from_module = os.pipe()
    arrived, lost = [], []
    orchestrator = await open_pipes(
        Session(Role.ORCHESTRATOR, new_id=new_id), to_orchestrator, from_orchestrator, on_message=lambda m, link: arrived.append(m)
    )
    module = await open_pipes(
        Session(Role.MODULE, new_id=new_id),
        to_module,
        from_module,
        on_message=lambda m, link: arrived.append(m),
        on_close=lambda link, error: lost.append(error),
    )
    return orchestrator, module, arrived, lost


INIT = {"orchestrator_api": "x", "module_id": "m", "env": {}, "listen": "127.0.0.1:0"}


async def arrives(arrived, count=1):
    async with asyncio.timeout(20):
        while len(arrived) < count:
            await asyncio.sleep(0.001)


async def test_over_pipes_the_end_of_the_input_leaves_the_output_open():
    from pywatt_core.protocol.messages import Announce, HttpRequest, HttpResponse, Init

    orchestrator, module, arrived, lost = await pipes()
    orchestrator.post(Init(**INIT))
    await arrives(arrived)
    module.post(Announce(listen="127.0.0.1:1", endpoints=[]))
    await arrives(arrived, 2)
    asking = asyncio.create_task(orchestrator.request(HttpRequest(request_id="1", method="GET", uri="/"), timeout=20))
    await arrives(arrived, 3)
    orchestrator.close_writing()
    await module.closed
    assert lost == [None]
    module.post(HttpResponse(request_id="1", status_code=200, headers={}, body=b"late but there"))
    assert (await asking).body == b"late but there"
    await module.close()
    await orchestrator.close()


async def test_nothing_is_asked_where_no_answer_can_arrive_any_more():
    from pywatt_core.protocol.messages import Init

    orchestrator, module, arrived, _lost = await pipes()
    orchestrator.post(Init(**INIT))
    await arrives(arrived)
    orchestrator.close_writing()
    await module.closed
    with pytest.raises(ChannelClosed, match="'get_secret' was not sent") as caught:
        await module.request(GetSecret(name="K"), timeout=20)
    assert caught.value.executed == "no"
    await module.close()
    await orchestrator.close()


async def test_two_questions_for_one_secret_share_its_answer_over_the_wire():
    from pywatt_core.protocol.messages import Init

    orchestrator, module, arrived, _lost = await pipes()
    orchestrator.post(Init(**INIT))
    await arrives(arrived)
    first, second = (asyncio.create_task(module.request(GetSecret(name="K"), timeout=20)) for _ in range(2))
    await arrives(arrived, 2)
    orchestrator.post(Secret(name="K", value="v"))
    assert [(await one).value for one in (first, second)] == ["v", "v"]
    await module.close()
    await orchestrator.close()


async def test_a_broken_output_pipe_ends_the_link_with_its_error():
    to_module, keep_open = os.pipe()
    broken, from_module = os.pipe()
    lost = []
    module = await open_pipes(
        Session(Role.MODULE, new_id=new_id),
        to_module,
        from_module,
        on_message=lambda m, link: None,
        on_close=lambda link, error: lost.append(error),
    )
    os.write(keep_open, b'{"orchestrator_api":"x","module_id":"m","env":{},"listen":"127.0.0.1:0"}\n')
    os.close(broken)
    async with asyncio.timeout(20):
        await module.closed
    assert len(lost) == 1
    os.close(keep_open)
    await module.close()


async def test_closing_waits_until_the_peer_has_read_what_was_still_to_be_written():
    from pywatt_core.protocol.messages import Announce, HttpRequest, HttpResponse, Init

    orchestrator, module, arrived, _lost = await pipes()
    orchestrator.post(Init(**INIT))
    await arrives(arrived)
    module.post(Announce(listen="127.0.0.1:1", endpoints=[]))
    await arrives(arrived, 2)
    asking = [asyncio.create_task(orchestrator.request(HttpRequest(request_id=str(n), method="GET", uri="/"), timeout=20)) for n in (1, 2)]
    await arrives(arrived, 4)
    orchestrator.pause_reading()
    for number in (1, 2):
        module.post(HttpResponse(request_id=str(number), status_code=200, headers={}, body=b"x" * 100_000))
    closing = asyncio.create_task(module.close())
    for _ in range(100):
        await asyncio.sleep(0)
    orchestrator.resume_reading()
    assert [len((await one).body) for one in asking] == [100_000, 100_000]
    await closing
    await orchestrator.close()


async def test_aborting_does_not_wait_for_a_peer_that_does_not_read(ends):
    await ends.open(raw=True)
    asking = asyncio.create_task(ends.module.request(route("x" * 5_000_000), timeout=20))
    await asyncio.sleep(0)
    reason = TimeoutError("nothing came for too long")
    ends.module.abort(reason)
    with pytest.raises(ChannelClosed):
        await asking
    await ends.module.closed
    assert [error for _, error in ends.lost] == [reason]
    while await asyncio.get_running_loop().sock_recv(ends.peer, 1 << 20):
        pass  # what the kernel had taken already is followed by the end
    await ends.close()
