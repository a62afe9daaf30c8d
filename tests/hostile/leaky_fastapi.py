"""A FastAPI module that gives its secret away in each way of `leaky_ways`, one route for all."""

import asyncio
import os
import sys
from typing import Any

from fastapi import FastAPI
from leaky_ways import WAYS, failed  # type: ignore[import-not-found]

from pywatt_core import AppState, pywatt_module


@pywatt_module(secrets=["CANARY"], metrics=True)
async def leaky_fastapi(state: AppState[Any]) -> FastAPI:
    secret = (await state.get_secret("CANARY")).expose_secret()
    if os.environ.get("LEAKY_FAILS"):
        raise failed(secret)
    app = FastAPI()

    @app.get("/leak/{name}")
    async def leak(name: str) -> str:
        await asyncio.to_thread(WAYS[name], secret)
        return name

    @app.get("/raise")
    async def raising() -> None:
        raise failed(secret)

    @app.get("/background")
    async def background() -> str:
        async def work() -> None:
            raise failed(secret)

        task = asyncio.create_task(work(), name=secret)
        await asyncio.wait({task})
        del task
        return "done"

    @app.get("/exit")
    async def leave() -> None:
        sys.exit(secret)

    @app.get("/abort")
    async def abort() -> None:
        print(f"the end is near: {secret}", flush=True)
        os.abort()

    if not os.environ.get("PYWATT_MODULE_ID"):
        return app

    @app.get("/ask/{target}")
    async def ask(target: str) -> str:
        try:
            await state.send_request(f"{target}:fails", {"password": secret}, response_type=str)
        except Exception as error:
            return f"{type(error).__name__}: {error} {getattr(error, 'cause', '')!r}"
        return "answered"

    return app


@leaky_fastapi.on("fails")
async def fails(payload: dict[str, str]) -> str:
    raise failed(payload["password"])


if __name__ == "__main__":
    leaky_fastapi.run()
