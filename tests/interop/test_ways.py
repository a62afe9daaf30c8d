"""Which way each message takes to an orchestrator built on the reference: the one on which the reference sends it."""

from __future__ import annotations

from pathlib import Path

from . import rust_wire as wire
from .rust_orchestrator import Door, Message, RustOrchestrator, open_rust_door, short_folder

ASKED = {
    "port_request": "/port",
    "service_operation": "/operation/conn-1",
    "discover_service_providers": "/discover/database",
    "register_service_provider": "/offer/database",
}


async def test_what_the_reference_sends_on_standard_output_is_sent_there_and_messages_for_modules_over_tcp(ordinary: Path) -> None:
    """protocol 3.1 and 12.4: who listens for a port_request on a channel? Nobody that is built on the reference has to."""
    door, offer = await open_rust_door()
    with short_folder() as folder:
        unix = Door()
        await unix.open_unix(f"{folder}/o.sock")
        ipc = {"socket_path": f"{folder}/o.sock", "required": True}
        async with RustOrchestrator(ordinary, init={**offer, "ipc_channel": ipc}, secrets={"K": "v"}) as peer:
            await peer.announced()
            tcp, ipc_connection = await door.connection(), await unix.connection()
            for op, uri in ASKED.items():
                peer.say(http(uri))
                await peer.take(op)
            assert await peer.json("/secret/K") == "v"
            peer.say(http("/call/mod_b:echo"))
            routed = await tcp.take("route_to_module", target_module_id="mod_b", target_endpoint="echo")
            tcp.say(response(routed, "7"))
            await peer.take("http_response", request_id="/call/mod_b:echo")
            assert [one["op"] for one in (*tcp.messages, *ipc_connection.messages)] == []
        await unix.close()
    await door.close()


async def test_without_tcp_messages_for_modules_take_the_other_channel_and_without_any_standard_output(ordinary: Path) -> None:
    """protocol 12.4"""
    with short_folder() as folder:
        unix = Door()
        await unix.open_unix(f"{folder}/o.sock")
        init = {"ipc_channel": {"socket_path": f"{folder}/o.sock", "required": True}}
        async with RustOrchestrator(ordinary, init=init) as peer:
            await peer.announced()
            peer.say(http("/call/mod_b:one"))
            await (await unix.connection()).take("route_to_module", target_endpoint="one")
        await unix.close()
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        peer.say(http("/call/mod_b:two"))
        await peer.take("route_to_module", target_endpoint="two")


def http(uri: str) -> Message:
    """A request whose id is its path."""
    return {"op": "http_request", "request_id": uri, "method": "GET", "uri": uri, "headers": {}, "body": None}


def response(routed: Message, text: str) -> Message:
    """A target's value, bare."""
    source, id = routed["target_module_id"], routed["request_id"]
    return {"op": "routed_module_response", "source_module_id": source, "request_id": id, "payload": wire.encoded(text)}
