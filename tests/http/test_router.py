"""`HttpIpcRouter`: handlers, middleware, what is answered where nothing is there, and how much at once."""

import asyncio
import json
import threading
import uuid

import msgspec
import pytest

from pywatt_core.errors import ChannelClosed
from pywatt_core.http import HttpIpcError, HttpIpcRouter, HttpTcpRouter
from pywatt_core.http.api import ApiResponse, created, error_response
from pywatt_core.http.tcp_router import HttpTcpApiResponse
from pywatt_core.protocol.messages import HttpRequest, HttpResponse


def request(method="GET", uri="/", body=None, **headers):
    return HttpRequest("r", method, uri, {name.replace("_", "-"): value for name, value in headers.items()}, body)


async def ask(router, method="GET", uri="/", body=None, state=None, **headers):
    return await router.handle(request(method, uri, body, **headers), state)


def said(response):
    return json.loads(response.body)


class User(msgspec.Struct):
    name: str
    age: int = 0


@pytest.fixture
def router():
    return HttpIpcRouter()


async def test_a_handler_gets_what_its_parameters_name(router):
    @router.get("/users/{id}/{day}")
    async def user(request, id: int, day, state):
        return [request.path, id, day, state, request.query["q"]]

    assert said(await ask(router, uri="/users/7/mo%2Fn?q=a%26b", state="s"))["data"] == ["/users/7/mo%2Fn", 7, "mo/n", "s", "a&b"]


async def test_the_first_other_parameter_is_the_request_and_defaults_are_left(router):
    @router.get("/a")
    async def a(message, more="default"):
        return [message.method, more]

    @router.get("/b/{id}")
    async def b(id: uuid.UUID):
        return str(id)

    @router.get("/c")
    async def c():
        return None

    id = "11111111-2222-4333-8444-555555555555"
    assert said(await ask(router, uri="/a"))["data"] == ["GET", "default"]
    assert said(await ask(router, uri=f"/b/{id}"))["data"] == id
    assert (await ask(router, uri="/c")).body == b'{"status":"success","data":null,"message":null}'


async def test_a_parameter_that_does_not_fit_is_400_and_named(router):
    @router.get("/users/{id}")
    async def user(id: int):
        return id

    response = await ask(router, uri="/users/seven")
    assert (response.status_code, said(response)["message"]) == (400, "Invalid request: the parameter 'id' of the path is no int")


def test_a_handler_that_can_never_be_called_is_refused_at_once(router):
    with pytest.raises(TypeError, match="asks for 'other', which nothing is given for"):

        @router.get("/{id}")
        async def user(request, other):
            pass


async def test_plain_functions_run_in_threads(router):
    @router.get("/")
    def where(request):
        return threading.current_thread() is threading.main_thread()

    assert said(await ask(router))["data"] is False


async def test_a_response_is_known_by_its_requests_id(router):
    @router.post("/")
    async def make(request):
        return created({"a": 1})

    response = await ask(router, "POST")
    assert (response.request_id, response.headers["X-Request-ID"], response.status_code) == ("r", "r", 201)
    assert (await ask(router, "POST", x_request_id="the-clients")).headers["X-Request-ID"] == "the-clients"

    @router.get("/raw")
    async def raw(request):
        return HttpResponse("another", 200, {}, b"raw")

    assert await ask(router, uri="/raw") == HttpResponse("r", 200, {}, b"raw")


async def test_an_api_response_is_sent_as_it_is(router):
    @router.get("/")
    async def say(request):
        return ApiResponse.error("no", data=[1])

    response = await ask(router)
    assert response.body == b'{"status":"error","data":[1],"message":"no"}'
    assert (response.status_code, response.headers["X-Error-Code"]) == (500, "INTERNAL_ERROR")


@pytest.mark.parametrize(("status", "code"), [("success", 200), ("error", 500), ("diagnostic", 200)])
async def test_both_routers_read_the_status_off_the_body(status, code):
    for router, body in ((HttpIpcRouter(), ApiResponse(status)), (HttpTcpRouter(), HttpTcpApiResponse(status))):
        router.get("/", lambda request, body=body: body)
        response = await router.handle(HttpRequest("r", "GET", "/", {}, None))
        assert response.status_code == code


async def test_a_body_is_read_into_the_type_that_is_asked_for(router):
    @router.post("/")
    async def add(request):
        user = request.json(User)
        return [user.name, user.age]

    assert said(await ask(router, "POST", body=b'{"name":"Ann","age":3}'))["data"] == ["Ann", 3]
    missing = await ask(router, "POST")
    assert (missing.status_code, said(missing)["message"]) == (400, "Invalid request: Request body is required")
    wrong = said(await ask(router, "POST", body=b'{"name":"Ann","age":"x"}'))["message"]
    assert wrong.startswith("Invalid request: Invalid JSON body: Error: ")
    assert "$.age" in wrong
    assert wrong.endswith(', JSON: {"name":"Ann","age":"x"}...')
    cut = said(await ask(router, "POST", body=b'["' + "é".encode() * 80))["message"]
    assert cut.endswith('JSON: ["' + "é" * 49 + "...")
    assert said(await ask(router, "POST", body=b"\xff\xfe"))["message"].endswith("non-UTF8 data")
    assert (await ask(router, "POST", body=b"")).status_code == 400


