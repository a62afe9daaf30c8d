"""The front door as a whole: binding, routes that change, restarts, draining."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from typing import Any

import pytest

from pywatt_core.errors import ConfigError, ServerError
from pywatt_core.protocol.values import TcpAddress
from pywatt_orchestrator.gateway import Gateway, GatewayOptions, Instance, RouteTable


async def test_a_port_in_use_is_an_error_that_names_it_and_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        gateway = Gateway(GatewayOptions(port=port))
        with pytest.raises(ServerError, match=rf"cannot listen on 127.0.0.1:{port}: Address already in use.*port in \[gateway\]"):
            await gateway.start()
        await gateway.close()


async def test_an_address_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(ServerError, match="cannot listen on 192.0.2.1:0"):
        await Gateway(GatewayOptions(bind="192.0.2.1", port=0)).start()


async def test_close_may_be_called_without_start_and_twice() -> None:
    gateway = Gateway(GatewayOptions(port=0))
    await gateway.close()
    await gateway.start()
    assert isinstance(gateway.address, TcpAddress)
    await gateway.close()
    await gateway.close()


async def test_close_cuts_every_connection_and_frees_the_port(stage: Any) -> None:
    async with stage.front(hang) as (front, module):
        client, idle = await front.client(), await front.client()
        await client.send(b"GET /users/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await stage.until(lambda: len(module.requests) == 1)
        await front.gateway.close()
        assert await client.ended() and await idle.ended()
        with socket.create_server(tuple(front.gateway.address)):
            pass


async def hang(request: Any, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


# ── what is open ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_only_announced_paths_are_open(stage: Any) -> None:
    async with stage.front(stage.echo, "GET /entries", "POST /entries", "GET /entries/{id}", "GET /health", "GET /metrics") as (
        front,
        module,
    ):
        client = await front.client()
        assert (await client.get("/users/entries")).status == 200
        assert (await client.get("/users/entries/1")).status == 200
        assert (await client.get("/users/entries", method="HEAD")).status == 200
        assert (await client.get("/users/entries/1", method="OPTIONS")).status == 200
        asked = len(module.requests)
        for path in ("/users/other", "/users/entries/", "/users/entries/1/2", "/users/health", "/users/metrics", "/users/"):
            response = await client.get(path)
            assert response.status == 404 and response.json()["detail"] == "module users has no such path", path
        response = await client.get("/nobody/entries")
        assert response.status == 404 and response.json()["detail"] == "no module is mounted at this path"
        assert len(module.requests) == asked


async def test_a_method_that_a_path_does_not_admit_is_405_with_allow(stage: Any) -> None:
    async with stage.front(stage.echo, "GET,POST /a") as (front, module):
        response = await front.get("/users/a", method="DELETE")
        assert response.status == 405 and response["allow"] == "GET, HEAD, OPTIONS, POST"
        assert (await front.get("/users/a", method="TRACE")).status == 405
        assert not module.requests


async def test_trace_is_refused_even_where_everything_is_open(stage: Any) -> None:
    async with stage.front() as (front, module):
        assert (await front.get("/users/a", method="TRACE")).status == 405
        assert not module.requests


async def test_a_mount_without_its_slash_redirects_to_it(stage: Any) -> None:
    async with stage.front(stage.echo, "GET /") as (front, _):
        response = await front.get("/users?a=b")
        assert response.status == 308 and response["location"] == "/users/?a=b"
    async with stage.front(stage.echo, "GET /x") as (front, _):
        assert (await front.get("/users")).status == 404


async def test_options_for_the_server_itself_is_answered(stage: Any) -> None:
    async with stage.front() as (front, _):
        response = await front.get("*", method="OPTIONS")
        assert response.status == 204 and "GET" in response["allow"]


@pytest.mark.parametrize("path", ["/users/a//b", "/users/%2e%2e/x", "/users/a%2fb", "/users/a%00"])
async def test_a_path_with_two_meanings_is_refused(stage: Any, path: str) -> None:
    async with stage.front() as (front, module):
        response = await front.get(path)
        assert response.status == 400 and response["connection"] == "close"
        assert "path has" in response.json()["detail"]
        assert not module.requests


# ── changes while it runs ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_table_counts_from_the_next_request_on_open_connections_too(stage: Any) -> None:
    async with stage.module() as module, stage.gateway() as front:
        client = await front.client()
        assert (await client.get("/users/x")).status == 404
        front.gateway.update(RouteTable([stage.routes("users", "GET /x", instances=[module.instance()])]))
        assert (await client.get("/users/x")).status == 200
        front.gateway.update(RouteTable([stage.routes("users", "GET /y", instances=[module.instance()])]))
        assert (await client.get("/users/x")).status == 404


async def test_an_instance_that_leaves_the_table_finishes_what_it_has_and_is_left(stage: Any) -> None:
    finish = asyncio.Event()

    async def wait(request: Any, writer: asyncio.StreamWriter) -> None:
        await finish.wait()
        await stage.echo(request, writer)

    async with (
        stage.module(wait) as old,
        stage.module(name="new") as new,
        stage.gateway(stage.routes("users", instances=[old.instance()])) as front,
    ):
        client = await front.client()
        await client.send(b"GET /users/a HTTP/1.1\r\nHost: x\r\n\r\n")
        await stage.until(lambda: len(old.requests) == 1)
        front.gateway.update(RouteTable([stage.routes("users", instances=[new.instance()])]))
        assert (await front.get("/users/b")).status == 200 and len(new.requests) == 1
        finish.set()
        assert (await client.receive()).json()["target"] == "/a"
        await stage.until(lambda: not old.writers)


async def test_requests_wait_while_their_module_restarts(stage: Any) -> None:
    async with stage.module() as module:
        instance = module.instance(ready=False)
        async with stage.gateway(stage.routes("users", instances=[instance])) as front:
            asking = [asyncio.create_task(front.get(f"/users/{n}", method=method)) for n in range(3) for method in ("GET", "POST")]
            await stage.until(lambda: len(front.gateway._clients) == 6)
            assert not module.requests
            instance.ready = True
            assert [response.status for response in await asyncio.gather(*asking)] == [200] * 6


async def test_a_body_waits_too_and_its_client_is_held_back(stage: Any) -> None:
    async with stage.module() as module:
        instance = module.instance(ready=False)
        async with stage.gateway(stage.routes("users", instances=[instance])) as front:
            client = await front.client()
            body = b"abcdefgh" * 2**17
            client.writer.write(b"POST /users/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            (connection,) = front.gateway._clients
            await stage.until(lambda: connection.reading_paused)
            instance.ready = True
            assert (await client.receive()).status == 200
            assert module.requests[0].body == body


async def test_a_module_that_does_not_become_ready_is_503(stage: Any) -> None:
    async with stage.module() as module:
        routes = stage.routes("users", instances=[module.instance(ready=False)])
        async with stage.gateway(routes, ready_timeout=0.1, retry_after=7) as front:
            response = await front.get("/users/x")
            assert response.status == 503 and response["retry-after"] == "7"
            assert response.json()["detail"] == "module users has no instance ready"


async def test_an_address_that_refuses_is_tried_again_until_it_accepts(stage: Any) -> None:
    async with stage.module() as module, stage.gateway(stage.routes("users", instances=[module.instance()])) as front:
        assert (await front.get("/users/1")).status == 200
        await module.stop()
        asking = asyncio.create_task(front.get("/users/2", method="POST"))
        await asyncio.sleep(0.1)
        assert not asking.done()
        await module.start()
        assert (await asking).status == 200


async def test_a_killed_module_loses_no_idempotent_request(stage: Any) -> None:
    async def slowly(request: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        await stage.echo(request, writer)

    async with stage.module(slowly) as module, stage.gateway(stage.routes("users", instances=[instance := module.instance()])) as front:

        async def ask(number: int) -> list[int]:
            client = await front.client()
            return [(await client.get(f"/users/{number}/{turn}")).status for turn in range(30)]

        asking = [asyncio.create_task(ask(number)) for number in range(8)]
        await stage.until(lambda: len(module.requests) > 40)
        instance.ready = False
        await module.stop()
        await asyncio.sleep(0.05)
        await module.start()
        instance.ready = True
        answers = [status for answered in await asyncio.gather(*asking) for status in answered]
        assert answers == [200] * 240
        assert instance.in_flight == 0


async def test_work_is_spread_over_instances(stage: Any) -> None:
    async with (
        stage.module(name="a") as a,
        stage.module(name="b") as b,
        stage.gateway(stage.routes("users", instances=[a.instance(), b.instance()])) as front,
    ):
        client = await front.client()
        for _ in range(10):
            await client.get("/users/x")
        assert len(a.requests) == len(b.requests) == 5


# ── draining ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_in_flight_at_a_drain_is_still_answered(stage: Any) -> None:
    finish = asyncio.Event()

    async def wait(request: Any, writer: asyncio.StreamWriter) -> None:
        await finish.wait()
        await stage.echo(request, writer)

    async with stage.front(wait) as (front, module):
        busy, idle, half = await front.client(), await front.client(), await front.client()
        await busy.send(b"GET /users/a HTTP/1.1\r\nHost: x\r\n\r\nGET /users/b HTTP/1.1\r\nHost: x\r\n\r\n")
        await half.send(b"GET /users/c HTTP/1.1\r\n")
        await stage.until(lambda: len(module.requests) == 1)
        draining = asyncio.create_task(front.gateway.drain(stage.PATIENCE))
        assert await idle.ended()
        with pytest.raises(OSError):
            await front.client()
        finish.set()
        response = await busy.receive()
        assert response.json()["target"] == "/a" and response["connection"] == "close"
        response = await half.ask(b"Host: x\r\n\r\n")
        assert response.json()["target"] == "/c" and response["connection"] == "close"
        assert await draining is True


async def test_a_drain_that_takes_too_long_says_so(stage: Any) -> None:
    async with stage.front(hang) as (front, module):
        client = await front.client()
        await client.send(b"GET /users/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await stage.until(lambda: len(module.requests) == 1)
        assert await front.gateway.drain(0.05) is False


async def test_a_drain_without_connections_is_done_at_once() -> None:
    gateway = Gateway(GatewayOptions(port=0))
    await gateway.start()
    assert await gateway.drain(10.0) is True
    await gateway.close()


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


async def test_the_door_may_speak_tls(stage: Any, certificate: tuple[Any, Any]) -> None:
    import ssl

    cert, key = certificate
    async with stage.front(tls_cert=cert, tls_key=key, head_timeout=2.0) as (front, module):
        context = ssl.create_default_context(cafile=cert)
        reader, writer = await asyncio.open_connection(*front.gateway.address, ssl=context, server_hostname="localhost")
        client = stage.speaking(reader, writer)
        for _ in range(2):
            assert (await client.get("/users/x")).status == 200
        assert module.requests[0]["x-forwarded-proto"] == "https"
        response = await client.ask(b"POST /users/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n")
        assert response.status == 400 and await client.ended()
        writer.close()


async def test_a_certificate_that_cannot_be_used_is_named(certificate: tuple[Any, Any], tmp_path: Any) -> None:
    cert, key = certificate
    with pytest.raises(ConfigError, match=r"gateway.tls_cert .*missing.pem.* cannot be used: No such file"):
        await Gateway(GatewayOptions(port=0, tls_cert=tmp_path / "missing.pem", tls_key=key)).start()
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(ConfigError, match="belong together, the key without a passphrase"):
        await Gateway(GatewayOptions(port=0, tls_cert=cert, tls_key=tmp_path / "junk.pem")).start()


async def test_an_instance_s_pool_is_bounded_and_the_next_request_waits(stage: Any) -> None:
    finish = asyncio.Event()

    async def wait(request: Any, writer: asyncio.StreamWriter) -> None:
        await finish.wait()
        await stage.echo(request, writer)

    async with stage.front(wait, max_upstream_connections=2) as (front, module):
        asking = [asyncio.create_task(front.get(f"/users/{n}")) for n in range(6)]
        await stage.until(lambda: len(module.requests) == 2)
        finish.set()
        assert [response.status for response in await asyncio.gather(*asking)] == [200] * 6
        assert module.connections == 2


def test_an_instance_is_told_apart_by_identity() -> None:
    a = Instance("x", TcpAddress("127.0.0.1", 1))
    assert a != Instance("x", TcpAddress("127.0.0.1", 1)) and len({a, a}) == 1
