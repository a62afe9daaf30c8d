"""Services that a real `pywatt up` hosts for real modules: used, refused, and rolled back when either end is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.config import load
from pywatt_core.errors import ConfigError
from pywatt_core.registry import Registry
from pywatt_core.testing.client import fetch
from pywatt_orchestrator.project import read_project
from pywatt_orchestrator.services import check_gateway, check_services, service_problems

BANK = """
import asyncio, json, os, sys
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import PyWattError, pywatt_module

@pywatt_module()
async def app(state):
    running = set()

    async def both(number):
        async with state.database.transaction() as transaction:
            await transaction.execute("INSERT INTO first (id) VALUES (?)", (number,))
            async with transaction.transaction() as inner:
                await inner.execute("INSERT INTO second (id) VALUES (?)", (number,))

    async def forever(number):
        while True:
            await both(number)
            number += 10

    async def half():
        async with state.database.transaction() as transaction:
            await transaction.execute("INSERT INTO first (id) VALUES (-1)")
            print("half done", file=sys.stderr, flush=True)
            await asyncio.Event().wait()

    async def do(request):
        what, number = request.path_params["what"], int(request.query_params.get("number", 0))
        try:
            if what == "make":
                for table in ("first", "second"):
                    await state.database.execute(f"CREATE TABLE IF NOT EXISTS {table} (id BIGINT PRIMARY KEY)")
                found = state.database.dialect
            elif what == "half":
                running.add(asyncio.create_task(half()))
                found = None
            elif what == "forever":
                running.update(asyncio.create_task(forever(number + one)) for one in range(3))
                found = None
            elif what == "both":
                found = await both(number)
            elif what == "count":
                found = [await state.database.fetch_value(f"SELECT count(*) FROM {table}") for table in ("first", "second")]
            elif what == "value":
                async with state.cache.lock("lock", wait=5) as lock:
                    await state.cache_set("key", {"by": state.module_id})
                    found = [lock.token, await state.cache_get("key"), await state.cache.increment("count")]
            elif what == "hold":
                lock = state.cache.lock("lock")
                running.add(lock)
                found = (await lock.__aenter__()).token
            elif what == "pid":
                found = os.getpid()
        except PyWattError as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"})
        return JSONResponse({"found": found})

    return Starlette(routes=[Route("/{what}", do)])
"""

CONFIG = """
[services.main]
modules = ["bank", "other"]
database = {{ use = "sqlite", path = "bank.db" }}

[services.shared]
modules = ["*"]
cache = {{ use = "memory" }}

[databases.main]
use = "orchestrator"

[caches.main]
use = "orchestrator"
service = "shared"

[modules.bank]
run = "bank.py"
channels = {channels}

