"""The broker between modules whose links, sessions and inboxes are the real ones, all in this process."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import pytest

from pywatt_core.errors import ChannelClosed, RemoteError, RequestTimeout
from pywatt_core.interfaces import Handler
from pywatt_core.protocol.messages import EncodedMessage, Message, Metadata, RoutedModuleMessage, RoutedModuleResponse, RouteToModule
from pywatt_core.protocol.payloads import write_payload
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.services.channels import Channels
from pywatt_core.services.messaging import Messaging
from pywatt_core.services.receivers import Receivers
from pywatt_core.serving import Inbox
from pywatt_core.transports.link import Link
from pywatt_orchestrator import broker as broker_room
from pywatt_orchestrator import waiting_room
from pywatt_orchestrator.conversation import Conversation
from pywatt_orchestrator.hub import Hub

F = TypeVar("F", bound=Callable[..., Any])

DEADLINE = 20.0


class Member:
    """One module: its process as the orchestrator sees it (a `Peer`), and its own end of the link."""

    def __init__(
        self, house: House, module: str, module_id: str, *, rust: bool = False, formats: tuple[str, ...] = (), limit: int | None = None
    ) -> None:
        self.house, self.module, self.module_id, self.rust, self._formats = house, module, module_id, rust, formats
        self.hangs = False
        self.limit = limit
        self.notes: list[str] = []
        self.received: list[Message] = []
        self.receivers = Receivers()
        self.talk = Conversation(
            None,  # type: ignore[arg-type]  # nobody asks for secrets here
            self,
            desk=None,  # type: ignore[arg-type]
            hub=house.hub,
            source=self,  # type: ignore[arg-type]
            on_announce=lambda _announce: None,
        )

    async def connect(self) -> Member:
        loop = asyncio.get_running_loop()
        theirs, ours = socket.socketpair()
        session = Session(
            Role.ORCHESTRATOR,
            Wire.CHANNEL,
            limit=self.limit,
            module_id=self.module_id,
            on_problem=lambda problem: self.notes.append(problem.detail),
        )
        _, self.link = await loop.connect_accepted_socket(lambda: Link(session, on_message=self.talk.take), theirs)
        self.inbox = Inbox(on_stop=lambda _reason, _drain: None)
        session = Session(Role.MODULE, Wire.CHANNEL, module_id=self.module_id, on_problem=self.inbox.problem)
        _, self.wire = await loop.connect_accepted_socket(lambda: Link(session, on_message=self._arrived), ours)
        self.messaging = Messaging(Channels(self.wire), self.module_id, self.receivers)
        handlers: dict[type[Message], Handler] = {RoutedModuleMessage: self.messaging.handle}
        self.inbox.open(handlers, None)
        return self

    def _arrived(self, message: Message, link: Link) -> None:
        self.received.append(message)
        if not self.rust:
            self.inbox.take(message, link)

    def on(self, endpoint: str) -> Callable[[F], F]:
        return self.receivers.on(endpoint)

    async def ask(self, target: str, value: Any = None, type: Any = Any, **more: Any) -> Any:
        return await self.messaging.request(target, value, type, **{"timeout": DEADLINE, **more})

    async def raw(self, target: str, *, id: str | None = None, endpoint: str = "e", payload: bytes = b"1", format: Any = "Json") -> None:
        """Send as a peer would that knows nothing but the protocol."""
        await self.wire.send(RouteToModule(target, endpoint, id or str(uuid.uuid4()), EncodedMessage(payload, format)))

    async def ask_raw(self, target: str, *, id: str | None = None, endpoint: str = "e", payload: bytes = b"1") -> Any:
        """Ask as such a peer; who answered, and the payload's bytes."""
        message = RouteToModule(target, endpoint, id or str(uuid.uuid4()), EncodedMessage(payload, "Json"))
        answer: Any = await self.wire.request(message, timeout=DEADLINE)
        assert isinstance(answer, RoutedModuleResponse)
        return answer.source_module_id, json.loads(answer.payload.data)

    async def got(self, kind: type[Message], count: int = 1) -> list[Any]:
        """What has arrived of a kind, once there are `count`."""
        await until(lambda: sum(isinstance(message, kind) for message in self.received) >= count)
        return [message for message in self.received if isinstance(message, kind)]

    # ── as the hub sees it ──────────────────────────────────────────────────────────────────────────────────────────

    def reads(self, format: str) -> bool:
        return format in self._formats

    def way(self) -> Link:
        return self.link

    async def deliver(self, message: Message) -> None:
        await self.link.send(message)

    def note(self, text: str, *, level: str = "info") -> None:
        self.notes.append(f"{level}: {text}")

    def noted(self, words: str) -> bool:
        return any(words in note for note in self.notes)

    async def die(self) -> None:
        """Its process ends."""
        await self.wire.close()
        self.house.hub.gone(self)
        self.talk.end()
        await self.link.close()


