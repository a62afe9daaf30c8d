"""A module inside the test's own process: ``async with app(module, secrets={…}) as client: await client.get("/")``."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from ..definition import outcome
from ..errors import SecretNotFound
from ..interfaces import Cache, Database, Handler, Server, ServerOptions
from ..lifecycle import enter_lifespans, open_registry, start_server
from ..listening import Listening
from ..module import Module
from ..protocol.messages import HttpRequest, Message, RotationAck
from ..registry.kinds import described, missing_methods
from ..resources import client_of, deliver, open_resources
from ..services.formats import open_serializers
from ..services.secrets import Fetch
from ..serving import guard_for, plain_routes, refuse_unguarded
from ..state import AppState
from .client import Response, of_message

T = TypeVar("T")


class Client:
    """Asks the application without a socket, the way requests over a link reach it. `state` is the module's `AppState`."""

    def __init__(
        self, server: Server, state: AppState[Any], handlers: Mapping[type[Message], Handler], secrets: dict[str, str] | None = None
    ) -> None:
        self.server = server
        self.state = state
        self._handlers = handlers
        self._secrets = secrets if secrets is not None else {}

    async def deliver(self, message: Message) -> Message | None:
        """Hand a plugin's handler a message, as if the orchestrator had sent it; what it answers.

        Raises `LookupError` where no plugin handles such messages.
        """
        handler = self._handlers.get(type(message))
        if handler is None:
            known = ", ".join(sorted(kind.__name__ for kind in self._handlers)) or "none"
            raise LookupError(f"no plugin handles {type(message).__name__} (handled: {known})")
        return await handler(message)

    async def rotate(self, values: Mapping[str, str]) -> RotationAck:
        """Give secrets other values, as a rotation of the orchestrator would; what the module acknowledges.

        One that is refused leaves them as they were.
        """
        before = dict(self._secrets)
        self._secrets.update(values)
        acknowledgement = await self.state.secrets.rotated(list(values), str(uuid.uuid4()))
        assert acknowledgement is not None
        if acknowledgement.status != "success":
            self._secrets.clear()
            self._secrets.update(before)
        return acknowledgement

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


def _fetch_from(given: Mapping[str, str]) -> Fetch:
    """Secrets that the test gave, and nothing else: neither environment nor files are asked."""

    async def fetch(name: str) -> str:
        if name not in given:
            raise SecretNotFound(f"the test gives no secret {name!r}; give it with app(…, secrets={{{name!r}: …}})")
        return given[name]

    return fetch


def _sorted_out(
    kind: str, given: Mapping[str, T | Mapping[str, Any]] | None, interface: type[Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, T]]:
    """Sections and open objects apart. Raises `TypeError` for what is neither."""
    if not isinstance(given or {}, Mapping):
        raise TypeError(f"{kind}= maps names to sections or open objects: {kind}={{'main': …}}, not {described(given)}")
    sections: dict[str, dict[str, Any]] = {}
    ready: dict[str, T] = {}
    for name, value in (given or {}).items():
        if isinstance(value, Mapping):
            sections[name] = dict(value)
        elif missing_methods(value, interface) == missing_methods(None, interface):  # a test's own may lack what is not used
            wanted = f"a section such as {{'use': …}}, or an object with methods of {interface.__name__}"
            raise TypeError(f"{kind}[{name!r}] is {described(value)}: give {wanted}")
        else:
            ready[name] = value
    return sections, ready


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

    `databases` and `caches` map a name to an open object or to a section such as ``{"use": "sqlite"}``. The lifespans of
    the installed plugins are entered as in a real life.

    Raises `TypeError` for arguments that are something else, and otherwise what the start of a real life raises.
    """
    from .. import config as configuration

    if not isinstance(module, Module):
        raise TypeError(f"app() takes a module, not {described(module)}: decorate the function with @pywatt_module")
    definition = module.definition
    of_databases, ready_databases = _sorted_out("databases", databases, Database)
    of_caches, ready_caches = _sorted_out("caches", caches, Cache)
    tables = {kind: named for kind, named in (("databases", of_databases), ("caches", of_caches)) if named}
    settings = configuration.load(decorator=definition.config, init={**(config or {}), **tables}, environ={})
    values = dict(secrets or {})
    async with AsyncExitStack() as stack:
        registry = open_registry(settings)
        state: AppState[Any] = AppState(
            module_id=definition.name,
            config=settings,
            secrets=client_of(_fetch_from(values), settings),
            databases=ready_databases,
            caches=ready_caches,
            receivers=definition.receivers,
        )
        stack.push_async_callback(state.close)
        declared = await deliver(state, definition)
        state.serializers.update(await open_serializers(stack, registry, settings, definition.name))
        await open_resources(state, registry)
        if definition.state_builder is not None:
            state.user_state = await outcome(definition.state_builder(None, declared))
        options = ServerOptions(state=state, prefix=definition.prefix, port=False, guard=guard_for(definition, state))
        server = registry.make_server(
            await outcome(definition.build(state)),
            options,
            framework=definition.framework,
        )
        stack.push_async_callback(server.close)
        refuse_unguarded(server, options, definition)
        for path, handler in plain_routes(definition):
            server.add_route(path, handler)
        await enter_lifespans(stack, registry, state)
        await start_server(server, Listening(None, "", False))
        yield Client(server, state, registry.handlers(state), values)