[modules.other]
run = "bank.py"
channels = {channels}
"""


async def begin(project: Any, channels: list[str]) -> None:
    project.write(BANK, "bank.py")
    project.write(CONFIG.format(channels=json.dumps(channels)))
    await project.start()
    await project.ready("bank", "other")
    assert await ask(project, "bank/make") == "sqlite"


async def ask(project: Any, path: str) -> Any:
    answer = json.loads((await project.http(f"/{path}")).text)
    assert "found" in answer, answer
    return answer["found"]


def halves(project: Any) -> tuple[list[Any], list[Any]]:
    with sqlite3.connect(project.folder / "bank.db") as connection:
        first, second = (connection.execute(f"SELECT id FROM {table} ORDER BY id").fetchall() for table in ("first", "second"))
    connection.close()
    return first, second


@pytest.mark.parametrize("channels", [["unix"], ["tcp"], []])
async def test_modules_share_a_database_and_a_cache_of_their_orchestrator(running: Callable[[], Any], channels: list[str]) -> None:
    async with running() as project:
        await begin(project, channels)
        await asyncio.gather(*(ask(project, f"{module}/both?number={number}") for number, module in enumerate(["bank", "other"] * 10)))
        assert await ask(project, "bank/count") == await ask(project, "other/count") == [20, 20]
        tokens = [await ask(project, f"{module}/value") for module in ("bank", "other", "bank")]
        assert [value for _, value, _ in tokens] == [{"by": "bank"}, {"by": "other"}, {"by": "bank"}]
        assert [count for *_, count in tokens] == [1, 2, 3]
        assert len({token for token, *_ in tokens}) == 3
        assert await project.stop() == 0
        await project.nothing_left()
        assert len(halves(project)[0]) == 20


async def test_what_a_killed_module_had_open_is_undone_at_once(running: Callable[[], Any]) -> None:
    async with running() as project:
        await begin(project, ["unix"])
        held = await ask(project, "bank/hold")
        await ask(project, "bank/half")
        await project.line("half done", module="bank")
        after = len(project.lines)
        os.kill(await ask(project, "bank/pid"), signal.SIGKILL)
        await ask(project, "other/both?number=1")
        assert await ask(project, "other/count") == [1, 1]
        assert (await ask(project, "other/value"))[0] > held
        await project.ready("bank", after=after)
        await ask(project, "bank/both?number=2")
        assert halves(project) == ([(1,), (2,)], [(1,), (2,)])


async def test_no_transaction_is_ever_half_committed_however_often_modules_are_killed(running: Callable[[], Any]) -> None:
    async with running() as project:
        await begin(project, ["unix"])
        for attempt in range(1, 4):
            before = (await ask(project, "other/count"))[0]
            await ask(project, f"bank/forever?number={attempt * 1_000_000}")
            async with asyncio.timeout(30):
                while (await ask(project, "other/count"))[0] < before + 20:
                    pass
            after = len(project.lines)
            os.kill(await ask(project, "bank/pid"), signal.SIGKILL)
            await project.ready("bank", after=after)
            first, second = halves(project)
            assert first == second


async def test_no_transaction_is_ever_half_committed_when_the_orchestrator_is_killed(running: Callable[[], Any]) -> None:
    async with running() as project:
        await begin(project, ["unix"])
        await ask(project, "bank/forever?number=1000000")
        async with asyncio.timeout(30):
            while (await ask(project, "other/count"))[0] < 20:
                pass
        project.process.kill()
        await project.ended()
        await project.nothing_left()
        first, second = halves(project)
        assert first == second
        assert len(first) >= 20


async def test_the_guestbook_runs_unchanged_on_a_database_of_the_orchestrator(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.write((Path(__file__).parents[3] / "examples" / "guestbook" / "guestbook.py").read_text(), "guestbook.py")
        project.write("""
            [services.main]
            modules = ["guestbook"]
            database = { use = "sqlite", path = "guestbook.db" }

            [modules.guestbook]
            run = "guestbook.py"
            databases.main = { use = "orchestrator" }
        """)
        await project.start()
        await project.ready("guestbook")
        written = await fetch(project.address, "POST", "/guestbook/entries", json_body={"name": "Ada", "message": "Hello"})
        assert written.status == 201
        assert json.loads((await project.http("/guestbook/entries")).text) == [written.json()]
        assert await project.stop() == 0
        with sqlite3.connect(project.folder / "guestbook.db") as connection:
            assert connection.execute("SELECT name FROM entries").fetchall() == [("Ada",)]
        connection.close()


CURIOUS = """
from starlette.applications import Starlette
from pywatt_core import PyWattError, pywatt_module

@pywatt_module()
async def app(state):
    try:
        print("it has", (await state.secrets.get("HOSTED")).expose_secret()[:3])
    except PyWattError as error:
        print("refused:", error)
    return Starlette()
"""


async def test_a_hosted_services_secret_is_the_orchestrators_alone(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.write(CURIOUS, "curious.py")
        project.write("HOSTED=canary.db", ".env")
        project.write("""
            [services.main]
            modules = ["curious"]
            database = { use = "sqlite", path = "secret:HOSTED" }

            [modules.curious]
            run = "curious.py"
            databases.main = { use = "orchestrator" }
        """)
        await project.start()
        line = await project.line("refused:", module="curious")
        assert "it may not have the secret 'HOSTED': add \"HOSTED\" to secrets in [modules.curious]" in line["message"]
        await project.ready("curious")
        assert (project.folder / "canary.db").exists()


STRANGER = """
from starlette.applications import Starlette
from pywatt_core import DatabaseConfig, create_database_connection, pywatt_module

@pywatt_module()
async def app(state):
    await create_database_connection(DatabaseConfig(db_type="sqlite", service="main"), state=state)
    return Starlette()
