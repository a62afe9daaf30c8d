"""A database behind the face that rotations exchange it behind: it keeps the whole contract while it is exchanged all the time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core import AppState, HttpIpcRouter, pywatt_module
from pywatt_core.interfaces import Context, Database
from pywatt_core.redaction import Secret
from pywatt_core.replaceable import Replaceable
from pywatt_core.testing import app
from pywatt_core.testing.contracts import DatabaseContract
from pywatt_sqlite import Options, open_sqlite
from tools.under_load import Load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


@asynccontextmanager
async def restless(folder: Path) -> AsyncIterator[Database]:
    """A database that is opened anew and exchanged again and again while the test runs."""

    @asynccontextmanager
    async def make(secret: Any) -> AsyncIterator[Database]:
        await secret("URL")
        async with open_sqlite(
            Options(path="test.db", close_timeout=0.5), Context(module_id="test", section="databases.main", folder=folder)
        ) as one:
            yield one

    async def secret(_name: str) -> str:
        return "0"

    replaceable: Replaceable[Database] = Replaceable(make, "databases.main", interface=Database, drain=30.0)

    async def exchange() -> None:
        for number in itertools.count(1):
            if replaceable.old < 8:
                (await replaceable.prepare({"URL": Secret(str(number), name="URL")})).commit()
            await asyncio.sleep(0.002)

    face = await replaceable.open(secret)
    exchanging = asyncio.create_task(exchange())
    try:
        yield face
    finally:
        exchanging.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await exchanging
        await replaceable.close()


class TestRestless(DatabaseContract):
    isolations = ("deferred", "immediate", "exclusive")

    @pytest.fixture
    def backend(self, tmp_path: Path) -> AbstractAsyncContextManager[Database]:
        return restless(tmp_path)


@pywatt_module()
async def notes(state: AppState[None]) -> Any:
    router: Any = HttpIpcRouter()
    await state.database.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)")

    @router.post("/notes")
    async def write(_request: Any) -> int:
        return await state.database.execute("INSERT INTO notes (text) VALUES ('a note')")

    @router.get("/notes")
    async def count(_request: Any) -> int:
        value: int = await state.database.fetch_value("SELECT count(*) FROM notes")
        return value

    return router


async def test_a_module_moves_to_another_file_and_every_note_is_in_one_of_the_two(tmp_path: Path) -> None:
    async def write() -> None:
        answer = await client.post("/notes")
        assert answer.status == 200, answer.text

    for number in range(6):
        async with open_sqlite(Options(path=f"{number}.db"), Context(module_id="test", section="databases.main", folder=tmp_path)) as made:
            await made.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)")
    main = {"use": "sqlite", "path": "secret:PLACE"}
    async with app(notes, secrets={"PLACE": str(tmp_path / "0.db")}, databases={"main": main}) as client:
        async with Load(write, tasks=4) as load:
            for number in range(1, 6):
                await load.more(20)
                assert (await client.rotate({"PLACE": str(tmp_path / f"{number}.db")})).status == "success"
            await load.more(20)
        assert load.failures == []
    written = 0
    for number in range(6):
        async with open_sqlite(Options(path=f"{number}.db"), Context(module_id="test", section="databases.main", folder=tmp_path)) as made:
            found = await made.fetch_value("SELECT count(*) FROM notes")
            assert found > 0
            written += found
    assert written == load.done


async def test_a_file_that_cannot_be_opened_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    main = {"use": "sqlite", "path": "secret:PLACE"}
    async with app(notes, secrets={"PLACE": str(tmp_path / "0.db")}, databases={"main": main}) as client:
        await client.post("/notes")
        acknowledgement = await client.rotate({"PLACE": str(tmp_path)})
        assert acknowledgement.status == "error"
        assert (acknowledgement.message or "").startswith("databases.main: ")
        assert (await client.get("/notes")).json()["data"] == 1
