"""A small module for tests of the life cycle: every fault is a route or an environment variable away."""

import asyncio
import os
import subprocess
import sys
import threading

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from pywatt_core import AppState, pywatt_module

print("printed while importing", end="")
os.write(1, b"written to descriptor 1 while importing")
if os.environ.get("SMALL_CHILD"):
    subprocess.run([sys.executable, "-c", "print('from a child', input() if 0 else '')"], check=True)


def user_state(init, secrets):
    return {"secrets": [secret.expose_secret() for secret in secrets], "module_id": init.module_id if init else None}


@pywatt_module(secrets=os.environ.get("SMALL_SECRETS", "").split(), rotate=True, state_builder=user_state, metrics=True)
async def small(state: AppState[dict[str, object]]) -> Starlette:
    if os.environ.get("SMALL_SLOW_START"):
        print("starting slowly", flush=True)
        await asyncio.Event().wait()
    if os.environ.get("SMALL_FAILS"):
        raise RuntimeError("the builder failed on purpose")

    async def hello(request: Request) -> PlainTextResponse:
        print("a print while serving")
        return PlainTextResponse(f"hello {request.query_params.get('name', '')}")

    async def echo(request: Request) -> JSONResponse:
        body = await request.body()
        return JSONResponse({"length": len(body), "method": request.method, "prefix": request.scope.get("root_path")})

    async def slow(request: Request) -> PlainTextResponse:
        print("slow began", flush=True)
        await asyncio.sleep(float(request.query_params.get("seconds", "0.3")))
        return PlainTextResponse("done")

    def busy(_request: Request) -> PlainTextResponse:
        print("busy began", flush=True)
        threading.Event().wait(600)
        return PlainTextResponse("never")

    async def secret(request: Request) -> PlainTextResponse:
        return PlainTextResponse((await state.get_secret(request.path_params["name"])).expose_secret())

    async def about(_request: Request) -> JSONResponse:
        return JSONResponse({"user_state": state.user_state, "module_id": state.module_id, "databases": sorted(state.databases)})

    async def count(_request: Request) -> JSONResponse:
        await state.database.execute("CREATE TABLE IF NOT EXISTS hits (n INTEGER)")
        await state.database.execute("INSERT INTO hits VALUES (1)")
        return JSONResponse({"hits": await state.database.fetch_value("SELECT count(*) FROM hits")})

    async def boom(_request: Request) -> PlainTextResponse:
        raise RuntimeError("this handler fails on purpose")

    return Starlette(
        routes=[
            Route("/hello", hello),
            Route("/echo", echo, methods=["GET", "POST"]),
            Route("/slow", slow),
            Route("/busy", busy),
            Route("/secret/{name}", secret),
            Route("/about", about),
            Route("/count", count, methods=["POST"]),
            Route("/boom", boom),
        ]
    )


if __name__ == "__main__":
    small.run()