class House:
    """A hub, and who lives there."""

    def __init__(self) -> None:
        self.hub = Hub(None)  # type: ignore[arg-type]  # nobody writes to the journal here
        self.members: list[Member] = []

    async def join(self, module: str, module_id: str = "", *, ready: bool = True, **more: Any) -> Member:
        member = await Member(self, module, module_id or module, **more).connect()
        self.members.append(member)
        if ready:
            self.hub.ready(member)
        return member

    def broken(self) -> tuple[int, int]:
        """Requests and messages that somebody still waits for."""
        return self.hub.broker.pending, self.hub.broker.waiting

    async def close(self) -> None:
        for member in self.members:
            await member.inbox.drain(0)
            await member.wire.close()
            await member.link.close()
        self.hub.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.002)


async def failure(asking: Any) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        await asking
    return caught.value


Home = Callable[[], AbstractAsyncContextManager[House]]


@pytest.fixture
def house() -> Home:
    """``async with house() as here``: closed whatever happens."""

    @asynccontextmanager
    async def enter() -> AsyncIterator[House]:
        here = House()
        try:
            yield here
        finally:
            await here.close()

    return enter


# ── there and back ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_reaches_its_function_and_the_result_comes_back(house: Home) -> None:
    async with house() as here:
        asker, answerer = await here.join("asker"), await here.join("answerer")

        @answerer.on("double")
        async def double(number: int) -> int:
            return number * 2

        assert await asyncio.gather(*(asker.ask("answerer:double", n, int) for n in range(50))) == [n * 2 for n in range(50)]
        assert here.broken() == (0, 0)
        assert here.hub.broker.routed == 100
        message = (await answerer.got(RoutedModuleMessage))[0]
        properties = json.loads(message.payload.data)["metadata"]["properties"]
        assert (properties["endpoint"], properties["reply"]) == ("double", "envelope")
        assert 19_000 < properties["timeout"] <= 20_000


async def test_a_module_may_ask_itself_and_send_without_waiting_for_an_answer(house: Home) -> None:
    async with house() as here:
        alone = await here.join("alone")
        heard: list[Any] = []

        @alone.on("hear")
        async def hear(text: str) -> str:
            heard.append(text)
            return text

        assert await alone.ask("alone:hear", "a") == "a"
        await alone.messaging.send("alone:hear", "b")
        await until(lambda: heard == ["a", "b"])
        assert here.broken() == (0, 0)
        assert here.hub.broker.routed == 3, "a notification is not answered"
        assert not alone.link.session._asking[RouteToModule]._owed, "and nothing is owed for it"


async def test_payloads_are_not_read_on_the_way(house: Home) -> None:
    async with house() as here:
        asker, answerer = await here.join("asker"), await here.join("answerer", rust=True)
        for data, format in ((b"\xff not JSON", "Binary"), (b"{", "Json"), (b"!", "Base64"), (b"?", "Auto")):
            await asker.raw("answerer", payload=data, format=format)
        carried = await answerer.got(RoutedModuleMessage, 4)
        assert [(one.payload.data, one.payload.format) for one in carried] == [
            (b"\xff not JSON", "Binary"), (b"{", "Json"), (b"!", "Base64"), (b"?", "Auto"),
        ]  # fmt: skip


