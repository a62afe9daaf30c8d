"""Ports for modules: really free, and nobody else's."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from pywatt_core.protocol.messages import PortRequest, PortResponse
from pywatt_orchestrator.hub import Hub
from pywatt_orchestrator.logs import Journal
from pywatt_orchestrator.ports import MOST, Ports, why_not_free

Running = Callable[[], Any]
ID = "11111111-2222-4333-8444-555555555555"


class Peer:
    """A process, as far as ports are concerned."""

    def __init__(self, module_id: str) -> None:
        self.module_id = self.module = module_id
        self.notes: list[str] = []

    def note(self, text: str, *, level: str = "info") -> None:
        self.notes.append(text)


def ask(ports: Ports, peer: Any, wanted: int | None = None) -> PortResponse:
    answer = ports.answer(peer, PortRequest(request_id=ID, specific_port=wanted))
    assert answer.request_id == ID
    assert answer.success is (answer.port != 0)
    return answer


@pytest.fixture
def free() -> Iterator[int]:
    """A port that nothing uses."""
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        port: int = found.getsockname()[1]
    yield port


def test_no_port_is_given_to_two_processes() -> None:
    ports, one, two = Ports(), Peer("a"), Peer("b")
    given = [ask(ports, peer).port for peer in (one, two) * 10]
    assert len(set(given)) == 20
    assert all(20_000 <= port < 30_000 for port in given)


async def test_a_port_that_is_held_is_not_free_although_nobody_serves_there_until_its_process_is_gone(free: int) -> None:
    hub = Hub(Journal())
    hub.ports = Ports([free])
    one, two = Peer("a"), Peer("b")
    assert ask(hub.ports, one).port == free
    assert ask(hub.ports, two).error_message == f"no port from {free} to {free} is free"
    hub.gone(one)  # type: ignore[arg-type]
    assert ask(hub.ports, two).port == free


def test_a_wished_port_is_granted_to_its_holder_again_and_refused_to_others(free: int) -> None:
    ports, one, two = Ports(), Peer("a"), Peer("b")
    assert ask(ports, one, free).port == free
    with socket.create_server(("127.0.0.1", free)):
        assert ask(ports, one, free).port == free
        refused = ask(ports, two, free)
    assert refused.error_message == f"port {free} is a's: ask for another one, or for any"
    assert two.notes == [f"it was refused a port: {refused.error_message}"]
    ports.gone(one)  # type: ignore[arg-type]
    assert ask(ports, two, free).port == free


def test_a_port_that_somebody_uses_is_not_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        assert ask(Ports(), Peer("a"), port).error_message == f"port {port} is in use: ask for another one, or for any"
        assert ask(Ports([port]), Peer("a")).error_message == f"no port from {port} to {port} is free"
    assert ask(Ports([port]), Peer("a")).port == port


def test_the_next_process_of_an_instance_gets_its_port_although_connections_are_still_ending(free: int) -> None:
    ports, first, second, other = Ports(), Peer("a"), Peer("a"), Peer("b")
    assert ask(ports, first, free).port == free
    with socket.create_server(("127.0.0.1", free)) as listener:
        client = socket.create_connection(("127.0.0.1", free))
        accepted, _ = listener.accept()
        accepted.close()  # this end first: the port lingers in TIME_WAIT
        assert client.recv(1) == b""
        client.close()
    ports.gone(first)  # type: ignore[arg-type]
    assert why_not_free(free) != ""
    assert ask(ports, other, free).port == 0
    assert ask(ports, second, free).port == free


def test_a_process_has_a_limited_number_of_ports() -> None:
    ports, greedy = Ports(), Peer("a")
    for _ in range(MOST):
        assert ask(ports, greedy).success
    assert "100 ports already" in str(ask(ports, greedy).error_message)
    assert ask(ports, Peer("b")).success


def test_what_is_no_port_and_what_is_not_ours_to_give_say_why() -> None:
    assert "is no port" in str(ask(Ports(), Peer("a"), 0).error_message)
    if os.getuid() != 0:
        assert "needs privileges" in str(ask(Ports(), Peer("a"), 80).error_message)


TWO = """
import asyncio, os
from starlette.applications import Starlette
from pywatt_core import RemoteError, negotiate_port, PortNegotiation, pywatt_module

@pywatt_module()
async def app(state):
    try:
        found = await negotiate_port(state.channels, int(os.environ["WISH"]) or None, negotiation=PortNegotiation())
    except RemoteError as error:
        print(state.module_id, "was refused:", error, flush=True)
    else:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", found.port)
        print(state.module_id, "serves on", found, flush=True)
    return Starlette()
"""


async def test_modules_negotiate_ports_with_pywatt_up(running: Running, free: int) -> None:
    async with running() as project:
        project.write(TWO, "two.py")
        lines = [f'[modules.{name}]\nrun = "two.py"\ndepends_on = {json.dumps(after)}\nenv = {{ WISH = "{wish}" }}\n'
                 for name, after, wish in (("one", [], free), ("other", ["one"], free), ("third", [], 0))]  # fmt: skip
        project.write("\n".join(lines))
        await project.start()
        await project.ready("one", "other", "third")
        await project.line(f"one serves on NegotiatedPort(port={free}, fallback=False)", module="one")
        await project.line(f"other was refused: the orchestrator refused the port: port {free} is one's", module="other")
        line = await project.line("third serves on NegotiatedPort(port=2", module="third")
        port = int(line["message"].partition("port=")[2].partition(",")[0])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
