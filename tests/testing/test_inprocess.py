import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from pywatt_core import pywatt_module
from pywatt_core.errors import ConfigError, SecretNotFound
from pywatt_core.testing import app


@pytest.fixture
def module():
    events = []

    @pywatt_module(secrets=["KEY"], state_builder=lambda init, secrets: [secret.expose_secret() for secret in secrets], version="v1")
    async def users(state):
        async def rows(request):
            await state.database.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
            await state.database.execute("INSERT INTO t VALUES (?)", (len(await request.body()),))
            return JSONResponse({"rows": await state.execute_query("SELECT n FROM t"), "user_state": state.user_state})

        async def cached(request):
            await state.cache_set("k", {"a": [1]}, ttl=60)
            return JSONResponse(await state.cache_get("k"))

        return Starlette(
            routes=[Route("/rows", rows, methods=["POST"]), Route("/cached", cached)],
            lifespan=lifespan,
        )

    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def lifespan(_app):
        events.append("up")
        yield
        events.append("down")

    users.events = events
    return users


async def test_the_application_runs_with_what_the_test_gives_it(module):
    storage = {"databases": {"main": {"use": "sqlite"}}, "caches": {"main": {"use": "memory"}}}
    async with app(module, secrets={"KEY": "the-secret-value"}, **storage) as client:
        response = await client.post("/v1/rows", body=b"four")
        assert response.json() == {"rows": [{"n": 4}], "user_state": ["the-secret-value"]}
        assert (await client.get("/v1/cached")).json() == {"a": [1]}
        assert (await client.get("/health")).json()["status"] == "OK"
        assert (await client.get("/rows")).status == 404
        assert module.events == ["up"]
    assert module.events == ["up", "down"]


async def test_an_open_object_can_stand_in_for_a_section(module):
    class Counting:
        statements = []

        async def execute(self, sql, params=()):
            self.statements.append(sql)
            return 0

        async def fetch_all(self, sql, params=()):
            return [{"n": 7}]

    async with app(module, secrets={"KEY": "the-secret-value"}, databases={"main": Counting()}) as client:
        assert (await client.post("/v1/rows", json_body={})).json()["rows"] == [{"n": 7}]
    assert len(Counting.statements) == 2


async def test_what_is_missing_is_named(module):
    with pytest.raises(SecretNotFound, match=r"no source knows the secret 'KEY' \(asked: the test's secrets=\)"):
        async with app(module):
            pass
    with pytest.raises(ConfigError, match="nosuch"):
        async with app(module, secrets={"KEY": "the-secret-value"}, databases={"main": {"use": "nosuch"}}):
            pass
