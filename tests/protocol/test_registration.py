"""Registration on the wire: the golden vectors, tolerated spellings, and refusals that name the field."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError
from pywatt_core.protocol.lenient import Unreadable
from pywatt_core.protocol.registration import (
    FRAME_LIMIT,
    KINDS,
    Advertise,
    Answer,
    Capabilities,
    Endpoint,
    HealthStatus,
    HeartbeatReport,
    ModuleInfo,
    Register,
    RegisteredModule,
    Unregister,
    name_taken,
    read_answer,
    read_request,
    refusal,
    write_answer,
    write_request,
)

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
OURS = [vector for vector in VECTORS if vector["kind"] == "message" and vector["direction"] == "registration"]
UUID = "11111111-2222-4333-8444-555555555555"
ME = {"module_id": UUID, "token": "tok"}


def request(**content: Any) -> bytes:
    return json.dumps({"id": UUID, "content": content, "metadata": {"id": "m1"}}).encode()


@pytest.mark.parametrize("vector", OURS, ids=lambda vector: vector["name"])
def test_golden_texts_are_read_and_written_again_byte_for_byte(vector: dict[str, Any]) -> None:
    text = vector["json"].encode()
    if "request_type" in vector["json"]:
        asked = read_request(text)
        assert (asked.request.kind, asked.old) == (vector["op"], False)
        assert write_request(asked.request, id=json.loads(text)["id"], metadata_id=asked.id or "") == text
    else:
        answered = read_answer(text, vector["op"])
        assert answered.id is None
        assert write_answer(answered.answer) == text


def test_there_are_vectors_of_every_kind() -> None:
    assert {vector["op"] for vector in OURS} == KINDS


# ── tolerated spellings ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bare_request_is_read_like_an_enveloped_one() -> None:
    asked = read_request(b'{"request_type":"unregister","module_id":"%s","token":"tok"}' % UUID.encode())
    assert (asked.request, asked.id) == (Unregister(**ME), None)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (
            {"request_type": "registration", "module_info": {"name": "a", "version": "1", "description": "", "id": None, "metadata": None}},
            Register(module_info=ModuleInfo("a", "1", "")),
        ),
        ({"request_type": "unregistration", **ME}, Unregister(**ME)),
        (
            {"request_type": "heartbeat", **ME, "status": "degraded", "details": None},
            HeartbeatReport(module_id=UUID, token="tok", status=HealthStatus.DEGRADED),
        ),
    ],
)
def test_the_earlier_python_ports_spellings_are_read(content: dict[str, Any], wanted: Any) -> None:
    asked = read_request(request(**content))
    assert (asked.request, asked.old, asked.spelling) == (wanted, True, content["request_type"])


def test_the_earlier_python_port_is_answered_in_an_envelope_with_its_own_spellings() -> None:
    asked = read_request(request(request_type="heartbeat", **ME, status="healthy"))
    answer = Answer("heartbeat", success=True, status=HealthStatus.HEALTHY)
    assert json.loads(write_answer(answer, asked, id="e1")) == {
        "id": "e1",
        "content": {"response_type": "heartbeat", "success": True, "status": "healthy"},
        "metadata": {"id": "m1"},
    }
    asked = read_request(request(request_type="registration", module_info={"name": "a", "version": "1", "description": ""}))
    written = write_answer(Answer(asked.spelling, success=False, error="no"), asked, id="e1")
    assert json.loads(written)["content"] == {"response_type": "registration", "success": False, "error": "no"}
    assert read_answer(written, "register").answer.error == "no"


def test_a_regular_answer_is_bare_whatever_was_asked() -> None:
    asked = read_request(request(request_type="unregister", **ME))
    assert write_answer(Answer("unregister", success=True), asked) == b'{"response_type":"unregister","success":true}'


def test_unit_names_in_objects_and_uuids_of_any_form_are_read() -> None:
    status = {"Unhealthy": None}
    asked = read_request(request(request_type="heartbeat", module_id=f"urn:uuid:{UUID.upper()}", token="tok", status=status))
    assert asked.request == HeartbeatReport(module_id=UUID, token="tok", status=HealthStatus.UNHEALTHY)
    assert read_answer(b'{"response_type":"heartbeat","success":true,"status":{"Degraded":null}}', "heartbeat").answer.status


def test_an_enveloped_answer_tells_which_request_it_is_for() -> None:
    bare = {"response_type": "register", "success": True}
    found = read_answer(json.dumps({"id": UUID, "content": bare, "metadata": {"id": "m7"}}).encode(), "register")
    assert (found.id, found.answer.success) == ("m7", True)


def test_a_failed_heartbeat_without_a_status_still_says_why() -> None:
    assert read_answer(b'{"response_type":"heartbeat","success":false,"error":"bad token"}', "heartbeat").answer.error == "bad token"


def test_an_answer_of_an_unknown_kind_is_taken_and_one_of_another_kind_is_not() -> None:
    assert read_answer(b'{"response_type":"ok","success":true}', "register").answer.success
    assert read_answer(b'{"response_type":"registration","success":true}', "register").answer.response_type == "register"
    with pytest.raises(Unreadable, match=r"the answer to 'heartbeat', where 'register' was asked - at `\$\.response_type`"):
        read_answer(b'{"response_type":"heartbeat","success":true}', "register")


def test_health_is_displayed_in_lower_case() -> None:
    assert [str(status) for status in HealthStatus] == ["healthy", "degraded", "unhealthy"]
    assert HealthStatus("HEALTHY") is HealthStatus.HEALTHY


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xff", "not UTF-8"),
        (b"[1]", "Expected a JSON object"),
        (b"{", "malformed|truncated"),
        (b"{}", "Object missing required field `request_type`"),
        (b"[" * 200 + b"]" * 200, "nested deeper than 127 containers"),
        (request(request_type="ping"), r"not a request that a module may make - at `\$\.content\.request_type`"),
        (request(request_type=7), r"not a request that a module may make - at `\$\.content\.request_type`"),
        (request(request_type="register"), r"missing required field `module_info` - at `\$\.content`"),
        (
            request(request_type="register", module_info={"name": 5, "version": "", "description": ""}),
            r"Expected `str`, got `int` - at `\$\.content\.module_info\.name`",
        ),
        (
            request(request_type="register", module_info={"name": "a", "version": "", "description": "", "id": "nope-secret"}),
            r"Expected a UUID in `id` - at `\$\.content\.module_info`",
        ),
        (request(request_type="heartbeat", **ME, status="fine-secret"), r"Invalid enum value - at `\$\.content\.status`"),
        (request(request_type="unregister", module_id=UUID), r"missing required field `token` - at `\$\.content`"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_with_the_field_and_without_its_value(data: bytes, text: str) -> None:
    with pytest.raises(Unreadable, match=text) as caught:
        read_request(data)
    assert "secret" not in str(caught.value)


def test_a_known_request_that_cannot_be_read_tells_its_kind_so_that_it_can_be_answered() -> None:
    with pytest.raises(Unreadable) as caught:
        read_request(request(request_type="registration"))
    assert caught.value.op == "registration"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (ModuleInfo("x" * FRAME_LIMIT, "1", ""), f"the limit is {FRAME_LIMIT}"),
        (ModuleInfo("\ud800", "1", ""), "lone surrogate"),
    ],
)
def test_what_cannot_travel_is_not_written(content: ModuleInfo, reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        write_request(Register(module_info=content), id=UUID, metadata_id="m")


def test_a_number_that_json_does_not_have_is_not_written() -> None:
    capabilities = Capabilities([Endpoint("/a", ["GET"])], additional_capabilities={"rate": float("inf")})
    with pytest.raises(LocalProtocolError, match="NaN and infinity cannot be sent"):
        write_request(Advertise(**ME, capabilities=capabilities), id=UUID, metadata_id="m")


def test_the_largest_request_can_be_answered() -> None:
    info = ModuleInfo("n", "1", "x" * (FRAME_LIMIT - 300))
    write_request(Register(module_info=info), id=UUID, metadata_id="m")
    write_answer(Answer("register", success=True, module=RegisteredModule(info, UUID, "t" * 64, "127.0.0.1", 9900)))


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (None, "rejected", "Registration rejected: Unknown error"),
        ("name taken", "name_taken", "Name taken"),
        (name_taken("a"), "name_taken", "Module name 'a' is already taken"),
        ("not registered", "not_registered", "Registration rejected: not registered"),
        ("authentication failed: x", "authentication_failed", "Authentication failed: x"),
        ("full", "rejected", "Registration rejected: full"),
    ],
)
def test_a_refusal_has_a_code_and_a_text(error: str | None, code: str, text: str) -> None:
    assert refusal(error) == (code, text)


def test_tokens_and_environments_are_not_shown() -> None:
    module = RegisteredModule(ModuleInfo("a", "1", ""), UUID, "s3cr3t-token", "h", 1, env={"KEY": "s3cr3t-value"})
    shown = repr(module) + repr(Unregister(module_id=UUID, token="s3cr3t-token")) + repr(Answer("register", success=True, module=module))
    assert "s3cr3t" not in shown


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
NAMES = st.sampled_from([
    "request_type", "response_type", "content", "metadata", "module_info", "module_id", "token", "status", "name", "version",
    "description", "id", "success", "info", "details", "capabilities", "endpoints",
])  # fmt: skip
VALUES = st.none() | st.booleans() | st.integers() | TEXT | st.sampled_from(["register", "heartbeat", UUID, "Healthy"])
TREES = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=8), max_leaves=20)


@given(st.binary(max_size=200) | TREES.map(lambda value: json.dumps(value).encode()))
def test_whatever_arrives_is_read_or_refused(data: bytes) -> None:
    for read in (read_request, lambda found: read_answer(found, "register")):
        with suppress(Unreadable):
            read(data)


@given(name=TEXT, metadata=st.none() | st.dictionaries(TEXT, TEXT))
def test_what_is_written_is_read_again(name: str, metadata: dict[str, str] | None) -> None:
    sent = Register(module_info=ModuleInfo(name, "1", "d", UUID, metadata))
    asked = read_request(write_request(sent, id=UUID, metadata_id="m"))
    assert (asked.request, asked.id) == (sent, "m")
