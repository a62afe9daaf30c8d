import asyncio
from contextlib import AsyncExitStack

import pytest
from starlette.applications import Starlette

from pywatt_core import pywatt_module
from pywatt_core.config import load
from pywatt_core.definition import Definition
from pywatt_core.errors import SecretError, SecretNotFound
from pywatt_core.lifecycle import open_registry
from pywatt_core.redaction import Secret
from pywatt_core.replaceable import Face
from pywatt_core.resources import deliver, open_secrets
from pywatt_core.services.secrets import SecretClient
from pywatt_core.state import AppState
from pywatt_core.testing import app


@pywatt_module(secrets=["KEY"])
async def needing(state):
    return Starlette()


def state_of(fetch, config=None):
    settings = load(init=config or {}, environ={}, defer=True)
    return AppState(module_id="test", config=settings, secrets=SecretClient(fetch))


def definition_of(*names, rotate=False):
    return Definition(build=lambda state: None, secrets=names, rotate=rotate)


async def known(name):
    return f"value of {name}"


async def test_declared_secrets_come_in_their_order_and_those_of_sections_are_delivered_too():
    state = state_of(known, {"databases": {"main": {"use": "sqlite", "path": "secret:PLACE"}}})
    declared = await deliver(state, definition_of("B", "A", "B"))
    assert [secret.expose_secret() for secret in declared] == ["value of B", "value of A", "value of B"]
    assert sorted(state.secrets) == ["A", "B", "PLACE"]


async def test_they_are_asked_for_together():
    asked, gate = [], asyncio.Event()

    async def slow(name):
        asked.append(name)
        await gate.wait()
        return name

    delivering = asyncio.create_task(deliver(state_of(slow), definition_of("A", "B", "C")))
    while len(asked) < 3:
        await asyncio.sleep(0)
    gate.set()
    assert len(await delivering) == 3


async def test_everything_that_is_missing_is_in_one_error_with_everybody_who_wants_it():
    config = {
        "databases": {"main": {"use": "sqlite", "path": "secret:PLACE"}, "other": {"use": "sqlite", "path": "secret:PLACE"}},
        "caches": {"main": {"use": "redis", "url": "secret:CACHE"}},
        "auth": {"main": {"use": "jwt", "key": "secret:JWT_KEY"}},
    }

    async def fetch(name):
        if name == "CACHE":
            return "redis://127.0.0.1"
        raise SecretNotFound(f"nobody knows {name!r}")

    with pytest.raises(SecretNotFound) as caught:
        await deliver(state_of(fetch, config), definition_of("PLACE", "OTHER"))
    assert str(caught.value).splitlines() == [
        "3 secrets are missing:",
        "  PLACE, wanted by secrets=[…] of the module and databases.main.path (init.pywatt.config) "
        "and databases.other.path (init.pywatt.config): nobody knows 'PLACE'",
        "  OTHER, wanted by secrets=[…] of the module: nobody knows 'OTHER'",
        "  JWT_KEY, wanted by auth.main.key (init.pywatt.config): nobody knows 'JWT_KEY'",
    ]


async def test_a_source_that_cannot_be_reached_is_not_the_same_as_a_secret_that_is_not_there():
    async def fetch(name):
        raise (SecretNotFound if name == "A" else SecretError)(f"{name} cannot be had")

    with pytest.raises(SecretError) as caught:
        await deliver(state_of(fetch), definition_of("A", "B"))
    assert not isinstance(caught.value, SecretNotFound)
    assert str(caught.value).count("cannot be had") == 2


async def test_a_fault_in_a_source_is_that_fault():
    async def fetch(name):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        await deliver(state_of(fetch), definition_of("A"))


