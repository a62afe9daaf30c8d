"""What a module asks others, byte for byte where bytes were promised, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypedDict

import msgspec
import pytest

from pywatt_core import AppState, telemetry
from pywatt_core.config import load
from pywatt_core.errors import ChannelClosed, LocalProtocolError, RemoteError, RemoteProtocolError, RequestTimeout
from pywatt_core.protocol.messages import EncodedMessage, Message, RoutedModuleMessage, RoutedModuleResponse, RouteToModule
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.services.answering import deadline
from pywatt_core.services.channels import Channels
from pywatt_core.services.messaging import Messaging
from pywatt_core.services.receivers import Receivers
from pywatt_core.services.secret_chain import SecretChain
from pywatt_core.services.secrets import SecretClient
from pywatt_core.services.turns import depth
from pywatt_core.transports.link import Link

ID = "11111111-2222-4333-8444-555555555555"


@dataclass
class Order:
    id: int
    items: list[str]


class User(msgspec.Struct):
    name: str


class Point(TypedDict):
    x: int


class Pair:
    """A module's messages, and an orchestrator that does what the test says."""

    def __init__(self, messaging: Messaging, link: Link, arrived: asyncio.Queue[RouteToModule]) -> None:
        self.messaging, self.link, self.arrived = messaging, link, arrived

    async def next(self) -> RouteToModule:
        async with asyncio.timeout(20):
            return await self.arrived.get()

    async def answer(self, content: Any, *, properties: Any = None, bare: bool = False) -> RouteToModule:
        """Answer the next request; what it was."""
        request = await self.next()
        envelope = {"id": ID, "content": content, "metadata": {"source": "them", **({"properties": properties} if properties else {})}}
        payload = EncodedMessage(json.dumps(content if bare else envelope).encode(), "Json")
        await self.link.send(RoutedModuleResponse("them", request.request_id, payload))
        return request

    async def asked(self, answer: Any, type: Any = Any, *, bare: bool = False, properties: Any = None, **more: Any) -> Any:
        """What the module gets for an answer."""
        result, _ = await asyncio.gather(
            self.messaging.request("them:x", None, type, **more), self.answer(answer, bare=bare, properties=properties)
        )
        return result


Connected = Callable[..., AbstractAsyncContextManager[Pair]]


@pytest.fixture
def connected() -> Connected:
    """``async with connected() as pair``."""

    @asynccontextmanager
    async def enter(limit: int | None = None, **state: Any) -> AsyncIterator[Pair]:
        loop = asyncio.get_running_loop()
        theirs, ours = socket.socketpair()
        arrived: asyncio.Queue[RouteToModule] = asyncio.Queue()
        receivers = Receivers()
        pair: Pair

        def take(message: Message, _link: Link) -> None:
            assert isinstance(message, RouteToModule)
            arrived.put_nowait(message)

        def handle(message: Message, _link: Link) -> None:
            assert isinstance(message, RoutedModuleMessage)
            tasks.append(loop.create_task(pair.messaging.handle(message)))

        tasks: list[asyncio.Task[Any]] = []
        _, link = await loop.connect_accepted_socket(lambda: Link(Session(Role.ORCHESTRATOR, Wire.CHANNEL), on_message=take), theirs)
        _, wire = await loop.connect_accepted_socket(
            lambda: Link(Session(Role.MODULE, Wire.CHANNEL, module_id="us.2", limit=limit), on_message=handle), ours
        )
        pair = Pair(Messaging(Channels(wire), "us.2", receivers, SimpleNamespace(**state) if state else None), link, arrived)
        try:
            yield pair
        finally:
            for task in tasks:
                task.cancel()
            await wire.close()
            await link.close()

    return enter


