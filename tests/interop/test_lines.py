"""Standard input and output with a Rust-like orchestrator: secrets, rotations, requests, lines that nobody can read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from . import rust_wire as wire
from .rust_orchestrator import UUID, Message, RustOrchestrator
from .test_ways import http

HEARTBEAT: Message = {"op": "heartbeat"}


def secret(name: str, value: str, **more: Any) -> Message:
    return {"op": "secret", "name": name, "value": value, **more}


# ── one reader ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_secrets_are_answered_in_any_order_between_other_lines(ordinary: Path) -> None:
    """protocol 18, D2: the reference takes the next line, whatever it is, for the answer"""
    async with RustOrchestrator(ordinary, env={"ORDINARY_SECRETS": "ONE TWO THREE"}) as peer:
        for name in ("ONE", "TWO", "THREE"):
            await peer.take("get_secret", name=name)
        peer.say(
            HEARTBEAT, secret("OTHER", "o"), secret("THREE", "c"), {"op": "rotated", "keys": [], "rotation_id": "r"}, secret("ONE", "a")
        )
        peer.say(HEARTBEAT, secret("TWO", "b"))
        await peer.announced()
        assert await peer.json("/delivered") == {"ONE": "a", "OTHER": "o", "TWO": "b", "THREE": "c"}
        assert peer.count("heartbeat_ack") == 2
        await peer.ends_well()


async def test_a_line_that_came_in_one_piece_with_the_init_line_is_not_lost(ordinary: Path) -> None:
    """protocol 18, D2: nothing stays behind in the buffer of a reader that nobody asks again"""
    async with RustOrchestrator(ordinary, line=init_and(HEARTBEAT, secret("EARLY", "yl"))) as peer:
        await peer.take("heartbeat_ack")
        await peer.announced()
        assert await peer.json("/delivered") == {"EARLY": "ly"}
        await peer.ends_well()


async def test_a_secret_can_be_asked_for_while_serving_and_many_at_once(ordinary: Path) -> None:
    """protocol 18, D2: after the start it is a matter of luck in the reference. Equal names travel once"""
    async with RustOrchestrator(ordinary, secrets={"A": "a", "B": "b"}) as peer:
        await peer.announced()
        peer.say(*(http(f"/secret/{name}?n={n}") for n in range(10) for name in "AB"))
        for n in range(10):
            for name in "AB":
                await peer.take("http_response", request_id=f"/secret/{name}?n={n}")
        assert sorted(one["name"] for one in peer.messages if one["op"] == "get_secret") == ["A", "B"]
        await peer.ends_well()


async def test_http_is_answered_while_a_secret_is_waited_for(ordinary: Path) -> None:
    """protocol 18, D2 and D16: no reader waits for one answer, no consumer for one request"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        peer.say(http("/secret/LATER"))
        await peer.take("get_secret", name="LATER")
        assert await peer.json("/echo/meanwhile") == "meanwhile"
        peer.say(secret("LATER", "retal"))
        answer = await peer.take("http_response", request_id="/secret/LATER")
        assert json.loads(bytes(answer["body"]))["data"] == "later"
        await peer.ends_well()


# ── one client, rotations ───────────────────────────────────────────────────────────────────────────────────────────


async def test_rotated_secrets_reach_subscribers_and_every_later_reader(ordinary: Path) -> None:
    """protocol 18, D3: there is one client, so that nobody keeps the value from before"""
    async with RustOrchestrator(ordinary, secrets={"API_KEY": "1v"}, env={"ORDINARY_SECRETS": "API_KEY"}) as peer:
        await peer.announced()
        assert await peer.json("/delivered") == {"API_KEY": "v1"}
        peer.secrets["API_KEY"] = "2v"
        peer.say({"op": "rotated", "keys": ["API_KEY"], "rotation_id": "rot-1"})
        assert await peer.take("rotation_ack") == {"op": "rotation_ack", "rotation_id": "rot-1", "status": "success"}
        assert await peer.json("/delivered") == {"API_KEY": "v2"}
        assert await peer.json("/rotated") == ["API_KEY"]
        peer.say(secret("API_KEY", "3v", rotation_id="rot-2"))
        assert await peer.json("/secret/API_KEY") == "v3"
        await peer.ends_well()


