"""Hosted services whose secrets change: opened anew beside the old one, while modules go on using them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pywatt_core.testing.client import fetch
from tools.running_servers import PostgresServer

if TYPE_CHECKING:
    from pathlib import Path

Running = Callable[[], Any]

USES = """
import asyncio
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import PyWattError, pywatt_module

@pywatt_module()
async def app(state):
    finish = asyncio.Event()

    async def long():
        async with state.database.transaction() as transaction:
            await transaction.execute("INSERT INTO items (name) VALUES ('long')")
            begun.set()
            await finish.wait()
            await transaction.execute("INSERT INTO items (name) VALUES ('long')")

    async def do(request):
        global begun
        what = request.path_params["what"]
        try:
            if what == "make":
                await state.database.execute("CREATE TABLE items (name VARCHAR(20))")
                found = None
            elif what == "add":
                await state.database.execute("INSERT INTO items (name) VALUES ('one')")
                found = None
            elif what == "begin":
                begun = asyncio.Event()
                state.long = asyncio.ensure_future(long())
                await begun.wait()
                found = None
            elif what == "finish":
                finish.set()
                found = await state.long
            elif what == "count":
                found = await state.database.fetch_value("SELECT count(*) FROM items")
        except PyWattError as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, status_code=500)
        return JSONResponse({"found": found})

    return Starlette(routes=[Route("/{what}", do)])
"""

MODULE = """
[modules.shop]
run = "shop.py"
databases.main = { use = "orchestrator" }

[secrets.only]
use = "dotenv"
poll = 0.05
"""


def write_secret(project: Any, **values: str) -> None:
    fresh = project.folder / ".env.new"
    fresh.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    fresh.replace(project.folder / ".env")


async def ask(project: Any, what: str) -> Any:
    answer = await fetch(project.address, "GET", f"/shop/{what}")
    assert answer.status == 200, answer.text
    return json.loads(answer.text)["found"]


async def test_another_file_of_a_database_is_used_by_what_begins_after_the_rotation(running: Running) -> None:
    async with running() as project:
        project.write(USES, "shop.py")
        project.write('[services.main]\nmodules = ["shop"]\ndatabase = { use = "sqlite", path = "secret:DB_FILE" }\n' + MODULE)
        for name in ("first.db", "second.db"):
            write_secret(project, DB_FILE=name)
            if project.process is None:
                await project.start()
                await project.ready("shop")
            else:
                await project.line("the secret 'DB_FILE' rotated: [services.main]", module="pywatt")
            await ask(project, "make")
        await ask(project, "begin")
        mark = len(project.lines)
        write_secret(project, DB_FILE="first.db")
        await project.line("the secret 'DB_FILE' rotated: [services.main]", module="pywatt", after=mark)
        assert await ask(project, "count") == 0
        await ask(project, "finish")  # the transaction ends where it began
        assert await ask(project, "count") == 0
        mark = len(project.lines)
        write_secret(project, DB_FILE="second.db")
        await project.line("the secret 'DB_FILE' rotated: [services.main]", module="pywatt", after=mark)
        assert await ask(project, "count") == 2


async def test_what_cannot_be_opened_with_the_new_value_goes_on_with_the_old_one(running: Running) -> None:
    async with running() as project:
        project.write(USES, "shop.py")
        project.write('[services.main]\nmodules = ["shop"]\ndatabase = { use = "sqlite", path = "secret:DB_FILE" }\n' + MODULE)
        write_secret(project, DB_FILE="first.db")
        await project.start()
        await project.ready("shop")
        await ask(project, "make")
        write_secret(project, DB_FILE="shop.py/no/folder.db")
        line = await project.line("the secret 'DB_FILE' not rotated, the value before stays in use. [services.main]: ", module="pywatt")
        assert "no/folder" not in line["message"]
        await ask(project, "add")
        assert await ask(project, "count") == 1
        code, out, _ = await project.command("rotate", "--json")
        (result,) = json.loads(out)
        assert (code, result["result"], list(result["reasons"])) == (1, "refused", ["[services.main]"])
        _, table, _ = await project.command("ps")
        assert "[services.main]: it refused a new value of the secret 'DB_FILE': " in table


async def test_a_password_that_is_changed_at_the_server_is_taken_over_without_a_lost_request(
    running: Running, start_server: Callable[..., Any], tmp_path: Path
) -> None:
    with start_server(PostgresServer) as server:
        await _ask_server(server, "GRANT ALL ON SCHEMA public TO pywatt")
        async with running() as project:
            project.write(USES, "shop.py")
            where = f'host = "127.0.0.1", port = {server.port}, user = "pywatt", database = "postgres", password = "secret:DB_PASSWORD"'
            project.write(f'[services.main]\nmodules = ["shop"]\ndatabase = {{ use = "postgres", {where} }}\n' + MODULE)
            write_secret(project, DB_PASSWORD="let-me-in")
            await project.start()
            await project.ready("shop")
            await ask(project, "make")
            ended = asyncio.Event()
            added = 0

            async def client() -> None:
                nonlocal added
                while not ended.is_set():
                    await ask(project, "add")
                    added += 1

            clients = [asyncio.create_task(client()) for _ in range(4)]
            for number in range(5):
                mark, password = len(project.lines), f"pa55word-{number}"
                write_secret(project, DB_PASSWORD=f"wr0ng-{number}")
                line = await project.line("the secret 'DB_PASSWORD' not rotated", module="pywatt", after=mark)
                assert "[services.main]: " in line["message"]
                await _ask_server(server, f"ALTER ROLE pywatt PASSWORD '{password}'")
                write_secret(project, DB_PASSWORD=password)
                await project.line("the secret 'DB_PASSWORD' rotated: [services.main]", module="pywatt", after=mark)
            ended.set()
            await asyncio.gather(*clients)
            assert await ask(project, "count") == added > 20
            # Connections of the old passwords are not needed any more, and new ones can be made.
            await _ask_server(server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pywatt'")
            async with asyncio.timeout(30):
                while (await fetch(project.address, "GET", "/shop/count")).status != 200:
                    await asyncio.sleep(0.05)
            shown = json.dumps(project.lines) + project.errors
            assert "pa55word-" not in shown
            assert "wr0ng-" not in shown


async def _ask_server(server: PostgresServer, sql: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(host="127.0.0.1", port=server.port, user="postgres", database="postgres", timeout=30)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
