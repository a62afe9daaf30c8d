"""Whatever a module prints becomes bounded, harmless records."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_orchestrator.lines import MAX_KEPT, MAX_TEXT, Budget, LineSplitter, Record, Tail, clean, parse

NOW = "2026-01-31T12:00:00.000Z"


def read(line: str) -> Record:
    return parse(line, module="users", stream="stderr", now=NOW)


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=1, max_value=7))
def test_lines_do_not_depend_on_how_the_bytes_were_cut(pieces: list[bytes], size: int) -> None:
    data = b"\n".join(pieces)
    whole, cut = LineSplitter(), LineSplitter()
    expected = whole.feed(data) + whole.rest()
    found = [line for start in range(0, len(data), size) for line in cut.feed(data[start : start + size])] + cut.rest()
    assert found == expected
    assert [line for line in expected if line] == [line for line in data.split(b"\n") if line]


@pytest.mark.parametrize("size", [1_000_000, 4096])
def test_a_line_without_an_end_is_kept_in_bounded_memory_and_its_loss_is_counted(size: int) -> None:
    splitter = LineSplitter()
    lines = []
    for _ in range(1_000_000 // size + 1):
        lines += splitter.feed(b"x" * size)
        assert splitter._size <= MAX_KEPT
    lines += splitter.feed(b"\nnext\n")
    total = size * (1_000_000 // size + 1)
    assert lines[0] == b"x" * MAX_KEPT + b"... (%d bytes more)" % (total - MAX_KEPT)
    assert lines[1] == b"next"


def test_skipped_lines_are_counted_and_the_line_that_follows_is_whole() -> None:
    splitter = LineSplitter()
    assert splitter.skip(b"a\nb\nhal") == 2
    assert splitter.feed(b"f\n") == [b"half"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢字\ttab", "plain é 漢字\ttab"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("a\rb\nc", "a\\rb\\nc"),
        ("\x00\x9b31m", "\\x00\\x9b31m"),
        ("evil \u202edrow", "evil \\u202edrow"),
        ("line\u2028separator", "line\\u2028separator"),
    ],
)
def test_nothing_in_a_line_can_act_on_a_terminal(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text())
def test_a_cleaned_text_is_one_line_without_controls(text: str) -> None:
    assert all(char == "\t" or (ord(char) >= 0x20 and not 0x7F <= ord(char) < 0xA0) for char in clean(text))
    assert len(clean(text).splitlines()) <= 1


def test_a_structured_event_keeps_its_level_time_and_fields() -> None:
    record = read('{"timestamp":"2026-01-01T00:00:00Z","level":"WARNING","message":"slow","request_id":"r1","seconds":1.5}')
    assert record == Record(
        timestamp="2026-01-01T00:00:00Z", module="users", level="warning", message="slow", fields={"request_id": "r1", "seconds": 1.5}
    )


def test_an_event_of_the_rust_sdk_is_understood() -> None:
    record = read('{"timestamp":"2026-01-01T00:00:00.000001Z","level":"INFO","fields":{"message":"started","port":8080},"target":"demo"}')
    assert (record.level, record.message, record.fields) == ("info", "started", {"target": "demo", "port": 8080})


@pytest.mark.parametrize(
    "line", ["{not json}", "[1]", '{"level":"INFO"}', '{"message":"no level"}', "{" * 5000 + "}" * 5000, '{"level":1,"message":2}']
)
def test_whatever_is_no_structured_event_is_shown_as_text(line: str) -> None:
    record = read(line)
    assert (record.stream, record.message, record.timestamp) == ("stderr", line, NOW)


def test_controls_inside_a_structured_event_are_harmless_too() -> None:
    record = read('{"level":"INFO","message":"a\\u001b[31m\\nb","k\\u0000":"\\u202ex","exception":"one\\ntwo\\r"}')
    assert record.message == "a\nb"  # shown as two lines of one event, each under the module's name
    assert record.fields == {"k\\x00": "\\u202ex"}
    assert record.trace == "one\ntwo\\r"


def test_a_module_cannot_speak_in_the_name_of_another() -> None:
    assert read('{"level":"INFO","message":"m","module":"orders","module_id":"orders"}').module == "users"


def test_long_texts_are_cut_with_a_word() -> None:
    record = read("y" * (MAX_TEXT + 5))
    assert record.message == "y" * MAX_TEXT + "… (5 characters more)"


def test_a_budget_lets_a_burst_through_and_then_the_steady_rate() -> None:
    budget = Budget(lines_per_second=10, bytes_per_second=1_000_000, burst=2)
    assert budget.refill(100.0)
    assert [budget.spend(10) for _ in range(21)] == [True] * 20 + [False]
    assert not budget.refill(100.0)
    assert budget.refill(100.5)
    assert [budget.spend(10) for _ in range(6)] == [True] * 5 + [False]
    assert budget.summary() == "2 lines (20 bytes) were left out: it prints more than 10 lines or 1,000,000 bytes a second"
    assert budget.summary() is None


def test_a_budget_counts_bytes_as_well_as_lines() -> None:
    budget = Budget(lines_per_second=1000, bytes_per_second=100, burst=1)
    budget.refill(0.0)
    assert budget.spend(5000)
    assert not budget.spend(1)


def test_a_tail_is_bounded_in_number_and_in_size() -> None:
    few, small = Tail(count=3), Tail(count=1000, size=10_000)
    for number in range(50):
        few.add(number, read(f"line {number}"))
        small.add(number, read("z" * 1000))
    assert [record.message for record in few.last(9)] == ["line 47", "line 48", "line 49"]
    assert 1 <= len(small.last(1000)) < 10


def test_a_record_survives_the_control_socket() -> None:
    record = read('{"level":"ERROR","message":"m","n":1,"exception":"a\\nb"}')
    assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record


@pytest.mark.parametrize(
    ("key", "moment", "shown"),
    [
        ("timestamp", "2026-01-31T11:59:58.123456Z", "2026-01-31T11:59:58.123456Z"),
        ("time", "2026-01-31t11:59:58z", "2026-01-31T11:59:58Z"),
        ("ts", "2026-01-31T13:59:58.5+02:00", "2026-01-31T11:59:58.500Z"),
        ("time", "2026-02-30T11:59:58Z", NOW),
        ("time", "2026-01-31 11:59", NOW),
        ("timestamp", "0001-01-01T00:00:00+23:59", NOW),
        ("time", "yesterday", NOW),
        ("ts", 1769860798.5, NOW),
    ],
)
def test_an_event_has_its_own_time_only_where_it_is_one(key: str, moment: object, shown: str) -> None:
    record = read(msgspec.json.encode({key: moment, "level": "info", "message": "x"}).decode())
    assert record.timestamp == shown
    assert record.fields == ({key: moment} if shown == NOW else {})
