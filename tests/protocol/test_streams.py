from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import RemoteProtocolError
from pywatt_core.protocol.durations import Duration
from pywatt_core.protocol.payloads import reader, write_bare
from pywatt_core.protocol.priorities import StreamPriority
from pywatt_core.protocol.streams import (
    StreamAck,
    StreamChunk,
    StreamConfig,
    StreamMetadata,
    byte_sum,
    crc32,
    expanded,
    from_json,
    is_intact,
    to_json,
)

ID = "11111111-2222-4333-8444-555555555555"


def test_the_settings_are_the_references() -> None:
    assert to_json(StreamConfig()) == (
        b'{"max_chunk_size":65536,"window_size":10,"ack_timeout":{"secs":30,"nanos":0},"max_retries":3,'
        b'"preserve_order":true,"enable_compression":true,"compression_threshold":1024}'
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_chunk_size": 0}, "max_chunk_size is 1 to 16777216, not 0"),
        ({"window_size": 2000}, "window_size is 1 to 1024, not 2000"),
        ({"max_retries": -1}, "max_retries is 0 to 1000, not -1"),
        ({"ack_timeout": Duration(0)}, "ack_timeout is more than 0 seconds"),
    ],
)
def test_settings_that_make_no_sense_name_the_member(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        StreamConfig(**options)
    assert str(caught.value) == text


@given(st.binary(max_size=2000), st.integers(1, 64))
def test_both_checksums_are_the_references(data: bytes, times: int) -> None:
    data *= times
    assert byte_sum(data) == sum(data) % 2**32
    assert crc32(data) == zlib.crc32(data)


def test_the_largest_bytes_do_not_overflow_a_block() -> None:
    assert byte_sum(b"\xff" * 100_000) == 255 * 100_000


CHUNKS = st.builds(
    StreamChunk,
    st.uuids(version=4).map(str),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.binary(max_size=100),
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.none()
    | st.builds(
        StreamMetadata, st.integers(0, 2**40), st.none() | st.text(), st.sampled_from(StreamPriority), st.dictionaries(st.text(), st.text())
    ),
)


@given(CHUNKS)
def test_a_chunk_comes_back_from_either_format(chunk: StreamChunk) -> None:
    assert from_json(to_json(chunk), StreamChunk) == chunk
    assert reader(StreamChunk, "MessagePack")(write_bare(chunk, "MessagePack").data) == chunk


def test_an_acknowledgement_has_the_two_members_of_ours_only_where_they_are_known() -> None:
    plain = b'{"stream_id":"11111111-2222-4333-8444-555555555555","sequence":0,"success":false,"error":"no"}'
    assert to_json(StreamAck(ID, 0, False, "no")) == plain
    assert from_json(plain, StreamAck) == StreamAck(ID, 0, False, "no")
    assert to_json(StreamAck(ID, 0, True, None, 1, 10)).endswith(b'"success":true,"error":null,"below":1,"credit":10}')


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ((b'"sequence":0', b'"sequence":-1'), r"\$\.sequence"),
        ((b'"data":[97]', b'"data":"YQ=="'), "`data`"),
        ((b'"data":[97]', b'"data":[256]'), "`data`"),
        ((b'"data":[97]', b'"data":[true]'), "`data`"),
        ((b'"checksum":97', b'"checksum":4294967296'), r"\$\.checksum"),
        ((b"11111111-2222-4333-8444-555555555555", b"1"), "`stream_id`"),
        ((b'"compressed":false', b'"compressed":0'), r"\$\.compressed"),
        ((b"}", b""), "truncated"),
    ],
)
def test_a_bad_chunk_names_the_member(change: tuple[bytes, bytes], text: str) -> None:
    good = to_json(StreamChunk(ID, 0, 1, b"a", False, 97, True))
    with pytest.raises(RemoteProtocolError, match=text):
        from_json(good.replace(*change), StreamChunk)


@given(st.binary(max_size=300))
def test_no_bytes_at_all_do_anything_but_say_that_they_are_unreadable(data: bytes) -> None:
    for kind in (StreamChunk, StreamAck):
        with pytest.raises(RemoteProtocolError):
            from_json(data, kind)
        with pytest.raises(RemoteProtocolError):
            reader(kind, "MessagePack")(data)


def test_either_checksum_tells_that_a_chunk_is_intact() -> None:
    assert is_intact(StreamChunk(ID, 0, 1, b"abc", False, 294, True))
    assert is_intact(StreamChunk(ID, 0, 1, b"abc", False, 0x352441C2, True))
    assert not is_intact(StreamChunk(ID, 0, 1, b"acb", False, 0x352441C2, True))


def test_compressed_data_are_expanded_up_to_a_limit() -> None:
    def packed(data: bytes) -> StreamChunk:
        return StreamChunk(ID, 0, 1, data, True, 0, True)

    assert expanded(packed(gzip.compress(b"abc")), 3) == b"abc"
    for data in (gzip.compress(b"a" * 10_000_000), gzip.compress(b"abcd")):
        with pytest.raises(ValueError, match="more than the 3 bytes"):
            expanded(packed(data), 3)


def test_a_chunk_does_not_show_its_data() -> None:
    assert "secret" not in repr(StreamChunk(ID, 0, 1, b"secret", False, 0, True))
