"""Channels with a Rust-like orchestrator: bare in, enveloped out, both ways at once, and nothing that comes ends the module."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from . import rust_wire as wire
from .rust_orchestrator import UUID, Connection, Door, Message, RustOrchestrator, open_rust_door
from .test_ways import http, response

HEARTBEAT = b'{"op":"heartbeat"}'


@asynccontextmanager
async def with_channel(
    module: Path, *, required: bool = True, **arguments: Any
) -> AsyncIterator[tuple[RustOrchestrator, Connection, Door]]:
    """A module that has announced itself, its TCP channel, and where that came in."""
    door, offer = await open_rust_door(required=required)
    async with RustOrchestrator(module, init=offer, **arguments) as peer:
        await peer.announced()
        yield peer, await door.connection(), door
    await door.close()


async def is_well(peer: RustOrchestrator, connection: Connection) -> None:
    """It still speaks on both, and has written nothing on the channel that cannot be read."""
    connection.say({"op": "heartbeat"})
    await connection.take("heartbeat_ack")
    assert connection.rejected == []
    await peer.ends_well()


# ── who it is ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_first_frame_is_no_identify_and_every_envelope_names_the_module(ordinary: Path) -> None:
    """protocol 18, D1 and P16"""
    async with with_channel(ordinary) as (peer, connection, _):
        assert connection.envelopes == []
        for _ in range(3):
            connection.say({"op": "heartbeat"})
            await connection.take("heartbeat_ack")
        assert [one["metadata"] for one in connection.envelopes] == [{"source": "mod_a"}] * 3
        assert len({one["id"] for one in connection.envelopes}) == 3
        await is_well(peer, connection)


@pytest.mark.parametrize("member", ["module_id", "identify"])
async def test_on_request_it_identifies_itself_on_each_connection_in_a_form_that_can_be_written(ordinary: Path, member: str) -> None:
    """protocol 18, D1: the reference's own form cannot exist"""
    async with with_channel(ordinary, env={"PYWATT__CHANNELS__TCP__IDENTIFY": member}) as (peer, connection, door):
        for number in range(2):
            connection = await door.connection(number)
            await connection.until(lambda: connection.rejected, "an identify")  # noqa: B023 - waited for within the round
            assert connection.rejected[0].startswith("unknown variant `identify`")
            assert f'"content":{{"op":"identify","{member}":"mod_a"}}' in connection.rejected[0]
            await connection.close()
        assert all(b"identify" not in line for line in peer.lines)
        await peer.ends_well()


# ── forms ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_every_form_of_a_frame_is_read_and_answered_in_an_envelope_of_format_1(ordinary: Path) -> None:
    """protocol 18, D6; 4.3 and P7: formats 1 to 3, each with JSON within"""
    async with with_channel(ordinary) as (peer, connection, _):
        for text in ('{"op":"heartbeat"}', wire.envelope({"op": "heartbeat"})):
            for code in (wire.JSON, wire.BINARY, wire.BASE64):
                connection.say(base64.b64encode(text.encode()) if code == wire.BASE64 else text.encode(), code)
                await connection.take("heartbeat_ack")
        assert [list(one) for one in connection.envelopes] == [["id", "content", "metadata"]] * 6
        await is_well(peer, connection)


async def test_it_sends_whenever_it_wants_to_and_not_after_a_frame_has_come_in(ordinary: Path) -> None:
    """protocol 18, D5: the reference holds one lock around the socket while it reads"""
    async with with_channel(ordinary) as (peer, connection, _):
        asked = []
        for number in range(3):
            peer.say(http(f"/call/mod_b:echo?{number}"))
            asked.append(await connection.take("route_to_module"))
        assert len(connection.envelopes) == 3
        for number in range(3):
            connection.say(response(asked[number], "1"))
            await peer.take("http_response", request_id=f"/call/mod_b:echo?{number}")
        await is_well(peer, connection)


