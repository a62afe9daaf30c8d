"""The part of `ServerContract` about requests: over real sockets, and over a link."""

from __future__ import annotations

import asyncio
import json

import pytest

from ...protocol.messages import HttpResponse
from ..client import fetch
from .server_probe import DEADLINE, UPGRADE, Place, Probe, ServerSubject, request, streaming


class SocketContract(ServerSubject):
    """Requests over real sockets."""

    async def test_requests_reach_the_application(self, place: Place) -> None:
        async with self.served(place):
            assert (await fetch(place.address, "GET", "/hello")).text == "hello"
            assert (await fetch(place.address, "GET", "/items/7")).text == "item 7"
            assert (await fetch(place.address, "GET", "/files/a/b.txt")).text == "file a/b.txt"

    async def test_unknown_paths_are_404_and_other_methods_405(self, place: Place) -> None:
        async with self.served(place):
            assert (await fetch(place.address, "GET", "/nowhere")).status == 404
            assert (await fetch(place.address, "DELETE", "/hello")).status == 405

    @pytest.mark.parametrize("size", [0, 1, 10 * 1024 * 1024])
    async def test_bodies_pass_whole(self, place: Place, size: int) -> None:
        body = (bytes(range(256)) * (size // 256 + 1))[:size]
        async with self.served(place):
            response = await fetch(place.address, "POST", "/echo", body=body)
            assert response.status == 200
            assert response.body == body

    async def test_headers_that_are_not_ascii_pass(self, place: Place) -> None:
        async with self.served(place):
            response = await fetch(place.address, "GET", "/latin", headers={"X-Latin": "\xe9t\xe9"})
            assert response.headers["x-latin"] == "\xe9t\xe9"
            assert response.body == b"\xe9t\xe9"

    async def test_repeated_response_headers_stay_apart(self, place: Place) -> None:
        async with self.served(place):
            response = await fetch(place.address, "GET", "/repeated")
            cookies = [value.split(";")[0] for name, value in response.all_headers if name == "set-cookie"]
            assert cookies == ["a=1", "b=2"]

    async def test_head_has_the_length_and_no_body(self, place: Place) -> None:
        async with self.served(place), streaming(place.address) as stream:
            stream.ask("/hello", method="HEAD", headers="connection: close\r\n")
            head, _, body = (await stream.rest()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"content-length: 5" in head.lower()
            assert body == b""

    async def test_a_connection_carries_several_requests(self, place: Place) -> None:
        async with self.served(place), streaming(place.address) as stream:
            for number in (1, 2, 3):
                stream.ask(f"/items/{number}")
                await stream.until(b"item %d" % number)

    async def test_many_requests_at_once_are_all_answered(self, place: Place) -> None:
        async with self.served(place):
            responses = await asyncio.gather(*(fetch(place.address, "GET", f"/items/{number}") for number in range(50)))
            assert [response.text for response in responses] == [f"item {number}" for number in range(50)]

    async def test_slow_requests_run_side_by_side(self, place: Place) -> None:
        probe = Probe()
        async with self.served(place, probe, threads=4):
            asking = [asyncio.create_task(fetch(place.address, "GET", "/slow")) for _ in range(3)]
            await probe.until_waiting(3)
            assert (await fetch(place.address, "GET", "/hello")).text == "hello"
            probe.let_on(3)
            assert [response.text for response in await asyncio.gather(*asking)] == ["slow"] * 3

    async def test_an_exception_is_500_without_detail_and_the_next_request_is_fine(self, place: Place) -> None:
        async with self.served(place):
            response = await fetch(place.address, "GET", "/boom")
            assert response.status == 500
            assert b"detail" not in response.body
            assert b"Traceback" not in response.body
            assert (await fetch(place.address, "GET", "/hello")).text == "hello"

    async def test_a_client_that_goes_away_disturbs_nobody(self, place: Place) -> None:
        probe = Probe()
        async with self.served(place, probe):
            async with streaming(place.address) as stream:
                stream.ask("/slow")
                await probe.until_waiting()
            probe.let_on()
            assert (await fetch(place.address, "GET", "/hello")).text == "hello"

    async def test_a_streaming_response_arrives_in_pieces(self, place: Place) -> None:
        if not self.streaming:
            pytest.skip("declared: the framework cannot stream")
        probe = Probe()
        async with self.served(place, probe), streaming(place.address) as stream:
            stream.ask("/stream")
            for number, piece in enumerate((b"one;", b"two;", b"three;"), 1):
                await probe.until_waiting(number)
                probe.let_on()
                await stream.until(piece)

    async def test_websockets_work_or_are_refused(self, place: Place) -> None:
        async with self.served(place), streaming(place.address) as stream:
            stream.ask("/ws", headers=UPGRADE)
            head = await stream.until(b"\r\n\r\n")
            if not self.websockets:
                assert int(head.split()[1]) >= 400
                return
            assert head.startswith(b"HTTP/1.1 101")
            await stream.say("hello")
            assert await stream.frame() == (1, b"HELLO")

    async def test_the_state_is_within_reach(self, place: Place) -> None:
        async with self.served(place) as server:
            assert (await fetch(place.address, "GET", "/state")).text == "contract"
            assert (await server.handle(request("GET", "/state"))).body == b"contract"


class LinkContract(ServerSubject):
    """Requests over a link, by the mapping rules of protocol 6.3; no port is needed."""

    async def test_requests_over_a_link_reach_the_application(self) -> None:
        async with self.served(None) as server:
            response = await server.handle(request("GET", "/items/7?x=1"))
            assert response == HttpResponse(request_id="GET /items/7?x=1", status_code=200, headers=response.headers, body=b"item 7")
            assert all(name == name.lower() for name in response.headers)

    async def test_statuses_are_the_applications(self) -> None:
        async with self.served(None) as server:
            statuses = {uri: (await server.handle(request(method, uri))).status_code for method, uri in (("GET", "/no"), ("PUT", "/hello"))}
            assert statuses == {"/no": 404, "/hello": 405}

    @pytest.mark.parametrize("size", [0, 1, 10 * 1024 * 1024])
    async def test_bodies_over_a_link_pass_whole(self, size: int) -> None:
        body = (bytes(range(256)) * (size // 256 + 1))[:size]
        async with self.served(None) as server:
            response = await server.handle(request("POST", "/echo", body, content_type="application/octet-stream"))
            assert response.status_code == 200
            assert response.body == body

    async def test_a_body_is_always_there(self) -> None:
        async with self.served(None) as server:
            assert (await server.handle(request("POST", "/echo"))).body == b""
            head = await server.handle(request("HEAD", "/hello"))
            assert (head.status_code, head.body, head.headers["content-length"]) == (200, b"", "5")

    async def test_paths_are_decoded_and_queries_are_not(self) -> None:
        async with self.served(None) as server:
            assert (await server.handle(request("GET", "/files/a%20b/%C3%A9"))).body == "file a b/é".encode()
            where = json.loads((await server.handle(request("GET", "/where?q=a%26b", host="h"))).body or b"")
            assert where["query"] == "a&b"

    async def test_headers_over_a_link_are_latin(self) -> None:
        async with self.served(None) as server:
            response = await server.handle(request("GET", "/latin", x_latin="\xe9t\xe9"))
            assert response.headers["x-latin"] == "\xe9t\xe9"

    async def test_repeated_response_headers_are_joined_and_the_last_cookie_stays(self) -> None:
        async with self.served(None) as server:
            response = await server.handle(request("GET", "/repeated"))
            assert response.headers["x-many"] == "1, 2"
            assert response.headers["set-cookie"].split(";")[0] == "b=2"

    @pytest.mark.parametrize(
        ("method", "uri", "headers"),
        [
            ("GET /", "/hello", {}),
            ("", "/hello", {}),
            ("GET", "hello", {}),
            ("GET", "/a b", {}),
            ("GET", "/a\r\nx: y", {}),
            ("GET", "/hello", {"bad name": "x"}),
            ("GET", "/hello", {"x": "a\r\ny: z"}),
        ],
    )
    async def test_what_http_does_not_allow_is_400(self, method: str, uri: str, headers: dict[str, str]) -> None:
        async with self.served(None) as server:
            assert (await server.handle(request(method, uri, None, **headers))).status_code == 400
            assert (await server.handle(request("GET", "/hello"))).status_code == 200

    async def test_an_exception_over_a_link_is_500_without_detail(self) -> None:
        async with self.served(None) as server:
            response = await server.handle(request("GET", "/boom"))
            assert response.status_code == 500
            assert b"detail" not in (response.body or b"")
            assert (await server.handle(request("GET", "/hello"))).body == b"hello"

    async def test_a_streaming_response_over_a_link_is_gathered(self) -> None:
        probe = Probe()
        probe.let_on(3)
        async with self.served(None, probe) as server:
            assert (await server.handle(request("GET", "/stream"))).body == b"one;two;three;"

    async def test_requests_over_a_link_run_side_by_side(self) -> None:
        probe = Probe()
        async with self.served(None, probe, threads=4) as server:
            asking = [asyncio.create_task(server.handle(request("GET", "/slow"))) for _ in range(3)]
            await probe.until_waiting(3)
            assert (await server.handle(request("GET", "/hello"))).body == b"hello"
            probe.let_on(3)
            assert [response.body for response in await asyncio.gather(*asking)] == [b"slow"] * 3

    async def test_a_cancelled_request_ends_and_the_next_is_fine(self) -> None:
        probe = Probe()
        async with self.served(None, probe) as server:
            asking = asyncio.create_task(server.handle(request("GET", "/slow")))
            await probe.until_waiting()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(asking, DEADLINE)
            assert probe.cancelled == (1 if self.cancellation else 0)
            assert (await server.handle(request("GET", "/hello"))).body == b"hello"

    async def test_before_start_and_after_the_drain_a_request_is_503(self) -> None:
        server = self.server()
        assert (await server.handle(request("GET", "/hello"))).status_code == 503
        await server.start(None)
        assert await server.drain(DEADLINE)
        assert (await server.handle(request("GET", "/hello"))).status_code == 503
        await server.close()
