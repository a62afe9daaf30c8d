"""The stream of log lines: redacted, attributed, bounded, readable by people and programs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading

import pytest

from pywatt_core.redaction import register
from pywatt_orchestrator.lines import MAX_KEPT, Record
from pywatt_orchestrator.logs import Journal, Pump, Source
from pywatt_orchestrator.output import MAX_QUEUED, Output
from pywatt_orchestrator.rendering import as_json, as_text


async def test_every_line_is_redacted_before_anybody_sees_it() -> None:
    seen: list[Record] = []
    journal = Journal(seen.append)
    source = Source(journal, "users")
    register("canary-secret-1", name="X")
    source.feed(b"plain canary-secret-1\n")
    source.feed(b'{"level":"INFO","message":"m","value":"canary\\u002dsecret-1","exception":"a\\ncanary-secret-1"}\n')
    source.feed(b'{"level":"' + b"a" * 10 + b'canary\\u002dsecret-1","message":"m","canary\\u002dsecret-1":{"canary\\u002dsecret-1":1}}\n')
    source.feed(b"canary-\x1b[0msecret-1 torn apart by a colour\n")
    source.stray("stray canary-secret-1")
    journal.say("said canary-secret-1", module="users", detail="canary-secret-1")
    assert len(seen) == 6
    assert "canary" not in "".join(as_json(record) + as_text(record) for record in [*seen, *journal.last(["users"], 9)])


SECRET = "canary-secret-" + "0123456789"


@pytest.mark.parametrize("size", [1, 2, 5, 13])
@pytest.mark.parametrize("text", [f"plain {SECRET} end", json.dumps({"level": "INFO", "message": SECRET, "fields": {"a": [SECRET]}})])
async def test_a_secret_that_is_written_in_pieces_is_hidden(text: str, size: int) -> None:
    seen: list[Record] = []
    source = Source(Journal(seen.append), "users")
    register(SECRET, name="X")
    data = f"{text}\n".encode()
    for at in range(0, len(data), size):
        source.feed(data[at : at + size])
    assert len(seen) == 1 and "[REDACTED]" in as_json(seen[0])
    assert "canary" not in as_json(seen[0]) + as_text(seen[0])


async def test_a_secret_of_several_short_lines_is_hidden_as_a_whole() -> None:
    seen: list[Record] = []
    source = Source(Journal(seen.append), "users")
    register("abc\ndefg\nhij", name="KEY")
    source.feed(b"before\nit is abc\nde")
    source.feed(b"fg\n")
    source.feed(b"hij after\nlast\nabc\nother\n")
    assert [record.message for record in seen] == ["before", "it is [REDACTED] after", "last", "abc", "other"]


async def test_lines_that_begin_like_a_secret_of_several_lines_do_not_wait_for_ever() -> None:
    seen: asyncio.Queue[Record] = asyncio.Queue()
    source = Source(Journal(seen.put_nowait), "users")
    register("begin\nmiddle\nend", name="KEY")
    source.feed(b"begin\n")
    assert seen.empty()
    assert (await asyncio.wait_for(seen.get(), 30)).message == "begin"
    source.feed(b"begin\nmiddle\n")
    assert (await asyncio.wait_for(seen.get(), 30)).message == "[REDACTED]", "most of it has come"
    source.feed(b"begin\n")
    source.end()
    assert seen.get_nowait().message == "begin"


async def test_a_line_that_is_cut_is_not_cut_through_a_secret() -> None:
    seen: list[Record] = []
    source = Source(Journal(seen.append), "users")
    secret = SECRET + "0123456789" * 9
    register(secret, name="X")
    line = (secret + " ") * 600
    source.feed(line.encode()[: MAX_KEPT + 5] + b"\n")
    assert line[MAX_KEPT - 20 : MAX_KEPT] in secret, "it is cut within the secret"
    (record,) = seen
    assert record.message.startswith("[REDACTED] [REDACTED] ") and record.message.endswith("... (5 bytes more)")
    assert "canary" not in record.message and "0123" not in record.message


async def test_what_the_orchestrator_says_itself_hides_secrets_in_every_part() -> None:
    seen: list[Record] = []
    journal = Journal(seen.append)
    register(SECRET, name="X")
    register("90210777", name="PIN")
    torn = f"{SECRET[:5]}\x1b[1m{SECRET[5:]}"
    journal.say(f"torn {torn}", number=90210777, ratio=1.5, torn=torn, yes=True)
    logger = logging.Logger(f"logger.{SECRET}")
    logger.addHandler(journal.forward_logging())
    try:
        raise ValueError(torn)
    except ValueError:
        logger.exception("failed with %s", torn, extra={"pin": 90210777, SECRET: 1, "count": 3})
    shown = "".join(as_json(record) + as_text(record) for record in seen)
    assert "canary" not in shown and "90210777" not in shown
    assert seen[0].fields == {"number": "[REDACTED]", "ratio": 1.5, "torn": "[REDACTED]", "yes": True}
    assert seen[1].fields == {"logger": "logger.[REDACTED]", "pin": "[REDACTED]", "[REDACTED]": 1, "count": 3}


async def test_the_last_lines_of_several_instances_come_in_their_order() -> None:
    journal = Journal()
    one, two = Source(journal, "users.1"), Source(journal, "users.2")
    for number in range(3):
        one.feed(b"one %d\n" % number)
        two.feed(b"two %d\n" % number)
    assert [record.message for record in journal.last(["users.1", "users.2"], 4)] == ["one 1", "two 1", "one 2", "two 2"]
    assert journal.last(["users.1"], 0) == []


async def test_a_follower_sees_what_comes_until_it_leaves() -> None:
    journal = Journal()
    seen: list[str] = []
    leave = journal.follow(lambda record: seen.append(record.message))
    journal.say("one")
    leave()
    leave()
    journal.say("two")
    assert seen == ["one"]


async def test_what_stands_after_the_last_line_end_is_shown_when_the_pipe_closes() -> None:
    journal = Journal()
    reading, writing = os.pipe()
    pump = Pump(Source(journal, "users"))
    await asyncio.get_running_loop().connect_read_pipe(lambda: pump, os.fdopen(reading, "rb", buffering=0))
    os.write(writing, b"whole\r\nhalf")
    os.close(writing)
    await pump.ended
    assert [record.message for record in journal.last(["users"], 9)] == ["whole", "half"]


async def test_loggings_own_events_join_the_stream_from_any_thread_with_their_traceback() -> None:
    seen: list[Record] = []
    arrived = asyncio.Event()

    def show(record: Record) -> None:
        seen.append(record)
        arrived.set()

    logger = logging.Logger("pywatt_orchestrator.guard")
    logger.addHandler(Journal(show).forward_logging())

    def elsewhere() -> None:
        try:
            raise ValueError("boom")
        except ValueError:
            logger.exception("it failed")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await arrived.wait()
    thread.join()
    assert (seen[0].module, seen[0].level, seen[0].message) == ("pywatt", "error", "it failed")
    assert "ValueError: boom" in seen[0].trace


def test_a_reader_that_reads_nothing_costs_lines_and_never_time() -> None:
    reading, writing = os.pipe()
    output = Output(writing, notice=lambda count: f"{count} dropped")
    line = "x" * 1000
    for _ in range(2 * MAX_QUEUED // 1000):
        output.write(line)
    output.close(timeout=0.1)
    received = b""
    drained = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reading, 65536), b"")], daemon=True)
    received += os.read(reading, 100)
    assert received == b"x" * 100
    drained.start()
    output.close(timeout=20)
    os.close(writing)
    drained.join(20)
    os.close(reading)


def test_lines_that_were_dropped_are_counted_in_the_stream() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    output = Output(writing, notice=lambda count: f"{count} dropped")
    line, count = "x" * 1000, MAX_QUEUED // 500
    for _ in range(count):
        output.write(line)
    received = bytearray()

    def drain() -> None:
        while data := os.read(reading, 65536):
            received.extend(data)

    done = threading.Thread(target=drain)
    done.start()
    output.close(timeout=20)
    os.close(writing)
    done.join(20)
    os.close(reading)
    lines = received.decode().splitlines()
    dropped = [int(notice.removesuffix(" dropped")) for notice in lines if notice != line]
    assert dropped and sum(dropped) == count - lines.count(line)


def test_nobody_reading_any_more_is_no_reason_to_stop() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = Output(writing, notice=str)
    for _ in range(10):
        output.write("unread")
    output.close()
    os.close(writing)


RECORD = Record(
    timestamp="2026-01-31T12:00:01.123456Z",
    module="users",
    level="warning",
    message="slow",
    fields={"ms": 7, "path": "/a b", "target": "x"},
    trace="E\nF",
)


def test_the_text_form_is_for_people() -> None:
    assert (
        as_text(RECORD, width=8)
        == '12:00:01.123 users    WARNING slow ms=7 path="/a b"\n12:00:01.123 users      | E\n12:00:01.123 users      | F'
    )


def test_every_line_of_the_text_form_carries_the_modules_name() -> None:
    assert all("users" in line for line in as_text(RECORD).split("\n"))


def test_a_message_of_several_lines_is_one_event_whose_lines_can_be_copied() -> None:
    seen: list[Record] = []
    Journal(seen.append).say(
        'add to pywatt.toml:\n\n[auth.main]\nuse = "jwt"\n\x1b[31m12:00:00.000 other forged\r', module="users", level="error"
    )
    (record,) = seen
    assert "\n" not in as_json(record)
    clock = as_text(record).partition(" ")[0]
    assert as_text(record, width=5).split("\n") == [
        f"{clock} users ERROR add to pywatt.toml:",
        f"{clock} users   | [auth.main]",
        f'{clock} users   | use = "jwt"',
        f"{clock} users   | 12:00:00.000 other forged\\r",
    ]


def test_the_json_form_is_one_line_for_programs() -> None:
    assert json.loads(as_json(RECORD)) == {
        "timestamp": "2026-01-31T12:00:01.123456Z",
        "module": "users",
        "level": "warning",
        "message": "slow",
        "exception": "E\nF",
        "ms": 7,
        "path": "/a b",
        "target": "x",
    }
    assert "\n" not in as_json(RECORD)


@pytest.mark.parametrize("colour", [True, False])
def test_colours_are_ours_alone(colour: bool) -> None:
    assert ("\x1b[" in as_text(RECORD, colour=colour)) is colour