async def test_half_a_frame_holds_up_nothing_that_it_sends(ordinary: Path) -> None:
    """protocol 18, D5 and D32: what has arrived of a frame is kept, whatever else goes on"""
    async with with_channel(ordinary) as (peer, connection, _):
        whole = wire.frame(HEARTBEAT)
        for cut in (1, 4, 5, 9):
            connection.write(whole[:cut])
            peer.say({**http("/call/mod_b:echo?timeout=0.1"), "request_id": f"cut {cut}"})
            await connection.take("route_to_module")
            await peer.take("http_response", request_id=f"cut {cut}")
            connection.write(whole[cut:])
            await connection.take("heartbeat_ack")
        await is_well(peer, connection)


# ── messages between modules ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_bare_value_is_the_response_of_another_module(ordinary: Path) -> None:
    """protocol 18, D10: in the reference, a response never finds who waits for it"""
    async with with_channel(ordinary) as (peer, connection, _):
        for value in (7, "text", {"a": None}, [1.5], True, None, {"id": UUID, "content": 1}):
            peer.say(http("/call/mod_b:echo"))
            routed = await connection.take("route_to_module")
            connection.say(response({**routed, "request_id": UUID}, '"a stray one"'))
            connection.say(response(routed, wire.compact(value)))
            answer = await peer.take("http_response", request_id="/call/mod_b:echo")
            expected = 1 if isinstance(value, dict) and "content" in value else value
            assert json.loads(bytes(answer["body"]))["data"] == expected
        await is_well(peer, connection)


async def test_a_request_to_a_module_carries_what_a_target_needs_that_is_not_told_the_endpoint(ordinary: Path) -> None:
    """protocol 18, D11: inside the payload's own envelope, where a Rust target does not look"""
    async with with_channel(ordinary) as (peer, connection, _):
        peer.say(http("/call/mod_b:echo"))
        routed = await connection.take("route_to_module")
        assert list(routed) == ["op", "target_module_id", "target_endpoint", "request_id", "payload"]
        assert routed["payload"]["format"] == "Json"
        inner = wire.parse(bytes(routed["payload"]["data"]))
        assert wire.enveloped(inner) == {"q": 1}
        metadata = inner["metadata"]
        assert (metadata["source"], metadata["destination"], metadata["properties"]["endpoint"]) == ("mod_a", "mod_b", "echo")
        connection.say(response(routed, "1"))
        await peer.take("http_response")
        await is_well(peer, connection)


def message(content: Any, *, source: str = "mod_b", properties: dict[str, Any] | None = None, format: str = "Json") -> Message:
    metadata = {"properties": properties} if properties is not None else {}
    text = wire.envelope(content, **metadata)
    payload = wire.encoded(base64.b64encode(text.encode()).decode() if format == "Base64" else text, format)
    return {"op": "routed_module_message", "source_module_id": source, "original_request_id": UUID, "payload": payload}


async def test_a_rust_requester_gets_the_bare_value_by_a_message_back(ordinary: Path) -> None:
    """protocol 18, D11: there is no operation for a reply, so it is a `route_to_module` to where the request came from"""
    async with with_channel(ordinary) as (peer, connection, _):
        for format in ("Json", "Binary", "Base64"):
            connection.say(message(21, properties={"endpoint": "double"}, format=format))
            reply = await connection.take("route_to_module", target_module_id="mod_b", target_endpoint="__response__", request_id=UUID)
            assert reply["payload"] == wire.encoded("42")
        await is_well(peer, connection)


async def test_handlers_fire_by_source_where_no_endpoint_is_told_and_also_right_after_the_announce(ordinary: Path) -> None:
    """protocol 18, D10 and D11: in the reference no handler ever fires; the endpoint is not delivered"""
    door, offer = await open_rust_door()
    async with RustOrchestrator(ordinary, init=offer) as peer:
        connection = await door.connection()
        await peer.announced()
        connection.say(message({"hello": 1}))
        reply = await connection.take("route_to_module", target_endpoint="__response__")
        assert json.loads(bytes(reply["payload"]["data"])) == {"from": "mod_b", "value": {"hello": 1}}
        await is_well(peer, connection)
    await door.close()


WRONG = [
    (message(1, source="mod_c"), "name no endpoint"),
    (message(1, properties={"endpoint": "dubble"}, source="mod_c"), "did you mean 'double'"),
    (message("no number", properties={"endpoint": "double"}), "cannot read the payload"),
    (message(1, properties={"endpoint": "fail"}), "mod_a:fail failed"),
    ({**message(1), "payload": wire.encoded("no JSON")}, "cannot read the payload"),
]


