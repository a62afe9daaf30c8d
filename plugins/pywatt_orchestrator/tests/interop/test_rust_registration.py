"""Registrations by a client as the reference has it: enveloped out, bare in, and the next frame is the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pywatt_orchestrator.logs import Journal
from pywatt_orchestrator.registration import RegistrationOptions, RegistrationServer
from tests.interop import rust_wire as wire

INFO = {"name": "demo", "version": "1.0.0", "description": "Demo module"}
UUID = "11111111-2222-4333-8444-555555555555"
STATUS = wire.one_of("Healthy", "Degraded", "Unhealthy")
MODULE_INFO = wire.record(
    name=wire.text, version=wire.text, description=wire.text, id=wire.optional(wire.identifier), metadata=wire.optional(wire.STRINGS)
)
MODULE = wire.record(
    info=MODULE_INFO,
    id=wire.identifier,
    token=wire.text,
    orchestrator_host=wire.text,
    orchestrator_port=wire.U16,
    env=wire.optional(wire.STRINGS),
    additional_data=wire.optional(wire.mapped(wire.anything)),
)
ANSWERS = {
    "register": wire.record(response_type=wire.text, success=wire.boolean, error=wire.optional(wire.text), module=wire.optional(MODULE)),
    "heartbeat": wire.record(
        response_type=wire.text,
        success=wire.boolean,
        error=wire.optional(wire.text),
        status=STATUS,
        context=wire.optional(wire.STRINGS),
    ),
    "capabilities": wire.record(response_type=wire.text, success=wire.boolean, error=wire.optional(wire.text)),
    "unregister": wire.record(response_type=wire.text, success=wire.boolean, error=wire.optional(wire.text)),
}
"""What each answer has to be for the reference: `status` is never optional."""


class Client:
    """Takes the next frame, whatever it answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, content: Any) -> None:
        self.writer.write(wire.frame(wire.envelope(content, id=UUID)))

    async def next(self, *, enveloped: bool = False) -> Any:
        async with asyncio.timeout(30):
            size, code = wire.HEADER.unpack(await self.reader.readexactly(wire.HEADER.size))
            payload = await self.reader.readexactly(size)
        assert code == wire.JSON
        return wire.enveloped(wire.parse(payload)) if enveloped else wire.parse(payload)

    async def ask(self, kind: str, **members: Any) -> Any:
        self.send({"request_type": kind, **members})
        answer = await self.next()
        ANSWERS[kind](answer, kind)
        return answer


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    server = RegistrationServer(RegistrationOptions(listen="127.0.0.1:0"), Journal())
    await server.start()
    assert server.address is not None
    reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        await server.close()


async def test_a_whole_life_in_the_references_words() -> None:
    """protocol 18, D6: asked in envelopes, answered bare, nulls omitted"""
    async with client() as rust:
        module = (await rust.ask("register", module_info=INFO))["module"]
        known = {"module_id": module["id"], "token": module["token"]}
        assert (await rust.ask("heartbeat", **known, status="Degraded", details={"queue": "9"}))["status"] == "Degraded"
        capabilities = {"endpoints": [{"path": "/api", "methods": ["GET"]}], "message_types": ["t"]}
        assert await rust.ask("capabilities", **known, capabilities=capabilities) == {"response_type": "capabilities", "success": True}
        assert await rust.ask("unregister", **known) == {"response_type": "unregister", "success": True}


@pytest.mark.parametrize(
    "members",
    [
        {"module_id": UUID, "token": "wrong", "status": "Healthy"},
        {"module_id": UUID, "token": "wrong", "status": "Ill"},
        {"module_id": "no uuid", "token": "wrong", "status": "Healthy"},
        {"token": "wrong", "status": "Healthy"},
        {},
    ],
)
async def test_a_heartbeat_that_fails_has_a_status_all_the_same(members: dict[str, Any]) -> None:
    """protocol 18, D33: without it the reference shows an error of its decoder in place of the reason"""
    async with client() as rust:
        answer = await rust.ask("heartbeat", **members)
        assert answer["success"] is False and answer["error"]
        assert answer["status"] == "Unhealthy"


async def test_answers_come_in_the_order_of_the_requests_each_exactly_once() -> None:
    """protocol 18, D21: a client that takes the next frame must find its own answer there"""
    async with client() as rust:
        rust.writer.write(b"\0\0\0\2\x09{}")  # is skipped, and not answered
        rust.send({"request_type": "register", "module_info": INFO})
        rust.send({"request_type": "heartbeat", "module_id": UUID, "token": "x", "status": "Healthy"})
        rust.send({"request_type": "nonsense"})
        rust.send({"request_type": "unregister", "module_id": UUID, "token": "x"})
        found = [await rust.next() for _ in range(4)]
        assert [one["response_type"] for one in found] == ["register", "heartbeat", "unknown", "unregister"]
        assert [one["success"] for one in found] == [True, False, False, False]


async def test_the_earlier_port_is_answered_as_it_reads() -> None:
    """protocol 18, P13: its names, its lower case, its envelopes"""
    async with client() as old:
        old.send({"request_type": "registration", "module_info": {**INFO, "id": None, "metadata": None}})
        answer = await old.next(enveloped=True)
        assert (answer["response_type"], answer["success"]) == ("registration", True)
        known = {"module_id": answer["module"]["id"], "token": answer["module"]["token"]}
        old.send({"request_type": "heartbeat", **known, "status": "healthy", "details": None})
        assert (await old.next(enveloped=True))["status"] == "healthy"
        old.send({"request_type": "unregistration", **known})
        assert (await old.next(enveloped=True))["success"] is True
