"""Output in pieces: what is passed on never holds a secret, and is the same however the pieces were cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.redaction import Redactor, StreamRedactor


def redactor_of(*values: str) -> Redactor:
    redactor = Redactor()
    for value in values:
        redactor.register(value)
    return redactor


def through(stream: StreamRedactor, *pieces: bytes) -> bytes:
    return b"".join(stream.feed(piece) for piece in pieces) + stream.flush()


def test_a_secret_split_over_two_writes_is_hidden() -> None:
    stream = StreamRedactor(redactor_of("correct-horse"))
    assert stream.feed(b"password: correct-") == b"password:"
    assert stream.feed(b"horse battery\n") == b" [REDACTED] battery\n"
    assert stream.flush() == b""


@pytest.mark.parametrize("at", range(1, 40))
def test_a_secret_is_hidden_wherever_it_is_split(at: int) -> None:
    data = b"one abcd1234wxyz two YWJjZDEyMzQ= end ab."
    redactor = redactor_of("abcd1234", "1234wxyz", "ab")
    assert through(StreamRedactor(redactor), data[:at], data[at:]) == redactor.redact_bytes(data)


def test_one_byte_at_a_time_gives_what_one_piece_gives() -> None:
    redactor = redactor_of("aaaa", "abcabc", "grün-geheim", "x1")
    data = "aaaaaaab abcabcabc grün-geheim x1 x1y\n".encode() * 3
    pieces = [data[at : at + 1] for at in range(len(data))]
    assert through(StreamRedactor(redactor), *pieces) == redactor.redact_bytes(data)


def test_text_that_begins_no_secret_is_passed_on_at_once() -> None:
    stream = StreamRedactor(redactor_of("correct-horse"))
    assert stream.feed(b"continue? [y/n] ") == b"continue? [y/n] "
    assert StreamRedactor(Redactor()).feed(b"no secrets at all") == b"no secrets at all"


def test_a_line_end_lets_go_of_what_was_held_back() -> None:
    stream = StreamRedactor(redactor_of("correct-horse"))
    assert stream.feed(b"this is correct\n") == b"this is correct\n"
    assert stream.feed(b"corr") == b""
    assert stream.feed(b"ect\nnext") == b"correct\nnext"


def test_flushing_lets_go_of_what_was_held_back() -> None:
    stream = StreamRedactor(redactor_of("correct-horse"))
    assert stream.feed(b"correct-hor") == b""
    assert stream.flush() == b"correct-hor"


def test_no_more_is_held_back_than_the_longest_form() -> None:
    redactor = redactor_of("aaaaaaaa")
    stream = StreamRedactor(redactor)
    passed = stream.feed(b"a" * 10_000)
    assert passed == b"[REDACTED]"
    assert len(stream._held) <= redactor.longest
    assert through(stream, b"a" * 10_000, b"b") == b"b"


def test_a_secret_registered_in_the_middle_of_a_stream_is_hidden_from_then_on() -> None:
    redactor = Redactor()
    stream = StreamRedactor(redactor)
    assert stream.feed(b"start ") == b"start "
    redactor.register("late-secret")
    assert through(stream, b"late-", b"secret!") == b"[REDACTED]!"


PIECES = st.lists(
    st.sampled_from(["abcd1234", "1234wxyz", "abcd", "1234", "ab", "x", "ä", "€ur€ka!", "€ur", " ", "\n", "YWJjZDEyMzQ=", "-"]), max_size=12
)


@given(PIECES, st.lists(st.integers(0, 120), max_size=12), st.booleans())
@settings(max_examples=250, deadline=None)
def test_the_output_does_not_depend_on_how_the_input_was_cut(words: list[str], cuts: list[int], short: bool) -> None:
    redactor = redactor_of("abcd1234", "1234wxyz", "€ur€ka!", *(["ab", "x"] if short else []))
    data = "".join(words).encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in pairwise(places)]
    assert through(StreamRedactor(redactor), *pieces) == redactor.redact_bytes(data)
