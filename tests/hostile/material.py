"""What hostile peers send, what is to be said of it, and how much memory a process has taken for it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import NamedTuple

MIB = 1024 * 1024
LIMIT = 64 * MIB
"""Of a line, and of a frame on TCP."""

LARGE = 16 * MIB
"""Of a message that would take hundreds of MiB as Python objects."""

BOUND = 6 * LARGE
"""Bytes that a process may take on top while such a message is refused: the bytes as they came, joined, and looked at."""

LITTLE = 32 * MIB
"""Likewise, for what is no large message."""

ENDLESS_BOUND = 3 * LIMIT
"""Likewise, while as much has arrived of one message as may."""


class Bad(NamedTuple):
    """What is sent, and words that the refusal has to have; none where it is only to be survived."""

    name: str
    data: bytes
    words: str = ""


class Memory:
    """The memory of another process, in bytes, as the kernel tells it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.before = self._read("VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak is counted from now on

    def _read(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"process {self.pid} has no {name}: it has ended")

    @property
    def growth(self) -> int:
        """How much it had at its peak beyond what it had at first."""
        return self._read("VmHWM") - self.before


def frame(payload: bytes, code: int = 1, size: int | None = None) -> bytes:
    """A frame; `size` is what its header says, where that is to be a lie."""
    return struct.pack(">IB", len(payload) if size is None else size, code) + payload


REQUEST: dict[str, object] = {"op": "http_request", "request_id": "r", "method": "GET", "uri": "/hello", "headers": {}, "body": None}


def request(**changes: object) -> bytes:
    """An HTTP request to a module as JSON, with these members changed; `...` takes one away."""
    return json.dumps({name: value for name, value in {**REQUEST, **changes}.items() if value is not ...}).encode()


def large(before: bytes, piece: bytes, after: bytes = b"", size: int = LARGE) -> bytes:
    """`piece` so often that it fills the limit."""
    return before + piece * (size // len(piece)) + after


TEXTS = [
    Bad("nothing that is JSON", b"hello there", "malformed"),
    Bad("a truncated object", request()[:-9], "truncated"),
    Bad("NUL", b"\0" * 64, "malformed"),
    Bad("NUL within", request(uri="X").replace(b"X", b"\0"), "invalid"),
    Bad("a byte order mark", b"\xef\xbb\xbf" + request(), "malformed"),
    Bad("UTF-16", request().decode().encode("utf-16-le"), "malformed"),
    Bad("bad UTF-8", request(uri="X").replace(b"X", b"/\xff\xfe"), "not UTF-8"),
    Bad("overlong UTF-8", request(uri="X").replace(b"X", b"/\xc0\xaf"), "not UTF-8"),
    Bad("a surrogate", request(uri="X").replace(b"X", b"/\xed\xa0\x80"), "not UTF-8"),
    Bad("an array", b"[1,2,3]", "object"),
    Bad("null", b"null", "object"),
    Bad("a number without end", b'{"op":"http_request","a":' + b"9" * 100_000 + b"}"),
    Bad("a member missing", request(uri=...), "missing required field `uri`"),
    Bad("a member of another type", request(method=5), "$.method"),
    Bad("a header of another type", request(headers={"a": [1]}), "$.headers"),
    Bad("a body of texts", request(body="text"), "body"),
    Bad("a body of large numbers", request(body=[1, 256]), "body"),
    Bad("a body of negative numbers", request(body=[-1]), "body"),
    Bad("two ops", b'{"op":"shutdown",' + request()[1:], "op"),
    Bad("an op that is a number", b'{"op":1}', "op"),
    Bad("no op", b"{}", "op"),
    Bad("depth", b'{"op":"http_request","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper than 127"),
    Bad("depth without end", b'{"a":' * 100_000, "nested deeper than 127"),
    Bad("a message of the other side", b'{"op":"announce","listen":"127.0.0.1:1","endpoints":[]}'),
    Bad("an op that nobody knows", b'{"op":"format_disk"}'),
    Bad("an answer to nothing", b'{"op":"port_response","request_id":"r","success":true,"port":1}', "port_response"),
]
"""JSON for a module that is none, or not what it should be."""

BOMBS = [
    Bad("objects", large(b'{"op":"zzz","a":[', b"{},", b"0]}"), "more than 500000 values"),
    Bad("texts", large(b'{"op":"zzz","a":[', b'"ab",', b"0]}"), "more than 500000 values"),
    Bad("headers", large(b'{"op":"http_request","headers":{', b'"a":"",', b'"b":""}}'), "more than 500000 values"),
    Bad("depth", large(b"", b"["), "more than 500000 values"),
]
"""Messages within the limit for bytes, which as Python objects would take a multiple of it."""

MSGPACK_OP = b"\x82\xa2op\xa3zzz\xa1a"
CBOR_OP = b"\xa2\x62op\x63zzz\x61a"
FRAMES = [
    Bad("a format that nobody knows", frame(b"x" * 1000, 99), "a frame of format 99"),
    Bad("no format", frame(b"", 0), "a frame of format 0"),
    Bad("nothing", frame(b""), "truncated"),
    Bad("no Base64", frame(b"!!!!", 3), "format 3 is not Base64"),
    Bad("Base64 with a line break", frame(b"e30=\n", 3), "format 3 is not Base64"),
    Bad("bincode", frame(b"\x01\x00\x00\x00\x02\x00\x00\x00", 2), "format 2 does not hold JSON"),
    Bad("MessagePack: four thousand million values", frame(MSGPACK_OP + b"\xdd\xff\xff\xff\xff", 4), "truncated"),
    Bad("MessagePack: four thousand million pairs", frame(MSGPACK_OP + b"\xdf\xff\xff\xff\xff", 4), "truncated"),
    Bad("MessagePack: a text of 4 GiB", frame(MSGPACK_OP + b"\xdb\xff\xff\xff\xff", 4), "truncated"),
    Bad("MessagePack: an extension of 4 GiB", frame(MSGPACK_OP + b"\xc9\xff\xff\xff\xff\x01", 4), "truncated"),
    Bad("MessagePack: depth", frame(MSGPACK_OP + b"\x91" * 500_000 + b"\xc0", 4), "nested deeper than 127"),
    Bad(
        "MessagePack: an empty map for each byte", frame(large(MSGPACK_OP + b"\xdd\x01\x00\x00\x00", b"\x80"), 4), "more than 500000 values"
    ),
    Bad("MessagePack: nothing", frame(b"", 4), "truncated"),
    Bad("CBOR: an array of 2**64 values", frame(CBOR_OP + b"\x9b" + b"\xff" * 8, 5), "not CBOR"),
    Bad("CBOR: a text of 2 GiB", frame(CBOR_OP + b"\x7a\x7f\xff\xff\xff", 5), "not CBOR"),
    Bad("CBOR: depth", frame(CBOR_OP + b"\x81" * 500_000 + b"\xf6", 5), "not CBOR"),
    Bad("CBOR: an array without end", frame(large(CBOR_OP + b"\x9f", b"\xa0", b"\xff"), 5), "more than 500000 values"),
    Bad("CBOR: what contains itself", frame(CBOR_OP + b"\xd8\x1c\x81\xd8\x1d\x00", 5), "not CBOR"),
    Bad("CBOR: a number of 1 MiB", frame(CBOR_OP + b"\xc2\x5a\x00\x10\x00\x00" + b"\xff" * MIB, 5), "not CBOR"),
]
"""Frames after which the connection goes on."""

FATAL = [
    Bad("a length of 4 GiB", frame(b"", 1, 2**32 - 1), f"a frame of {2**32 - 1} bytes is over the limit"),
    Bad("a length of 4 GiB of a format that nobody knows", frame(b"", 200, 2**32 - 1), "over the limit"),
    Bad("TLS", bytes.fromhex("160301020001000001fc0303") + b"\x5a" * 64, "over the limit"),
    Bad("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "over the limit"),
    Bad("a line", b'{"op":"heartbeat"}\n', "over the limit"),
]
"""What no frame can follow: the connection is closed."""
