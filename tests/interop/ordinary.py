"""The module that a Rust-like orchestrator starts: an ordinary one, whose routes and functions show what reaches it.

Secrets to ask for at the start come from ``ORDINARY_SECRETS``. The values of secrets are shown in reverse.
"""

import asyncio
import logging
import os
import threading
from typing import Any

import pywatt_core.connecting
from pywatt_core import Arrival, HttpIpcRouter, pywatt_module
from pywatt_core.errors import PyWattError
from pywatt_core.protocol.messages import PortRequest, ServiceOperation, ServiceType
from pywatt_core.services.ports import PortNegotiation, PortOptions, negotiate_port

pywatt_core.connecting.FIRST_CONNECT = float(os.environ.get("ORDINARY_FIRST_CONNECT", "30"))
ROTATED: list[str] = []


def remember(name: str, _secret: Any) -> None:
    ROTATED.append(name)


@pywatt_module(secrets=os.environ.get("ORDINARY_SECRETS", "").split(), rotate=True, bind_http="ORDINARY_NO_PORT" not in os.environ)
def ordinary(state: Any) -> Any:
    router: Any = HttpIpcRouter()
    state.secrets.subscribe(["API_KEY"], remember)

    @router.get("/echo/{text}")
    async def echo(request: Any, text: str) -> str:
        return text

    @router.route(["GET", "POST"], "/headers")
    async def headers(request: Any) -> dict[str, str]:
        return dict(request.headers)

    @router.get("/delivered")
    async def delivered(request: Any) -> dict[str, str]:
        return {name: state.secrets[name].expose_secret()[::-1] for name in state.secrets}

    @router.get("/rotated")
    async def rotated(request: Any) -> list[str]:
        return ROTATED

    @router.get("/secret/{name}")
    async def secret(request: Any, name: str) -> str:
        try:
            return (await state.get_secret(name)).expose_secret()[::-1]
        except PyWattError as error:
            return f"{type(error).__name__}: {error}"

    @router.get("/log/{name}")
    async def log(request: Any, name: str) -> str:
        logging.getLogger("ordinary").warning("it is %s, truly", (await state.get_secret(name)).expose_secret())
        return "logged"

    @router.get("/call/{target}")
    async def call(request: Any, target: str) -> Any:
        try:
            return await state.messaging.request(target, {"q": 1}, timeout=float(request.query.get("timeout", "20")))
        except PyWattError as error:
            return f"{type(error).__name__}: {error}"

    @router.get("/port")
    async def port(request: Any) -> Any:
        wish = request.query.get("port")
        options = PortOptions(timeouts=(float(request.query.get("timeout", "20")),) * 2, use_fallback=False)
        try:
            found = await negotiate_port(state.channels, int(wish) if wish else None, negotiation=PortNegotiation(options))
        except PyWattError as error:
            return f"{type(error).__name__}: {error}"
        return found.port

    @router.get("/operation/{connection}")
    async def operation(request: Any, connection: str) -> Any:
        message = ServiceOperation(connection_id=connection, service_type=ServiceType.DATABASE, operation="query", params={"query": "q"})
        try:
            return (await state.channels.request(message, timeout=float(request.query.get("timeout", "20")))).result
        except PyWattError as error:
            return f"{type(error).__name__}: {error}"

    @router.get("/discover/{kind}")
    async def discover(request: Any, kind: str) -> Any:
        try:
            return [[found.name, found.address] for found in await state.discover_service_providers(kind)]
        except PyWattError as error:
            return f"{type(error).__name__}: {error}"

    @router.get("/offer/{kind}")
    async def offer(request: Any, kind: str) -> Any:
        try:
            return (await state.register_service_provider(kind, "s1", "127.0.0.1:7700")).provider_id
        except PyWattError as error:
            return f"{type(error).__name__}: {error}"

    @router.get("/channels")
    async def channels(request: Any) -> dict[str, str]:
        return {name: state.value for name, state in state.channels.states().items()}

    @router.get("/flood")
    async def flood(request: Any) -> str:
        """Threads and tasks that all write on the wire at once."""

        def ask(number: int) -> None:
            future = asyncio.run_coroutine_threadsafe(one(number), loop)
            future.result()

        async def one(number: int) -> None:
            state.channels.stdio.post(PortRequest(request_id=f"00000000-0000-4000-8000-{number:012d}"))

        loop = asyncio.get_running_loop()
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        print("a print in between", end="")
        os.write(1, b"and one past Python")
        await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
        return "flooded"

    return router


@ordinary.on("double")
async def double(number: int) -> int:
    return number * 2


@ordinary.on("fail")
async def fail(number: int) -> int:
    raise RuntimeError("it does not work")


@ordinary.on_source("mod_b")
async def from_mod_b(value: Any, message: Arrival) -> dict[str, Any]:
    return {"from": message.source, "value": value}
