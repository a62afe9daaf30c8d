from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import RemoteProtocolError
from pywatt_core.protocol.durations import Duration
from pywatt_core.protocol.payloads import reader, write_bare
from pywatt_core.protocol.priorities import StreamPriority
from pywatt_core.protocol.streams import from_json, to_json
from pywatt_core.protocol.topics import MAX_LENGTH, PubSubMessage, TopicPattern, TopicTable, segments


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("orders.created", ["orders.created", "orders/created"], ["orders", "orders.created.eu", "orders.changed"]),
        ("orders.*", ["orders.created", "orders/x"], ["orders", "orders.created.eu", "users.created"]),
        ("*.created", ["orders.created", "users/created"], ["created", "a.b.created"]),
        ("orders.#", ["orders", "orders.created", "orders.created.eu"], ["order", "users.orders"]),
        ("#", ["orders", "a.b.c.d"], []),
        ("*.b.#", ["a.b", "a.b.c"], ["a", "b", "a.c.b"]),
    ],
)
def test_a_star_is_one_segment_and_a_hash_the_rest(pattern: str, fitting: list[str], others: list[str]) -> None:
    for topic in fitting:
        assert TopicPattern(pattern).matches(topic), topic
    for topic in others:
        assert not TopicPattern(pattern).matches(topic), topic


def test_either_separator_makes_the_same_pattern() -> None:
    assert TopicPattern("a/b.*") == TopicPattern("a.b/*")
    assert len({TopicPattern("a/b"), TopicPattern("a.b")}) == 1
    assert TopicPattern("a") != "a"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a topic pattern is a text such as 'orders.created', not ''"),
        (None, "a topic pattern is a text such as 'orders.created', not None"),
        ("a..b", "a topic pattern has no empty segments: 'a..b'"),
        ("/a", "a topic pattern has no empty segments: '/a'"),
        ("a b", "a topic pattern has no blanks or control characters: 'a b'"),
        ("a.\x00", r"a topic pattern has no blanks or control characters: 'a.\x00'"),
        ("a.b*", "a wildcard is a whole segment of a topic pattern: 'a.b*'"),
        ("a.##", "a wildcard is a whole segment of a topic pattern: 'a.##'"),
        ("#.a", "'#' is the last segment of a topic pattern: '#.a'"),
        ("a" * (MAX_LENGTH + 1), "a topic pattern has 512 characters at most, not 513"),
    ],
)
def test_a_bad_pattern_says_what_is_wrong_with_it(text: Any, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        TopicPattern(text)
    assert str(caught.value) == reason


def test_a_topic_has_no_wildcards() -> None:
    assert segments("a.b/c") == ("a", "b", "c")
    for topic in ("a.*", "#", "a*"):
        with pytest.raises(ValueError, match="a topic has no wildcards, they are for who subscribes"):
            segments(topic)


# ── many subscribers ────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = st.sampled_from(["a", "b", "c"])
TOPICS = st.lists(NAMES, min_size=1, max_size=4).map(".".join)
PATTERNS = st.builds(
    lambda parts, rest: TopicPattern(".".join([*parts, *rest])),
    st.lists(NAMES | st.just("*"), min_size=1, max_size=4),
    st.sampled_from([[], ["#"]]),
) | st.just(TopicPattern("#"))


@given(
    steps=st.lists(st.tuples(st.sampled_from(["add", "add", "remove"]), PATTERNS, st.integers(0, 3)), max_size=30),
    topics=st.lists(TOPICS, min_size=1, max_size=8),
)
def test_the_table_finds_whom_the_patterns_one_by_one_would(steps: list[tuple[str, TopicPattern, int]], topics: list[str]) -> None:
    table: TopicTable[int] = TopicTable()
    pairs: set[tuple[TopicPattern, int]] = set()
    for step, pattern, subscriber in steps:
        if step == "add":
            table.add(pattern, subscriber)
            pairs.add((pattern, subscriber))
        else:
            table.remove(pattern, subscriber)
            pairs.discard((pattern, subscriber))
    assert len(table) == len(pairs)
    for topic in topics:
        found = table.match(topic)
        assert len(found) == len(set(found))
        assert set(found) == {subscriber for pattern, subscriber in pairs if pattern.matches(topic)}
    for pattern, subscriber in pairs:
        table.remove(pattern, subscriber)
    assert table._root.empty, "nothing is left of who is gone"


# ── the message ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_is_written_as_the_reference_does() -> None:
    text = b'{"topic":"t","payload":[1],"priority":"High","ttl":{"secs":1,"nanos":500000000},"publisher":null,"metadata":{}}'
    message = from_json(text, PubSubMessage)
    assert message == PubSubMessage("t", b"\x01", StreamPriority.HIGH, Duration.of(1.5))
    assert to_json(message) == text
    assert reader(PubSubMessage, "MessagePack")(write_bare(message, "MessagePack").data) == message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"topic":"a.*","payload":[]}', "wildcards"),
        (b'{"topic":"a","payload":"YQ=="}', "`payload`"),
        (b'{"topic":"a","payload":[256]}', "`payload`"),
        (b'{"topic":"a","payload":[],"ttl":{"secs":-1,"nanos":0}}', r"\$\.ttl\.secs"),
        (b'{"topic":"a","payload":[],"priority":"Urgent"}', r"\$\.priority"),
        (b'{"payload":[]}', "`topic`"),
    ],
)
def test_a_bad_message_names_the_member(text: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        from_json(text, PubSubMessage)


def test_what_was_published_is_read_as_the_type_that_is_asked_for() -> None:
    message = PubSubMessage("t", b'{"a":1}')
    assert message.decode() == {"a": 1}
    assert message.decode(dict[str, int]) == {"a": 1}
    assert message.decode(bytes) == b'{"a":1}'
    with pytest.raises(RemoteProtocolError, match=r"\$"):
        message.decode(int)
    raw = PubSubMessage("t", b"\xff", metadata={"content-type": "application/octet-stream"})
    assert raw.decode() == b"\xff"
    with pytest.raises(RemoteProtocolError, match="int"):
        raw.decode(int)


def test_a_message_does_not_show_what_it_carries() -> None:
    shown = repr(PubSubMessage("t", b"secret", metadata={"k": "secret"}))
    assert "secret" not in shown
    assert "'t'" in shown
