"""Modules without a port: requests as messages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pywatt_core.errors import ChannelClosed, RequestTimeout
from pywatt_core.protocol.messages import HttpRequest, HttpResponse
from pywatt_core.protocol.values import TcpAddress
from pywatt_orchestrator.gateway import Instance, RouteTable


class Link:
    """Carries requests as a link does; `answers` are used up one by one, the last for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers) or [{}]
        self.seen: list[HttpRequest] = []

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.seen.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if asyncio.iscoroutinefunction(answer):
            await answer()
        fields: dict[str, Any] = {"request_id": request.request_id, "status_code": 200, "headers": {}, "body": b"fine"}
        return HttpResponse(**(fields | (answer if isinstance(answer, dict) else {})))


def behind(stage: Any, link: Link, **options: Any) -> Any:
    instance = Instance("mail", None, http_request=link, ready=True, trusted=True)
    return stage.gateway(stage.routes("mail", instances=[instance]), **options)


async def test_a_request_becomes_one_message_and_its_answer_one_response(stage: Any) -> None:
    link = Link({"status_code": 201, "headers": {"Content-Type": "text/plain", "X-A": "b", "Content-Length": "999", "Connection": "close"}})
    async with behind(stage, link) as front:
        client = await front.client()
        for _ in range(2):
            response = await client.get(
                "/mail/a%20b?c=d", "Cookie: a=1", "Cookie: b=2", "Accept: x", "Accept: y", "X-Forwarded-For: 6.6.6.6"
            )
            assert (response.status, response.reason, response.body) == (201, "Created", b"fine")
            assert response["x-a"] == "b" and response["content-length"] == "4" and response["content-type"] == "text/plain"
        (_, request) = link.seen
        assert (request.method, request.uri, request.body) == ("GET", "/a%20b?c=d", None)
        assert request.headers["cookie"] == "a=1; b=2" and request.headers["accept"] == "x, y"
        assert request.headers["x-forwarded-for"] == "127.0.0.1" and request.headers["x-forwarded-prefix"] == "/mail"
        assert request.headers["host"] == request.headers["x-forwarded-host"] == "front.test"
        assert request.headers["traceparent"][3:35] == request.headers["x-request-id"] == response["x-request-id"]


async def test_requests_of_one_name_are_told_apart_on_the_wire(stage: Any) -> None:
    arrived = asyncio.Event()

    async def together() -> None:
        if len(link.seen) == 2:
            arrived.set()
        await arrived.wait()

    link = Link(together)
    async with behind(stage, link) as front:
        answers = await asyncio.gather(*(front.get("/mail/x", "X-Request-ID: the-same") for _ in range(2)))
        assert [(answer.status, answer["x-request-id"]) for answer in answers] == [(200, "the-same")] * 2
        assert len({request.request_id for request in link.seen}) == 2
        assert {request.headers["x-request-id"] for request in link.seen} == {"the-same"}


@pytest.mark.parametrize(
    "framing", ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"]
)
async def test_a_body_is_collected(stage: Any, framing: str) -> None:
    link = Link()
    async with behind(stage, link) as front:
        client = await front.client()
        for byte in f"POST /mail/x HTTP/1.1\r\nHost: x\r\n{framing}".encode():
            await client.send(bytes((byte,)))
        assert (await client.receive()).status == 200
        assert link.seen[0].body == b"hello"
        assert link.seen[0].headers["content-length"] == "5" and "transfer-encoding" not in link.seen[0].headers


async def test_an_empty_chunked_body_is_a_whole_request(stage: Any) -> None:
    link = Link()
    async with behind(stage, link) as front:
        client = await front.client()
        assert (await client.ask(b"POST /mail/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")).status == 200
        assert (await client.get("/mail/next")).status == 200


@pytest.mark.parametrize("framing", [b"Content-Length: 11\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n"])
async def test_a_body_that_is_too_long_for_a_message_is_refused(stage: Any, framing: bytes) -> None:
    link = Link()
    async with behind(stage, link, max_ipc_body_bytes=10) as front:
        response = await (await front.client()).ask(b"POST /mail/x HTTP/1.1\r\nHost: x\r\n" + framing)
        assert response.status == 413 and response.json()["detail"] == "module mail takes bodies of at most 10 bytes"
        assert not link.seen


async def test_a_response_cannot_break_out_of_its_headers(stage: Any) -> None:
    link = Link({"headers": {"X-A": "b\r\nSet-Cookie: evil=1", "X-B\r\nX-C": "d", "Transfer-Encoding": "chunked", "X-Fine": "yes"}})
    async with behind(stage, link) as front:
        response = await front.get("/mail/x")
        assert response["x-fine"] == "yes" and response.body == b"fine"
        assert not {"set-cookie", "x-a", "x-c", "transfer-encoding"} & {name.lower() for name, _ in response.headers}