async def test_only_the_target_of_a_request_can_answer_it_and_only_once(house: Home) -> None:
    async with house() as here:
        asker, answerer, other = await here.join("asker"), await here.join("answerer", rust=True), await here.join("other")
        asking = asyncio.create_task(asker.ask("answerer:x"))
        id = (await answerer.got(RoutedModuleMessage))[0].original_request_id
        await other.raw("asker", id=id, endpoint="__response__", payload=b'"forged"')
        await until(lambda: other.noted("debug: a reply for asker was dropped"))
        await answerer.raw("asker", id=id, endpoint="__response__", payload=b'"true"')
        assert await asking == "true"
        await answerer.raw("asker", id=id, endpoint="__response__", payload=b'"again"')
        await until(lambda: answerer.noted("debug: a reply for asker was dropped"))
        assert here.hub.broker.routed == 2


async def test_a_request_id_that_is_in_use_is_refused(house: Home) -> None:
    async with house() as here:
        one, two, answerer = await here.join("one", rust=True), await here.join("two", rust=True), await here.join("answerer", rust=True)
        id = str(uuid.uuid4())
        await one.raw("answerer", id=id)
        await answerer.got(RoutedModuleMessage)
        assert await two.ask_raw("answerer", id=id) == ("answerer", {"Err": "a request with this request_id is under way already"})
        assert here.broken() == (1, 0)


async def test_the_least_busy_instance_is_asked_and_one_that_hangs_only_where_all_do(house: Home) -> None:
    async with house() as here:
        asker = await here.join("asker")
        first, second = await here.join("worker", "worker.1", rust=True), await here.join("worker", "worker.2", rust=True)
        for _ in range(4):
            await asker.raw("worker")
        await first.got(RoutedModuleMessage, 2)
        await second.got(RoutedModuleMessage, 2)
        for message in await first.got(RoutedModuleMessage, 2):
            await first.raw("asker", id=message.original_request_id, endpoint="__response__")
        await until(lambda: here.broken() == (2, 0))
        for _ in range(2):
            await asker.raw("worker")
        await first.got(RoutedModuleMessage, 4)
        first.hangs = True
        await asker.raw("worker")
        await second.got(RoutedModuleMessage, 3)
        await asker.raw("worker.1")
        await first.got(RoutedModuleMessage, 5)
        here.hub.leaving(second)
        await asker.raw("worker")
        await first.got(RoutedModuleMessage, 6)


# ── who is not there ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_to_nobody_fails_at_once(house: Home) -> None:
    async with house() as here:
        asker, rust = await here.join("asker"), await here.join("rusty", rust=True)
        error = await failure(asker.ask("nobody:x"))
        assert (error.code, str(error), error.executed) == ("module_not_found", "module 'nobody' not found", "no")
        here.hub.knows = lambda name: name == "failed"
        error = await failure(asker.ask("failed:x"))
        text = "module 'failed' is not running, and is not started again by itself: `pywatt restart failed` starts it"
        assert (error.code, str(error)) == ("unavailable", text)
        assert await rust.ask_raw("nobody") == ("nobody", {"Err": "module 'nobody' not found"})
        await asker.messaging.send("nobody:x")
        await asker.messaging.send("nobody:x")
        await until(lambda: len(asker.notes) == 2)
        text = "a message for nobody:x was dropped: module 'nobody' not found"
        assert asker.notes == [f"warning: {text}", f"debug: {text}"], "a person is told once"


async def test_what_is_for_a_module_that_starts_waits_in_order_until_it_is_ready(house: Home) -> None:
    async with house() as here:
        here.hub.expects = lambda name: name in ("late", "late.1")
        asker = await here.join("asker")
        order: list[int] = []
        asking = [asyncio.create_task(asker.ask("late.1:x" if n % 2 else "late:x", n)) for n in range(6)]
        await until(lambda: here.broken() == (0, 6))
        await asker.messaging.send("late:x", 6)
        await until(lambda: here.broken() == (0, 7))
        late = await here.join("late", "late.1", ready=False)

        @late.on("x")
        async def x(n: int) -> int:
            order.append(n)
            return n

        here.hub.ready(late)
        assert await asyncio.gather(*asking) == list(range(6))
        await until(lambda: len(order) == 7)
        assert (order, here.broken()) == ([1, 3, 5, 0, 2, 4, 6], (0, 0)), "those who mean that very instance come first"


