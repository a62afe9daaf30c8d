"""From the configuration to a module's state: the section's name, its nested table, its secret, and the example that runs anywhere."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI

from pywatt_core import AppState, pywatt_module
from pywatt_core.errors import PyWattError
from pywatt_core.testing import app

if TYPE_CHECKING:
    from tools.running_servers import PostgresServer

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "guestbook" / "guestbook.py"


def section(schema: str, **more: Any) -> dict[str, Any]:
    return {"use": "postgres", "url": "secret:DATABASE_URL", "schema": schema, **more}


def secrets(server: PostgresServer) -> dict[str, str]:
    return {"DATABASE_URL": f"postgresql://pywatt:let-me-in@127.0.0.1:{server.port}/postgres"}


async def test_the_guestbook_runs_on_postgresql_as_it_is(postgres_server: PostgresServer, schema: str) -> None:
    guestbook = runpy.run_path(str(EXAMPLE))["guestbook"]
    main = section(schema, pool={"max_connections": 3}, type="postgres")
    async with app(guestbook, secrets=secrets(postgres_server), databases={"main": main}) as client:
        signed = await client.post("/entries", json_body={"name": "Ada", "message": "'; DROP TABLE entries; --"})
        assert signed.status == 201
        assert (await client.get(f"/entries/{signed.json()['id']}")).json() == signed.json()
        assert (await client.get("/entries")).json() == [signed.json()]
        assert (await client.get("/entries/nobody")).status == 404


async def test_a_module_reaches_the_facade_and_the_other_name_through_its_state(postgres_server: PostgresServer, schema: str) -> None:
    @pywatt_module()
    async def shop(state: AppState[None]) -> FastAPI:
        served = FastAPI()

        @served.get("/")
        async def answer() -> dict[str, Any]:
            facade: Any = state.database
            return {"facade": await facade.databases.fetch_val("SELECT 1"), "sql": await state.database.fetch_value("SELECT 2")}

        @served.get("/blocking")
        def blocking() -> int:
            value: int = state.sync.database.fetch_value("SELECT 3")
            return value

        return served

    main = {**section(schema, pool_config={"min_connections": 0}), "use": "postgresql"}
    async with app(shop, secrets=secrets(postgres_server), databases={"main": main}) as client:
        assert (await client.get("/")).json() == {"facade": 1, "sql": 2}
        assert (await client.get("/blocking")).json() == 3


async def test_what_is_wrong_with_the_section_is_told_before_anything_is_opened() -> None:
    @pywatt_module()
    def nothing(state: AppState[None]) -> FastAPI:
        return FastAPI()

    main = {"use": "postgres", "database": "shop", "prot": 5, "pool": {"max_connections": 0}}
    with pytest.raises(PyWattError) as caught:
        async with app(nothing, databases={"main": main}):
            pass
    assert "unknown option. Did you mean 'port'" in str(caught.value)
    assert "max_connections is 0" in str(caught.value)