async def test_the_acknowledgement_comes_after_the_new_value_and_waits_for_nothing(ordinary: Path) -> None:
    """protocol 18, D4: the reference acknowledges at once, and swallows the next line as an answer to that"""
    async with RustOrchestrator(ordinary, secrets={"API_KEY": "1v"}, env={"ORDINARY_SECRETS": "API_KEY"}) as peer:
        await peer.announced()
        peer.secrets.clear()
        peer.messages.clear()
        peer.say({"op": "rotated", "keys": ["API_KEY"], "rotation_id": "r"}, http("/echo/next"), HEARTBEAT)
        await peer.take("http_response", request_id="/echo/next")
        await peer.take("heartbeat_ack")
        await peer.take("get_secret", name="API_KEY")
        assert peer.count("rotation_ack") == 0
        peer.say(secret("API_KEY", "2v"))
        await peer.take("rotation_ack", rotation_id="r", status="success")
        await peer.ends_well()


async def test_one_rotation_is_acknowledged_once(ordinary: Path) -> None:
    """protocol 18, D4 and 9.2: an id that comes again is neither processed nor acknowledged"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        rotated: Message = {"op": "rotated", "keys": [], "rotation_id": "same"}
        peer.say(rotated, rotated, {**rotated, "rotation_id": "other"}, rotated)
        await peer.take("rotation_ack", rotation_id="other")
        assert await peer.json("/echo/done") == "done"
        assert [one["rotation_id"] for one in peer.messages if one["op"] == "rotation_ack"] == ["same"]
        await peer.ends_well()


# ── secrets and logs ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_log_line_ever_holds_a_secret_however_it_came(ordinary: Path) -> None:
    """protocol 18, D8: asked for, pushed, rotated, in a line that is broken, in the body of a request"""
    values = {name: f"s3cr3t-{name}-0123456789" for name in ("ASKED", "PUSHED", "LATER")}
    env = {"ORDINARY_SECRETS": "ASKED", "PYWATT__MODULE__LOG_LEVEL": "trace"}
    async with RustOrchestrator(ordinary, secrets={"ASKED": values["ASKED"], "LATER": values["LATER"]}, env=env) as peer:
        await peer.announced()
        peer.say(secret("PUSHED", values["PUSHED"]), secret("API_KEY", values["LATER"], rotation_id="r"))
        peer.write(b'{"op":"secret","name":7,"value":"' + values["PUSHED"].encode() + b'"}\n')
        peer.write(b'{"op":"secret","name":"X","value":"' + values["LATER"].encode() + b"\n")
        for name in values:
            assert await peer.json(f"/log/{name}") == "logged"
        await peer.logged("it is [REDACTED], truly", "a message was dropped")
        await peer.ends_well()
        assert "s3cr3t" not in peer.stderr


async def test_of_overlapping_secrets_nothing_is_left(ordinary: Path) -> None:
    """protocol 18, D9: the reference leaves ``[REDACTED]def`` of ``abcdef`` where ``abc`` is a secret too"""
    secrets = {"SHORT": "abcdefgh", "LONG": "abcdefghijklmnop", "OVER": "mnopqrstuv"}
    async with RustOrchestrator(ordinary, secrets=secrets, env={"ORDINARY_SECRETS": "SHORT LONG OVER"}) as peer:
        await peer.announced()
        for name in secrets:
            await peer.json(f"/log/{name}")
        await peer.logged("it is [REDACTED], truly")
        await peer.ends_well()
        assert peer.stderr.count("it is [REDACTED], truly") == 3
        assert not any(piece in peer.stderr for piece in ("ijkl", "abcd", "qrst"))


# ── no negative answers ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_silence_about_a_secret_ends_the_start_with_its_name(ordinary: Path) -> None:
    """protocol 18, D28 and P14: the protocol has no negative answer. The limit is 5 s, as in the reference; here 0.3"""
    env = {"ORDINARY_SECRETS": "NOBODY_KNOWS", "PYWATT__MODULE__SECRET_TIMEOUT": "0.3"}
    async with RustOrchestrator(ordinary, env=env) as peer:
        assert await peer.ended() == 5
        assert "did not answer for the secret 'NOBODY_KNOWS' within 0.3 s" in peer.stderr
        assert peer.count("announce") == 0


async def test_a_secret_is_waited_for_as_long_as_by_the_reference() -> None:
    """protocol 18, P14: 5 s, where the earlier Python port had 30"""
    from pywatt_core.config.settings import ModuleOptions
    from pywatt_core.services.secrets import ANSWER_TIMEOUT

    assert ModuleOptions().secret_timeout == ANSWER_TIMEOUT == 5.0


async def test_silence_about_a_secret_while_serving_is_an_error_of_that_request_alone(ordinary: Path) -> None:
    """protocol 18, D28"""
    async with RustOrchestrator(ordinary, env={"PYWATT__MODULE__SECRET_TIMEOUT": "0.2"}) as peer:
        await peer.announced()
        assert "within 0.2 s" in await peer.json("/secret/NOBODY_KNOWS")
        peer.say({"op": "secret", "name": "NOT_THIS", "error": "unknown"})
        peer.say(http("/secret/NOT_THIS_EITHER"))
        await peer.take("get_secret", name="NOT_THIS_EITHER")
        peer.say({"op": "secret", "name": "NOT_THIS_EITHER", "error": "forbidden"})
        answer = await peer.take("http_response", request_id="/secret/NOT_THIS_EITHER")
        assert "SecretNotFound" in bytes(answer["body"]).decode()
        await peer.ends_well()


# ── HTTP over standard input ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_response_on_standard_output_is_the_references_wrapper_to_the_byte(ordinary: Path) -> None:
    """protocol 18, D18: sorted keys, no op, no id; the source is the module's id although the environment names none"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        await peer.http("/nowhere", id="req-7")
        wrapper = peer.wrappers[0]
        line = next(one for one in peer.lines if one.startswith(b'{"content":{"body":['))
        assert line.decode() == wire.compact(wrapper, sort=True)
        assert wrapper["metadata"]["source"] == "mod_a"
        wire.identifier(wrapper["metadata"]["id"], "id")
        assert wrapper["content"]["request_id"] == "req-7"
        assert wrapper["content"]["status_code"] == 404
        await peer.ends_well()


