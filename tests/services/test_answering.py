"""The functions that answer other modules: which one, with what, for how long, and what the requester learns where it fails."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pywatt_core import Arrival, redaction, telemetry
from pywatt_core.errors import RemoteError, RequestTimeout
from pywatt_core.protocol.failures import Failure, failure_in
from pywatt_core.protocol.messages import EncodedMessage, Metadata
from pywatt_core.protocol.payloads import read_payload, write_bare, write_payload
from pywatt_core.services import answering
from pywatt_core.services.answering import Answering
from pywatt_core.services.receivers import Receivers
from pywatt_core.services.turns import depth
from pywatt_core.transports.link import new_id


@dataclass
class Order:
    id: int


@dataclass
class Overlapping:
    """Nobody can tell it from an `Order`."""

    id: int


def arrival(endpoint: str, content: Any = None, *, source: str = "asker", format: str = "Json", id: str = "", **said: Any) -> Arrival:
    """A request of a PyWatt module."""
    properties = {"endpoint": endpoint, "reply": "envelope", **said}
    left = properties.get("left")
    ends = None if left is None else asyncio.get_running_loop().time() + left
    payload = write_payload(content, Metadata(source=source, properties=properties), format=format, id=new_id())
    return Arrival(source, id or new_id(), read_payload(payload), deadline=ends, size=len(payload.data))


class Answers:
    """One module's functions."""

    def __init__(self, **limits: int) -> None:
        self.receivers = Receivers()
        self.answering = Answering("us", self.receivers, "the state", **limits)
        self.on = self.receivers.on

    async def value(self, arrived: Arrival) -> Any:
        """The result of a call that succeeds."""
        payload = await self.answering.answer(arrived)
        assert payload is not None
        read = read_payload(payload)
        assert failure_in(read) is None, failure_in(read)
        return read.decode()

    async def failure(self, arrived: Arrival) -> Failure:
        """What the requester is told of a call that fails."""
        payload = await self.answering.answer(arrived)
        assert payload is not None
        failure = failure_in(read_payload(payload))
        assert failure is not None
        return failure


# ── which function ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_endpoint_comes_before_the_source_and_the_source_before_the_rest() -> None:
    us = Answers()
    us.on("a")(lambda: "endpoint")
    us.receivers.on_source("asker")(lambda: "source")
    us.receivers.on_source("asker.2")(lambda: "instance")
    us.receivers.on_default(lambda: "default")
    assert await us.value(arrival("a")) == "endpoint"
    assert await us.value(arrival("b")) == "source"
    assert await us.value(arrival("b", source="asker.1")) == "source", "NAME stands for all its instances"
    assert await us.value(arrival("b", source="asker.2")) == "instance"
    assert await us.value(arrival("", source="other")) == "default"
    assert (await us.failure(arrival("__mine__"))).code == "endpoint_not_found", "names of PyWatt's own are nobody else's"


async def test_a_rust_requester_that_names_no_endpoint_gets_bare_values() -> None:
    us = Answers()
    us.receivers.on_source("rusty")(lambda payload: {"heard": payload})
    payload = await us.answering.answer(Arrival("rusty", new_id(), read_payload(write_bare({"a": 1}))))
    assert payload == EncodedMessage(b'{"heard":{"a":1}}', "Json")
    payload = await us.answering.answer(Arrival("other", new_id(), read_payload(write_bare(1))))
    assert payload == EncodedMessage(b'{"Err":"us has no function for messages of other that name no endpoint"}', "Json")


async def test_an_unknown_endpoint_is_not_executed_and_the_nearest_is_named() -> None:
    us = Answers()
    us.on("greet")(lambda: None)
    assert await us.failure(arrival("great")) == Failure(
        "endpoint_not_found", "us has no endpoint 'great'; did you mean 'greet'?", executed="no"
    )