def envelope(message: RouteToModule) -> dict[str, Any]:
    assert message.payload.format == "Json"
    found: dict[str, Any] = json.loads(message.payload.data)
    return found


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_is_an_envelope_that_says_what_the_op_does_not(connected: Connected) -> None:
    async with connected() as pair:
        asking = asyncio.create_task(pair.messaging.request("orders.3:place", Order(7, ["a"]), timeout=5))
        message = await pair.answer(True)
        assert await asking is True
        assert (message.target_module_id, message.target_endpoint) == ("orders.3", "place")
        said = envelope(message)
        assert list(said) == ["id", "content", "metadata"]
        assert said["id"] == message.request_id
        assert said["content"] == {"id": 7, "items": ["a"]}
        left = said["metadata"]["properties"].pop("timeout")
        assert isinstance(left, int) and 4000 < left <= 5000
        assert said["metadata"] == {
            "source": "us.2",
            "destination": "orders.3",
            "properties": {"endpoint": "place", "reply": "envelope"},
        }


async def test_a_notification_is_one_for_the_target_and_for_the_wire(connected: Connected) -> None:
    async with connected() as pair:
        await pair.messaging.send("orders:noted", {"a": 1}, properties={"colour": "red"})
        message = await pair.next()
        assert envelope(message)["metadata"]["properties"] == {"endpoint": "noted", "notification": True, "colour": "red"}
        link = pair.messaging.channels.stdio
        assert link is not None and link.session._asking[RouteToModule]._waiting == {}, "nothing waits for an answer"


async def test_the_ids_of_the_request_that_is_worked_on_travel(connected: Connected) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with connected() as pair:
        with telemetry.context(request_id="req-7", trace_id=trace, span_id="00f067aa0ba902b7"):
            await pair.messaging.send("orders:noted")
        properties = envelope(await pair.next())["metadata"]["properties"]
        assert properties["request_id"] == "req-7"
        assert properties["traceparent"].startswith(f"00-{trace}-")
        assert "00f067aa0ba902b7" not in properties["traceparent"], "a span of its own"


@pytest.mark.parametrize("bare", [True, False], ids=["bare", "enveloped"])
@pytest.mark.parametrize(
    ("answer", "kind", "expected"),
    [
        ({"a": 1}, Any, {"a": 1}),
        ({"id": 1, "items": []}, Order, Order(1, [])),
        ({"name": "n"}, User, User("n")),
        ({"x": 1}, Point, {"x": 1}),
        ("aGk=", bytes, b"hi"),
        (None, None, None),
    ],
)
async def test_an_answer_becomes_what_the_caller_wants(connected: Connected, answer: Any, kind: Any, expected: Any, bare: bool) -> None:
    async with connected() as pair:
        assert await pair.asked(answer, kind, bare=bare) == expected


async def test_an_answer_that_does_not_fit_names_the_target_and_the_field(connected: Connected) -> None:
    async with connected() as pair:
        with pytest.raises(RemoteProtocolError, match=r"the answer of them:x cannot be read: .*\$\.id") as caught:
            await pair.asked({"id": "secret", "items": []}, Order)
        assert "secret" not in str(caught.value)


async def test_a_bare_value_that_looks_like_an_envelope_is_what_the_callers_type_says(connected: Connected) -> None:
    class Lookalike(msgspec.Struct):
        id: str
        content: int

    async with connected() as pair:
        assert await pair.asked({"id": ID, "content": 3}, Lookalike, bare=True) == Lookalike(ID, 3)
        assert await pair.asked({"id": ID, "content": 3}, int, bare=True) == 3


async def test_a_rust_result_is_taken_apart_where_that_is_wanted(connected: Connected) -> None:
    async with connected() as pair:
        assert await pair.asked({"Ok": {"name": "n"}}, User, bare=True, unwrap_result=True) == User("n")
        with pytest.raises(RemoteError, match="^module 'x' not found$") as caught:
            await pair.asked({"Err": "module 'x' not found"}, User, bare=True, unwrap_result=True)
        assert caught.value.code == "application_error"
        with pytest.raises(RemoteError, match='{"why":1}'):
            await pair.asked({"Err": {"why": 1}}, bare=True, unwrap_result=True)
        with pytest.raises(RemoteProtocolError, match="Ok"):
            await pair.asked({"Ok": 1, "Err": 2}, bare=True, unwrap_result=True)
        assert await pair.asked({"Err": "as it is"}, bare=True) == {"Err": "as it is"}


