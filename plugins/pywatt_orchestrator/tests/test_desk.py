"""Who gets which secret, from where, and what everybody else sees of it: nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Running = Callable[[], Any]

ASKS = """
import os
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from pywatt_core import pywatt_module
import logging

NAMES = os.environ.get("NAMES", "").split()

@pywatt_module(secrets=NAMES)
async def app(state):
    for name in NAMES:
        value = (await state.secrets.get(name)).expose_secret()
        os.write(2, f"raw {name}={value}\\n".encode())
        print("stray", value, flush=True)
        logging.getLogger("users").warning("logged %s", value, extra={"value": value})

    async def later(request):
        try:
            return PlainTextResponse((await state.secrets.get(request.query_params["name"])).expose_secret())
        except Exception as error:
            return PlainTextResponse(str(error), status_code=500)

    return Starlette(routes=[Route("/later", later)])
"""


def add(project: Any, names: str, more: str = "") -> None:
    project.write(ASKS, "users.py")
    project.write(f'[modules.users]\nrun = "users.py"\nenv = {{ NAMES = "{names}" }}\n{more}')


async def test_secrets_come_from_the_environment_and_from_dotenv_and_are_hidden_in_everything_that_is_printed(running: Running) -> None:
    async with running() as project:
        project.environ["API_KEY"] = "k3y/with+odd=signs"
        project.write("DATABASE_URL='postgres://u:pa55word@db/x'  # the database\nAPI_KEY=not-this-one\n", ".env")
        add(project, "API_KEY DATABASE_URL")
        await project.start()
        await project.ready("users")
        await project.line("raw API_KEY=[REDACTED]", module="users")
        await project.line("logged [REDACTED]", module="users")
        await project.line("stray [REDACTED]", module="users")
        _, logs, _ = await project.command("logs", "users")
        _, status, _ = await project.command("ps", "--json")
        shown = json.dumps(project.lines) + project.errors + logs + status
        for canary in ("k3y/with+odd=signs", "pa55word", "not-this-one"):
            assert canary not in shown
        assert (await project.http("/users/later?name=API_KEY")).text == "k3y/with+odd=signs"
        for pid, command in project.processes():
            assert "pa55word" not in command
            with open(f"/proc/{pid}/environ") as environ:
                assert "pa55word" not in environ.read()


async def test_a_missing_secret_names_the_module_the_secret_and_how_to_provide_it(running: Running) -> None:
    async with running() as project:
        add(project, "PAYMENT_KEY")
        await project.start()
        line = await project.line("it asks for the secret 'PAYMENT_KEY', which no source knows", module="users")
        assert line["level"] == "error"
        assert "`export PAYMENT_KEY=…` before you start pywatt" in line["message"]
        assert f"a line PAYMENT_KEY=… in {project.folder / '.env'}; then `pywatt restart users`" in line["message"]
        report = await project.line("PAYMENT_KEY, wanted by", module="users")
        places = f"env: the variable PAYMENT_KEY, dotenv: {project.folder / '.env'}"
        assert f"the orchestrator refused the secret 'PAYMENT_KEY': no source knows it ({places})" in report["message"]
        await project.line("exit code 5", "a secret, database, cache", module="users")


async def test_a_module_gets_only_the_secrets_that_are_listed_for_it(running: Running) -> None:
    async with running() as project:
        project.environ.update(API_KEY="first-value", OTHER_KEY="other-value")
        add(project, "API_KEY", 'secrets = ["API_KEY"]')
        await project.start()
        await project.ready("users")
        assert (await project.http("/users/later?name=API_KEY")).text == "first-value"
        refused = await project.http("/users/later?name=OTHER_KEY")
        assert (refused.status, "other-value" in refused.text) == (500, False)
        await project.line("""it may not have the secret 'OTHER_KEY': add "OTHER_KEY" to secrets in [modules.users]""", module="users")


async def test_without_a_list_a_module_gets_what_it_asks_for_while_it_starts_and_nothing_else_later(running: Running) -> None:
    async with running() as project:
        project.environ.update(API_KEY="first-value", OTHER_KEY="other-value")
        add(project, "API_KEY")
        await project.start()
        await project.ready("users")
        assert (await project.http("/users/later?name=API_KEY")).text == "first-value"
        assert (await project.http("/users/later?name=OTHER_KEY")).status == 500
        await project.line("it may not have the secret 'OTHER_KEY', which it did not ask for while it started", module="users")


async def test_a_changed_dotenv_is_read_by_the_next_process(running: Running) -> None:
    async with running() as project:
        project.write("API_KEY=old-value\n", ".env")
        add(project, "API_KEY")
        await project.start()
        await project.ready("users")
        project.write("API_KEY=new-value\n", ".env")
        assert (await project.command("restart", "users"))[0] == 0
        assert (await project.http("/users/later?name=API_KEY")).text == "new-value"
