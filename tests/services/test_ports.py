"""Negotiating a port over a real link: attempts, refusals, the breaker, and a fallback that is really free."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest

from pywatt_core.errors import ChannelClosed, RemoteError, RequestTimeout, ServerError
from pywatt_core.protocol.messages import Message, PortRequest, PortResponse, TcpAddress
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.services.channels import Channels
from pywatt_core.services.ports import (
    NegotiatedPort,
    PortNegotiation,
    PortOptions,
    get_pre_allocated_port,
    is_free,
    negotiate_port,
    set_pre_allocated_port,
    validate_address,
)
from pywatt_core.transports.link import Link, new_id

QUICK = (0.02, 0.02, 0.02)
Script = Callable[[PortRequest, Link], Any]


@asynccontextmanager
async def asking(script: Script) -> AsyncIterator[tuple[Link, list[PortRequest]]]:
    """A module's link to an orchestrator that answers by `script`, and the requests that this one got."""
    asked: list[PortRequest] = []
    loop = asyncio.get_running_loop()

    def act(message: Message, link: Link) -> None:
        assert isinstance(message, PortRequest)
        asked.append(message)
        script(message, link)

    def make(role: Role) -> Callable[[], Link]:
        return lambda: Link(Session(role, Wire.CHANNEL, new_id=new_id), on_message=act)

    ours, theirs = socket.socketpair()
    _, link = await loop.create_unix_connection(make(Role.MODULE), sock=ours)
    _, other = await loop.create_unix_connection(make(Role.ORCHESTRATOR), sock=theirs)
    try:
        yield link, asked
    finally:
        await link.close()
        await other.close()


def grant(port: int) -> Script:
    return lambda request, link: link.post(PortResponse(request_id=request.request_id, success=True, port=port))


def refuse(reason: str | None) -> Script:
    return lambda request, link: link.post(PortResponse(request_id=request.request_id, success=False, port=0, error_message=reason))


def say_nothing(request: PortRequest, link: Link) -> None:
    pass


def free_ports(count: int) -> list[int]:
    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in found]
    for one in found:
        one.close()
    return ports


def negotiation(**options: Any) -> PortNegotiation:
    return PortNegotiation(PortOptions(**{"timeouts": QUICK, **options}))


async def test_a_granted_port_is_remembered_and_not_asked_for_again() -> None:
    here = negotiation()
    async with asking(grant(8123)) as (link, asked):
        assert await here.negotiate(link) == NegotiatedPort(8123)
        assert await here.negotiate(link, 9000) == NegotiatedPort(8123)
        assert [request.specific_port for request in asked] == [None]


async def test_each_attempt_has_an_id_of_its_own_and_keeps_the_wish() -> None:
    answers = [say_nothing, say_nothing, grant(9000)]
    async with asking(lambda request, link: answers.pop(0)(request, link)) as (link, asked):
        assert await negotiation(timeouts=(0.02, 0.02, 20.0)).negotiate(link, 9000) == NegotiatedPort(9000)
        assert [request.specific_port for request in asked] == [9000] * 3
        assert len({request.request_id for request in asked}) == 3


async def test_the_reference_may_answer_with_an_id_of_its_own() -> None:
    def act(request: PortRequest, link: Link) -> None:
        assert link._writer is not None
        text = b'{"op":"port_response","request_id":"auto-assigned","success":true,"port":8500,"error_message":null}'
        link._writer.write(len(text).to_bytes(4, "big") + b"\1" + text)

    async with asking(act) as (link, _):
        assert await negotiation(timeouts=(20.0,)).negotiate(link) == NegotiatedPort(8500)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (refuse("in use"), "the orchestrator refused the port: in use"),
        (refuse(None), "the orchestrator refused the port: it named no reason"),
        (grant(0), "the orchestrator refused the port: it named port 0"),
    ],
)
async def test_a_refusal_ends_it_at_once_with_the_reason(script: Script, text: str) -> None:
    async with asking(script) as (link, asked):
        with pytest.raises(RemoteError, match=text) as caught:
            await negotiation(timeouts=(20.0,)).negotiate(link, 9000)
        assert caught.value.code == "port_refused"
        assert len(asked) == 1


async def test_without_any_answer_a_port_is_taken_that_is_free_and_the_next_call_gets_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        busy = used.getsockname()[1]
        (free,) = free_ports(1)
        here = negotiation(fallback_ports=[busy, free])
        async with asking(say_nothing) as (link, asked):
            found = await here.negotiate(link)
            assert (found.port, found.fallback) == (free, True)
            assert found.reason.startswith("the orchestrator did not answer a port request: no answer to ")
            assert found.reason.count("within 0.02 s") == 3
            with socket.create_server(("127.0.0.1", free)):
                pass
            assert await here.negotiate(link) == NegotiatedPort(free)
            assert len(asked) == 3


async def test_the_fallback_is_the_wished_port_where_that_is_free() -> None:
    wished, other = free_ports(2)
    async with asking(say_nothing) as (link, _):
        assert (await negotiation(fallback_ports=[other]).negotiate(link, wished)).port == wished
        with socket.create_server(("127.0.0.1", wished)):
            assert (await negotiation(fallback_ports=[other]).negotiate(link, wished)).port == other


