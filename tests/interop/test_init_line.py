"""The first line, in every spelling that an orchestrator may use, and what a module does before it announces itself."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.testing.client import fetch

from . import rust_wire as wire
from .rust_orchestrator import Door, RustOrchestrator, open_rust_door, usual_init


def line(**members: Any) -> bytes:
    """Any init line, also one that the reference would refuse."""
    return wire.compact(usual_init(**members)).encode() + b"\n"


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pw-") as folder:
        yield Path(folder)


# ── accepted ────────────────────────────────────────────────────────────────────────────────────────────────────────


WITHOUT_ENV = {key: value for key, value in usual_init().items() if key != "env"}

SPELLINGS: dict[str, tuple[dict[str, Any], str]] = {
    "P1, nested": ({"op": "init", "init": usual_init(), "secret": None}, "mod_a"),
    "P1, enveloped": ({"id": "11111111-2222-4333-8444-555555555555", "content": {"op": "init", **usual_init()}, "metadata": {}}, "mod_a"),
    "P3, a tagged TCP address": (usual_init(listen={"Tcp": "127.0.0.1:0"}), "127.0.0.1:"),
    "P5, unknown members": ({**usual_init(), "debug_mode": False, "log_level": "info", "more": [1]}, "mod_a"),
    "P22, no env": (WITHOUT_ENV, "mod_a"),
    "P22, env is null": ({**WITHOUT_ENV, "env": None}, "mod_a"),
    "D31, with its op": ({"op": "init", **usual_init()}, "mod_a"),
    "security level in lower case": (usual_init(security_level="none"), "mod_a"),
    "security level is null": (usual_init(security_level=None), "mod_a"),
    "security level as an object": (usual_init(security_level={"None": None}), "mod_a"),
    "channels are null": (usual_init(tcp_channel=None, ipc_channel=None, auth_token=None), "mod_a"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_the_init_line_is_read_in_this_spelling(ordinary: Path, spelling: str) -> None:
    """protocol 18, D31 and P1, P3, P5, P22"""
    init, _ = SPELLINGS[spelling]
    async with RustOrchestrator(ordinary, line=wire.compact(init).encode() + b"\n") as peer:
        announce = await peer.announced()
        assert announce["listen"].startswith("127.0.0.1:")
        answer = await peer.http("/echo/here")
        assert answer["status_code"] == 200
        assert peer.wrappers[0]["metadata"]["source"] == "mod_a"
        await peer.ends_well()


async def test_a_tagged_unix_path_is_where_it_serves(ordinary: Path, short: Path) -> None:
    """protocol 18, P3"""
    path = str(short / "m.sock")
    async with RustOrchestrator(ordinary, line=line(listen={"Unix": path})) as peer:
        assert (await peer.announced())["listen"] == path
        assert (await fetch(path, "GET", "/echo/unix")).json()["data"] == "unix"
        await peer.ends_well()


async def test_a_log_level_in_the_init_line_is_honoured(ordinary: Path) -> None:
    """protocol 18, P5"""
    async with RustOrchestrator(ordinary, line=line(log_level="debug", debug_mode=True)) as peer:
        await peer.announced()
        peer.say({"op": "health_check"})  # a message of old, which nobody knows any more
        await peer.logged('"level":"DEBUG"', "a message was dropped", '"kind":"unknown"')
        await peer.ends_well()


async def test_a_channel_as_host_and_port_is_connected(ordinary: Path) -> None:
    """protocol 18, P4: both flags missing, and a host name"""
    door = Door()
    port = int((await door.open_tcp()).rpartition(":")[2])
    async with RustOrchestrator(ordinary, line=line(tcp_channel={"host": "localhost", "port": port})) as peer:
        await peer.announced()
        connection = await door.connection()
        connection.say({"op": "heartbeat"})
        await connection.take("heartbeat_ack")
        await peer.ends_well()
    await door.close()


# ── refused ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("init", "reason"),
    [
        (usual_init(listen="localhost:8080"), "$.listen"),
        (usual_init(listen="127.0.0.1:70000"), "$.listen"),
        (usual_init(listen=""), "$.listen"),
        (usual_init(module_id=""), "$.module_id"),
        (usual_init(security_level="Strong"), "$.security_level"),
        (usual_init(env={"A": 1}), "$.env"),
        ({"op": "secret", **usual_init()}, "$.op"),
        ([], "Expected a JSON object"),
    ],
)
async def test_a_mistyped_init_line_is_refused_by_name_and_nothing_is_announced(ordinary: Path, init: Any, reason: str) -> None:
    """protocol 18, D14 (a mistyped address is no Unix path) and D31 (a wrong op)"""
    async with RustOrchestrator(ordinary, line=wire.compact(init).encode() + b"\n") as peer:
        assert await peer.ended() == 3
        assert reason in peer.stderr
        assert "Traceback" not in peer.stderr
        assert peer.lines == []


async def test_an_init_line_without_its_end_is_no_init_line(ordinary: Path) -> None:
    """protocol 18, D31: as the reference, we refuse complete JSON before the end of input that no newline follows"""
    async with RustOrchestrator(ordinary, line=line()[:-1]) as peer:
        peer.hang_up()
        assert await peer.ended() == 3
        assert "before a whole init line" in peer.stderr


async def test_an_orchestrator_that_never_speaks_is_not_waited_for_forever(ordinary: Path) -> None:
    """protocol 18, D31: the reference has no timeout"""
    async with RustOrchestrator(ordinary, line=b"", env={"PYWATT__MODULE__HANDSHAKE_TIMEOUT": "0.3", "PYWATT_STANDALONE": "0"}) as peer:
        assert await peer.ended() == 3
        assert "no init line arrived within 0.3 s" in peer.stderr
        assert peer.lines == []


async def test_the_env_of_the_init_line_stays_data(ordinary: Path) -> None:
    """protocol 18, D31 and 1.2: not exported, as in the reference, and not mistaken for configuration"""
    async with RustOrchestrator(ordinary, init={"env": {"ORDINARY_SECRETS": "NOPE", "PYWATT__MODULE__LOG_LEVEL": "debug"}}) as peer:
        await peer.announced()
        assert peer.count("get_secret") == 0
        await peer.ends_well()


# ── before and at the announce ──────────────────────────────────────────────────────────────────────────────────────


async def test_without_a_channel_it_announces_itself_and_lives(ordinary: Path) -> None:
    """protocol 18, D1: the reference ends after its announce, because identify cannot be written"""
    async with RustOrchestrator(ordinary) as peer:
        await peer.announced()
        assert await peer.json("/echo/alive") == "alive"
        assert all(b"identify" not in one for one in peer.lines)
        await peer.ends_well()


async def test_it_binds_before_it_announces_the_port_that_it_got(ordinary: Path) -> None:
    """protocol 18, D14: port 0 is resolved, and the port accepts when the announce is there"""
    async with RustOrchestrator(ordinary, init={"listen": "127.0.0.1:0"}) as peer:
        address = (await peer.announced())["listen"]
        assert not address.endswith(":0")
        assert (await fetch(address, "GET", "/echo/bound")).json()["data"] == "bound"
        await peer.ends_well()


async def test_it_serves_at_the_very_address_it_was_given(ordinary: Path) -> None:
    """protocol 18, D14: the reference takes 127.0.0.1 whatever the address says"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        port = probe.getsockname()[1]
    async with RustOrchestrator(ordinary, init={"listen": f"127.0.0.2:{port}"}) as peer:
        assert (await peer.announced())["listen"] == f"127.0.0.2:{port}"
        assert (await fetch(f"127.0.0.2:{port}", "GET", "/echo/two")).json()["data"] == "two"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await peer.ends_well()