async def test_a_reserved_endpoint_is_pywatts_own_and_decides_about_its_bytes() -> None:
    us = Answers()

    async def encoded(_arrival: Arrival) -> bytes:
        return b'{"a":1}'

    async def nothing(_arrival: Arrival) -> None:
        return None

    async def whole(_arrival: Arrival) -> EncodedMessage:
        return EncodedMessage(b"whole", "Binary")

    for name, function in (("__encoded__", encoded), ("__nothing__", nothing), ("__whole__", whole)):
        us.answering.reserve(name, function)
    for wrong in ("__encoded__", "__response__", "__cancel__", "plain"):
        with pytest.raises(TypeError, match=f"'{wrong}' cannot be reserved"):
            us.answering.reserve(wrong, nothing)
    assert await us.value(arrival("__encoded__")) == {"a": 1}
    assert await us.value(arrival("__nothing__")) is None
    assert await us.answering.answer(arrival("__whole__")) == EncodedMessage(b"whole", "Binary")


@pytest.mark.parametrize(("format", "answered"), [("Json", "Json"), ("Base64", "Json"), ("Binary", "Json"), ("MessagePack", "MessagePack")])
async def test_the_answer_is_in_a_format_that_the_requester_wrote_itself(format: str, answered: str) -> None:
    us = Answers()
    us.on("echo")(lambda value: value)
    payload = await us.answering.answer(arrival("echo", [1, "a"], format=format))
    assert payload is not None
    assert (payload.format, read_payload(payload).decode()) == (answered, [1, "a"])


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_payload_that_does_not_fit_names_the_field_and_is_not_executed() -> None:
    us = Answers()
    called = []

    @us.on("place")
    async def place(order: Order) -> None:
        called.append(order)

    @us.on("by_hand")
    async def by_hand(message: Arrival) -> None:
        message.decode(Order)

    for endpoint in ("place", "by_hand"):
        failure = await us.failure(arrival(endpoint, {"id": "s3cret"}))
        assert (failure.code, failure.executed) == ("bad_request", "no")
        assert failure.message == f"us:{endpoint} cannot read the payload: Expected `int`, got `str` - at `$.id`"
    assert called == []


async def test_what_a_function_raises_is_told_without_secrets_and_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    us = Answers()
    redaction.register("hunter2-hunter2", name="PASSWORD")

    @us.on("fail")
    async def fail() -> None:
        raise ValueError("the password is hunter2-hunter2")

    with caplog.at_level(logging.ERROR):
        failure = await us.failure(arrival("fail"))
    assert (failure.code, failure.message, failure.executed) == ("application_error", "us:fail failed", "yes")
    assert failure.cause is not None and failure.cause.code == "ValueError"
    assert failure.cause.message.startswith("the password is ") and "hunter2" not in failure.cause.message
    assert caplog.records[0].exc_info is not None, "with its traceback"


async def test_an_error_that_is_raised_on_purpose_keeps_its_code_and_its_cause() -> None:
    us = Answers()

    @us.on("refuse")
    def refuse() -> None:
        raise RemoteError("closed on Sundays", code="closed", cause=RemoteError("it is Sunday", code="calendar"), executed="no")

    assert await us.failure(arrival("refuse")) == Failure("closed", "closed on Sundays", Failure("calendar", "it is Sunday"), "no")


async def test_an_error_that_is_raised_on_purpose_is_told_without_secrets_too() -> None:
    us = Answers()
    redaction.register("hunter2-hunter2", name="PASSWORD")

    @us.on("refuse")
    def refuse() -> None:
        raise RemoteError("no luck with hunter2-hunter2", code="refused", cause=RemoteError("hunter2-hunter2 is wrong", code="login"))

    failure = await us.failure(arrival("refuse"))
    assert failure.code == "refused" and failure.message.startswith("no luck with ") and "hunter2" not in failure.message
    assert failure.cause is not None and failure.cause.message.endswith(" is wrong") and "hunter2" not in failure.cause.message


