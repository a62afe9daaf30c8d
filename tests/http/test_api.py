"""The helpers of responses: bodies byte for byte as the reference's, headers that go with them."""

import dataclasses
import json
from pathlib import Path

import msgspec
import pytest
from pydantic import BaseModel

from pywatt_core.http import api
from pywatt_core.http.failures import HttpError
from pywatt_core.http.router import HttpIpcRouter
from pywatt_core.protocol.messages import HttpRequest

VECTORS = {
    vector["name"]: vector
    for vector in json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
    if vector["kind"] == "http_body"
}
DATA = {"a": 1}

HELPERS = {
    "http_body_ipc_success": (lambda: api.success(DATA), None),
    "http_body_ipc_created": (lambda: api.created(DATA), None),
    "http_body_ipc_accepted": (lambda: api.accepted(DATA), None),
    "http_body_ipc_bad_request": (lambda: api.bad_request("bad"), "BAD_REQUEST"),
    "http_body_ipc_unauthorized": (lambda: api.unauthorized("no"), "UNAUTHORIZED"),
    "http_body_ipc_forbidden": (lambda: api.forbidden("no"), "FORBIDDEN"),
    "http_body_ipc_not_found": (lambda: api.not_found("/x"), "NOT_FOUND"),
    "http_body_ipc_method_not_allowed": (lambda: api.method_not_allowed("PUT", "/x"), "METHOD_NOT_ALLOWED"),
    "http_body_ipc_timeout": (lambda: api.timeout("slow"), "TIMEOUT"),
    "http_body_ipc_conflict": (lambda: api.conflict("dup"), "CONFLICT"),
    "http_body_ipc_internal_error": (lambda: api.internal_error("boom"), "INTERNAL_ERROR"),
    "http_body_ipc_handler_invalid_request": (lambda: api.failure_response(HttpError.InvalidRequest("bad")), "BAD_REQUEST"),
    "http_body_ipc_handler_ipc_error": (lambda: api.failure_response(HttpError.IpcCommunication("x")), "IPC_COMMUNICATION_ERROR"),
}


@pytest.mark.parametrize("name", HELPERS)
def test_a_helper_makes_what_the_reference_makes(name):
    make, code = HELPERS[name]
    response, vector = make(), VECTORS[name]
    assert (response.body, response.status_code) == (vector["json"].encode(), vector["status"])
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Request-ID"] == response.request_id
    assert response.headers.get("X-Error-Code") == code


async def test_nothing_there_is_what_the_reference_says():
    vector = VECTORS["http_body_ipc_default_404"]
    response = await HttpIpcRouter().handle(HttpRequest("r", "GET", "/x"))
    assert (response.status_code, response.headers, response.body) == (
        404,
        {"Content-Type": "application/json"},
        vector["json"].encode(),
    )


def test_every_body_of_this_router_is_shown():
    mine = {name for name in VECTORS if name.startswith("http_body_ipc")}
    assert mine == {*HELPERS, "http_body_ipc_default_404"}


def test_a_diagnostic_says_when_it_was_made():
    response = api.diagnostic_response()
    body = json.loads(response.body)
    assert (response.status_code, body["status"], body["data"]) == (200, "diagnostic", None)
    assert body["message"].startswith("IPC diagnostic response generated at 20")
    assert response.headers["X-Response-Type"] == "diagnostic"


@dataclasses.dataclass
class Point:
    x: int


class Struct(msgspec.Struct):
    x: int


class Model(BaseModel):
    x: int


@pytest.mark.parametrize("data", [Point(1), Struct(1), Model(x=1), {"x": 1}])
def test_data_may_be_of_any_kind_that_has_a_form_in_json(data):
    assert api.success(data).body == b'{"status":"success","data":{"x":1},"message":null}'


@pytest.mark.parametrize("data", [object(), {1, object()}, float("nan")])
def test_data_without_a_form_in_json_is_an_error(data):
    with pytest.raises(HttpError.Json, match="JSON error: "):
        api.success(data)


def test_what_is_said_of_a_500_is_generic_unless_it_is_asked_for():
    failure = HttpError.Internal("at db://user:password@host")
    assert b"password" not in api.failure_response(failure).body
    assert b"Internal error: at db" in api.failure_response(failure, debug=True).body


def test_headers_of_ones_own_are_added():
    response = api.json_response(None, 418, headers={"X-A": "b"}, request_id="r")
    assert (response.status_code, response.request_id, response.headers["X-A"]) == (418, "r", "b")
    assert response.body == b'{"status":"success","data":null,"message":null}'
