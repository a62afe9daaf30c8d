"""The part of `ServerContract` about a server's life: start, drain, close."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ...errors import ServerError
from ..client import fetch
from .server_probe import DEADLINE, UPGRADE, Place, Probe, ServerSubject, bound, left_behind, request, streaming, until


class LifeContract(ServerSubject):
    """Start, drain, close."""

    async def test_servers_that_are_only_closed_follow_each_other_on_one_loop(self) -> None:
        for _ in range(4):  # the sockets have the same descriptor, one after the other: a server that is closed must not hold on to it
            with bound("tcp") as place:
                async with self.served(place):
                    assert (await fetch(place.address, "GET", "/hello")).body == b"hello"

    @pytest.mark.parametrize("port", [True, False])
    async def test_the_lifespan_is_entered_once_and_left_once(self, port: bool) -> None:
        if not self.lifespan:
            pytest.skip("declared: the framework's applications have no lifespan")
        probe = Probe()
        server = self.server(probe)
        assert probe.lifespan == []
        with bound("unix") as place:
            await server.start(place.listener if port else None)
            assert probe.lifespan == ["entered"]
            assert (await server.handle(request("GET", "/hello"))).body == b"hello"
            await server.drain(DEADLINE)
            assert probe.lifespan == ["entered"]
            await server.close()
            await server.close()
        assert probe.lifespan == ["entered", "left"]

    async def test_close_without_start_and_twice_is_harmless(self) -> None:
        server = self.server()
        await server.close()
        await server.close()

    async def test_a_server_starts_once(self) -> None:
        server = self.server()
        await server.start(None)
        with pytest.raises(ServerError):
            await server.start(None)
        await server.close()

    async def test_a_request_in_flight_is_answered_while_nothing_new_is_accepted(self, place: Place) -> None:
        probe = Probe()
        async with self.served(place, probe) as server, streaming(place.address) as stream:
            stream.ask("/slow")
            await probe.until_waiting()
            draining = asyncio.create_task(server.drain(DEADLINE))
            await place.until_refused()
            assert not draining.done()
            probe.let_on()
            head, _, body = (await stream.rest()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert body == b"slow"
            assert await draining

    async def test_a_stream_in_flight_is_finished(self, place: Place) -> None:
        if not self.streaming:
            pytest.skip("declared: the framework cannot stream")
        probe = Probe()
        async with self.served(place, probe) as server, streaming(place.address) as stream:
            stream.ask("/stream")
            probe.let_on()
            await stream.until(b"one;")
            draining = asyncio.create_task(server.drain(DEADLINE))
            await place.until_refused()
            probe.let_on(2)
            rest = await stream.rest()
            assert b"two;" in rest
            assert rest.endswith(b"\r\n0\r\n\r\n")
            assert await draining

    async def test_a_request_over_a_link_in_flight_is_answered(self) -> None:
        probe = Probe()
        async with self.served(None, probe) as server:
            asking = asyncio.create_task(server.handle(request("GET", "/slow")))
            await probe.until_waiting()
            draining = asyncio.create_task(server.drain(DEADLINE))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not draining.done()
            probe.let_on()
            assert (await asking).body == b"slow"
            assert await draining

    async def test_idle_connections_do_not_hold_up_the_drain(self, place: Place) -> None:
        async with self.served(place) as server, streaming(place.address) as used, streaming(place.address) as fresh:
            used.ask("/hello")
            await used.until(b"hello")
            assert await server.drain(DEADLINE)
            assert await used.rest() == b""
            assert await fresh.rest() == b""

    async def test_a_request_that_was_sent_before_the_drain_is_answered(self, place: Place) -> None:
        async with self.served(place) as server, streaming(place.address) as used:
            used.ask("/hello")
            await used.until(b"hello")
            used.ask("/items/5")
            assert await server.drain(DEADLINE)
            assert (await used.rest()).endswith(b"item 5")

    async def test_a_connection_that_was_made_before_the_drain_is_answered(self, place: Place) -> None:
        async with self.served(place) as server, contextlib.AsyncExitStack() as stack:
            clients = [stack.enter_context(contextlib.closing(place.stream())) for _ in range(10)]
            for client in clients:  # without a pause, so that the server may not even have accepted them
                client.sendall(b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert await server.drain(DEADLINE)
            for client in clients:
                client.settimeout(DEADLINE)
                answer = b""
                while piece := client.recv(65536):
                    answer += piece
                assert answer.endswith(b"hello")

    async def test_a_successor_on_the_same_socket_takes_over_without_a_failed_request(self, place: Place) -> None:
        asked = 0
        over = False

        async def client() -> None:
            nonlocal asked
            while not over:
                assert (await fetch(place.address, "GET", "/hello")).text == "hello"
                asked += 1

        first, second = self.server(), self.server()
        await first.start(place.listener.dup())
        clients = [asyncio.create_task(client()) for _ in range(8)]
        await until(lambda: asked >= 50, "the first server answers nobody")
        await second.start(place.listener.dup())
        assert await first.drain(DEADLINE)
        await first.close()
        reached = asked + 50
        await until(lambda: asked >= reached, "the second server answers nobody")
        over = True
        await asyncio.gather(*clients)
        await second.close()

    async def test_requests_in_the_pipeline_are_answered_as_well(self, place: Place) -> None:
        probe = Probe()
        async with self.served(place, probe) as server, streaming(place.address) as stream:
            stream.ask("/slow")
            stream.ask("/hello")
            await probe.until_waiting()
            draining = asyncio.create_task(server.drain(DEADLINE))
            await place.until_refused()
            probe.let_on()
            answers = await stream.rest()
            assert answers.count(b"HTTP/1.1 200") == 2
            assert answers.endswith(b"hello")
            assert await draining

    async def test_a_drain_that_runs_out_of_time_says_so(self, place: Place) -> None:
        probe = Probe()
        async with self.served(place, probe) as server, streaming(place.address) as stream:
            stream.ask("/slow")
            await probe.until_waiting()
            linked = asyncio.create_task(server.handle(request("GET", "/slow")))
            await probe.until_waiting(2)
            assert not await server.drain(0.05)
            answer = await stream.rest()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 503")
            assert (await asyncio.wait_for(linked, DEADLINE)).status_code == 503

    async def test_an_endless_websocket_is_told_to_close(self, place: Place) -> None:
        if not self.websockets:
            pytest.skip("declared: the framework has no WebSockets")
        async with self.served(place) as server, streaming(place.address) as stream:
            stream.ask("/ws", headers=UPGRADE)
            await stream.until(b"\r\n\r\n")
            assert await server.drain(DEADLINE)
            opcode, payload = await stream.frame()
            assert (opcode, int.from_bytes(payload[:2], "big")) == (8, 1012)

    @pytest.mark.parametrize("end", ["drained", "closed at once", "cut short"])
    async def test_no_thread_and_no_descriptor_is_left(self, end: str) -> None:
        await self._one_life("drained")  # whatever is opened once in a process is open now
        before = left_behind()
        await self._one_life(end)
        await until(lambda: left_behind()[0] <= before[0], f"threads are left: {left_behind()[0] - before[0]}")
        await until(lambda: left_behind()[1] <= before[1], f"{left_behind()[1] - before[1]} descriptors are left")

    async def _one_life(self, end: str) -> None:
        probe = Probe()
        server = self.server(probe)
        with bound("tcp") as place:
            await server.start(place.listener)
            assert (await fetch(place.address, "GET", "/hello")).text == "hello"
            async with streaming(place.address) as stream:
                stream.ask("/slow")
                await probe.until_waiting()
                if end == "cut short":
                    assert not await server.drain(0.0)
                    probe.let_on()
                elif end == "drained":
                    probe.let_on()
                    assert await server.drain(DEADLINE)
                probe.let_on()
                await server.close()