async def test_what_waits_has_the_senders_own_deadline_and_is_told_a_little_earlier(house: Home) -> None:
    async with house() as here:
        here.hub.expects = lambda _name: True
        asker = await here.join("asker")
        error = await failure(asker.ask("late:x", timeout=0.5))
        assert (error.code, error.executed, str(error)) == ("unavailable", "no", "module 'late' was not ready within 0.5 s")
        assert here.broken() == (0, 0)


async def test_who_waits_for_a_module_that_has_given_up_is_told_so(house: Home) -> None:
    async with house() as here:
        here.hub.expects = here.hub.knows = lambda _name: True
        asker = await here.join("asker")
        asking = asyncio.create_task(asker.ask("late:x"))
        await until(lambda: here.broken() == (0, 1))
        here.hub.changed()
        assert here.broken() == (0, 1), "something else has changed"
        here.hub.expects = lambda _name: False
        here.hub.changed()
        assert (await failure(asking)).code == "unavailable"
        assert here.broken() == (0, 0)


async def test_the_waiting_room_has_walls(house: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_room, "MOST", 2)
    async with house() as here:
        here.hub.expects = lambda _name: True
        asker = await here.join("asker")
        asking = [asyncio.create_task(asker.ask("late:x", timeout=1)) for _ in range(2)]
        await until(lambda: here.broken() == (0, 2))
        assert (await failure(asker.ask("late:x"))).code == "overloaded"
        monkeypatch.setattr(waiting_room, "MOST", 100)
        monkeypatch.setattr(waiting_room, "MOST_BYTES", 10_000)
        assert (await failure(asker.ask("late:x", "x" * 10_000))).code == "overloaded"
        assert [(await failure(one)).code for one in asking] == ["unavailable"] * 2
        for _ in range(3):
            error = await failure(asker.ask("late:x", "x" * 6_000, timeout=0.1))
            assert error.code == "unavailable", "there is room again each time that somebody leaves"


async def test_who_has_too_many_requests_under_way_gets_no_more(house: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_room, "MOST_PENDING", 3)
    async with house() as here:
        asker, answerer = await here.join("asker"), await here.join("answerer", rust=True)
        asking = [asyncio.create_task(asker.ask("answerer:x")) for _ in range(3)]
        await answerer.got(RoutedModuleMessage, 3)
        error = await failure(asker.ask("answerer:x"))
        assert (error.code, str(error)) == ("overloaded", "3 requests of asker wait for their answers")
        for message in await answerer.got(RoutedModuleMessage, 3):
            await answerer.raw("asker", id=message.original_request_id, endpoint="__response__")
        assert await asyncio.gather(*asking) == [1, 1, 1]


async def test_who_never_says_that_it_gave_up_loses_its_oldest_request(house: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_room, "MOST_PENDING", 3)
    async with house() as here:
        rust, _silent = await here.join("rusty", rust=True), await here.join("silent", rust=True)
        asking = [asyncio.create_task(rust.ask_raw("silent")) for _ in range(4)]
        assert await asking[0] == ("silent", {"Err": "silent has not answered while 3 other requests were made"})
        assert here.broken() == (3, 0)
        for one in asking[1:]:
            one.cancel()


# ── who goes ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_requests_of_a_process_that_ends_are_disconnected_and_its_successor_cannot_answer_them(house: Home) -> None:
    async with house() as here:
        asker, answerer, rust = await here.join("asker"), await here.join("answerer", rust=True), await here.join("rusty", rust=True)
        asking = [asyncio.create_task(asker.ask("answerer:x", format=format)) for format in ("Json", "Base64")]
        bare = [asyncio.create_task(one.ask_raw("answerer")) for one in (rust, asker)]
        id = (await answerer.got(RoutedModuleMessage, 4))[0].original_request_id
        await answerer.die()
        for one in asking:
            error = await failure(one)
            assert (error.code, error.executed) == ("disconnected", "unknown")
        text = "the process of answerer ended before it answered; it may or may not have acted"
        assert await asyncio.gather(*bare) == [("answerer", {"Err": text})] * 2, "only who said so reads envelopes"
        successor = await here.join("answerer", rust=True)
        await successor.raw("asker", id=id, endpoint="__response__")
        await until(lambda: successor.noted("of an earlier process"))
        assert here.broken() == (0, 0)