async def test_one_stack_serves_standard_input_the_port_and_a_module_without_a_port(ordinary: Path) -> None:
    """protocol 18, D17: the reference's router is connected to nothing"""
    from pywatt_core.testing.client import fetch

    async with RustOrchestrator(ordinary) as peer:
        address = (await peer.announced())["listen"]
        over_port = (await fetch(address, "GET", "/echo/same")).json()
        assert json.loads(bytes((await peer.http("/echo/same"))["body"])) == over_port
        await peer.ends_well()
    async with RustOrchestrator(ordinary, init={"listen": "/nowhere/m.sock"}, env={"ORDINARY_NO_PORT": "1"}) as peer:
        await peer.announced()
        assert json.loads(bytes((await peer.http("/echo/same"))["body"])) == over_port
        await peer.ends_well()


NO_HTTP: list[dict[str, Any]] = [
    {"method": "G ET"},
    {"method": ""},
    {"uri": "no slash"},
    {"uri": ""},
    {"headers": {"bad name": "x"}},
    {"headers": {"x": "a\nb: c"}},
]


async def test_a_request_that_is_no_http_costs_nothing_but_itself(ordinary: Path) -> None:
    """protocol 18, D16: it ends a Rust module"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        for members in NO_HTTP:
            bad = await peer.http(**{"uri": "/headers", "id": "bad", **members})
            assert 400 <= bad["status_code"] < 500, members
        assert await peer.json("/echo/alive") == "alive"
        await peer.ends_well()


async def test_more_requests_than_the_references_queue_holds_are_all_answered_and_side_by_side(ordinary: Path) -> None:
    """protocol 18, D16: the 101st that waits ends a Rust module, and it answers one by one"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        peer.say(http("/secret/SLOW"), *(http(f"/echo/{number}") for number in range(300)))
        for number in range(300):
            await peer.take("http_response", request_id=f"/echo/{number}", status_code=200)
        assert peer.count("http_response") == 0
        peer.say(secret("SLOW", "x"))
        await peer.take("http_response", request_id="/secret/SLOW")
        await peer.ends_well()