async def test_it_serves_on_a_unix_socket_too(ordinary: Path, short: Path) -> None:
    """protocol 18, D14: the reference announces 127.0.0.1:0 and ends"""
    path = str(short / "m.sock")
    async with RustOrchestrator(ordinary, init={"listen": path}) as peer:
        assert (await peer.announced())["listen"] == path
        assert (await fetch(path, "GET", "/health")).status == 200
        await peer.ends_well()


async def test_the_announce_is_one_tagged_line_without_nulls_from_which_the_reference_can_read(ordinary: Path) -> None:
    """protocol 18, P2 and D35"""
    async with RustOrchestrator(ordinary) as peer:
        announce = await peer.announced()
        assert peer.lines[0].startswith(b'{"op":"announce","listen":"127.0.0.1:') and b"null" not in peer.lines[0]
        assert {"path": "/echo/{text}", "methods": ["GET"]} in announce["endpoints"]
        assert [one["path"] for one in announce["endpoints"]].count("/health") == 1
        assert "pywatt" not in announce
        await peer.ends_well()
        assert peer.count("announce") == 0


# ── channels at the start ───────────────────────────────────────────────────────────────────────────────────────────


async def test_an_optional_socket_that_is_missing_holds_nothing_up_and_is_connected_when_it_appears(ordinary: Path, short: Path) -> None:
    """protocol 18, D7: the reference waits for it before the announce, for ever"""
    path, door = str(short / "o.sock"), Door()
    async with RustOrchestrator(ordinary, init={"ipc_channel": {"socket_path": path, "required": False}}) as peer:
        await peer.announced()
        assert (await peer.json("/channels"))["unix"] != "connected"
        await door.open_unix(path)
        connection = await door.connection()
        connection.say({"op": "heartbeat"})
        await connection.take("heartbeat_ack")
        assert await peer.json("/channels") == {"unix": "connected"}
        await peer.ends_well()
    await door.close()


