"""The second attempt: the depth of nesting, and spellings that no golden vector shows."""

from __future__ import annotations

import enum
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.protocol.codec import Loose, Unreadable, decode
from pywatt_core.protocol.lenient import MAX_DEPTH, read_object, read_value, safe_text, too_deep
from pywatt_core.protocol.messages import Announce, GetSecret, HttpResponse, Metadata, Role, Secret


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def nested(depth: int, value: Any) -> Any:
    for level in range(depth):
        value = [value] if level % 3 else {'a"]': value}
    return value


LEAVES = st.text('[]{}"\\a', max_size=8) | st.none()


@given(
    st.integers(0, 140),
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(LEAVES.map(str), inner, max_size=3)),
)
def test_depth_is_measured_exactly_whatever_brackets_stand_in_text(depth: int, value: Any) -> None:
    wide = [nested(depth, value), value, "[" * 200, "]" * 200, nested(30, "x")]
    assert too_deep(json.dumps(wide).encode()) is (depth_of(wide) > MAX_DEPTH)


def test_unfinished_text_is_measured_in_one_go() -> None:
    assert not too_deep(b'["' + b'\\"[' * 200_000)
    assert not too_deep(b'["' + b"[" * 300 + b"\\")
    assert too_deep(b"[" * 128 + b'"unfinished')


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"op": "get_secret", "get_secret": {"name": "A"}, "announce": None, "shutdown": None}, GetSecret("A")),
        ({"content": {"op": "get_secret", "get_secret": {"name": "A"}}, "metadata": None}, GetSecret("A")),
        ({"op": "announce", "announce": {"listen": {"Unix": "/x"}, "endpoints": []}}, Announce("/x", [])),
        ({"listen": {"Tcp": "127.0.0.1:1"}, "endpoints": [], "pywatt": None}, Announce("127.0.0.1:1", [])),
        ({"content": {"status_code": 200, "request_id": "r", "headers": {}, "body": None}}, HttpResponse("r", 200, {})),
        ({"op": "get_secret", "name": "A", "content": {"op": "heartbeat_ack"}}, GetSecret("A")),
    ],
)
def test_a_spelling_of_an_earlier_peer_is_understood(value: dict[str, Any], message: Any) -> None:
    found = read_object(value, Role.MODULE)
    assert (found.content if isinstance(found, Loose) else found) == message


def test_what_only_a_module_may_spell_so_is_refused_from_the_orchestrator() -> None:
    for value in ({"listen": "127.0.0.1:1", "endpoints": []}, {"content": {"status_code": 200, "request_id": "r", "headers": {}}}):
        with pytest.raises(Unreadable, match="missing required field `op`"):
            read_object(value, Role.ORCHESTRATOR)


def test_the_envelopes_metadata_and_id_are_kept() -> None:
    found = decode(
        b'{"metadata":{"source":"m","zz":1},"id":"not a uuid","content":{"value":"v","name":"A","op":"secret"}}', Role.ORCHESTRATOR
    )
    assert (found.content, found.metadata, found.id) == (Secret("A", "v"), Metadata(source="m"), "not a uuid")
    assert decode(b'{"id":5,"content":{"op":"heartbeat"}}', Role.ORCHESTRATOR).id is None


@pytest.mark.parametrize("value", [None, True, 5, 1.5, "x", [], b"x"])
def test_what_is_no_object_is_said_to_be_none(value: object) -> None:
    with pytest.raises(Unreadable, match="Expected a JSON object, got `"):
        read_object(value, Role.MODULE)


def test_an_error_keeps_the_members_for_the_search_of_a_key_but_does_not_show_them() -> None:
    with pytest.raises(Unreadable) as caught:
        read_object({"op": "service_request", "id": "hush"}, Role.MODULE)
    assert (caught.value.op, caught.value.members["id"]) == ("service_request", "hush")
    assert "hush" not in str(caught.value) + repr(caught.value)


class Colour(enum.Enum):
    RED = "red"


class Tagged(msgspec.Struct, tag="a", tag_field="op"):
    pass


@pytest.mark.parametrize(
    ("kind", "text", "path"), [(Tagged, b'{"op":"hu`sh - at"}', "`$.op`"), (list[Colour], b'["red","hush\\n"]', "`$[1]`")]
)
def test_the_two_texts_in_which_msgspec_shows_a_value_are_cleaned(kind: Any, text: bytes, path: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="sh") as caught:
        msgspec.json.decode(text, type=kind)
    assert "sh" not in safe_text(caught.value)
    assert safe_text(caught.value).endswith(f" - at {path}")


def test_an_unexpected_error_is_told_by_its_type_alone() -> None:
    assert safe_text(TypeError("hush")) == "not readable (TypeError)"
    with pytest.raises(TypeError, match="no way to read dict"):
        read_value(dict, {})
