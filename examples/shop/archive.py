"""The archive: keeps what is streamed to it, piece by piece, never all of it in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import FastAPI, HTTPException

from pywatt_core import AppState, InboundStream, pywatt_module

FOLDER = Path(".pywatt") / "archive"
digests: dict[str, str] = {}


@pywatt_module
def archive(state: AppState[None]) -> FastAPI:
    app = FastAPI(title="archive")

    @app.get("/files/{name}")
    async def show(name: str) -> dict[str, str | int]:
        if name not in digests:
            raise HTTPException(404, f"nothing of the name {name!r} was sent")
        return {"name": name, "size": (FOLDER / name).stat().st_size, "sha256": digests[name]}

    return app


@archive.on_stream("store")
async def store(stream: InboundStream) -> None:
    """The sender waits whenever this function is slower than the stream."""
    name = Path(stream.properties["name"]).name  # a name, never a path of the sender's choice
    FOLDER.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with (FOLDER / name).open("wb") as file:
        async for piece in stream:
            digest.update(piece)
            file.write(piece)
    digests[name] = digest.hexdigest()


if __name__ == "__main__":
    archive.run()
