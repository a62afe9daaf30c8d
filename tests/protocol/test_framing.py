"""Framing: payloads never depend on chunking, memory never on what a peer promises or withholds."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError, RemoteProtocolError
from pywatt_core.protocol.framing import BASE64, BINARY, JSON, MSGPACK, TOO_LONG, LengthFraming, LineFraming, Payload

if TYPE_CHECKING:
    from collections.abc import Callable


def fed(framing: LineFraming | LengthFraming, wire: bytes, cuts: list[int]) -> list[Payload]:
    """What `wire` gives when it arrives in pieces that end at `cuts`."""
    payloads, begin = [], 0
    for cut in [*sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]:
        if wire[begin:cut]:
            payloads += framing.feed(wire[begin:cut])
        begin = cut
    return payloads


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


# ── lines ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.sampled_from([b"", b"a", b"bc", b" \r", b"x" * 10, b"y" * 11, b"z" * 40]), max_size=12), CUTS, st.booleans())
def test_lines_do_not_depend_on_chunking(lines: list[bytes], cuts: list[int], first: bool) -> None:
    def framing() -> LineFraming:
        return LineFraming(10, first_limit=11 if first else None)

    wire = b"\n".join(lines)
    whole = framing().feed(wire) if wire else []
    assert fed(framing(), wire, cuts) == whole
    assert fed(framing(), wire, list(range(len(wire)))) == whole


def test_lines_end_at_the_newline_byte_alone() -> None:
    odd = '{"a":"\u2028\x85\u2029\x0b"}\r'.encode()
    assert LineFraming().feed(odd + b"\n") == [(JSON, odd)]


def test_lines_of_nothing_but_whitespace_are_passed_over() -> None:
    assert LineFraming().feed(b"\n\r\n \t \na\n\n") == [(JSON, b"a")]


def test_a_line_of_exactly_the_limit_is_read_and_one_byte_more_is_thrown_away_and_reported_once() -> None:
    framing = LineFraming(5)
    assert framing.feed(b"12345\n123456\nnext\n") == [(JSON, b"12345"), (TOO_LONG, b""), (JSON, b"next")]
    reports = [payload for _ in range(100) for payload in framing.feed(b"123456")]
    assert reports == [(TOO_LONG, b"")]
    assert framing.feed(b"78\nnext\n") == [(JSON, b"next")]


def test_the_first_line_has_a_limit_of_its_own() -> None:
    framing = LineFraming(5, first_limit=8)
    assert framing.feed(b"12345678\n12345678\n") == [(JSON, b"12345678"), (TOO_LONG, b"")]
    assert LineFraming(8, first_limit=5).feed(b"123456\n123456\n") == [(TOO_LONG, b""), (JSON, b"123456")]


def test_the_unfinished_line_can_be_taken_at_the_end() -> None:
    framing = LineFraming()
    framing.feed(b"done\nnot do")
    assert framing.partial == 6
    assert framing.take_partial() == b"not do"
    assert framing.partial == 0


def test_a_line_over_the_limit_is_not_sent() -> None:
    assert LineFraming(3).wrap(b"abc") == b"abc\n"
    with pytest.raises(LocalProtocolError, match="4 bytes does not fit into a line of at most 3"):
        LineFraming(3).wrap(b"abcd")


# ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────────────

FRAMES = st.lists(st.tuples(st.sampled_from([JSON, BINARY, BASE64, MSGPACK, 0, 9, 255]), st.binary(max_size=30)), max_size=10)


@given(FRAMES, CUTS, st.booleans())
def test_frames_do_not_depend_on_chunking(frames: list[Payload], cuts: list[int], bomb: bool) -> None:
    wire = b"".join(LengthFraming().wrap(data, code) for code, data in frames)
    expected = [(code, data if code in (JSON, BINARY, BASE64, MSGPACK) else b"") for code, data in frames]
    if bomb:
        wire += b"\x00\x00\x00\x1f\x01 and the rest of it"
    for pieces in (cuts, list(range(len(wire))), []):
        framing = LengthFraming(30)
        assert fed(framing, wire, pieces) == expected
        assert (framing.failure is not None) is bomb
        assert framing.partial == 0


@given(FRAMES, st.integers(1, 40))
def test_a_frame_that_never_ends_is_partial(frames: list[Payload], missing: int) -> None:
    wire = b"".join(LengthFraming().wrap(data, code) for code, data in [*frames, (JSON, b"x" * 40)])
    framing = LengthFraming()
    assert len(framing.feed(wire[:-missing])) == len(frames)
    assert framing.partial > 0


def test_frames_before_a_frame_over_the_limit_are_still_returned_and_nothing_after_it() -> None:
    framing = LengthFraming(10)
    assert framing.feed(framing.wrap(b"{}") + b"\x00\x00\x00\x0b\x01" + b"x" * 11 + framing.wrap(b"{}")) == [(JSON, b"{}")]
    assert isinstance(framing.failure, RemoteProtocolError)
    assert "11 bytes is over the limit of 10" in str(framing.failure)
    assert framing.feed(framing.wrap(b"{}")) == []


def test_a_whole_frame_after_lost_framing_is_not_read() -> None:
    framing = LengthFraming(10)
    framing.feed(b"\xff\xff\xff\xff\x01")
    assert framing.feed(LengthFraming().wrap(b"{}")) == []


def test_a_frame_over_the_limit_is_not_sent() -> None:
    assert LengthFraming(2).wrap(b"{}") == b"\x00\x00\x00\x02\x01{}"
    with pytest.raises(LocalProtocolError, match="3 bytes does not fit into a frame of at most 2"):
        LengthFraming(2).wrap(b"{ }")


# ── time and memory ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("framing", "small"), [(LineFraming(), b"1\n"), (LengthFraming(), b"\x00\x00\x00\x01\x011")])
def test_a_chunk_of_very_many_small_payloads_is_read_to_its_end(framing: LineFraming | LengthFraming, small: bytes) -> None:
    assert len(framing.feed(small[:1])) == 0
    assert len(framing.feed(small[1:] + small * 300_000)) == 300_001, "deleting from the front of a buffer each time would take hours"


def peak(work: Callable[[], Any]) -> int:
    """The most memory, in bytes, that `work` held at once beyond what there was."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def drip(framing: LineFraming | LengthFraming, piece: bytes, times: int) -> None:
    for _ in range(times):
        framing.feed(piece)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 70_000))