async def test_where_no_fallback_is_free_or_none_is_wanted_the_error_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        busy = used.getsockname()[1]
        async with asking(say_nothing) as (link, _):
            with pytest.raises(ServerError, match=f"port {busy} is not free, and the orchestrator did not answer"):
                await negotiation(fallback_ports=[busy]).negotiate(link)
            with pytest.raises(RequestTimeout, match="the orchestrator did not answer a port request"):
                await negotiation(use_fallback=False).negotiate(link)


async def test_an_orchestrator_that_keeps_failing_is_not_asked_for_a_while() -> None:
    (free,) = free_ports(1)
    here = negotiation(timeouts=(0.02,), failure_threshold=2, fallback_ports=[free])
    async with asking(say_nothing) as (link, asked):
        for wanted in (1, 2, 2, 2):
            assert (await here.negotiate(link)).port == free
            here.port = None
            assert len(asked) == wanted
        assert "not asked for 60 s more, after it failed repeatedly" in (await here.negotiate(link)).reason


async def test_after_that_while_it_is_asked_again_and_one_answer_is_enough() -> None:
    (free,) = free_ports(1)
    here = negotiation(timeouts=(0.02,), failure_threshold=1, reset_after=0.05, fallback_ports=[free])
    scripts: list[Script] = [say_nothing]
    async with asking(lambda request, link: scripts[0](request, link)) as (link, asked):
        assert (await here.negotiate(link)).fallback
        scripts[0] = grant(8200)
        here.port = None
        async with asyncio.timeout(20):
            while (await here.negotiate(link)).port != 8200:
                here.port = None
                await asyncio.sleep(0.01)
        here.port = None
        scripts[0] = refuse("no")
        with pytest.raises(RemoteError):
            await here.negotiate(link)
        assert len(asked) == 3


async def test_refusals_count_as_failures() -> None:
    (free,) = free_ports(1)
    here = negotiation(failure_threshold=2, fallback_ports=[free])
    async with asking(refuse("no")) as (link, asked):
        for _ in range(2):
            with pytest.raises(RemoteError):
                await here.negotiate(link)
        assert (await here.negotiate(link)).fallback
        assert len(asked) == 2


async def test_two_negotiations_at_the_same_time_agree() -> None:
    here = negotiation(timeouts=(20.0,))
    ports = iter([8001, 8002])
    async with asking(lambda request, link: grant(next(ports))(request, link)) as (link, _):
        first, second = await asyncio.gather(here.negotiate(link), here.negotiate(link))
        assert first == second == NegotiatedPort(8001)


async def test_a_module_that_runs_by_itself_takes_a_free_port_at_once() -> None:
    wished, other = free_ports(2)
    here = negotiation(fallback_ports=[other])
    found = await here.negotiate(Channels(None), wished)
    assert (found.port, found.fallback, found.reason) == (wished, True, "this module runs without an orchestrator")
    assert await here.negotiate(Channels(None)) == NegotiatedPort(wished)
    with pytest.raises(ChannelClosed, match="runs without an orchestrator"):
        await negotiation(use_fallback=False).negotiate(Channels(None))


async def test_a_link_that_is_gone_is_said_so() -> None:
    async with asking(lambda request, link: link.abort(ConnectionResetError("cut"))) as (link, _):
        with pytest.raises(ChannelClosed):
            await negotiation(timeouts=(20.0,)).negotiate(link)


async def test_a_wish_that_is_no_port_is_refused_before_anything_is_asked() -> None:
    async with asking(say_nothing) as (link, asked):
        with pytest.raises(ValueError, match="a port is from 1 to 65535, not 70000"):
            await negotiation().negotiate(link, 70_000)
        assert not asked


async def test_what_one_negotiation_remembers_is_not_what_the_process_remembers() -> None:
    try:
        set_pre_allocated_port(4000)
        async with asking(grant(8300)) as (link, _):
            assert (await negotiate_port(link, negotiation=negotiation())).port == 8300
            assert (await negotiate_port(link)).port == get_pre_allocated_port() == 4000
        with pytest.raises(ValueError, match="not 0"):
            set_pre_allocated_port(0)
    finally:
        set_pre_allocated_port(None)
    assert get_pre_allocated_port() is None


@pytest.mark.parametrize(
    "options", [{"timeouts": ()}, {"timeouts": (0.0,)}, {"timeouts": (float("inf"),)}, {"fallback_ports": ()}, {"failure_threshold": 0}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} "):
        PortNegotiation(PortOptions(**options))


def test_a_port_is_free_or_it_is_not() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as used:
        port = used.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


@pytest.mark.parametrize(
    ("text", "wanted"), [("127.0.0.1:80", TcpAddress("127.0.0.1", 80)), ("[::1]:80", TcpAddress("::1", 80)), ("10.1.2.3:1", None)]
)
def test_an_address_that_somebody_can_be_reached_at_is_taken(text: str, wanted: TcpAddress | None) -> None:
    assert validate_address(text) == (wanted or TcpAddress("10.1.2.3", 1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("localhost:80", "without a name"),
        ("127.0.0.1", "IP:PORT"),
        ("::1:80", "IP:PORT"),
        ("0.0.0.0:80", "every address"),
        ("[::]:80", "every address"),
        ("[::%1]:80", "every address"),
        ("255.255.255.255:80", "broadcast"),
        ("127.0.0.1:0", "port 0"),
        ("127.0.0.1:70000", "IP:PORT"),
    ],
)
def test_any_other_address_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        validate_address(text)
