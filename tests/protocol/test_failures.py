"""How a request fails, in both forms."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import RemoteError, RequestTimeout
from pywatt_core.protocol.failures import DEEPEST, Failure, failure_in, failure_of, failure_reply, success_reply
from pywatt_core.protocol.messages import Metadata
from pywatt_core.protocol.payloads import read_payload, write_payload

ID = "11111111-2222-4333-8444-555555555555"
WHERE: dict[str, Any] = {"id": ID, "source": "a", "destination": "b"}
OURS = {"reply": "envelope"}

FAILURES: st.SearchStrategy[Failure] = st.deferred(
    lambda: st.builds(Failure, st.text(max_size=9), st.text(max_size=9), st.none() | FAILURES, st.sampled_from(["yes", "no", "unknown"]))
)


def test_a_pywatt_requester_gets_an_envelope_and_everybody_else_a_bare_value() -> None:
    assert success_reply([1], {}, **WHERE).data == b"[1]"
    assert json.loads(success_reply([1], OURS, **WHERE).data) == {
        "id": ID,
        "content": [1],
        "metadata": {"source": "a", "destination": "b"},
    }
    failure = Failure("teapot", "no", Failure("ValueError", "short and stout"), "no")
    assert failure_reply(failure, {"reply": "else"}, **WHERE).data == b'{"Err":"no"}'
    said = json.loads(failure_reply(failure, OURS, **WHERE).data)
    assert said["content"] == {"Err": "no"}
    assert said["metadata"]["properties"]["error"] == {
        "code": "teapot",
        "message": "no",
        "cause": {"code": "ValueError", "message": "short and stout"},
        "executed": "no",
    }


@given(FAILURES)
def test_a_failure_arrives_as_it_was_sent(failure: Failure) -> None:
    assert failure_in(read_payload(failure_reply(failure, OURS, **WHERE))) == failure


def test_a_success_is_none_whatever_it_holds() -> None:
    for value in (None, {"Err": "not an error"}, {"error": {"code": "x", "message": "y"}}):
        assert failure_in(read_payload(success_reply(value, OURS, **WHERE))) is None
        assert failure_in(read_payload(success_reply(value, {}, **WHERE))) is None


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda inner: st.dictionaries(st.text(max_size=8), inner))
)
def test_an_error_that_nobody_can_read_is_an_error_all_the_same(error: Any) -> None:
    found = failure_in(read_payload(write_payload(None, Metadata(properties={"error": error}), id=ID)))
    assert (found is None) is (error is None)


def test_errors_and_failures_are_the_same_thing_and_causes_end_somewhere() -> None:
    error = RemoteError("deep", code="0")
    for number in range(50):
        error = RemoteError("deep", code=str(number), cause=error)
    failure: Failure | None = failure_of(error)
    depth = 0
    while failure is not None:
        failure, depth = failure.cause, depth + 1
    assert depth == DEEPEST
    assert isinstance(Failure("timeout", "late").error(), RequestTimeout)
    back = Failure("a", "b", Failure("c", "d"), "yes").error()
    assert isinstance(back, RemoteError) and back.__cause__ is back.cause
    assert failure_of(back) == Failure("a", "b", Failure("c", "d"), "yes")