def test_a_hundred_megabytes_of_junk_in_one_line_keep_no_more_than_the_limit(size: int) -> None:
    framing, junk = LineFraming(2**16), b"x" * size
    chunks = min(100 * 2**20 // size, 5_000)
    assert peak(lambda: drip(framing, junk, chunks)) < 2**16 + 4 * size + 2**20
    assert framing.partial <= 2**16


def test_a_frame_that_is_announced_but_never_comes_takes_no_memory() -> None:
    framing = LengthFraming()
    assert peak(lambda: framing.feed(b"\x04\x00\x00\x00\x01")) < 2**12
    assert framing.failure is None
    assert peak(lambda: LengthFraming().feed(b"\xff\xff\xff\xff\x01")) < 2**12


def test_a_frame_of_a_format_nobody_reads_is_skipped_without_being_kept() -> None:
    framing, junk = LengthFraming(), b"x" * 2**16
    assert framing.feed((2**20 * 16).to_bytes(4, "big") + b"\x00") == [(0, b"")]
    assert peak(lambda: drip(framing, junk, 256)) < 2**16
    assert framing.feed(framing.wrap(b"{}")) == [(JSON, b"{}")]


def test_a_line_in_single_bytes_costs_no_more_than_its_size() -> None:
    framing = LineFraming()
    assert peak(lambda: drip(framing, b"x", 200_000)) < 2**19
    assert framing.feed(b"\n") == [(JSON, b"x" * 200_000)]