async def test_what_goes_wrong_is_an_err_that_a_rust_requester_can_read(ordinary: Path) -> None:
    """protocol 18, D28 and 12.3: ``{"Err": …}``, bare"""
    async with with_channel(ordinary) as (peer, connection, _):
        for asked, words in WRONG:
            connection.say(asked)
            reply = await connection.take("route_to_module", target_endpoint="__response__", request_id=UUID)
            found = json.loads(bytes(reply["payload"]["data"]))
            assert list(found) == ["Err"] and words in found["Err"], found
        peer.say({"op": "shutdown"})
        assert await peer.ended() == 0


async def test_no_answer_from_another_module_ends_the_request_in_time(ordinary: Path) -> None:
    """protocol 18, D28: nobody says that the target does not exist. The late answer is dropped"""
    async with with_channel(ordinary) as (peer, connection, _):
        assert "RequestTimeout: mod_b:echo did not answer within 0.2 s" in await peer.json("/call/mod_b:echo?timeout=0.2")
        routed = await connection.take("route_to_module")
        connection.say(response(routed, "1"))
        assert "cancel" not in wire.compact(connection.messages)
        await is_well(peer, connection)


async def test_an_err_is_an_error(ordinary: Path) -> None:
    """protocol 18, D28 and 12.4"""
    async with with_channel(ordinary) as (peer, connection, _):
        peer.say(http("/call/mod_b:echo"))
        connection.say(response(await connection.take("route_to_module"), '{"Err":"module \'mod_b\' not found"}'))
        answer = await peer.take("http_response", request_id="/call/mod_b:echo")
        assert "module 'mod_b' not found" in bytes(answer["body"]).decode()
        await is_well(peer, connection)


# ── HTTP over channels ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_requests_on_a_channel_reach_the_application_and_are_answered_there(ordinary: Path) -> None:
    """protocol 18, D12: the reference answers by itself, its /health with JSON that is cut off"""
    async with with_channel(ordinary) as (peer, connection, _):
        assert await peer.json("/echo/app", way=connection) == "app"
        health = await peer.http("/health", way=connection, id="req-2")
        assert json.loads(bytes(health["body"]))["status"] == "OK"
        api = await peer.http('/api/"quoted"', way=connection, id="req-3")
        assert api["status_code"] == 404
        assert peer.wrappers == []
        await is_well(peer, connection)


async def test_a_request_on_a_channel_that_is_no_http_costs_nothing_but_itself(ordinary: Path) -> None:
    """protocol 18, D16"""
    wrong: list[dict[str, Any]] = [{"method": "G ET"}, {"uri": "no slash"}, {"headers": {"bad name": "x"}}]
    async with with_channel(ordinary) as (peer, connection, _):
        for members in wrong:
            bad = await peer.http(**{"uri": "/headers", "way": connection, "id": "bad", **members})
            assert 400 <= bad["status_code"] < 500
        await is_well(peer, connection)


# ── what ends a Rust module ─────────────────────────────────────────────────────────────────────────────────────────


CHUNK = {
    "stream_id": UUID,
    "sequence": 0,
    "total_chunks": 2,
    "data": [97, 98, 99],
    "compressed": False,
    "checksum": 294,
    "is_final": False,
    "stream_metadata": None,
}