@pytest.mark.parametrize("plain", [True, False], ids=["thread", "loop"])
async def test_a_function_that_calls_exit_ends_nothing(plain: bool) -> None:
    us = Answers()

    def leave() -> None:
        raise SystemExit(3)

    async def leave_too() -> None:
        raise SystemExit(3)

    us.on("leave")(leave if plain else leave_too)
    failure = await us.failure(arrival("leave"))
    assert failure.code == "application_error" and failure.cause is not None and failure.cause.code == "SystemExit"


async def test_a_result_that_cannot_travel_is_a_failure_of_this_side() -> None:
    us = Answers()
    us.on("odd")(lambda: 1j)
    failure = await us.failure(arrival("odd"))
    assert failure.code == "application_error"
    assert failure.cause == Failure("LocalProtocolError", failure.cause.message if failure.cause else "")
    assert "complex cannot be sent" in failure.cause.message


async def test_a_notification_is_never_answered(caplog: pytest.LogCaptureFixture) -> None:
    us = Answers()
    us.on("fine")(lambda: 1)

    @us.on("fail")
    def fail() -> None:
        raise ValueError

    for endpoint in ("fine", "fail", "unknown"):
        assert await us.answering.answer(arrival(endpoint, notification=True)) is None
    assert [record.message for record in caplog.records] == ["answering a message failed", "a message was not answered with a result"]


async def test_a_function_that_ends_with_a_cancellation_of_its_own_is_answered() -> None:
    us = Answers()

    @us.on("gives_up")
    async def gives_up() -> None:
        task = asyncio.create_task(asyncio.sleep(3600))
        task.cancel()
        await task

    async with asyncio.timeout(20):
        failure = await us.failure(arrival("gives_up"))
    assert (failure.code, failure.executed) == ("cancelled", "unknown")
    assert failure.message == "us:gives_up ended with CancelledError, although nobody had called it off"
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_an_exception_that_cannot_say_what_it_is_is_answered() -> None:
    class Speechless(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    us = Answers()

    @us.on("fail")
    async def fail() -> None:
        raise Speechless

    failure = await us.failure(arrival("fail"))
    assert failure.cause == Failure("Speechless", "its text cannot be had: RuntimeError")


# ── how long ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_call_ends_when_nobody_waits_for_it_any_more() -> None:
    us = Answers()
    ended: list[str] = []

    @us.on("slow")
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("slow")

    assert (await us.failure(arrival("slow", left=0.02))).code == "timeout"
    assert ended == ["slow"]


async def test_a_timeout_of_the_functions_own_is_its_own_failure() -> None:
    us = Answers()

    @us.on("impatient")
    async def impatient() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    @us.on("asks")
    async def asks() -> None:
        raise RequestTimeout("somebody else did not answer")

    for endpoint, kind in (("impatient", "TimeoutError"), ("asks", "RequestTimeout")):
        failure = await us.failure(arrival(endpoint, left=600))
        assert failure.code == "application_error" and failure.cause is not None and failure.cause.code == kind


async def test_a_call_that_is_called_off_is_cancelled_and_not_answered() -> None:
    us = Answers()
    ended: list[str] = []
    begun = asyncio.Event()

    @us.on("slow")
    async def slow() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("slow")

    request = arrival("slow")
    working = asyncio.create_task(us.answering.answer(request))
    await begun.wait()
    for source, id in (("stranger", request.request_id), ("asker", new_id()), ("asker", None)):
        assert await us.answering.answer(arrival("__cancel__", source=source, request_id=id, notification=True)) is None
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert ended == [], "only who asked may call it off"
    await us.answering.answer(arrival("__cancel__", request_id=request.request_id, notification=True))
    assert await working is None
    assert ended == ["slow"]
    assert working.cancelling() == 0, "what sends the reply is not cancelled"
    assert us.answering._calls == {}


async def test_the_end_of_the_module_is_no_call_off() -> None:
    us = Answers()
    begun = asyncio.Event()

    @us.on("slow")
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    working = asyncio.create_task(us.answering.answer(arrival("slow")))
    await begun.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert us.answering._calls == {}


async def test_a_function_sees_the_requesters_deadline_and_ids() -> None:
    us = Answers()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    def look() -> dict[str, Any]:
        ids = telemetry.current()
        return {"left": answering.deadline.get() is not None, "request_id": ids.request_id, "trace": ids.trace_id}

    async def look_too() -> dict[str, Any]:
        return look()

    us.on("thread")(look)
    us.on("loop")(look_too)
    for endpoint in ("thread", "loop"):
        seen = await us.value(arrival(endpoint, left=60, request_id="r-1", traceparent=f"00-{trace}-00f067aa0ba902b7-01"))
        assert seen == {"left": True, "request_id": "r-1", "trace": trace}
        assert answering.deadline.get() is None, "nothing is left behind here"
        odd = arrival(endpoint, request_id="not\nan id", traceparent="nonsense")
        assert await us.value(odd) == {"left": False, "request_id": odd.request_id, "trace": ""}


async def test_what_a_function_leaves_behind_has_time_of_its_own() -> None:
    us = Answers()
    seen: list[bool] = []
    go = asyncio.Event()

    async def background() -> None:
        seen.append(answering.ends_at() is not None)
        await go.wait()
        seen.append(answering.ends_at() is not None)

    @us.on("leave")
    async def leave() -> None:
        tasks.append(asyncio.create_task(background()))
        while not seen:
            await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    await us.value(arrival("leave", left=60))
    go.set()
    await tasks[0]
    assert seen == [True, False]


# ── how many ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_so_many_run_so_many_wait_and_the_rest_is_refused_at_once() -> None:
    us = Answers(at_once=2, waiting=3)
    running: list[int] = []
    gate = asyncio.Event()

    @us.on("work")
    async def work(n: int) -> int:
        running.append(n)
        await gate.wait()
        return n

    tasks = [asyncio.create_task(us.value(arrival("work", n))) for n in range(5)]
    while us.answering.turns.queued < 3:
        await asyncio.sleep(0)
    assert await us.failure(arrival("work", 5)) == Failure("overloaded", "us is overloaded: 2 requests run and 3 wait", executed="no")
    assert running == [0, 1]
    gate.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4]
    assert running == [0, 1, 2, 3, 4], "in the order of their arrival"
    assert (us.answering.turns.running, us.answering.turns.queued) == (0, 0)