async def test_what_a_process_asked_for_is_called_off_when_it_ends(house: Home) -> None:
    async with house() as here:
        here.hub.expects = lambda _name: True
        asker, answerer = await here.join("asker"), await here.join("answerer")
        ended: list[str] = []

        @answerer.on("slow")
        async def slow() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("slow")
                raise

        asking = [asyncio.create_task(asker.ask(target, timeout=600)) for target in ("answerer:slow", "late:x")]
        await answerer.got(RoutedModuleMessage)
        await until(lambda: here.broken() == (1, 1))
        await asker.die()
        await until(lambda: ended == ["slow"])
        assert here.broken() == (0, 0)
        for one in asking:
            with pytest.raises(ChannelClosed):
                await one


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_a_request_that_is_given_up_is_called_off_and_leaves_nothing_behind(house: Home, how: str) -> None:
    async with house() as here:
        here.hub.expects = lambda _name: True
        asker, answerer = await here.join("asker"), await here.join("answerer")
        ended: list[str] = []

        @answerer.on("slow")
        async def slow() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("slow")
                raise

        @answerer.on("other")
        async def other() -> str:
            return "still here"

        asking = asyncio.create_task(asker.ask("answerer:slow", timeout=0.2 if how == "timeout" else DEADLINE))
        waiting = asyncio.create_task(asker.ask("late:x"))
        asked = (await answerer.got(RoutedModuleMessage))[0].original_request_id
        await until(lambda: here.broken() == (1, 1))
        waiting.cancel()
        if how == "cancel":
            asking.cancel()
        with pytest.raises(RequestTimeout if how == "timeout" else asyncio.CancelledError):
            await asking
        await until(lambda: ended == ["slow"] and here.broken() == (0, 0))
        assert await asker.ask("answerer:other") == "still here"
        await until(lambda: not asker.link.session._asking[RouteToModule]._owed)
        await until(lambda: asked not in asker.wire.session._asking[RouteToModule]._late)


# ── formats ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_format_is_sent_only_to_who_offered_it(house: Home) -> None:
    async with house() as here:
        plain, able = await here.join("plain"), await here.join("able", formats=("msgpack",))
        for member in (plain, able):

            @member.on("echo")
            async def echo(data: bytes) -> bytes:
                return data

        error = await failure(able.ask("plain:echo", b"\0\xff", format="MessagePack"))
        assert (error.code, str(error), error.executed) == ("unsupported_format", "module 'plain' does not read MessagePack", "no")
        assert await able.ask("able:echo", b"\0\xff", bytes, format="MessagePack") == b"\0\xff"
        error = await failure(plain.ask("able:echo", b"\0\xff", format="MessagePack"))
        assert (error.code, error.executed) == ("unsupported_format", "yes"), "it was answered as it was asked, which plain does not read"


# ── the orchestrator itself ─────────────────────────────────────────────────────────────────────────────────────────


async def test_the_orchestrator_itself_answers_what_it_serves(house: Home) -> None:
    async with house() as here:
        asker, rust = await here.join("asker"), await here.join("rusty", rust=True)
        heard: list[Any] = []

        async def add(peer: Any, payload: Any, properties: Any) -> Any:
            heard.append((peer.module_id, payload, properties.get("endpoint")))
            if payload == "no":
                raise RemoteError("not today", code="closed")
            return {"sum": sum(payload)}

        here.hub.broker.serve("add", add)
        with pytest.raises(TypeError, match="two functions answer __orchestrator__:add"):
            here.hub.broker.serve("add", add)
        assert await asker.messaging.ask_orchestrator("add", [1, 2], timeout=DEADLINE) == {"sum": 3}
        assert heard == [("asker", [1, 2], "add")]
        error = await failure(asker.messaging.ask_orchestrator("add", "no", timeout=DEADLINE))
        assert (error.code, str(error)) == ("closed", "not today")
        error = await failure(asker.messaging.ask_orchestrator("add", 7, timeout=DEADLINE))
        assert (error.code, str(error)) == ("application_error", "the orchestrator failed; its log says why")
        assert (await failure(asker.messaging.ask_orchestrator("sub", timeout=DEADLINE))).code == "endpoint_not_found"
        await asker.messaging.send("__orchestrator__:add", [4])
        await until(lambda: len(heard) == 4)
        assert await rust.ask_raw("__orchestrator__", endpoint="add", payload=b"[5]") == ("__orchestrator__", {"sum": 5})