async def test_what_arrives_while_it_still_starts_is_not_lost(ordinary: Path) -> None:
    """protocol 18, D16 and 6.3: whoever is not subscribed yet misses it in the reference"""
    async with RustOrchestrator(ordinary, env={"ORDINARY_SECRETS": "LATE"}) as peer:
        await peer.take("get_secret", name="LATE")
        peer.say(HEARTBEAT, secret("LATE", "x"))
        await peer.announced()
        await peer.take("heartbeat_ack")
        await peer.ends_well()


async def test_a_body_that_is_no_array_of_bytes_is_refused_by_name(ordinary: Path) -> None:
    """protocol 18, P9: text and base64 cannot be told apart"""
    bodies: list[Any] = ["text", "e30=", [256], [-1], [1.0], {"0": 1}]
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        for body in bodies:
            answer = await peer.http("/headers", body=body)
            assert answer["status_code"] == 400
            assert b"`body`" in bytes(answer["body"]), body
        assert await peer.json("/echo/alive") == "alive"
        await peer.ends_well()


# ── what cannot be read ─────────────────────────────────────────────────────────────────────────────────────────────


UNREADABLE = [
    b"\xff\xfe not UTF-8",
    b"",
    b"   ",
    b"no JSON",
    b'{"op":"heartbeat"',
    b'{"op":"health_check"}',
    b'{"op":"identify"}',
    b'{"op":7}',
    b"[]",
    b'["heartbeat"]',
    b'{"type":"routed_module_message"}',
    b'{"op":"port_negotiation","preferred_port":1}',
    b'{"op":"secret","name":"X"}',
    b'{"op":"http_request","request_id":"r"}',
    b'{"op":"service_operation_result","success":"yes"}',
    b'{"op":"port_response","request_id":"x","success":true}',
    b'{"op":"routed_module_message","source_module_id":"b","original_request_id":"no uuid","payload":{"data":[],"format":"Json"}}',
    b'{"op":"routed_module_message","source_module_id":"b","original_request_id":"%s","payload":{"data":"00","format":"json"}}'
    % UUID.encode(),
    b'{"op":"init","module_id":"again"}',
    b'{"op":"secret","name":"X","value":"a\xe2\x80\xa8b"}',
    b"[" * 1000,
]


async def test_no_line_that_cannot_be_read_ends_anything(ordinary: Path) -> None:
    """protocol 18, D16: a line that is not UTF-8 ends a Rust module. P11 and P12: earlier spellings are unknown operations"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        for line in UNREADABLE:
            peer.write(line + b"\n")
        peer.write(b'{"op":"heartbeat"}\r\n')
        await peer.take("heartbeat_ack")
        assert await peer.json("/delivered") == {"X": "b\u2028a"}
        await peer.ends_well()


# ── one writer ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_lines_of_many_threads_and_prints_do_not_mix(ordinary: Path) -> None:
    """protocol 18, D22: the reference has four writers that know nothing of each other"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        peer.say(http("/flood"), *(http(f"/echo/{'x' * 5000}?n={number}") for number in range(50)))
        await peer.take("http_response", request_id="/flood")
        for number in range(50):
            await peer.take("http_response", request_id=f"/echo/{'x' * 5000}?n={number}")
            await peer.take("port_request", request_id=f"00000000-0000-4000-8000-{number:012d}")
        await peer.ends_well()
        assert "a print in between" in peer.stderr and "and one past Python" in peer.stderr