async def test_all_that_runs_and_waits_has_so_many_bytes_and_the_rest_is_refused_at_once() -> None:
    us = Answers(at_once=1, most_bytes=10_000)
    gate = asyncio.Event()

    @us.on("work")
    async def work(text: list[str]) -> int:
        await gate.wait()
        return len(text[0])

    tasks = [asyncio.create_task(us.value(arrival("work", ["x" * 4000]))) for _ in range(2)]
    while us.answering.turns.queued < 1:
        await asyncio.sleep(0)
    held = us.answering.turns.here().bytes
    assert 8000 < held < 10_000
    text = f"us is overloaded: the messages that it works on have {held} bytes, 10000 are the most"
    assert await us.failure(arrival("work", ["x" * 4000])) == Failure("overloaded", text, executed="no")
    inside = asyncio.create_task(us.value(arrival("work", ["x" * 4000], depth=1)))  # is counted apart, as its turns are
    small = asyncio.create_task(us.value(arrival("work", [""])))
    gate.set()
    assert await asyncio.gather(*tasks, inside, small) == [4000, 4000, 4000, 0]
    assert us.answering.turns.here().bytes == 0
    assert await us.value(arrival("work", ["x" * 20_000])) == 20_000, "one alone may have more"


async def test_two_requests_with_one_id_both_have_their_deadline_and_the_later_one_is_called_off() -> None:
    us = Answers()
    us.on("wait")(asyncio.Event().wait)
    id = new_id()
    earlier = asyncio.create_task(us.failure(arrival("wait", id=id, left=0.2)))
    later = asyncio.create_task(us.answering.answer(arrival("wait", id=id, left=60)))
    await asyncio.sleep(0)
    await us.answering.answer(arrival("__cancel__", request_id=id))
    assert await later is None
    assert (await earlier).code == "timeout"
    assert not us.answering._calls


