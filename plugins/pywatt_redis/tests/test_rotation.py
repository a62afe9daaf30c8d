"""A password is changed at the server while requests are served: the module reconnects, and none of them is lost."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from pywatt_core import AppState, HttpIpcRouter, pywatt_module
from pywatt_core.errors import RequestTimeout
from pywatt_core.testing import app
from tools.under_load import Load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pywatt_core.testing.inprocess import Client
    from tools.running_servers import RedisServer

_numbers = itertools.count(1)


@asynccontextmanager
async def user_of(server: RedisServer) -> AsyncIterator[tuple[Any, str]]:
    """A connection to the server itself, and the name of a user whose password is ``password-0``."""
    name = f"rotating_{next(_numbers)}"
    async with Redis(host="127.0.0.1", port=server.port) as direct:
        await direct.execute_command("ACL", "SETUSER", name, "on", ">password-0", "~*", "&*", "+@all")
        try:
            yield direct, name
        finally:
            await direct.execute_command("ACL", "DELUSER", name)


@pywatt_module(secrets=["CACHE_PASSWORD"], rotate=True)
async def counting(state: AppState[None]) -> Any:
    router: Any = HttpIpcRouter()

    @router.get("/count")
    async def count(_request: Any) -> int:
        return await state.cache.increment("calls")

    @router.get("/typed")
    async def typed(_request: Any) -> Any:
        await state.cache_set("value", {"a": 1})
        return await state.cache_get("value")

    @router.get("/locked")
    async def locked(_request: Any) -> int:
        async with state.cache.lock("lock", ttl=20.0, wait=20.0) as lock:
            return lock.token

    @router.get("/blocking")
    async def blocking(_request: Any) -> int:
        return await asyncio.to_thread(state.sync.cache.increment, "calls")

    return router


PATHS = itertools.cycle(["/count", "/typed", "/blocking", "/locked"])


async def request(client: Client) -> None:
    answer = await client.get(next(PATHS))
    assert answer.status == 200, answer.text


def section(server: RedisServer, user: str) -> dict[str, Any]:
    return {"use": "redis", "host": "127.0.0.1", "port": server.port, "user": user, "password": "secret:CACHE_PASSWORD", "namespace": user}


async def connections(direct: Any, user: str) -> set[str]:
    found = await direct.client_list()
    return {one["id"] for one in found if one["user"] == user}


async def test_requests_go_on_while_the_password_changes_and_the_old_connections_end(redis_server: RedisServer) -> None:
    async with user_of(redis_server) as (direct, user):
        async with app(counting, secrets={"CACHE_PASSWORD": "password-0"}, caches={"main": section(redis_server, user)}) as client:
            async with Load(lambda: request(client)) as load:
                await load.more(40)
                for number in range(1, 6):
                    before = await connections(direct, user)
                    assert before
                    password = f"password-{number}"
                    await direct.execute_command("ACL", "SETUSER", user, f">{password}")
                    acknowledgement = await client.rotate({"CACHE_PASSWORD": password})
                    assert (acknowledgement.status, acknowledgement.message) == ("success", None)
                    async with asyncio.timeout(30):
                        while before & await connections(direct, user):
                            await asyncio.sleep(0.02)
                    await direct.execute_command("ACL", "SETUSER", user, "resetpass", f">{password}")
                    await load.more(40)
                acknowledgement = await client.rotate({"CACHE_PASSWORD": "password-of-nobody"})
                assert acknowledgement.status == "error"
                assert (acknowledgement.message or "").startswith("caches.main: ")
                assert "password-of-nobody" not in (acknowledgement.message or "")
                await load.more(40)
            assert load.failures == []
        assert not await connections(direct, user)


async def test_a_lock_that_is_held_during_a_rotation_stays_held(redis_server: RedisServer) -> None:
    async with (
        user_of(redis_server) as (direct, user),
        app(counting, secrets={"CACHE_PASSWORD": "password-0"}, caches={"main": section(redis_server, user)}) as client,
    ):
        cache = client.state.cache
        async with cache.lock("mine", ttl=30.0) as lock:
            await direct.execute_command("ACL", "SETUSER", user, ">password-1")
            assert (await client.rotate({"CACHE_PASSWORD": "password-1"})).status == "success"
            await lock.extend()
            with pytest.raises(RequestTimeout):
                async with cache.lock("mine", wait=0):
                    pass
        async with cache.lock("mine", wait=0) as next_lock:
            assert next_lock.token > lock.token
