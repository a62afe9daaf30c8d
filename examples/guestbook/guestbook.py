"""A guestbook on FastAPI: entries in whatever database the configuration names."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from pywatt_core import AppState, pywatt_module

TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    id VARCHAR(36) PRIMARY KEY,
    name VARCHAR(80) NOT NULL,
    message VARCHAR(1000) NOT NULL,
    written_at VARCHAR(32) NOT NULL
)
"""


class NewEntry(BaseModel):
    name: str = Field(min_length=1, max_length=80)
    message: str = Field(min_length=1, max_length=1000)


class Entry(NewEntry):
    id: str
    written_at: str


@pywatt_module(metrics=True)
async def guestbook(state: AppState[None]) -> FastAPI:
    await state.database.execute(TABLE)
    app = FastAPI(title="Guestbook")

    @app.get("/entries")
    async def entries() -> list[Entry]:
        rows = await state.database.fetch_all("SELECT * FROM entries ORDER BY written_at, id")
        return [Entry(**row) for row in rows]

    @app.post("/entries", status_code=201)
    async def sign(new: NewEntry) -> Entry:
        entry = Entry(id=str(uuid.uuid4()), written_at=datetime.now(UTC).isoformat(), **new.model_dump())
        await state.database.execute(
            "INSERT INTO entries (id, name, message, written_at) VALUES (:id, :name, :message, :written_at)",
            entry.model_dump(),
        )
        return entry

    @app.get("/entries/{id}")
    async def entry(id: str) -> Entry:
        row = await state.database.fetch_one("SELECT * FROM entries WHERE id = :id", {"id": id})
        if row is None:
            raise HTTPException(404, "no such entry")
        return Entry(**row)

    return app


if __name__ == "__main__":
    guestbook.run()