async def test_other_methods_are_405_with_what_is_allowed(router):
    router.get("/a", lambda request: None)
    router.post("/{x}", lambda request: None)
    response = await ask(router, "PUT", "/a?x=1")
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert said(response)["message"] == "Method PUT not allowed for endpoint /a"
    options = await ask(router, "OPTIONS", "/a")
    assert (options.status_code, options.headers["Allow"], options.body) == (204, "GET, HEAD, OPTIONS, POST", b"")


async def test_head_is_get_without_its_body(router):
    router.get("/", lambda request: "hello")
    whole, head = await ask(router), await ask(router, "HEAD")
    assert (head.status_code, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.body))


async def test_what_is_not_there_may_be_answered_by_a_handler_of_ones_own(router):
    @router.not_found
    async def nothing(request):
        return error_response(f"no {request.path}", 404)

    assert said(await ask(router, uri="/x"))["message"] == "no /x"


async def test_middleware_changes_requests_or_answers_them(router):
    seen = []

    @router.middleware
    async def first(request):
        seen.append("first")
        request.headers["x-user"] = "ann"

    @router.middleware
    def second(request):
        seen.append("second")
        if request.path == "/closed":
            return error_response("closed", 403)
        return request

    @router.get("/")
    async def who(request):
        return request.headers["x-user"]

    assert said(await ask(router))["data"] == "ann"
    assert (await ask(router, uri="/closed")).status_code == 403
    assert seen == ["first", "second"] * 2


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (HttpIpcError.NotFound("user 7"), 404, "NOT_FOUND", "Not found: user 7"),
        (HttpIpcError.IpcCommunication("x"), 502, "IPC_COMMUNICATION_ERROR", "IPC communication error: x"),
        (ChannelClosed("gone"), 502, "IPC_COMMUNICATION_ERROR", "IPC communication error: gone"),
        (RuntimeError("a detail"), 500, "INTERNAL_ERROR", "Internal server error"),
        (HttpIpcError.Internal("a detail"), 500, "INTERNAL_ERROR", "Internal server error"),
        (SystemExit(3), 500, "INTERNAL_ERROR", "Internal server error"),
    ],
)
async def test_what_a_handler_raises_is_answered_by_its_kind(router, error, status, code, message):
    @router.get("/")
    async def fails(request):
        raise error

    response = await ask(router)
    assert (response.status_code, response.headers["X-Error-Code"], said(response)["message"]) == (status, code, message)
    assert router.metrics.errors_encountered == 1


async def test_a_router_that_is_debugged_tells_everything():
    router = HttpIpcRouter(debug=True)

    @router.get("/")
    async def fails(request):
        raise RuntimeError("a detail")

    assert said(await ask(router))["message"] == "Other error: a detail"


async def test_data_that_has_no_form_is_500(router):
    router.get("/", lambda request: object())
    assert (await ask(router)).status_code == 500


async def test_a_handler_that_takes_too_long_is_408():
    router = HttpIpcRouter(timeout=0.01)

    @router.get("/")
    async def slow(request):
        await asyncio.Event().wait()

    response = await ask(router)
    assert (response.status_code, said(response)["message"]) == (408, "Timeout after 0.01s")


async def test_only_so_many_requests_are_handled_at_once_and_only_so_many_wait(monkeypatch):
    monkeypatch.setattr("pywatt_core.http.router.WAITING", 3)
    router, gate, running, most = HttpIpcRouter(concurrency=2), asyncio.Event(), 0, 0

    @router.get("/")
    async def slow(request):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    asking = [asyncio.create_task(ask(router)) for _ in range(6)]
    done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    assert [one.result().status_code for one in done] == [503]
    gate.set()
    assert sorted([(await one).status_code for one in asking]) == [200] * 5 + [503]
    assert most == 2
    assert router.metrics[:3] == (6, 5, 1)
    assert router.metrics.avg_response_time_ms > 0


async def test_a_request_that_is_cancelled_gives_its_turn_back():
    router, gate = HttpIpcRouter(concurrency=1), asyncio.Event()

    @router.get("/")
    async def slow(request):
        await gate.wait()

    for _ in range(3):
        asking = asyncio.create_task(ask(router))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
    gate.set()
    assert (await ask(router)).status_code == 200


def test_routes_are_told_in_their_order(router):
    router.route(["GET", "POST"], "/b", lambda request: None)
    router.patch("/a", lambda request: None)
    router.put("/b", lambda request: None)
    router.delete("/b", lambda request: None)
    assert router.routes == {"/b": ["GET", "POST", "PUT", "DELETE"], "/a": ["PATCH"]}
    with pytest.raises(ValueError, match="at least one"):
        HttpIpcRouter(concurrency=0)


def test_a_router_outlives_the_loop_that_it_was_used_in():
    router = HttpIpcRouter(concurrency=1)

    @router.get("/")
    async def quick(request):
        await asyncio.sleep(0)

    async def several():
        return {(await one).status_code for one in [asyncio.create_task(ask(router)) for _ in range(3)]}

    assert [asyncio.run(several()) for _ in range(2)] == [{200}, {200}]