"""


async def test_who_is_not_named_may_not_use_a_service(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.write(BANK, "bank.py")
        project.write(STRANGER, "stranger.py")
        text = CONFIG.format(channels='["unix"]').replace('[databases.main]\nuse = "orchestrator"\n', "")
        for module in ("bank", "other"):
            text += f'[modules.{module}.databases.main]\nuse = "orchestrator"\n'
        project.write(text + '[modules.stranger]\nrun = "stranger.py"\n')
        await project.start()
        line = await project.line("asks for a database", module="stranger")
        assert "stranger may not use the database 'main': add \"stranger\" to modules in [services.main]" in line["message"]
        await project.line("[databases.main]", "may not use the database", module="stranger")  # its own word on why it ends
        await project.ready("bank")


async def test_nothing_starts_where_a_module_would_not_get_what_it_names(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.write(BANK, "bank.py")
        project.write(CONFIG.format(channels='["unix"]') + '[modules.stranger]\nrun = "bank.py"\n')
        await project.start()
        assert await project.ended() != 0
        assert "the module 'stranger' may not use the database 'main'" in project.errors
        assert 'Add "stranger" to modules in [services.main]' in project.errors
        assert not any(line["module"] in ("bank", "other", "stranger") for line in project.lines)


async def test_a_service_that_does_not_open_is_named_by_the_module_that_needs_it(running: Callable[[], Any]) -> None:
    async with running() as project:
        project.write(BANK, "bank.py")
        project.write(CONFIG.format(channels='["unix"]').replace("bank.db", "folder/bank.db"))
        (project.folder / "folder").write_text("no folder")
        await project.start()
        await project.line("the orchestrator did not open the database", "cannot be made", module="bank")


WRONG = """
[modules.users]
run = "users.py"

[services.nothing]
modules = ["users"]

[services.both]
modules = ["users", "usres"]
database = { use = "sqlite", paht = "x.db" }

[services.circle]
modules = ["*"]
cache = { use = "orchestrator" }

[services.open]
cache = { use = "memroy" }

[services.none]
modules = []
cache = { use = "memory" }
operations = 0

[services.two]
modules = ["users"]
database = { use = "sqlite" }
auth = { use = "jwt", key = "secret:JWT_KEY" }

[services.tokens]
modules = []
issue = ["users", "usres", "*"]
auth = { use = "orchestrator" }

[services.maker]
modules = ["*"]
issue = ["users"]
cache = { use = "memory" }
"""


def test_every_mistake_in_a_service_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text(WRONG)
    settings = load(file=tmp_path / "pywatt.toml", environ={}, defer=True)
    told = [str(one) for one in service_problems(settings, Registry(), {"users": {}})]
    text = "\n".join(told)
    for expected in (
        "services.nothing (pywatt.toml:5): is neither a database, nor a cache, nor an authenticator",
        "services.both.modules (pywatt.toml:9): there is no module 'usres'. Did you mean 'users'?",
        "services.both.database.paht (pywatt.toml:10): unknown option. Did you mean 'path'?",
        "services.circle.cache.use (pywatt.toml:14): the orchestrator cannot be its own service",
        "services.open (pywatt.toml:16): the option 'modules' is missing",
        "services.none.operations (pywatt.toml:22): operations is 0: at least 1 is needed",
        "services.open.cache.use (pywatt.toml:17): unknown cache provider 'memroy'",
        "services.two (pywatt.toml:24): is a database and an authenticator at once. Give each a service of its own",
        "services.tokens.issue (pywatt.toml:31): 'users' may make tokens, but not use the service. Name the same modules in modules",
        "services.tokens.issue (pywatt.toml:31): there is no module 'usres'. Did you mean 'users'?",
        "services.tokens.issue (pywatt.toml:31): every module may make tokens, but not use the service. Name the same modules in modules",
        "services.tokens.auth.use (pywatt.toml:32): the orchestrator cannot be its own service",
        "services.maker.issue (pywatt.toml:36): a cache makes no tokens. Remove issue",
    ):
        assert expected in text, f"{expected}\n---\n{text}"
    assert len(told) == 13, text
    with pytest.raises(ConfigError, match="13 problems"):
        check_services(settings)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("tokens", None),
        ("", None),  # what the options say about that is another's to tell
        ("tokns", "there is no [services.tokns]. Did you mean 'tokens'?"),
        (
            "sessions",
            "[services.sessions] is no authenticator. Known authenticators of the orchestrator: tokens. Name one that has a table",
        ),
    ],
)
def test_the_gateway_can_only_ask_an_authenticator_that_there_is(tmp_path: Path, named: str, expected: str | None) -> None:
    (tmp_path / "pywatt.toml").write_text(f'[gateway]\nauthenticate = "{named}"\n{HOSTING}')
    settings = load(file=tmp_path / "pywatt.toml", environ={}, defer=True)
    told = [str(one) for one in service_problems(settings, Registry(), {"shop": {}})]
    assert len(told) == (expected is not None), told
    if expected is not None:
        assert told[0].startswith(f"gateway.authenticate (pywatt.toml:2): {expected}"), told
        with pytest.raises(ConfigError, match="gateway.authenticate"):
            check_gateway(settings)
    else:
        check_gateway(settings)


UNMET = """
[databases.main]
use = "orchestrator"

