"""P3: decode and encode a small control message: our codec against bare msgspec, and against pydantic, in one run.

Bare msgspec is one decoder for the same union of plain Structs, and one encoder: no check of UTF-8, no tolerance, no error text of
ours. Ours are the two functions that a session holds for the message type. The limit is a call of a Python function with one
argument, once for each direction. All take turns, so that a slow moment of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import timeit
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

import msgspec

from pywatt_core.protocol.codec import decoder, encoder
from pywatt_core.protocol.messages import MESSAGES, Message, Role

ROUNDS, CALLS = 31, 4000
LINES = {
    "get_secret": b'{"op":"get_secret","name":"DATABASE_URL"}',
    "heartbeat_ack": b'{"op":"heartbeat_ack"}',
    "port_request": b'{"op":"port_request","request_id":"11111111-2222-4333-8444-555555555555","specific_port":null}',
}


def bare() -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    """The module's messages once more, as plain as msgspec makes them."""
    structs: list[Any] = []
    for op, kind in MESSAGES[Role.MODULE].items():
        fields: list[Any] = [
            (f.name, f.type if op in LINES else Any, *([] if f.required else [None])) for f in msgspec.structs.fields(kind)
        ]
        structs.append(msgspec.defstruct(kind.__name__, fields, tag_field="op", tag=op, frozen=True, gc=False, kw_only=True))
    return msgspec.json.Decoder(reduce(or_, structs)).decode, msgspec.json.Encoder().encode


def pydantic_peer() -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    """The same as pydantic models, told apart by `op`."""
    from pydantic import BaseModel, Field, TypeAdapter, create_model

    models: list[Any] = []
    for op, kind in MESSAGES[Role.MODULE].items():
        fields: dict[str, Any] = {
            f.name: (f.type if op in LINES else Any, ... if f.required else None) for f in msgspec.structs.fields(kind)
        }
        fields["op"] = (Literal[op], op)
        models.append(create_model(kind.__name__, **fields))
    union: Any = Annotated[reduce(or_, models), Field(discriminator="op")]
    adapter: TypeAdapter[Any] = TypeAdapter(union)

    def encode(model: BaseModel) -> bytes:
        return model.model_dump_json().encode()

    return adapter.validate_json, encode


def nothing(argument: object) -> object:
    return argument


def seconds(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], line: bytes) -> float:
    """For one decode and one encode of the same message."""
    names = {"decode": decode, "encode": encode, "line": line, "message": decode(line)}
    return (
        timeit.timeit("decode(line)", globals=names, number=CALLS) + timeit.timeit("encode(message)", globals=names, number=CALLS)
    ) / CALLS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    arguments = parser.parse_args()
    read = decoder(Role.MODULE)
    writers: dict[type[Message], Callable[[Any], bytes]] = {kind: encoder(kind) for kind in MESSAGES[Role.MODULE].values()}
    figures: dict[str, list[float]] = {"ours": [], "msgspec": [], "pydantic": [], "nothing": []}
    decode_bare, encode_bare = bare()
    decode_pydantic, encode_pydantic = pydantic_peer()
    for _ in range(ROUNDS):
        for name, line in LINES.items():
            figures["ours"].append(seconds(read, writers[MESSAGES[Role.MODULE][name]], line))
            figures["msgspec"].append(seconds(decode_bare, encode_bare, line))
            figures["pydantic"].append(seconds(decode_pydantic, encode_pydantic, line))
            figures["nothing"].append(seconds(nothing, nothing, line))  # type: ignore[arg-type]
    ours, peer, second, limit = (statistics.median(figures[name]) * 1e6 for name in ("ours", "msgspec", "pydantic", "nothing"))
    ratio = statistics.median(a / b for a, b in zip(figures["ours"], figures["msgspec"], strict=True))
    result = {
        "claim": "P3",
        "what": "codec: decode + encode a small control message",
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "peer_name": "bare msgspec",
        "second_peer": round(second, 3),
        "second_peer_name": "pydantic",
        "limit": round(limit, 3),
        "limit_name": "two empty calls",
        "unit": "us",
        "ratio": round(ratio, 3),
        "target": "<= 1.5 x bare msgspec",
        "ok": ratio <= 1.5,
    }
    if arguments.json:
        print(json.dumps([result]))
        return
    print(f"{result['what']}: ours {ours:.3f} µs, bare msgspec {peer:.3f} µs, pydantic {second:.3f} µs, two empty calls {limit:.3f} µs")
    print(f"ratio {ratio:.2f} to bare msgspec (target {result['target']}), {ours / second:.2f} to pydantic")


if __name__ == "__main__":
    main()