@pytest.mark.parametrize(("status", "method"), [(204, "GET"), (304, "GET"), (200, "HEAD")])
async def test_a_response_that_has_no_body_is_sent_without(stage: Any, status: int, method: str) -> None:
    async with behind(stage, Link({"status_code": status})) as front:
        client = await front.client()
        for _ in range(2):
            assert (await client.get("/mail/x", method=method)).status == status


@pytest.mark.parametrize("status", [0, 101, 199, 600, 999])
async def test_a_status_that_cannot_be_forwarded_is_replaced(stage: Any, status: int) -> None:
    async with behind(stage, Link({"status_code": status})) as front:
        assert (await front.get("/mail/x")).status == 502


async def test_a_closed_link_is_tried_once_more_where_that_is_harmless(stage: Any) -> None:
    link = Link(ChannelClosed("gone"), {})
    async with behind(stage, link) as front:
        assert (await front.get("/mail/x")).status == 200
        assert len(link.seen) == 2
    link = Link(ChannelClosed("gone"), {})
    async with behind(stage, link) as front:
        assert (await front.get("/mail/x", method="POST")).status == 502
        assert len(link.seen) == 1
    link = Link(ChannelClosed("not sent", executed="no"), {})
    async with behind(stage, link) as front:
        assert (await front.get("/mail/x", method="POST")).status == 200


async def test_a_request_that_nobody_got_is_sent_again_until_somebody_does(stage: Any) -> None:
    link = Link(*[ChannelClosed("not sent", executed="no")] * 3, ChannelClosed("gone"), {})
    async with behind(stage, link) as front:
        assert (await front.get("/mail/x")).status == 200
        assert len(link.seen) == 5


async def test_a_module_that_never_takes_the_request_is_503(stage: Any) -> None:
    async with behind(stage, Link(ChannelClosed("not sent", executed="no")), ready_timeout=0.1) as front:
        response = await front.get("/mail/x", method="POST")
        assert (response.status, response["retry-after"]) == (503, "1")
        assert response.json()["detail"] == "module mail has no instance ready"


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 5\r\n\r\nhe|llo",
        "Content-Length: 5\r\n\r\nhello|",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n|3\r\nllo\r\n0\r\n\r\n",
    ],
)
async def test_a_request_that_came_before_the_module_said_that_it_serves_no_port_travels_over_the_link(stage: Any, framing: str) -> None:
    link = Link()
    unknown = Instance("mail", TcpAddress("127.0.0.1", 1))
    async with stage.gateway(stage.routes("mail", endpoints=None, instances=[unknown], mount_all=True)) as front:
        asking, client = asyncio.create_task(front.get("/mail/x")), await front.client()
        before, after = framing.encode().split(b"|")
        await client.send(b"POST /mail/y HTTP/1.1\r\nHost: x\r\n" + before)
        await stage.until(lambda: len(front.gateway._clients) == 2 and all(one._conversation for one in front.gateway._clients))
        known = Instance("mail", None, http_request=link, ready=True)
        front.gateway.update(RouteTable([stage.routes("mail", instances=[known], mount_all=True)]))
        assert (await asking).status == 200
        await client.send(after)
        assert (await client.receive()).status == 200
        assert {(request.method, request.body) for request in link.seen} == {("GET", None), ("POST", b"hello")}


@pytest.mark.parametrize(
    ("error", "status"), [(RequestTimeout("late"), 504), (ChannelClosed("gone"), 502), (RuntimeError("internals: /etc/passwd"), 502)]
)
async def test_a_failure_is_answered_without_internals(stage: Any, error: Exception, status: int) -> None:
    async with behind(stage, Link(error)) as front:
        client = await front.client()
        response = await client.get("/mail/x")
        assert response.status == status and response["retry-after"] == "1" and response.json()["module"] == "mail"
        assert b"passwd" not in response.body
        assert (await client.get("/nowhere")).status == 404, "the connection goes on"


async def test_a_module_that_does_not_answer_is_given_up(stage: Any) -> None:
    async def late() -> None:
        await asyncio.Event().wait()

    async with behind(stage, Link(late), response_timeout=0.1) as front:
        response = await front.get("/mail/x")
        assert response.status == 504 and response.json()["detail"] == "module mail did not answer within 0.1 s"


async def test_a_client_that_goes_away_is_not_waited_for(stage: Any) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def late() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with behind(stage, Link(late)) as front:
        client = await front.client()
        await client.send(b"GET /mail/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await started.wait()
        client.writer.transport.abort()
        await cancelled.wait()


async def test_a_body_that_stops_is_given_up(stage: Any) -> None:
    async with behind(stage, Link(), body_timeout=0.1) as front:
        client = await front.client()
        assert (await client.ask(b"POST /mail/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")).status == 408