async def test_an_error_arrives_with_its_code_its_causes_and_what_was_done(connected: Connected) -> None:
    error = {"code": "teapot", "message": "no", "executed": "yes", "cause": {"code": "KeyError", "message": "'k'"}}
    async with connected() as pair:
        with pytest.raises(RemoteError, match="^no$") as caught:
            await pair.asked({"Err": "no"}, properties={"error": error})
        assert (caught.value.code, caught.value.executed) == ("teapot", "yes")
        cause = caught.value.__cause__
        assert cause is caught.value.cause and isinstance(cause, RemoteError)
        assert (cause.code, str(cause), cause.cause) == ("KeyError", "'k'", None)
        with pytest.raises(RequestTimeout, match="^too late$"):
            await pair.asked(None, properties={"error": {"code": "timeout", "message": "too late"}})
        with pytest.raises(RemoteError, match="cannot be read"):
            await pair.asked(None, properties={"error": {"code": 7}})


async def test_what_is_given_up_is_called_off(connected: Connected) -> None:
    async with connected() as pair:
        with pytest.raises(RequestTimeout, match=r"^them:x did not answer within 0\.05 s; it may or may not have acted$"):
            await pair.messaging.request("them:x", timeout=0.05)
        first = await pair.next()
        asking = asyncio.create_task(pair.messaging.request("them:x"))
        called_off = [await pair.next()]
        second = await pair.next()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        called_off.append(await pair.next())
        for request, cancel in zip((first, second), called_off, strict=True):
            assert (cancel.target_module_id, cancel.target_endpoint) == ("them", "__cancel__")
            assert cancel.request_id != request.request_id
            assert envelope(cancel)["metadata"]["properties"] == {
                "endpoint": "__cancel__",
                "notification": True,
                "request_id": request.request_id,
            }


async def test_a_request_within_a_request_has_no_more_time_than_that_one(connected: Connected) -> None:
    async with connected() as pair:
        now = asyncio.get_running_loop().time()
        token = deadline.set(now + 2)
        asking = asyncio.create_task(pair.messaging.request("them:x", timeout=600))
        deadline.reset(token)
        assert envelope(await pair.answer(1))["metadata"]["properties"]["timeout"] <= 2000
        await asking
        token = deadline.set(now)
        with pytest.raises(RequestTimeout, match="them:x was not asked: no time is left"):
            await pair.messaging.request("them:x")
        deadline.reset(token)
        assert pair.arrived.empty()


async def test_a_request_within_a_request_says_how_deep_it_is(connected: Connected) -> None:
    async with connected() as pair:
        for outer, said in ((-1, None), (0, 1), (4, 5)):
            depth.set(outer)
            await pair.messaging.send("them:x")
            assert envelope(await pair.next())["metadata"]["properties"].get("depth") == said
            await pair.asked(1)
        depth.set(-1)


async def test_when_the_link_breaks_the_error_says_whether_it_may_have_been_done(connected: Connected) -> None:
    async with connected() as pair:
        asking = asyncio.create_task(pair.messaging.request("them:x"))
        await pair.next()
        await pair.link.close()
        with pytest.raises(ChannelClosed) as caught:
            await asking
        assert caught.value.executed == "unknown"
        with pytest.raises(ChannelClosed) as caught:
            await pair.messaging.request("them:x")
        assert caught.value.executed == "no"


async def test_without_an_orchestrator_there_is_nobody_to_carry_it() -> None:
    state: AppState[None] = AppState(module_id="us", config=load(init={}), secrets=SecretClient(SecretChain([])))
    for asking in (state.send_request("them:x"), state.send_message("them:x"), state.messaging.ask_orchestrator("publish")):
        with pytest.raises(ChannelClosed, match="runs without an orchestrator") as caught:
            await asking
        assert caught.value.executed == "no"


