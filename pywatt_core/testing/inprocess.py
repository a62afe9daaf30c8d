"""A module inside the test's own process: ``async with app(module, secrets={…}) as client: await client.get("/")``."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from ..definition import outcome
from ..interfaces import Cache, Database, Server, ServerOptions
from ..lifecycle import open_registry
from ..module import Module
from ..protocol.messages import HttpRequest
from ..services.secrets import Secrets, fetch_from
from ..serving import plain_routes
from ..state import AppState, open_storage
from .client import Response, of_message


class Client:
    """Asks the application without a socket, the way requests over a link reach it. `state` is the module's `AppState`."""

    def __init__(self, server: Server, state: AppState[Any]) -> None:
        self.server = server
        self.state = state

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None, json_body: object = None
    ) -> Response:
        """One request; `path` may have a query."""
        sent = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body).encode()
            sent.setdefault("content-type", "application/json")
        if body is not None:
            sent.setdefault("content-length", str(len(body)))
        request = HttpRequest(request_id=str(uuid.uuid4()), method=method, uri=path, headers=sent, body=body)
        return of_message(await self.server.handle(request))

    async def get(self, path: str, **arguments: Any) -> Response:
        """GET."""
        return await self.request("GET", path, **arguments)

    async def post(self, path: str, **arguments: Any) -> Response:
        """POST."""
        return await self.request("POST", path, **arguments)

    async def put(self, path: str, **arguments: Any) -> Response:
        """PUT."""
        return await self.request("PUT", path, **arguments)

    async def delete(self, path: str, **arguments: Any) -> Response:
        """DELETE."""
        return await self.request("DELETE", path, **arguments)


class _Given:
    """A secret source with what the test gave."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    async def get(self, name: str) -> str | None:
        return self._values.get(name)


@asynccontextmanager
async def app(
    module: Module,
    *,
    secrets: Mapping[str, str] | None = None,
    databases: Mapping[str, Database | Mapping[str, Any]] | None = None,
    caches: Mapping[str, Cache | Mapping[str, Any]] | None = None,
    config: Mapping[str, Any] | None = None,
) -> AsyncIterator[Client]:
    """Bring the module up without processes, sockets, files or environment, and take it down again.

    `databases` and `caches` map a name to an open object or to a section such as ``{"use": "sqlite"}``.
    """
    from .. import config as configuration

    definition = module.definition
    sections = {
        kind: {name: dict(value) for name, value in (given or {}).items() if isinstance(value, Mapping)}
        for kind, given in (("databases", databases), ("caches", caches))
    }
    ready = {
        kind: {name: value for name, value in (given or {}).items() if not isinstance(value, Mapping)}
        for kind, given in (("databases", databases), ("caches", caches))
    }
    settings = configuration.load(
        decorator=definition.config, init={**(config or {}), **{kind: named for kind, named in sections.items() if named}}, environ={}
    )
    async with AsyncExitStack() as stack:
        registry = open_registry(settings)
        state: AppState[Any] = AppState(
            module_id=definition.name,
            config=settings,
            secrets=Secrets(fetch_from([("the test's secrets=", _Given(secrets or {}))])),
            databases=ready["databases"],  # type: ignore[arg-type]
            caches=ready["caches"],  # type: ignore[arg-type]
        )
        stack.push_async_callback(state.close)
        declared = [await state.secrets.get(name) for name in definition.secrets]
        await open_storage(state, registry)
        if definition.state_builder is not None:
            state.user_state = await outcome(definition.state_builder(None, declared))
        server = registry.make_server(
            await outcome(definition.build(state)), ServerOptions(state=state, prefix=definition.prefix), framework=definition.framework
        )
        stack.push_async_callback(server.close)
        for path, handler in plain_routes(definition):
            server.add_route(path, handler)
        await server.start(None)
        yield Client(server, state)
