"""The golden vectors of streams and publish/subscribe, and what the two builds of the reference put into frames."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pywatt_core.errors import RemoteProtocolError
from pywatt_core.protocol.framing import BINARY, LengthFraming
from pywatt_core.protocol.stream_bytes import read_ack, read_chunk, write_ack, write_chunk
from pywatt_core.protocol.streams import StreamAck, StreamChunk, StreamConfig, StreamMetadata, crc32, from_json, to_json
from pywatt_core.protocol.topics import PubSubMessage

from .test_streams import CHUNKS, ID

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
MESSAGES = {v["name"]: v["json"].encode() for v in VECTORS if v["direction"] == "streaming" and v["kind"] == "message"}
KINDS: dict[str, Any] = {
    "stream_config_default": StreamConfig,
    "stream_chunk_first": StreamChunk,
    "stream_chunk_last": StreamChunk,
    "stream_ack": StreamAck,
    "pubsub_message": PubSubMessage,
}


def payload_of(frame: bytes) -> bytes:
    ((code, payload),) = LengthFraming().feed(frame)
    assert code == BINARY
    return bytes(payload)


@pytest.mark.parametrize("name", MESSAGES)
def test_what_the_reference_writes_is_read_and_written_byte_for_byte(name: str) -> None:
    assert to_json(from_json(MESSAGES[name], KINDS[name])) == MESSAGES[name]


def test_each_vector_of_streaming_is_a_test() -> None:
    assert MESSAGES.keys() == KINDS.keys()


def test_the_frame_of_the_default_build_is_written_byte_for_byte() -> None:
    (vector,) = [v for v in VECTORS if v["name"] == "frame_stream_chunk_code2"]
    frame = bytes.fromhex(vector["hex"])
    chunk = read_chunk(payload_of(frame))
    assert (chunk.data, chunk.stream_metadata) == (b"abc", StreamMetadata(5, "text/plain"))
    assert write_chunk(replace(chunk, checksum=0)) == frame


def test_the_other_build_writes_bincode_with_crc_32() -> None:
    chunk = StreamChunk(ID, 300, 301, b"abc", False, 0, True, StreamMetadata(3, "a", properties={"k": "v"}))
    payload = payload_of(write_chunk(chunk, advanced=True))
    assert payload.hex() == (
        "11111111222243338444555555555555"  # the id, raw
        "fb2c01fb2d01"  # sequence, total_chunks
        "03616263"  # data
        "00fcc2412435"  # compressed, checksum
        "01"  # is_final
        "010301016101"  # metadata: total_size, content_type, priority
        "01016b0176"  # properties
    )
    assert read_chunk(payload) == replace(chunk, checksum=crc32(b"abc"))


@given(CHUNKS, st.booleans())
def test_a_chunk_comes_back_from_either_build(chunk: StreamChunk, advanced: bool) -> None:
    found = read_chunk(payload_of(write_chunk(chunk, advanced=advanced)))
    assert replace(found, checksum=0) == replace(chunk, checksum=0)


@given(st.uuids(version=4), st.integers(0, 2**40), st.booleans(), st.none() | st.text(), st.booleans())
def test_an_acknowledgement_comes_back_from_either_build(id: Any, sequence: int, success: bool, error: str | None, advanced: bool) -> None:
    ack = StreamAck(str(id), sequence, success, error, 5, 6)
    assert read_ack(payload_of(write_ack(ack, advanced=advanced))) == StreamAck(str(id), sequence, success, error)


def test_a_random_id_that_begins_like_json_is_still_read() -> None:
    for id in ("7b7b7b7b-7b7b-4b7b-bb7b-7b7b7b7b7b7b", "7b007b7b-7b7b-4b7b-8b7b-7b7b7b7b7b7b"):
        chunk = StreamChunk(id, 0, 1, b"a", False, crc32(b"a"), True)
        assert read_chunk(payload_of(write_chunk(chunk, advanced=True))) == chunk


@given(st.binary(max_size=200))
def test_other_bytes_are_unreadable_and_nothing_else(payload: bytes) -> None:
    for read in (read_chunk, read_ack):
        with contextlib.suppress(RemoteProtocolError):
            read(payload)


def test_bytes_after_a_whole_are_refused() -> None:
    payload = payload_of(write_chunk(StreamChunk(ID, 0, 1, b"a", False, 0, True), advanced=True))
    with pytest.raises(RemoteProtocolError, match="1 bytes follow"):
        read_chunk(payload + b"\0")
    with pytest.raises(RemoteProtocolError, match=r"\$"):
        read_chunk(payload[:-2])
