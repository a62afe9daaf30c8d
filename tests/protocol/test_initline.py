"""The first line: strict in its JSON, tolerant in its spelling, and checked before it is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError
from pywatt_core.protocol.codec import Unreadable, encode_init
from pywatt_core.protocol.initline import check_init, check_types, decode_init
from pywatt_core.protocol.messages import Announce, AnnouncedEndpoint, Extension, Init, IpcChannel, TcpChannel

PLAIN: dict[str, Any] = {"orchestrator_api": "http://h", "module_id": "m", "env": {}, "listen": "127.0.0.1:1"}


def read(**members: Any) -> Init:
    return decode_init(json.dumps({**PLAIN, **members}).encode())


def test_a_whole_init_line_is_read() -> None:
    init = Init(
        "http://h", "m", {"K": "V"}, "[::1]:80", TcpChannel("127.0.0.1:9", True, True), IpcChannel("/s", True), "token", "Mtls",
        Extension(2, ("msgpack", "cbor"), ("x",), {"module": {"name": "m"}}),
    )  # fmt: skip
    assert decode_init(encode_init(init)) == init


def test_the_listen_address_is_normalised() -> None:
    assert read(listen="[0:0::1]:080").listen == "[::1]:80"
    assert read(listen={"Tcp": "127.0.0.1:0"}).listen == "127.0.0.1:0"


def test_a_tolerated_member_of_another_type_is_ignored() -> None:
    init = read(log_level=5, debug_mode="yes")
    assert (init.log_level, init.debug_mode) == (None, False)


@pytest.mark.parametrize(
    "wrapped",
    [{"op": "init", "init": PLAIN}, {"init": PLAIN}, {"id": "x", "content": PLAIN, "metadata": {}}, {"content": {**PLAIN, "op": "init"}}],
)
def test_an_init_nested_or_enveloped_is_read(wrapped: dict[str, Any]) -> None:
    assert decode_init(json.dumps(wrapped).encode()).module_id == "m"


@pytest.mark.parametrize(
    ("address", "read_as"),
    [
        ({"host": "localhost", "port": 9901}, "localhost:9901"),
        ({"host": "::1", "port": 9901}, "[::1]:9901"),
        ({"address": "[0::1]:1"}, "[::1]:1"),
        ({"address": "orchestrator.internal:1"}, "orchestrator.internal:1"),
    ],
)
def test_the_address_of_the_tcp_channel_is_read_in_every_spelling(address: dict[str, Any], read_as: str) -> None:
    assert read(tcp_channel=address).tcp_channel == TcpChannel(read_as)


CANARY = "c4n4ry"


@pytest.mark.parametrize(
    ("members", "names"),
    [
        ({"listen": CANARY}, "`$.listen`"),
        ({"module_id": ""}, "`$.module_id`"),
        ({"module_id": [CANARY]}, "`$.module_id`"),
        ({"env": {CANARY: 5}}, "`$.env[...]`"),
        ({"security_level": CANARY}, "`$.security_level`"),
        ({"tcp_channel": {"address": CANARY}}, "`$.tcp_channel.address`"),
        ({"tcp_channel": {"address": f"{CANARY}:70000"}}, "`$.tcp_channel.address`"),
        ({"tcp_channel": {"host": CANARY, "port": 70000}}, "`address`"),
        ({"tcp_channel": [CANARY]}, "`$.tcp_channel`"),
        ({"ipc_channel": {"socket_path": 5}}, "`$.ipc_channel.socket_path`"),
        ({"auth_token": [CANARY]}, "`$.auth_token`"),
        ({"pywatt": {"api": CANARY}}, "`$.pywatt.api`"),
        ({"op": CANARY}, "`$.op`"),
    ],
)
def test_a_bad_member_is_named_and_its_value_is_not_shown(members: dict[str, Any], names: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(**members)
    assert str(caught.value).startswith("the init line")
    assert names in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"module_id":"a","module_id":"b"}', "repeated field `module_id` - at `\\$`"),
        ('{"op":"init","op":"init"}', "repeated field `op`"),
        ('{"init":{"env":{},"env":{}}}', "repeated field `env`"),
        (
            json.dumps(PLAIN)[:-1] + ',"tcp_channel":{"address":"127.0.0.1:1","address":"127.0.0.1:2"}}',
            "repeated field `address` - at `\\$.tcp_channel`",
        ),
        (json.dumps(PLAIN)[:-1] + ',"ipc_channel":{"socket_path":"/a","socket_path":"/b"}}', "repeated field `socket_path`"),
        ('{"x":NaN}', "NaN is not a number"),
        ('{"x":1e400}', "out of range"),
        ('{"x":' + "9" * 5000 + "}", "no JSON that can be read"),
        ('{"x":"\\ud800"}', "lone surrogate"),
        ('{"\\ud800":1}', "lone surrogate"),
        ('{"x":' + "[" * 127 + "]" * 127 + "}", "nested deeper than 127"),
        ("[" * 100_000, "nested deeper than 127"),
        ("[]", "Expected a JSON object"),
        ("hello", r"no JSON: Expecting value \(column 1\)"),
        ("", "no JSON"),
    ],
    ids=lambda text: str(text)[:40],
)
def test_bad_json_is_refused_with_its_reason(line: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        decode_init(line.encode())


def test_a_repeated_key_that_nobody_knows_or_that_is_data_is_none_of_ours() -> None:
    text = json.dumps(PLAIN).replace('"env": {}', '"env": {"A": "1", "A": "2"}')[:-1] + ',"zz":1,"zz":2}'
    assert decode_init(text.encode()).env == {"A": "2"}


@given(st.binary(max_size=60))
def test_hostile_lines_raise_nothing_but_unreadable(line: bytes) -> None:
    with pytest.raises(Unreadable):
        decode_init(line)


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=6)


@given(VALUES, st.sampled_from(Init.__struct_fields__))
def test_any_value_for_any_member_is_read_or_refused(value: Any, name: str) -> None:
    try:
        init = decode_init(json.dumps({**PLAIN, name: value}).encode())
    except Unreadable:
        return
    decode_init(encode_init(init))


# ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("init", "names"),
    [
        (Init("h", "m", {}, "localhost:80"), "`$.listen`"),
        (Init("h", "", {}, "127.0.0.1:1"), "`$.module_id`"),
        (Init("h", "m", {"K": 5}, "127.0.0.1:1"), "`$.env[...]`"),  # type: ignore[dict-item]
        (Init("h", "m", {}, "127.0.0.1:1", TcpChannel("localhost:1")), "`$.tcp_channel.address`"),
        (Init("h", "m", {}, "127.0.0.1:1", security_level="mtls"), "`$.security_level`"),  # type: ignore[arg-type]
        (Init("h", "m", {"K": "x" * 2**20}, "127.0.0.1:1"), "over the limit of 1048576"),
    ],
)
def test_what_the_reference_would_refuse_is_never_sent(init: Init, names: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        check_init(init, encode_init(init))
    assert names in str(caught.value)


def test_an_announce_of_wrong_types_is_never_sent() -> None:
    check_types(Announce("127.0.0.1:1", [AnnouncedEndpoint("/", ["GET"])], Extension(features=("heartbeat",))))
    with pytest.raises(LocalProtocolError, match=r"`\$\.endpoints\[0\]\.methods`"):
        check_types(Announce("127.0.0.1:1", [AnnouncedEndpoint("/", "GET")]))  # type: ignore[arg-type]
