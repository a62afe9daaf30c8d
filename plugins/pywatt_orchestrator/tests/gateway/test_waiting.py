"""Modules that have not announced their paths yet."""

from __future__ import annotations

import asyncio
from typing import Any

from pywatt_core.protocol.values import TcpAddress
from pywatt_orchestrator.gateway import Instance, RouteTable


def starting(stage: Any) -> Any:
    return stage.routes("users", endpoints=None, instances=[Instance("users", TcpAddress("127.0.0.1", 1))])


async def test_a_module_that_nobody_starts_is_503_at_once(stage: Any) -> None:
    async with stage.gateway(stage.routes("users", endpoints=None), stage.routes("mail", "GET /x")) as front:
        for path in ("/users/x", "/mail/x"):
            response = await front.get(path)
            assert response.status == 503 and response.json()["detail"] == f"module {path.split('/')[1]} is not running"


async def test_a_module_that_is_given_up_ends_the_wait(stage: Any) -> None:
    mail = Instance("mail", TcpAddress("127.0.0.1", 1))
    async with stage.gateway(starting(stage), stage.routes("mail", "GET /x", instances=[mail])) as front:
        asking = [asyncio.create_task(front.get(path)) for path in ("/users/x", "/mail/x")]
        await stage.until(lambda: len(front.gateway._clients) == 2)
        await asyncio.sleep(0.01)
        front.gateway.update(RouteTable([stage.routes("users", endpoints=None), stage.routes("mail", "GET /x")]))
        assert [response.status for response in await asyncio.gather(*asking)] == [503, 503]


async def test_a_request_waits_until_its_module_announces_and_is_then_routed(stage: Any) -> None:
    async with stage.module() as module:
        starting = stage.routes("users", endpoints=None, instances=[module.instance(ready=False)])
        async with stage.gateway(starting) as front:
            known, unknown = asyncio.create_task(front.get("/users/x")), asyncio.create_task(front.get("/users/y"))
            client = await front.client()
            await client.send(b"POST /users/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
            await stage.until(lambda: len(front.gateway._clients) == 3)
            front.gateway.update(RouteTable([stage.routes("users", "GET,POST /x", instances=[module.instance()])]))
            assert (await known).status == 200
            assert (await unknown).status == 404
            await client.send(b"lo")
            assert (await client.receive()).json()["body"] == "hello"


async def test_a_whole_body_that_arrived_meanwhile_is_not_lost(stage: Any) -> None:
    async with stage.module() as module, stage.gateway(starting(stage)) as front:
        client = await front.client()
        await client.send(
            b"POST /users/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            b"GET /users/y HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        await asyncio.sleep(0.01)
        front.gateway.update(RouteTable([stage.routes("users", instances=[module.instance()])]))
        assert (await client.receive()).json()["body"] == "hello"
        assert (await client.receive()).json()["target"] == "/y"


async def test_a_module_that_never_announces_is_503(stage: Any) -> None:
    async with stage.gateway(starting(stage), ready_timeout=0.1) as front:
        response = await front.get("/users/x")
        assert response.status == 503 and response["retry-after"] == "1"
        assert response.json()["detail"] == "module users has not announced its paths yet"


async def test_a_module_that_leaves_is_404(stage: Any) -> None:
    async with stage.gateway(starting(stage)) as front:
        asking = asyncio.create_task(front.get("/users/x"))
        await stage.until(lambda: len(front.gateway._clients) == 1)
        await asyncio.sleep(0.01)
        front.gateway.update(RouteTable())
        assert (await asking).status == 404


async def test_a_client_that_goes_away_is_not_waited_for(stage: Any) -> None:
    async with stage.gateway(starting(stage)) as front:
        client = await front.client()
        await client.send(b"GET /users/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.01)
        client.writer.transport.abort()
        front.gateway.update(RouteTable())
        await stage.until(lambda: not front.gateway._clients)