# ── back-pressure ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_slow_target_holds_up_its_sender_in_bounded_memory_and_loses_nothing(house: Home) -> None:
    async with house() as here:
        sender, slow, quick, other = [await here.join(name) for name in ("sender", "slow", "quick", "other")]
        heard: list[int] = []

        @slow.on("piece")
        async def piece(data: str) -> None:
            heard.append(len(data))

        @quick.on("ping")
        async def ping() -> str:
            return "pong"

        slow.wire.pause_reading()
        data = "x" * 100_000
        flood = asyncio.create_task(flooding(sender, "slow:piece", data, 600))
        await until(lambda: sender.talk.pulse is not None)
        assert sender.talk._held, "it is not read any more: 600 pieces of 100 kB are more than 16 MiB"
        held = sum(sender.talk._tasks.values())
        assert held < 40 * 2**20
        assert await other.ask("quick:ping") == "pong", "nobody else is held up"
        slow.wire.resume_reading()
        await flood
        await until(lambda: len(heard) == 600)
        await until(lambda: not sender.talk._held)
        assert sender.talk.pulse is None


async def flooding(sender: Member, target: str, data: str, count: int) -> None:
    for _ in range(count):
        await sender.messaging.send(target, data)


async def test_who_has_stopped_to_read_holds_up_nobody_for_long(house: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_room, "STALLED_AFTER", 0.1)
    async with house() as here:
        sender, stuck = await here.join("sender"), await here.join("stuck")

        @stuck.on("hear")
        async def hear(data: str) -> int:
            return len(data)

        stuck.wire.pause_reading()
        await flooding(sender, "stuck:hear", "x" * 1_000_000, 8)
        await until(lambda: stuck.noted("warning: it has not read what it is sent for 0.1 s"))
        error = await failure(sender.ask("stuck:hear", "x"))
        assert (error.code, str(error), error.executed) == ("overloaded", "module 'stuck' does not read what it is sent", "no")
        await sender.messaging.send("stuck:hear", "x")
        await until(lambda: sender.noted("warning: a message for stuck:hear was dropped"))
        stuck.wire.resume_reading()
        await until(lambda: stuck.link.keeps_up)
        assert await sender.ask("stuck:hear", "abc") == 3
        assert stuck.noted("it reads what it is sent again")


async def test_a_message_that_the_targets_link_cannot_carry_is_answered(house: Home) -> None:
    async with house() as here:
        asker, _answerer = await here.join("asker"), await here.join("answerer", limit=2000)
        error = await failure(asker.ask("answerer:x", "x" * 3000))
        assert (error.code, error.executed) == ("bad_request", "no")
        assert "cannot be sent this" in str(error)


def test_a_payload_is_looked_into_only_where_it_may_be_a_notification(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[EncodedMessage] = []
    read = broker_room._properties

    def look(payload: EncodedMessage) -> dict[str, Any]:
        looked.append(payload)
        return read(payload)

    monkeypatch.setattr(broker_room, "_properties", look)
    id = str(uuid.uuid4())

    def routed(content: Any, **said: Any) -> RouteToModule:
        return RouteToModule("b", "e", id, write_payload(content, Metadata(properties=said), id=id))

    assert not broker_room._is_notification(routed("plain", endpoint="e"))
    assert looked == []
    assert not broker_room._is_notification(routed('"notification":true', endpoint="e"))
    assert not broker_room._is_notification(routed(1, notification="yes"))
    assert broker_room._is_notification(routed(1, notification=True))
    assert len(looked) == 3