async def test_a_required_socket_that_never_appears_ends_it_in_time_and_by_name(ordinary: Path, short: Path) -> None:
    """protocol 18, D7: for the reference a required socket is no different from an optional one"""
    init = {"ipc_channel": {"socket_path": str(short / "never.sock"), "required": True}}
    async with RustOrchestrator(ordinary, init=init, env={"ORDINARY_FIRST_CONNECT": "0.4"}) as peer:
        assert await peer.ended() == 5
        assert "the required channel unix was not connected within 0.4 s" in peer.stderr
        assert "never.sock" in peer.stderr
        assert peer.lines == []


async def test_a_required_socket_that_appears_while_it_starts_is_waited_for(ordinary: Path, short: Path) -> None:
    """protocol 18, D7"""
    path, door = str(short / "late.sock"), Door()
    async with RustOrchestrator(
        ordinary, init={"ipc_channel": {"socket_path": path, "required": True}}, env={"PYWATT__MODULE__LOG_LEVEL": "debug"}
    ) as peer:
        await peer.logged("late.sock")
        assert peer.lines == []
        await door.open_unix(path)
        await peer.announced()
        await door.connection()
        await peer.ends_well()
    await door.close()


async def test_an_ipv6_channel_is_connected(ordinary: Path) -> None:
    """protocol 18, D7: the reference leaves the brackets out and tries for ever"""
    try:
        door, offer = await open_rust_door(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with RustOrchestrator(ordinary, init=offer) as peer:
        await peer.announced()
        await door.connection()
        await peer.ends_well()
    await door.close()


async def test_a_required_channel_that_refuses_ends_it_before_the_announce(ordinary: Path) -> None:
    """protocol 18, D7 and 2.4, step 7"""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unheard.getsockname()[1]}"
        offer = {"tcp_channel": {"address": address, "tls_enabled": False, "required": True}}
        async with RustOrchestrator(ordinary, init=offer, env={"PYWATT__CHANNELS__TCP__RECONNECT": "none"}) as peer:
            assert await peer.ended() == 5
            assert f"the required channel tcp failed: nobody listens on {address}" in peer.stderr
            assert peer.lines == []


# ── the fields on security, which the reference reads and ignores ───────────────────────────────────────────────────


async def test_tls_that_the_orchestrator_does_not_speak_fails_closed_and_is_ignored_only_on_request(ordinary: Path) -> None:
    """protocol 18, D25"""
    door, offer = await open_rust_door(tls_enabled=True)
    async with RustOrchestrator(ordinary, init=offer, env={"ORDINARY_FIRST_CONNECT": "1"}) as peer:
        connection = await door.connection()
        connection.write(b"\0\0\0\x12\x01" + b'{"op":"heartbeat"}')  # in the clear
        assert await peer.ended() == 5
        assert connection.messages == []
        assert peer.lines == []
    async with RustOrchestrator(ordinary, init=offer, env={"PYWATT__CHANNELS__TCP__TLS": "ignore"}) as peer:
        await peer.announced()
        connection = door.connections[-1]
        connection.say({"op": "heartbeat"})
        await connection.take("heartbeat_ack")
        await peer.ends_well()
    await door.close()


@pytest.mark.parametrize(
    ("level", "members", "env", "reason"),
    [
        ("Mtls", {}, {}, "set client_cert and client_key"),
        ("Mtls", {}, {"PYWATT__CHANNELS__TCP__TLS": "ignore"}, "would speak in the clear"),
        ("Token", {}, {}, "has sent no auth_token"),
    ],
)
async def test_a_security_level_that_cannot_be_kept_is_an_error(
    ordinary: Path, level: str, members: dict[str, Any], env: dict[str, str], reason: str
) -> None:
    """protocol 18, D25"""
    door, offer = await open_rust_door()
    async with RustOrchestrator(ordinary, init={**offer, **members, "security_level": level}, env=env) as peer:
        assert await peer.ended() in (2, 5)
        assert reason in peer.stderr
        assert peer.lines == []
    await door.close()


async def test_a_token_is_not_sent_unasked_and_on_request_in_the_first_envelope_alone(ordinary: Path) -> None:
    """protocol 18, D25 and D8: nor is it ever logged"""
    door, offer = await open_rust_door()
    init = {**offer, "auth_token": "tok-3141592653", "security_level": "Token"}
    for env in ({}, {"PYWATT__CHANNELS__TCP__SEND_AUTH_TOKEN": "metadata"}):
        async with RustOrchestrator(ordinary, init=init, env={**env, "PYWATT__MODULE__LOG_LEVEL": "trace"}) as peer:
            await peer.announced()
            connection = door.connections[-1]
            for _ in range(2):
                connection.say({"op": "heartbeat"})
                await connection.take("heartbeat_ack")
            first, second = connection.envelopes
            assert first["metadata"].get("properties", {}).get("auth_token") == ("tok-3141592653" if env else None)
            assert "properties" not in second["metadata"]
            await peer.ends_well()
            assert "3141592653" not in peer.stderr
    await door.close()
