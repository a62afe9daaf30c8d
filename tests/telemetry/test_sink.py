"""A reader that stops reading costs events, never the process."""

from __future__ import annotations

import io
import os
import socket
import threading
from typing import TYPE_CHECKING, TextIO

import pytest

from pywatt_core.telemetry.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator


def notice(count: int) -> str:
    return f"{count} lost"


class Pipe:
    """A pipe whose reader reads only when told to."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.stream: TextIO = os.fdopen(writing, "w")
        os.set_blocking(self.reading, False)

    def read(self) -> str:
        pieces = []
        while True:
            try:
                piece = os.read(self.reading, 65536)
            except BlockingIOError:
                break
            if not piece:
                break
            pieces.append(piece)
        return b"".join(pieces).decode()

    def close(self) -> None:
        os.close(self.reading)
        self.stream.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def fill(sink: Sink) -> int:
    """Write events of 1,000 characters until one is dropped; how many got through."""
    for count in range(1000):
        sink.write(f"{count:04d} " + "x" * 1000)
        if sink.dropped:
            return count
    raise AssertionError("the pipe never filled")


def test_lines_reach_a_reader_whole(pipe: Pipe) -> None:
    sink = Sink(pipe.stream, notice)
    sink.write("one")
    sink.write("two\n    continued ä€")
    assert pipe.read() == "one\ntwo\n    continued ä€\n"
    assert sink.dropped == 0


def test_an_event_larger_than_the_pipe_reaches_a_reader_who_reads(pipe: Pipe) -> None:
    received: list[bytes] = []
    os.set_blocking(pipe.reading, True)

    def read() -> None:
        while sum(map(len, received)) < 1_000_001:
            received.append(os.read(pipe.reading, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    sink = Sink(pipe.stream, notice, patience=30.0)
    sink.write("y" * 1_000_000)
    reader.join(timeout=30)
    assert b"".join(received) == b"y" * 1_000_000 + b"\n" and sink.dropped == 0


def test_without_a_reader_events_are_dropped_and_counted(pipe: Pipe) -> None:
    sink = Sink(pipe.stream, notice, patience=0.01)
    written = fill(sink)
    for _ in range(500):
        sink.write("more")
    assert sink.dropped == 501
    first = pipe.read()
    assert first.count("\n") == written and f"{written:04d} " not in first
    sink.write("back again")
    sink.write("and on")
    assert pipe.read() == "501 lost\nback again\nand on\n"
    assert sink.dropped == 501


def test_an_event_that_was_cut_short_does_not_swallow_the_next(pipe: Pipe) -> None:
    sink = Sink(pipe.stream, notice, patience=0.01)
    sink.write("z" * 1_000_000)
    torn = pipe.read()
    assert sink.dropped == 1 and torn and set(torn) == {"z"}
    sink.write("next")
    assert pipe.read() == "\n1 lost\nnext\n"


def test_a_reader_that_is_gone_costs_events_only(pipe: Pipe) -> None:
    gone, stream = os.pipe()
    os.close(gone)
    with os.fdopen(stream, "w") as writing:
        sink = Sink(writing, notice)
        for _ in range(3):
            sink.write("nobody hears")
    assert sink.dropped == 3


def test_a_socket_whose_peer_does_not_read_costs_events_only() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, os.fdopen(os.dup(ours.fileno()), "w") as stream:
        sink = Sink(stream, notice, patience=0.01)
        fill(sink)
        assert sink.dropped == 1


def test_somebody_elses_descriptor_is_not_written_to_after_the_stream_was_closed(pipe: Pipe) -> None:
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    sink = Sink(stream, notice)
    stream.close()
    os.dup2(pipe.stream.fileno(), writing)
    try:
        sink.write("to whom?")
        assert sink.dropped == 1 and pipe.read() == ""
    finally:
        os.close(writing)
        os.close(reading)


def test_a_stream_without_a_descriptor_is_written_to() -> None:
    stream = io.StringIO()
    Sink(stream, notice).write("in memory")
    assert stream.getvalue() == "in memory\n"