async def test_what_somebody_depends_on_is_remembered_however_little_is(tmp_path):
    main = {"use": "sqlite", "path": "secret:PLACE"}
    secrets = {"KEY": "first-value", "PLACE": str(tmp_path / "0.db"), "OTHER": "other-value"}
    async with app(needing, secrets=secrets, databases={"main": main}, config={"module": {"secret_cache_size": 0}}) as client:
        state = client.state
        assert (await state.get_secret("OTHER")).expose_secret() == "other-value"
        assert sorted(state.secrets) == ["KEY", "PLACE"]
        client._secrets.pop("KEY")
        acknowledgement = await state.secrets.rotated(["KEY", "OTHER"], "r1")
        assert (acknowledgement.status, "the test gives no secret 'KEY'" in acknowledgement.message) == ("error", True)
        assert state.secrets["KEY"].expose_secret() == "first-value"


async def test_only_what_refers_to_secrets_has_a_face(tmp_path):
    databases = {"main": {"use": "sqlite", "path": "secret:PLACE"}, "plain": {"use": "sqlite", "path": str(tmp_path / "plain.db")}}
    async with app(needing, secrets={"KEY": "value", "PLACE": str(tmp_path / "0.db")}, databases=databases) as client:
        opened = client.state.databases
        assert (isinstance(opened["main"], Face), isinstance(opened["plain"], Face)) == (True, False)


async def test_two_databases_and_their_subscriber_move_together_or_not_at_all(tmp_path):
    databases = {name: {"use": "sqlite", "path": f"secret:{name.upper()}"} for name in ("one", "two")}
    secrets = {"KEY": "value", **{name.upper(): str(tmp_path / f"{name}-0.db") for name in databases}}

    async def places():
        return [(await client.state.databases[name].fetch_all("PRAGMA database_list"))[0].file.rpartition("/")[2] for name in databases]

    async with app(needing, secrets=secrets, databases=databases) as client:
        acknowledgement = await client.rotate({"ONE": str(tmp_path / "one-1.db"), "TWO": str(tmp_path)})
        assert (acknowledgement.status, acknowledgement.message.startswith("databases.two: ")) == ("error", True)
        assert await places() == ["one-0.db", "two-0.db"]
        assert (await client.rotate({"ONE": str(tmp_path / "one-1.db"), "TWO": str(tmp_path / "two-1.db")})).status == "success"
        assert await places() == ["one-1.db", "two-1.db"]
        await client.state.set_secret("ONE", str(tmp_path / "one-2.db"))
        assert await places() == ["one-2.db", "two-1.db"]
        with pytest.raises(SecretError, match=r"^databases\.one: "):
            await client.state.set_secret("ONE", str(tmp_path))
        assert client.state.secrets["ONE"].expose_secret().endswith("one-2.db")


async def test_alone_the_configured_sources_are_asked_and_watched_from_the_beginning(tmp_path):
    (tmp_path / "pywatt.toml").write_text("[secrets.dotenv]\npoll = 0.01\n[module]\nsecret_cache_ttl = 5.0\n", encoding="utf-8")
    (tmp_path / ".env").write_text("KEY=value-before\n", encoding="utf-8")
    settings = load(start=tmp_path, environ={}, defer=True)
    async with AsyncExitStack() as stack:
        client, sources = await open_secrets(stack, open_registry(settings), settings, "test", follow=True)
        assert (await client.get("KEY")).expose_secret() == "value-before"
        (tmp_path / ".env.new").write_text("KEY=value-after\n", encoding="utf-8")
        (tmp_path / ".env.new").rename(tmp_path / ".env")
        sources.begin(stack)  # as late as this: what changed before is not missed
        async with asyncio.timeout(20):
            while client["KEY"] != Secret("value-after"):
                await asyncio.sleep(0.01)
        assert await client.names() == {"KEY"}
    assert not [task for task in asyncio.all_tasks() if "secrets" in task.get_name()]


async def test_a_start_that_fails_closes_what_was_to_be_watched(tmp_path):
    (tmp_path / ".env").write_text("KEY=value\n", encoding="utf-8")
    settings = load(start=tmp_path, environ={}, defer=True)
    async with AsyncExitStack() as stack:
        _client, sources = await open_secrets(stack, open_registry(settings), settings, "test", follow=True)
        changes = sources._changes
    async with asyncio.timeout(10):
        assert await anext(changes, None) is None