# ── heartbeats, and the end ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_heartbeat_is_answered_on_standard_output_in_the_one_form(ordinary: Path) -> None:
    """protocol 18, D27 and P15: a Rust module does not answer, the earlier Python port with null members"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        peer.say(HEARTBEAT)
        await peer.take("heartbeat_ack")
        assert peer.lines[-1] == b'{"op":"heartbeat_ack"}'
        await peer.ends_well()


async def test_the_end_of_input_ends_it_even_in_the_middle_of_a_line(ordinary: Path) -> None:
    """protocol 18, D13: a macro module runs until it is killed"""
    for rest in (b"", b'{"op":"shut'):
        async with RustOrchestrator(ordinary) as peer:
            await peer.announced()
            peer.write(rest)
            peer.hang_up()
            assert await peer.ended() == 0, peer.stderr
            assert "Traceback" not in peer.stderr


async def test_shutdown_lets_what_runs_finish_and_does_not_wait_for_the_end_of_input(ordinary: Path) -> None:
    """protocol 18, D13 and 1.3: a Rust process may linger in a read"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        peer.say(http("/secret/LAST"))
        await peer.take("get_secret", name="LAST")
        peer.say({"op": "shutdown"})
        await peer.logged("stopping")
        peer.say(secret("LAST", "tsal"))
        answer = await peer.take("http_response", request_id="/secret/LAST")
        assert json.loads(bytes(answer["body"]))["data"] == "last"
        assert await peer.ended() == 0
        assert peer.rejected == []


async def test_shutdown_before_the_announce_ends_it_too(ordinary: Path) -> None:
    """protocol 18, D13"""
    async with RustOrchestrator(ordinary, env={"ORDINARY_SECRETS": "NEVER"}) as peer:
        await peer.take("get_secret")
        peer.say({"op": "shutdown"})
        assert await peer.ended() == 0, peer.stderr
        assert peer.count("announce") == 0


# ── correlation ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def operation(peer: RustOrchestrator, connection: str = "conn-1") -> Message:
    peer.say(http(f"/operation/{connection}"))
    return await peer.take("service_operation", connection_id=connection)


async def result(peer: RustOrchestrator, connection: str = "conn-1") -> Any:
    answer = await peer.take("http_response", request_id=f"/operation/{connection}")
    return json.loads(bytes(answer["body"]))["data"]


async def test_an_operations_result_that_names_nothing_is_the_only_operations(ordinary: Path) -> None:
    """protocol 18, D21; P10: any JSON is a result"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        for value in (3, "text", [1], {"data": {}}, None, True):
            await operation(peer)
            peer.say({"op": "service_operation_result", "success": True, "result": value, "error": None})
            assert await result(peer) == value
        await peer.ends_well()


async def test_operations_results_are_told_apart_by_what_they_echo(ordinary: Path) -> None:
    """protocol 18, D21: with two connections under way, a result that names none belongs to nobody"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        first, second = await operation(peer, "conn-1"), await operation(peer, "conn-2")
        bare: Message = {"op": "service_operation_result", "success": True, "result": 0, "error": None}
        echo = {key: value for key, value in second.items() if key != "op"}
        peer.say(bare, {**bare, "result": 2, "params": echo}, {**bare, "result": 1, "connection_id": first["connection_id"]})
        assert [await result(peer, "conn-1"), await result(peer, "conn-2")] == [1, 2]
        await peer.logged("does not say which operation it belongs to")
        await peer.ends_well()


async def test_an_operation_without_an_answer_times_out_and_its_late_result_is_nobody_elses(ordinary: Path) -> None:
    """protocol 18, D21: the reference waits for ever"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        assert "RequestTimeout" in await peer.json("/operation/conn-1?timeout=0.2")
        await peer.take("service_operation")
        await operation(peer)
        bare: Message = {"op": "service_operation_result", "success": True, "result": "late", "error": None}
        peer.say(bare, {**bare, "result": "own"})
        assert await result(peer) == "own"
        await peer.ends_well()


async def test_a_port_is_taken_from_its_own_answer_or_from_an_auto_assigned_one(ordinary: Path) -> None:
    """protocol 18, D21 and P11: the reference takes any answer, whatever id it has"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        answer: Message = {"op": "port_response", "success": True, "error_message": None}
        for id, expected in (("auto-assigned", 4103), (None, 4104)):
            peer.say({**http("/port"), "request_id": f"port {expected}"})
            asked = await peer.take("port_request")
            assert list(asked) == ["op", "request_id", "specific_port"]
            peer.say({**answer, "request_id": UUID, "port": 4999}, {**answer, "request_id": id or asked["request_id"], "port": expected})
            found = await peer.take("http_response", request_id=f"port {expected}")
            assert json.loads(bytes(found["body"]))["data"] == expected
        await peer.ends_well()


