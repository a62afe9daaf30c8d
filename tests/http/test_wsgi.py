"""One request over a link into a WSGI application."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.validate import validator

import pytest

from pywatt_core.http import call_wsgi
from pywatt_core.protocol.messages import HttpRequest, HttpResponse

DEADLINE = 20.0


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


async def ask(app: Any, executor: ThreadPoolExecutor, method: str = "GET", uri: str = "/", **arguments: Any) -> HttpResponse:
    request = HttpRequest(request_id="r", method=method, uri=uri, headers=arguments.pop("headers", {}), body=arguments.pop("body", None))
    return await call_wsgi(app, request, executor, **arguments)


async def test_the_environ_is_the_request(executor: ThreadPoolExecutor) -> None:
    seen: dict[str, Any] = {}

    def app(environ: Any, start_response: Any) -> Any:
        seen.update(environ, read=environ["wsgi.input"].read())
        start_response("200 OK", [])
        return []

    body = bytes(range(256))
    headers = {"Content-Type": "a/b", "X-A": "é", "x-a": "2", "X_A": "spoofed"}
    assert (await ask(app, executor, "POST", "/a%20%C3%A9?q=1", headers=headers, body=body)).status_code == 200
    assert (seen["REQUEST_METHOD"], seen["SCRIPT_NAME"], seen["QUERY_STRING"]) == ("POST", "", "q=1")
    assert seen["PATH_INFO"] == "/a é".encode().decode("latin-1")
    assert seen["REQUEST_URI"] == "/a%20%C3%A9?q=1"
    assert (seen["CONTENT_TYPE"], seen["CONTENT_LENGTH"]) == ("a/b", "256")
    assert seen["HTTP_X_A"] == "é, 2"
    assert seen["read"] == body


async def test_the_environ_and_the_calls_are_what_the_standard_asks(executor: ThreadPoolExecutor) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        environ["wsgi.input"].read(3)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"a", b"b"]

    response = await ask(validator(app), executor, "POST", "/a?b", body=b"xyz")
    assert (response.status_code, response.body, response.headers) == (200, b"ab", {"content-type": "text/plain"})


async def test_pieces_written_and_returned_are_joined(executor: ThreadPoolExecutor) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("201 Created", [("X-A", "1"), ("X-A", "2")])
        write(b"written ")

        def pieces() -> Iterator[bytes]:
            yield b"and "
            yield b"returned"

        return pieces()

    response = await ask(app, executor)
    assert (response.status_code, response.body, response.headers) == (201, b"written and returned", {"x-a": "1, 2"})


async def test_the_body_is_closed_in_the_thread_that_read_it(executor: ThreadPoolExecutor) -> None:
    threads: list[Any] = []

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            threads.append(threading.get_ident())
            yield b"x"

        def close(self) -> None:
            threads.append(threading.get_ident())

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Pieces()

    assert (await ask(app, executor)).body == b"x"
    assert len(threads) == 2
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


@pytest.mark.parametrize("failure", [RuntimeError("secret"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["call", "body"])
async def test_whatever_the_application_raises_is_500(
    executor: ThreadPoolExecutor, failure: BaseException, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if where == "call":
            raise failure

        def pieces() -> Iterator[bytes]:
            yield b"x"
            raise failure

        return pieces()

    response = await ask(app, executor)
    assert (response.status_code, response.body) == (500, b"Internal Server Error")
    assert "request r: exception in the application" in caplog.text


@pytest.mark.parametrize("status", [None, "", "OK", "42 Odd"])
async def test_a_response_without_a_status_is_500(executor: ThreadPoolExecutor, status: str | None) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if status is not None:
            start_response(status, [])
        return [b"x"]

    assert (await ask(app, executor)).status_code == 500


async def test_a_started_response_can_be_replaced_by_an_error(executor: ThreadPoolExecutor) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("X-A", "1")])
        try:
            raise LookupError
        except LookupError as exc:
            start_response("503 Later", [("X-B", "2")], (LookupError, exc, exc.__traceback__))
        return [b"later"]

    response = await ask(app, executor)
    assert (response.status_code, response.headers, response.body) == (503, {"x-b": "2"}, b"later")


async def test_a_bad_request_never_reaches_the_application(executor: ThreadPoolExecutor) -> None:
    response = await ask(lambda *_: pytest.fail("reached"), executor, uri="nowhere")
    assert (response.status_code, response.body) == (400, b"Bad Request: invalid uri")


async def test_a_response_that_is_too_large_is_500(executor: ThreadPoolExecutor) -> None:
    closed = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])

        def endless() -> Iterator[bytes]:
            try:
                while True:
                    yield b"x" * 100
            finally:
                closed.set()

        return endless()

    response = await ask(app, executor, max_body=1000)
    assert (response.status_code, response.body) == (500, b"Response too large")
    assert closed.is_set()


@pytest.mark.parametrize("end", ["deadline", "cancel"])
async def test_an_abandoned_request_ends_at_its_next_piece(executor: ThreadPoolExecutor, end: str) -> None:
    begun, release, closed = threading.Event(), threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])

        def endless() -> Iterator[bytes]:
            try:
                while True:
                    begun.set()
                    release.wait(DEADLINE)
                    yield b"x"
            finally:
                closed.set()

        return endless()

    asking = asyncio.create_task(ask(app, executor, deadline=0.05 if end == "deadline" else None))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    if end == "deadline":
        assert (await asking).status_code == 504
    else:
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    release.set()
    while not closed.is_set():
        await asyncio.sleep(0.001)