[modules.shop]
run = "shop.py"
caches.main = {{ use = "orchestrator", service = "sesions" }}

[modules.stock]
run = "shop.py"
databases.other = {{ use = "orchestrator", service = "sessions" }}
auth.main = {{ use = "orchestrator", service = "tokens" }}
auth.other = {{ use = "jwt", mode = "proxy" }}
auth.local = {{ use = "jwt", mode = "local", public_key = "x" }}

[modules.rusty]
command = ["./rusty"]
{services}
"""

HOSTING = """
[services.main]
modules = ["shop"]
database = { use = "sqlite", path = "x.db" }

[services.sessions]
modules = ["*"]
cache = { use = "memory" }

[services.tokens]
modules = ["shop"]
auth = { use = "jwt", key = "secret:JWT_KEY" }
"""


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        (
            HOSTING,
            [
                "databases.main.use (pywatt.toml:3): the module 'stock' may not use the database 'main'. "
                'Add "stock" to modules in [services.main]',
                "modules.shop.caches.main.service (pywatt.toml:7): the orchestrator hosts no cache 'sesions', which the module "
                "'shop' wants. Did you mean 'sessions'?",
                "modules.stock.auth.main.service (pywatt.toml:12): the module 'stock' may not use the authenticator 'tokens'. "
                'Add "stock" to modules in [services.tokens]',
                "modules.stock.auth.other.mode (pywatt.toml:13): the orchestrator hosts no authenticator 'other', which the module "
                "'stock' wants. Known authenticators of the orchestrator: tokens. Add [services.other]",
                "modules.stock.databases.other.service (pywatt.toml:11): the orchestrator hosts no database 'sessions', which the module "
                "'stock' wants. Known databases of the orchestrator: main. Add [services.sessions] with modules = [\"stock\"]",
            ],
        ),
        (
            "",
            [
                "databases.main.use (pywatt.toml:3): the orchestrator hosts no database 'main', which the module 'shop' wants. "
                'Add [services.main] with modules = ["shop"] and [services.main.database]',
                "databases.main.use (pywatt.toml:3): the orchestrator hosts no database 'main', which the module 'stock' wants.",
                "modules.shop.caches.main.service (pywatt.toml:7): the orchestrator hosts no cache 'sesions'",
                "modules.stock.auth.main.service (pywatt.toml:12): the orchestrator hosts no authenticator 'tokens', which the module "
                "'stock' wants. "
                'Add [services.tokens] with modules = ["stock"] and [services.tokens.auth]',
                "modules.stock.auth.other.mode (pywatt.toml:13): the orchestrator hosts no authenticator 'other'",
                "modules.stock.databases.other.service (pywatt.toml:11): the orchestrator hosts no database 'sessions'",
            ],
        ),
    ],
)
def test_what_a_module_would_not_get_is_known_before_it_starts(tmp_path: Path, services: str, expected: list[str]) -> None:
    (tmp_path / "shop.py").touch()
    (tmp_path / "pywatt.toml").write_text(UNMET.format(services=services))
    settings = load(file=tmp_path / "pywatt.toml", environ={}, defer=True)
    with pytest.raises(ConfigError) as caught:
        read_project(settings)
    told = sorted(str(one) for one in caught.value.problems)
    assert len(told) == len(expected), told
    for text, begins in zip(told, expected, strict=True):
        assert text.startswith(begins), f"{begins}\n---\n{text}"