FRAMES: dict[str, bytes] = {
    "D16, a format that does not exist": wire.frame(HEARTBEAT, 9),
    "D16, the format Auto": wire.frame(HEARTBEAT, 0),
    "P7, msgpack of the earlier Python port in format 1": wire.frame(b"\x81\xa2op\xa9heartbeat"),
    "formats of PyWatt that nobody offered": wire.frame(b"\x81\xa2op\xa9heartbeat", 4) + wire.frame(b"\xa1\x62op\x69heartbeat", 5),
    "D16, not UTF-8": wire.frame(b'{"op":"\xff"}'),
    "no JSON": wire.frame(b"heartbeat"),
    "nothing": wire.frame(b""),
    "no base64": wire.frame(b"!!!!", wire.BASE64),
    "bincode": wire.frame(bytes.fromhex("026869000000000000"), wire.BINARY),
    "an unknown operation": wire.frame(b'{"op":"health_check"}'),
    "D20, a chunk of the default build": wire.frame(wire.compact(CHUNK), wire.BINARY),
    "D20, an acknowledgement": wire.frame(wire.compact({"stream_id": UUID, "sequence": 0, "success": True, "error": None}), wire.BINARY),
    "D20, a chunk of the other build": wire.frame(bytes.fromhex("11" * 16 + "000203616263" + "00" + "fcc2412435" + "0000"), wire.BINARY),
    "a stray answer": wire.frame(wire.compact(response({"target_module_id": "b", "request_id": UUID}, "1"))),
    "answers that belong on standard input": wire.frame(
        wire.compact({"op": "service_response", "id": "r", "service_type": "Jwt", "success": True})
    ),
}


async def test_no_frame_that_cannot_be_read_ends_the_module_or_its_channel(ordinary: Path) -> None:
    """protocol 18, D16 (a format code ends a Rust module, even on an optional channel), D20 (chunks without envelope or op), P7"""
    async with with_channel(ordinary) as (peer, connection, door):
        for name, frame in FRAMES.items():
            connection.write(frame + wire.frame(HEARTBEAT))
            assert await connection.take("heartbeat_ack"), name
        assert len(door.connections) == 1
        await is_well(peer, connection)


async def test_a_frame_of_four_gibibytes_costs_the_connection_and_no_memory(ordinary: Path) -> None:
    """protocol 18, D24: the reference allocates what the header says"""
    async with with_channel(ordinary) as (peer, connection, door):
        connection.write(struct.pack(">IB", 0xFFFF_FFFF, 1) + b"x" * 1000)
        again = await door.connection(1)
        await connection.until(lambda: connection.ended, "the end of the first connection")
        await peer.logged("limit")
        await is_well(peer, again)


@pytest.mark.parametrize("required", [False, True])
async def test_a_lost_channel_is_made_again_and_costs_no_life(ordinary: Path, required: bool) -> None:
    """protocol 18, D16: with the reference's default, the end of any channel may be the module's"""
    async with with_channel(ordinary, required=required) as (peer, connection, door):
        for number in (1, 2):
            await connection.close()
            connection = await door.connection(number)
            connection.say({"op": "heartbeat"})
            await connection.take("heartbeat_ack")
        assert await peer.json("/channels") == {"tcp": "connected"}
        await is_well(peer, connection)


async def test_an_optional_channel_that_gives_up_costs_no_life_and_a_required_one_ends_it_by_name(ordinary: Path) -> None:
    """protocol 18, D16: only required channels may end a module"""
    env = {"PYWATT__CHANNELS__TCP__RECONNECT": "none"}
    async with with_channel(ordinary, required=False, env=env) as (peer, connection, _):
        await connection.close()
        await peer.until(lambda: "cannot be connected" in peer.stderr or "lost" in peer.stderr, "a word about the channel")
        assert await peer.json("/echo/alive") == "alive"
        await peer.ends_well()
    async with with_channel(ordinary, env=env) as (peer, connection, _):
        await connection.close()
        assert await peer.ended() == 5
        assert "the channel 'tcp', which the orchestrator requires, is lost" in peer.stderr


async def test_a_request_under_way_when_its_channel_is_lost_ends_with_what_is_known(ordinary: Path) -> None:
    """protocol 5.2: the reference may send it twice"""
    async with with_channel(ordinary) as (peer, connection, door):
        peer.say(http("/call/mod_b:echo"))
        await connection.take("route_to_module")
        await connection.close()
        answer = await peer.take("http_response", request_id="/call/mod_b:echo")
        assert "ChannelClosed" in bytes(answer["body"]).decode()
        again = await door.connection(1)
        await is_well(peer, again)
        assert again.count("route_to_module") == 0


async def test_shutdown_on_a_channel_ends_it_with_0(ordinary: Path) -> None:
    """protocol 18, D13"""
    async with with_channel(ordinary) as (peer, connection, _):
        connection.say({"op": "shutdown"})
        assert await peer.ended() == 0, peer.stderr
        assert peer.rejected == []
