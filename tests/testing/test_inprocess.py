import importlib

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from pywatt_core import pywatt_module
from pywatt_core.errors import ConfigError, SecretNotFound
from pywatt_core.protocol.messages import Init, PortResponse
from pywatt_core.services.secrets import SecretMode
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


async def test_serializers_are_there_as_in_a_real_life():
    @pywatt_module()
    async def build(state):
        async def encoded(request):
            return JSONResponse(state.serializers["json"].encode([1]).decode())

        return Starlette(routes=[Route("/", encoded)])

    async with app(build, config={"serializers": {"json": {}}}) as client:
        assert (await client.get("/")).json() == "[1]"


async def test_a_test_rotates_secrets_and_sees_what_the_module_says_of_it(tmp_path):
    @pywatt_module(secrets=["KEY"], rotate=True, state_builder=lambda _init, secrets: secrets[0])
    async def build(state):
        def takes(_name, secret):
            if "bad" in secret.expose_secret():
                raise ValueError("this key does not fit")

        state.secrets.subscribe(["KEY"], takes)
        return Starlette()

    main = {"use": "sqlite", "path": "secret:PLACE"}
    places = [str(tmp_path / f"{number}.db") for number in range(2)]
    async with app(build, secrets={"KEY": "first-value", "PLACE": places[0]}, databases={"main": main}) as client:
        state = client.state
        acknowledgement = await client.rotate({"KEY": "a-bad-value", "PLACE": places[1]})
        assert (acknowledgement.status, acknowledgement.message.endswith("ValueError: this key does not fit")) == ("error", True)
        assert (state.user_state.expose_secret(), await place(state)) == ("first-value", places[0])
        assert (await state.secrets.get("KEY", SecretMode.FORCE_REMOTE)).expose_secret() == "first-value", "it is the test's own, too"
        acknowledgement = await client.rotate({"PLACE": places[1]})
        assert (acknowledgement.status, acknowledgement.message) == ("success", None)
        assert (state.user_state.expose_secret(), await place(state)) == ("first-value", places[1])


async def place(state):
    return (await state.database.fetch_all("PRAGMA database_list"))[0].file


async def test_what_is_missing_is_named(module):
    said = r"^a secret is missing: KEY, wanted by .* the test gives no secret 'KEY'; give it with app\(…, secrets=\{'KEY': …\}\)$"
    with pytest.raises(SecretNotFound, match=said):
        async with app(module):
            pass
    with pytest.raises(ConfigError, match="nosuch"):
        async with app(module, secrets={"KEY": "the-secret-value"}, databases={"main": {"use": "nosuch"}}):
            pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"databases": {"main": 5}}, r"databases\['main'\] is an int: give a section such as .*, or an object with methods of Database"),
        ({"caches": {"main": "memory"}}, r"caches\['main'\] is a str: give a section such as .*, or an object with methods of Cache"),
        ({"databases": ["main"]}, r"databases= maps names to sections or open objects: databases=\{'main': …\}, not a list"),
    ],
)
async def test_storage_that_is_none_is_refused(module, arguments, message):
    with pytest.raises(TypeError, match=message):
        async with app(module, secrets={"KEY": "the-secret-value"}, **arguments):
            pass


async def test_a_function_that_was_not_decorated_is_refused():
    with pytest.raises(TypeError, match=r"app\(\) takes a module, not a function: decorate the function with @pywatt_module"):
        async with app(lambda state: None):
            pass


PLUGIN = """
from contextlib import asynccontextmanager
from pywatt_core.hookspecs import hookimpl
from pywatt_core.protocol.messages import PortResponse

events = []

@asynccontextmanager
async def around(state):
    events.append(("entered", state.module_id, state.user_state))
    yield
    events.append("left")

@hookimpl
def pywatt_lifespan(state):
    return around(state)

async def take(message):
    events.append(message.port)

@hookimpl
def pywatt_register_handlers(state):
    return {PortResponse: take}
"""


async def test_what_plugins_do_around_a_module_is_done_here_too(module, fake_site):
    name = fake_site.install("pywatt-around", PLUGIN)
    async with app(module, secrets={"KEY": "the-secret-value"}, databases={"main": {"use": "sqlite"}}) as client:
        events = importlib.import_module(name).events
        assert events == [("entered", "test_inprocess", ["the-secret-value"])]
        assert await client.deliver(PortResponse(request_id="r", success=True, port=8123)) is None
        with pytest.raises(LookupError, match=r"no plugin handles Init \(handled: .*PortResponse.*\)"):
            await client.deliver(Init(orchestrator_api="http://127.0.0.1:1", module_id="m", env={}, listen="127.0.0.1:0"))
    assert events == [("entered", "test_inprocess", ["the-secret-value"]), 8123, "left"]