async def test_a_wish_for_a_port_is_kept_and_a_refusal_is_final(ordinary: Path) -> None:
    """protocol 18, D29: the reference asks for any other port when it asks again"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        peer.say(http("/port?port=4105&timeout=0.3"))
        first, second = await peer.take("port_request", specific_port=4105), await peer.take("port_request", specific_port=4105)
        assert first["request_id"] != second["request_id"]
        await peer.take("http_response")
        peer.say(http("/port?port=4106"))
        asked = await peer.take("port_request", specific_port=4106)
        peer.say({"op": "port_response", "request_id": asked["request_id"], "success": False, "port": 0, "error_message": "in use"})
        assert "in use" in bytes((await peer.take("http_response"))["body"]).decode()
        await peer.ends_well()
        assert peer.count("port_request") == 0


async def test_answers_about_services_on_standard_input_are_used_one_question_at_a_time(ordinary: Path) -> None:
    """protocol 18, D21: the reference logs them and drops them. P6: ``Custom(x)`` is read, and never sent"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        peer.say(http("/discover/search"), http("/discover/cache"))
        kinds = [await asked_kind(peer)]
        await asyncio.sleep(0)
        assert peer.count("discover_service_providers") == 0
        peer.say(providers("Custom(search)"))
        kinds.append(await asked_kind(peer))
        peer.say(providers("cache", metadata=None))
        assert sorted(map(str, kinds)) == ["Cache", "{'Custom': 'search'}"]
        for uri in ("/discover/search", "/discover/cache"):
            answer = await peer.take("http_response", request_id=uri)
            assert json.loads(bytes(answer["body"]))["data"] == [["s1", "127.0.0.1:7700"]]
        peer.say(http("/offer/search"))
        await peer.take("register_service_provider", service_type={"Custom": "search"}, name="s1", version=None)
        peer.say({"op": "register_service_provider_response", "success": True, "provider_id": "p1", "error": None})
        assert b"p1" in bytes((await peer.take("http_response", request_id="/offer/search"))["body"])
        await peer.ends_well()


async def asked_kind(peer: RustOrchestrator) -> Any:
    return (await peer.take("discover_service_providers"))["service_type"]


def providers(kind: Any, metadata: Any = None) -> Message:
    one = {"provider_id": "p1", "module_id": "b", "service_type": kind, "name": "s1", "version": None, "address": "127.0.0.1:7700"}
    one |= {"metadata": metadata, "is_healthy": True}
    return {"op": "discover_service_providers_response", "success": True, "providers": [one], "error": None}


async def test_messages_nested_below_their_name_are_read(ordinary: Path) -> None:
    """protocol 18, P1 and P18: as the earlier Python port writes them, with all others as null; an envelope with null metadata too"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        peer.say({"op": "secret", "secret": {"name": "N", "value": "n"}, "init": None, "heartbeat": None})
        metadata = {"id": None, "timestamp": None, "source": None, "destination": None, "properties": None}
        peer.say({"id": UUID, "content": secret("E", "e"), "metadata": metadata})
        assert await peer.json("/delivered") == {"E": "e", "N": "n"}
        await peer.ends_well()


def init_and(*messages: Message) -> bytes:
    """The init line and what follows it, in one write."""
    from .rust_orchestrator import usual_init

    return b"".join(wire.compact(one).encode() + b"\n" for one in (usual_init(), *messages))
