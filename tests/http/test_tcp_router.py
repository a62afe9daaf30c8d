"""`HttpTcpRouter`: what its responses look like."""

import json
from pathlib import Path

import pytest

from pywatt_core.http import HttpTcpError, tcp_router
from pywatt_core.http.tcp_router import HttpTcpApiResponse, HttpTcpRouter
from pywatt_core.protocol.http_tcp import HttpTcpRequest, HttpTcpResponse

VECTORS = {
    vector["name"]: vector
    for vector in json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
    if vector["name"].startswith("http_body_tcp")
}
MADE = {
    "http_body_tcp_success": lambda: tcp_router.success({"a": 1}),
    "http_body_tcp_not_found": lambda: tcp_router.not_found("/x"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_helper_makes_what_the_reference_makes(name):
    response, vector = MADE[name](), VECTORS[name]
    assert (response.body, response.status_code) == (vector["json"].encode(), vector["status"])
    assert response.headers == {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("response", "status", "body"),
    [
        (tcp_router.created([1]), 201, {"status": "success", "data": [1]}),
        (tcp_router.bad_request("bad"), 400, {"status": "error", "message": "bad"}),
        (tcp_router.internal_error("boom"), 500, {"status": "error", "message": "boom"}),
        (tcp_router.error_response(418, "tea"), 418, {"status": "error", "message": "tea"}),
        (tcp_router.response(302, message="there"), 302, {"status": "success", "message": "there"}),
    ],
)
def test_the_status_decides_what_the_body_says(response, status, body):
    assert (response.status_code, json.loads(response.body)) == (status, body)


async def ask(router, method, uri, body=None):
    return await router.respond(HttpTcpRequest("r", method, uri, {}, body), "the state")


@pytest.fixture
def router():
    router = HttpTcpRouter()

    @router.get("/users/{id}")
    async def user(request, id: int, state):
        return [id, state, request.query]

    @router.post("/raw")
    async def raw(request):
        return HttpTcpResponse("another", 202, {"X-A": "b"}, request.body)

    @router.get("/empty")
    def empty(request):
        return HttpTcpResponse("another", 204)

    @router.get("/failing")
    def failing(request):
        return HttpTcpApiResponse("error", message="no")

    @router.get("/raises")
    def raises(request):
        raise {"late": HttpTcpError.Timeout(5), "ipc": HttpTcpError.IpcCommunication("x")}.get(
            request.query["what"], RuntimeError("detail")
        )

    return router


async def test_requests_are_answered_under_their_own_id(router):
    answer = await ask(router, "GET", "/users/7?a=b%26&a=c")
    assert (answer.request_id, json.loads(answer.body)) == ("r", {"status": "success", "data": [7, "the state", {"a": "c"}]})
    assert await ask(router, "post", "/raw", b"x") == HttpTcpResponse("r", 202, {"X-A": "b"}, b"x")
    assert (await ask(router, "GET", "/empty")).body is None


@pytest.mark.parametrize("uri", ["http://host:1/users/7", "HTTPS://host/users/7", "users/7"])
async def test_a_whole_url_and_one_without_its_slash_are_paths_too(router, uri):
    assert (await ask(router, "GET", uri)).status_code == 200


@pytest.mark.parametrize(
    ("method", "uri", "status", "message"),
    [
        ("GET", "/nowhere", 404, "Not found: /nowhere"),
        ("GET", "http://host", 404, "Not found: /"),
        ("PUT", "/raw", 405, "Method not allowed: PUT /raw"),
        ("GET", "/users/x", 400, "Invalid request: the parameter 'id' of the path is no int"),
        ("GET", "/raises?what=late", 408, "Timeout after 5s"),
        ("GET", "/raises?what=ipc", 500, "Internal server error"),
        ("GET", "/raises?what=bug", 500, "Internal server error"),
        ("GET", "/failing", 500, "no"),
    ],
)
async def test_failures_are_said_in_the_same_shape(router, method, uri, status, message):
    answer = await ask(router, method, uri)
    assert (answer.status_code, json.loads(answer.body)) == (status, {"status": "error", "message": message})
