"""Both ends of a stream, over a wire that loses, repeats, reorders and damages what it carries."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pywatt_core.errors import RemoteError, RemoteProtocolError, RequestTimeout
from pywatt_core.protocol.durations import Duration
from pywatt_core.protocol.stream_flow import Receiver, Sender
from pywatt_core.protocol.streams import StreamAck, StreamChunk, StreamConfig, StreamMetadata, byte_sum, from_json, to_json

ID = "11111111-2222-4333-8444-555555555555"
SMALL = StreamConfig(max_chunk_size=4, window_size=3, ack_timeout=Duration(1), max_retries=3)


def chunks(sender: Sender, now: float = 0.0) -> list[StreamChunk]:
    """All that the sender wants to send now."""
    found = []
    while (chunk := sender.next(now)) is not None:
        found.append(chunk)
    return found


def stream(data: bytes, config: StreamConfig = SMALL, **options: Any) -> Sender:
    """A sender that has all of `data`, and knows so."""
    sender = Sender(ID, config, total_size=len(data), **options)
    sender.add(data)
    sender.finish()
    return sender


def chunk(sequence: int, data: bytes, count: int = 0, *, final: bool = False, checksum: int | None = None, **more: Any) -> StreamChunk:
    return StreamChunk(ID, sequence, count, data, False, byte_sum(data) if checksum is None else checksum, final, **more)


# ── the sender ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_of_known_size_is_cut_as_the_reference_cuts_it() -> None:
    sender = Sender(ID, replace(SMALL, max_chunk_size=3), total_size=5, metadata=StreamMetadata(5, "text/plain"))
    sender.add(b"abcde")
    sender.finish()
    first, last = chunks(sender)
    assert to_json(first).decode() == (
        '{"stream_id":"11111111-2222-4333-8444-555555555555","sequence":0,"total_chunks":2,"data":[97,98,99],"compressed":false,'
        '"checksum":294,"is_final":false,"stream_metadata":{"total_size":5,"content_type":"text/plain","priority":"Normal","properties":{}}}'
    )
    assert (last.sequence, last.total_chunks, last.data, last.is_final, last.stream_metadata) == (1, 2, b"de", True, None)


def test_an_empty_stream_is_one_empty_final_chunk() -> None:
    (only,) = chunks(stream(b""))
    assert (only.sequence, only.total_chunks, only.data, only.is_final) == (0, 1, b"", True)
    unknown = Sender(ID, SMALL)
    unknown.finish()
    (only,) = chunks(unknown)
    assert (only.total_chunks, only.data, only.is_final) == (1, b"", True)


def test_no_more_than_the_window_is_under_way() -> None:
    sender = stream(b"0123456789abcdef")
    assert [one.sequence for one in chunks(sender)] == [0, 1, 2]
    sender.acknowledge(StreamAck(ID, 1, True), 0)
    assert [one.sequence for one in chunks(sender)] == [3]


def test_a_source_without_an_end_is_sent_at_once_while_nothing_is_under_way() -> None:
    sender = Sender(ID, SMALL)
    sender.add(b"a")
    assert [one.data for one in chunks(sender)] == [b"a"]
    sender.add(b"b")
    assert chunks(sender) == [], "it may grow while the first is under way"
    sender.add(b"c")
    sender.acknowledge(StreamAck(ID, 0, True), 0)
    assert [(one.data, one.total_chunks, one.is_final) for one in chunks(sender)] == [(b"bc", 0, False)]
    sender.finish()
    (end,) = chunks(sender)
    assert (end.data, end.total_chunks, end.is_final) == (b"", 3, True)


def test_more_or_less_than_the_size_that_was_promised_is_refused() -> None:
    sender = Sender(ID, SMALL, total_size=3)
    with pytest.raises(ValueError, match="more than the 3 bytes"):
        sender.add(b"abcd")
    sender.add(b"ab")
    with pytest.raises(ValueError, match="2 bytes of the 3"):
        sender.finish()
    sender.add(b"c")
    sender.finish()
    with pytest.raises(ValueError, match="finished"):
        sender.add(b"")


def test_what_is_refused_is_sent_again_a_few_times_and_then_given_up() -> None:
    sender = stream(b"abc")
    for _ in range(SMALL.max_retries + 1):
        (one,) = chunks(sender)
        sender.acknowledge(StreamAck(ID, one.sequence, False, "its checksum does not match its data"), 0)
    assert chunks(sender) == []
    assert isinstance(sender.failure, RemoteError)
    assert str(sender.failure) == "chunk 0 of the stream was refused 4 times: its checksum does not match its data"
    assert sender.deadline is None


def test_what_is_not_acknowledged_in_time_is_sent_again_a_few_times_and_then_given_up() -> None:
    sender = stream(b"abc")
    now, sent = 0.0, 0
    while sender.failure is None:
        sent += len(chunks(sender, now))
        now = sender.deadline if sender.deadline is not None else now
    assert sent == SMALL.max_retries + 1
    assert isinstance(sender.failure, RequestTimeout)
    assert str(sender.failure) == "chunk 0 of the stream was sent 4 times and never acknowledged as taken"


def test_acknowledgements_of_what_is_not_under_way_change_nothing() -> None:
    sender = stream(b"abcdefgh")
    chunks(sender)
    sender.acknowledge(StreamAck(ID, 7, True), 0)
    sender.acknowledge(StreamAck("21111111-2222-4333-8444-555555555555", 0, True), 0)
    assert not sender.complete
    sender.acknowledge(StreamAck(ID, 0, True), 0)
    sender.acknowledge(StreamAck(ID, 0, False, "no"), 0)
    sender.acknowledge(StreamAck(ID, 1, True), 0)
    assert sender.complete
    assert sender.acknowledged == 2


def test_credit_holds_the_sender_back_and_one_chunk_asks_when_nothing_is_heard() -> None:
    sender = stream(b"0123456789", credit=1)
    assert [one.sequence for one in chunks(sender)] == [0]
    sender.acknowledge(StreamAck(ID, 0, True, None, 1, 1), 0)
    assert chunks(sender, 0) == []
    assert sender.deadline == 1.0
    (probe,) = chunks(sender, 1.0)
    assert probe.sequence == 1
    for second in range(2, 20):  # it answers that there is no room: it is there, and is waited for
        sender.acknowledge(StreamAck(ID, 1, False, None, 1, 1), second)
        assert chunks(sender, second) == []
        (again,) = chunks(sender, second + 1)
        assert again == probe
    assert sender.failure is None
    sender.acknowledge(StreamAck(ID, 0, True, None, 1, 4), 30)
    assert [one.sequence for one in chunks(sender, 30)] == [1, 2]
    sender.acknowledge(StreamAck(ID, 2, True, None, 3, 4), 30)
    assert sender.complete


# ── the receiver ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_chunks_in_any_order_are_read_in_theirs() -> None:
    receiver = Receiver(ID, SMALL)
    last, middle, first = chunk(2, b"c", 3, final=True), chunk(1, b"b", 3), chunk(0, b"a", 3, stream_metadata=StreamMetadata(3))
    assert receiver.take(last) == StreamAck(ID, 2, True, None, 0, 3)
    assert list(receiver.read()) == []
    assert receiver.take(middle).success
    assert receiver.take(first) == StreamAck(ID, 0, True, None, 3, 3)
    assert receiver.arrived
    assert not receiver.complete
    assert list(receiver.read()) == [b"a", b"b", b"c"]
    assert receiver.complete
    assert receiver.acknowledgement() == StreamAck(ID, 2, True, None, 3, 6)
    assert receiver.metadata == StreamMetadata(3)


def test_either_checksum_is_taken_and_no_other() -> None:
    receiver = Receiver(ID, SMALL)
    assert receiver.take(chunk(0, b"abc", checksum=294)).success
    assert receiver.take(chunk(1, b"abc", checksum=0x352441C2)).success
    assert receiver.take(chunk(2, b"abc", checksum=295)).error == "its checksum does not match its data"
    assert receiver.take(chunk(2, b"abc")).success
    assert receiver.failure is None


def test_a_chunk_beyond_the_room_is_not_kept() -> None:
    receiver = Receiver(ID, SMALL)
    assert receiver.take(chunk(3, b"d")) == StreamAck(ID, 3, False, None, 0, 3)
    for sequence in range(3):
        assert receiver.take(chunk(sequence, b"x")).success
    assert list(receiver.read()) == [b"x", b"x", b"x"]
    assert receiver.take(chunk(3, b"d")).success


def test_compressed_chunks_are_read_and_bombs_are_not() -> None:
    config = replace(SMALL, max_chunk_size=100)
    receiver = Receiver(ID, config)

    def packed(sequence: int, data: bytes) -> StreamChunk:
        return replace(chunk(sequence, data), compressed=True)

    assert receiver.take(packed(0, gzip.compress(b"a" * 100))).success
    assert receiver.take(packed(1, gzip.compress(b"a" * 1_000_000))).error == "it holds more than the 100 bytes that a chunk may have here"
    assert receiver.take(packed(1, b"plain")).error == "its data say that they are compressed, and are not gzip"
    assert receiver.take(packed(1, gzip.compress(b"abc")[:-2])).error == "its compressed data are cut off, or more follows them"
    assert list(receiver.read()) == [b"a" * 100]
    assert receiver.failure is None


@pytest.mark.parametrize(
    ("others", "bad", "text"),
    [
        ([chunk(0, b"a", 2)], chunk(1, b"b", 3), "chunk 1 says that there are 3 chunks, another said 2"),
        ([chunk(2, b"c")], chunk(1, b"b", 2, final=True), "chunk 1 says that there are 2 chunks, and a later one is here already"),
        ([], chunk(1, b"b", 1, final=True), "chunk 1 is beyond the 1 chunks that there are"),
        ([], chunk(0, b"a", 2, final=True), "chunk 0 says that it is the final one, and is not the last"),
        ([], chunk(0, b"a", final=True), "chunk 0 says that it is the final one, and is not the last"),
        ([chunk(0, b"aaaa")], chunk(1, b"bb"), "chunk 1 makes the stream larger than the 5 bytes that are taken here"),
        ([], chunk(0, b"a", 2, stream_metadata=StreamMetadata(6)), "chunk 0 makes the stream larger than the 5 bytes that are taken here"),
        ([], chunk(0, b"a", 1, final=True, stream_metadata=StreamMetadata(2)), "the stream said that it has 2 bytes; 1 arrived"),
        ([], chunk(0, b"abc", 2, stream_metadata=StreamMetadata(2)), "the stream said that it has 2 bytes; 3 arrived"),
    ],
)
def test_what_cannot_be_true_ends_the_stream(others: list[StreamChunk], bad: StreamChunk, text: str) -> None:
    receiver = Receiver(ID, SMALL, max_size=5)
    for one in others:
        assert receiver.take(one).success
    ack = receiver.take(bad)
    assert not ack.success
    assert ack.error == text
    assert isinstance(receiver.failure, RemoteProtocolError)
    assert str(receiver.failure) == text
    assert list(receiver.read()) == []
    assert receiver.take(chunk(0, b"")).error == text, "nothing mends it"


def test_a_chunk_of_another_stream_is_refused() -> None:
    other = replace(chunk(0, b"a"), stream_id="21111111-2222-4333-8444-555555555555")
    receiver = Receiver(ID, SMALL)
    assert receiver.take(other).error == "it is of another stream"
    assert receiver.failure is None


# ── both, over a bad wire ───────────────────────────────────────────────────────────────────────────────────────────

FAULTS = ["deliver", "lose", "repeat", "delay", "damage"]


@given(
    pieces=st.lists(st.binary(max_size=13), max_size=12),
    known=st.booleans(),
    window=st.integers(1, 4),
    faults=st.lists(st.tuples(st.sampled_from(["chunk", "ack", "read", "tick"]), st.sampled_from(FAULTS)), max_size=120),
    strong=st.booleans(),
    with_credit=st.booleans(),
)
def test_whatever_the_wire_does_everything_arrives_once_and_in_order(
    pieces: list[bytes], known: bool, window: int, faults: list[tuple[str, str]], strong: bool, with_credit: bool
) -> None:
    data = b"".join(pieces)
    config = StreamConfig(max_chunk_size=4, window_size=window, ack_timeout=Duration(1), max_retries=1000)
    sender = Sender(ID, config, total_size=len(data) if known else None, strong=strong, credit=window if with_credit else None)
    receiver = Receiver(ID, config)
    to_receiver: list[StreamChunk] = []
    to_sender: list[StreamAck] = []
    arrived: list[bytes] = []
    now = 0.0
    unwritten = list(pieces)

    def turn(kind: str, fault: str) -> None:
        nonlocal now
        while unwritten and sender.room:
            sender.add(unwritten.pop(0))
        if not unwritten and not sender._finished:
            sender.finish()
        to_receiver.extend(chunks(sender, now))
        assert len(sender._outstanding) <= window
        wire: list[Any] = to_receiver if kind == "chunk" else to_sender
        if kind == "tick":
            now = max(now, sender.deadline or now)
        elif kind == "read":
            arrived.extend(receiver.read())
            if with_credit:
                to_sender.append(receiver.acknowledgement())
        elif wire:
            one = wire.pop(0)
            if fault == "delay":
                wire.append(one)
                return
            if fault == "lose":
                return
            if fault == "repeat":
                wire.append(one)
            if isinstance(one, StreamChunk):
                one = from_json(to_json(one), StreamChunk)
                if fault == "damage":
                    one = replace(one, data=one.data + b"!")
                ack = receiver.take(one)
                to_sender.append(ack if with_credit or ack.success else replace(ack, below=None, credit=None, error=ack.error or "no room"))
            elif fault != "damage":
                sender.acknowledge(one, now)
        assert len(receiver._early) + len(receiver._ready) <= window

    for kind, fault in faults:
        turn(kind, fault)
    for _ in range(2000):  # and from now on the wire is good
        if sender.complete and receiver.arrived:
            break
        for kind in ("chunk", "read", *["ack"] * (len(to_sender) + 2), *([] if to_receiver else ["tick"])):
            turn(kind, "deliver")
    arrived.extend(receiver.read())
    assert sender.failure is None
    assert receiver.failure is None
    assert sender.complete
    assert receiver.complete
    assert b"".join(arrived) == data
