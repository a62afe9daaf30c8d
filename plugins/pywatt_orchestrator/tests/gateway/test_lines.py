"""Header lines: remembered, written, taken out in one pass."""

from __future__ import annotations

import pytest

from pywatt_orchestrator.gateway.lines import Remembered, header_lines


def test_what_comes_again_is_remembered_up_to_a_number_and_a_size() -> None:
    parsed: list[bytes] = []

    def parse(data: bytes) -> bytearray:
        parsed.append(data)
        return bytearray(data)

    remembered = Remembered(parse)
    first = remembered[b"a"]
    assert not remembered, "most never come again"
    second = remembered[b"a"]
    assert remembered[b"a"] is second is not first and len(parsed) == 2
    assert len({id(remembered[b"b" * 2000]) for _ in range(3)}) > 1 and b"b" * 2000 not in remembered
    for number in range(5000):
        for _ in range(3):
            assert remembered[b"%d" % number] == b"%d" % number
        assert 0 < len(remembered) <= 1024


def test_what_is_refused_is_not_remembered() -> None:
    def refuse(data: bytes) -> None:
        raise ValueError(data)

    remembered = Remembered(refuse)
    for _ in range(3):
        with pytest.raises(ValueError, match="a"):
            remembered[b"a"]
    assert not remembered


def test_written_header_lines_cannot_break_out() -> None:
    lines = header_lines([("A", "b"), ("C", "d\r\nEvil: 1"), ("E\r\nF", "g"), ("H:", "i"), ("", "j"), ("K", "l\0"), ("M", "é"), ("N", "→")])
    assert lines == "\r\nA: b\r\nM: é\r\nN: ?".encode("latin-1")