async def test_an_orchestrator_of_somebody_else_is_not_asked_for_what_it_does_not_know(connected: Connected) -> None:
    async with connected(init=SimpleNamespace(pywatt=None)) as pair:
        with pytest.raises(RemoteError, match="not PyWatt's: it cannot be asked for 'publish'") as caught:
            await pair.messaging.ask_orchestrator("publish")
        assert (caught.value.code, caught.value.executed) == ("unsupported", "no")
        with pytest.raises(RequestTimeout):
            await pair.messaging.request("them:x", timeout=0.05)
        await pair.next()
        await pair.messaging.send("them:last")
        assert (await pair.next()).target_endpoint == "last", "nothing is called off: it would be carried to the target as a message"


async def test_what_cannot_be_sent_is_refused_before_it_leaves(connected: Connected) -> None:
    async with connected() as pair:
        for target in ("them", "them:", ":x", "", None):
            with pytest.raises(LocalProtocolError, match="a target is 'module:endpoint'"):
                await pair.messaging.request(target)  # type: ignore[arg-type]
        with pytest.raises(LocalProtocolError, match="^a complex cannot be sent: plain values, dataclasses, .* can$"):
            await pair.messaging.send("them:x", 1j)
        with pytest.raises(LocalProtocolError, match="^a complex cannot be sent inside a list: plain values, .* can$"):
            await pair.messaging.send("them:x", [1j])
        assert pair.arrived.empty()


@pytest.mark.parametrize("timeout", ["5", float("nan"), True, [1]])
async def test_what_is_no_number_of_seconds_is_no_timeout(connected: Connected, timeout: Any) -> None:
    async with connected() as pair:
        with pytest.raises(LocalProtocolError, match="a timeout is a number of seconds, for example 5.0, not "):
            await pair.messaging.request("them:x", timeout=timeout)
        assert pair.arrived.empty()


async def test_a_timeout_of_nothing_is_said_to_be_that(connected: Connected) -> None:
    async with connected() as pair:
        for timeout in (0, -1.5, float("-inf")):
            with pytest.raises(RequestTimeout, match=f"them:x was not asked: its timeout of {timeout:g} s leaves no time"):
                await pair.messaging.request("them:x", timeout=timeout)
        assert pair.arrived.empty()


async def test_whoever_waits_for_ever_is_answered(connected: Connected) -> None:
    async with connected() as pair:
        assert await pair.asked(5, timeout=float("inf")) == 5


# ── being asked: what `Answering` does is in its own tests ──────────────────────────────────────────────────────────


async def test_a_reply_goes_back_with_the_id_of_the_request(connected: Connected) -> None:
    async with connected() as pair:

        @pair.messaging.receivers.on("double")
        async def double(number: int) -> int:
            return number * 2

        said = {"endpoint": "double", "reply": "envelope"}
        payload = json.dumps({"id": ID, "content": 21, "metadata": {"properties": said}}).encode()
        await pair.link.send(RoutedModuleMessage("asker.4", ID, EncodedMessage(payload, "Json")))
        reply = await pair.next()
        assert (reply.target_module_id, reply.target_endpoint, reply.request_id) == ("asker.4", "__response__", ID)
        assert envelope(reply)["content"] == 42
        assert envelope(reply)["metadata"] == {"source": "us.2", "destination": "asker.4"}


async def test_a_payload_that_is_not_readable_at_all_is_answered_as_everybody_understands(connected: Connected) -> None:
    async with connected() as pair:
        await pair.link.send(RoutedModuleMessage("asker", ID, EncodedMessage(b"!", "Base64")))
        reply = await pair.next()
        assert json.loads(reply.payload.data) == {"Err": "us.2 cannot read the payload: the payload is not Base64"}


async def test_a_result_that_is_too_large_for_the_wire_is_answered_all_the_same(connected: Connected) -> None:
    async with connected(limit=3000) as pair:

        @pair.messaging.receivers.on("large")
        async def large() -> str:
            return "x" * 4000

        payload = json.dumps({"id": ID, "content": None, "metadata": {"properties": {"endpoint": "large", "reply": "envelope"}}}).encode()
        await pair.link.send(RoutedModuleMessage("asker", ID, EncodedMessage(payload, "Json")))
        error = envelope(await pair.next())["metadata"]["properties"]["error"]
        assert (error["code"], error["executed"]) == ("application_error", "yes")
        assert error["message"].startswith("the result of us.2 cannot be sent: ")
