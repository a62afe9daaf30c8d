"""Ids follow the work: into coroutines, tasks and threads, and out again."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.telemetry import (
    Ids,
    Received,
    TraceParent,
    context,
    current,
    new_request_id,
    new_traceparent,
    next_traceparent,
    parse_traceparent,
    valid_request_id,
)

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_ids_hold_inside_the_block_and_nest() -> None:
    assert current() == Ids()
    with context(request_id="r1", trace_id="t1"):
        with context(span_id="s1") as inner:
            assert inner == current() == Ids("r1", "t1", "s1")
        with context(request_id=""):
            assert current() == Ids("", "t1", "")
        assert current() == Ids("r1", "t1", "")
    assert current() == Ids()


def test_ids_are_put_back_after_an_exception() -> None:
    with pytest.raises(RuntimeError), context(request_id="r1"):
        raise RuntimeError
    assert current() == Ids()


async def test_tasks_and_threads_carry_the_ids_of_where_they_began() -> None:
    async def seen() -> str:
        await asyncio.sleep(0)
        return current().request_id

    with context(request_id="one"):
        task = asyncio.create_task(seen())
        in_thread = await asyncio.to_thread(lambda: current().request_id)
    with context(request_id="two"):
        other = asyncio.create_task(seen())
    assert (await task, await other, in_thread, current().request_id) == ("one", "two", "one", "")


@pytest.mark.parametrize("text", ["a", "4b1f0d2c-9a7e", "svc:42/x.y~z=", "x" * 128])
def test_a_usual_request_id_is_valid(text: str) -> None:
    assert valid_request_id(text)


@pytest.mark.parametrize("text", [None, "", "x" * 129, "a b", "a\nb", "a\r\nX: 1", "ä", 'a"b', "a\x00b", "<script>", "a\n"])
def test_what_could_break_a_header_or_a_log_is_no_request_id(text: str | None) -> None:
    assert not valid_request_id(text)


def test_new_request_ids_are_valid_and_differ() -> None:
    ids = {new_request_id() for _ in range(100)}
    assert len(ids) == 100 and all(valid_request_id(each) and len(each) == 32 for each in ids)


def test_a_traceparent_is_read_and_written() -> None:
    parsed = parse_traceparent(VALID)
    assert parsed == TraceParent("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 1)
    assert str(parsed) == VALID and parsed is not None and parsed.sampled
    assert parse_traceparent(f" {VALID}\t") == parsed


@pytest.mark.parametrize(
    "text",
    [
        None, "", "00", VALID.upper(), VALID + "-00", VALID.replace("00-", "ff-", 1), VALID.replace("00-", "0-", 1), VALID[:-1],
        "00-" + "0" * 32 + "-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01", VALID + "\n", VALID + "x",
        "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01", "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
    ],
)  # fmt: skip
def test_a_traceparent_that_is_not_valid_is_none(text: str | None) -> None:
    assert parse_traceparent(text) is None


def test_a_traceparent_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse_traceparent(VALID.replace("00-", "01-", 1) + "-more") == TraceParent(*VALID.split("-")[1:3], 1)
    assert parse_traceparent(VALID.replace("00-", "cc-", 1).replace("-01", "-ff")) == TraceParent(*VALID.split("-")[1:3], 1)
    assert parse_traceparent(VALID.replace("00-", "01-", 1) + "x") is None


def test_a_new_span_stays_in_its_trace() -> None:
    parent = TraceParent("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 0)
    child = new_traceparent(parent)
    assert (child.trace_id, child.flags) == (parent.trace_id, 0) and child.span_id != parent.span_id
    root = new_traceparent()
    assert parse_traceparent(str(root)) == root and root.sampled and root.trace_id != child.trace_id


def test_spans_of_one_trace_are_never_the_same_in_a_forked_process_either() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    mine = [next_traceparent(trace) for _ in range(1000)]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, next_traceparent(trace).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    found = [parse_traceparent(text) for text in (*mine, theirs)]
    assert all(parent is not None and (parent.trace_id, parent.flags) == (trace, 1) for parent in found)
    assert len({parent.span_id for parent in found if parent}) == 1001
    assert theirs != next_traceparent(trace), "it does not go on where this process would"


def test_what_came_with_a_message_is_read_when_it_is_asked_for() -> None:
    trace, span = VALID.split("-")[1:3]
    with context(request_id="mine", trace_id="t", span_id="s"):
        for given, expected in {
            ("theirs", VALID): Ids("theirs", trace, span),
            ("not one", "nor this"): Ids("wire", "t", "s"),
            (None, None): Ids("wire", "t", "s"),
            (7, b"x"): Ids("wire", "t", "s"),
        }.items():
            ids = Received(*given, "wire")
            ids.begin()
            assert current() == expected
            assert current() is current()
            inner = Received("inner", None, "wire")
            inner.begin()
            assert current() == expected._replace(request_id="inner"), "what is not given stays as it was"
            inner.end()
            with context(span_id="z"):
                assert current() == expected._replace(span_id="z")
            ids.end()
            assert current() == Ids("mine", "t", "s")


@given(st.text())
def test_no_header_whatever_makes_reading_fail(text: str) -> None:
    parsed = parse_traceparent(text)
    assert parsed is None or parse_traceparent(str(parsed)) == parsed
    assert isinstance(valid_request_id(text), bool)