async def test_one_timer_ends_each_call_at_its_own_time() -> None:
    us = Answers()
    ended: list[float] = []

    @us.on("wait")
    async def wait(seconds: float) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(seconds)

    failures = await asyncio.gather(*(us.failure(arrival("wait", left, left=left)) for left in (0.3, 0.1, 0.2)))
    assert [failure.code for failure in failures] == ["timeout"] * 3
    assert ended == [0.1, 0.2, 0.3]


async def test_what_is_asked_for_by_whoever_is_being_answered_has_turns_of_its_own() -> None:
    """A circle of modules would wait for itself else, as soon as the outermost requests have taken all turns."""
    us = Answers(at_once=1, waiting=0)

    @us.on("circle")
    async def circle(left: int) -> int:
        assert depth.get() == 3 - left
        return await us.value(arrival("circle", left - 1, depth=depth.get() + 1)) + 1 if left else 0

    async with asyncio.timeout(20):
        assert await us.value(arrival("circle", 3)) == 3
    assert depth.get() == -1, "nothing is left behind here"
    us.on("depth")(lambda: depth.get())
    for odd in (-1, "2", None, True, 1.5, 10**30):
        assert await us.value(arrival("depth", depth=odd)) == 0
    assert await us.value(arrival("depth", depth=10**9)) == 10**9


async def test_who_waits_for_a_turn_may_run_out_of_time() -> None:
    us = Answers(at_once=1, waiting=1)
    gate = asyncio.Event()
    us.on("work")(gate.wait)
    first = asyncio.create_task(us.value(arrival("work")))
    while us.answering.turns.running < 1:
        await asyncio.sleep(0)
    assert (await us.failure(arrival("work", left=0.02))).code == "timeout"
    gate.set()
    assert await first is True
    assert (us.answering.turns.running, us.answering.turns.queued) == (0, 0)


async def test_a_plain_function_keeps_nobody_waiting() -> None:
    us = Answers()
    us.on("where")(lambda: threading.current_thread() is threading.main_thread())
    release = threading.Event()

    @us.on("block")
    def block() -> str:
        return "released" if release.wait(20) else "stuck"

    blocked = asyncio.create_task(us.value(arrival("block")))
    assert await us.value(arrival("where")) is False
    release.set()
    assert await blocked == "released"


def test_a_function_that_nobody_can_call_is_refused_before_anything_arrives() -> None:
    us = Answers()

    @us.on("two")
    async def two(a: int, b: int) -> None: ...

    with pytest.raises(TypeError, match=r"two\(\) takes a payload, the state and the message at most, each once: 'b' is one too many"):
        us.answering.check()


class Opaque:
    """What no format holds, and nothing can be made into."""


def test_a_function_that_nothing_can_be_sent_to_is_refused_before_anything_arrives() -> None:
    for kind in (Opaque, complex, Order | Overlapping):
        us = Answers()

        async def take(payload: Any) -> None: ...

        take.__annotations__ = {"payload": kind}
        us.on("take")(take)
        with pytest.raises(TypeError, match=r"take\(\) cannot be sent anything: "):
            us.answering.check()


def test_what_can_be_read_is_no_obstacle() -> None:
    us = Answers()
    for number, kind in enumerate((Order, Order | None, list[Order], bytes, int, dict[str, Any], Any, object)):

        def take(payload: Any) -> None: ...

        take.__annotations__ = {"payload": kind}
        us.on(f"take{number}")(take)
    us.on("nothing")(lambda: None)
    us.answering.check()


async def test_answering_costs_little_beside_the_function_itself(record_property: Callable[[str, object], None]) -> None:
    """No duration is asserted: the number is for whoever reads the report."""
    us = Answers()

    @us.on("nothing")
    async def nothing() -> None: ...

    begun = time.perf_counter()
    for _ in range(200):
        await us.answering.answer(arrival("nothing", left=60))
    record_property("microseconds", (time.perf_counter() - begun) / 200 * 1e6)
