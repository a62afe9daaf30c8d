"""The life cycle in separate steps, for programs that drive it themselves (the earlier SDK's names).

    handshake = await read_init()
    …
    await send_announce(handshake, listen="127.0.0.1:4102", endpoints=[…])
    await process_ipc_messages(handshake, handlers)

`bootstrap_module` does the first half at once: init line, configuration, plugins, secrets, state.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from .config import load
from .definition import Definition
from .errors import BootstrapError, PyWattError
from .interfaces import Handler, Server, ServerOptions
from .lifecycle import Life, connect, open_orchestrator, open_registry, open_state, read_settings
from .protocol.messages import Announce, AnnouncedEndpoint, Init, Message
from .registry import Registry
from .services.formats import open_serializers
from .state import AppState
from .transports.link import Link
from .transports.stdio import take_wire

T = TypeVar("T")


@dataclass
class Handshake:
    """An open wire whose init line has been read."""

    init: Init
    link: Link
    life: Life
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def stopped(self) -> asyncio.Event:
        """Set once the orchestrator asked for the end, or is gone."""
        return self.life.stop.asked

    async def close(self) -> None:
        """Close everything that was opened since, in reverse, the wire last."""
        await self.stack.aclose()


@dataclass
class BootstrapResult(Generic[T]):
    """What `bootstrap_module` brought up; `close()` ends it."""

    state: AppState[T]
    handshake: Handshake
    registry: Registry

    @property
    def init(self) -> Init:
        """The orchestrator's init message."""
        return self.handshake.init

    async def close(self) -> None:
        """Close the state and the wire."""
        await self.handshake.close()


async def read_init() -> Handshake:
    """Take standard input and output for the wire and read the init line.

    Raises `BootstrapError` where none arrives within 30 s, `RemoteProtocolError` where it is not one.
    """
    life = Life(Definition(build=lambda _state: None), take_wire(), os.environ)
    stack = AsyncExitStack()
    try:
        link, init = await open_orchestrator(life, stack)
    except BaseException:
        await stack.aclose()
        raise
    return Handshake(init, link, life, stack)


async def bootstrap_module(
    *,
    secret_keys: Sequence[str] = (),
    state_builder: Callable[[Any, list[Any]], Any] | None = None,
    config: Mapping[str, Any] | None = None,
) -> BootstrapResult[Any]:
    """From the init line to an open state; nothing is announced. Raises `BootstrapError`, its cause kept."""
    handshake = await read_init()
    definition = Definition(build=lambda _state: None, secrets=secret_keys, state_builder=state_builder, config=config)
    try:
        settings = read_settings(definition, handshake.init, os.environ)
        registry = open_registry(settings)
        link, init, stack = handshake.link, handshake.init, handshake.stack
        serializers = await open_serializers(stack, registry, settings, init.module_id)
        channels = await connect(stack, handshake.life, settings, registry, link, init)
        state = await open_state(stack, definition, settings, registry, init.module_id, link, init, channels=channels)
        state.serializers.update(serializers)
    except PyWattError as error:
        await handshake.close()
        raise BootstrapError(f"bootstrap failed: {error}") from error
    except BaseException:
        await handshake.close()
        raise
    return BootstrapResult(state, handshake, registry)


async def send_announce(handshake: Handshake, *, listen: str, endpoints: Sequence[AnnouncedEndpoint] = ()) -> None:
    """Tell the orchestrator where this module listens. Bind first: it is believed at once. Once per process."""
    await handshake.link.send(Announce(listen=listen, endpoints=list(endpoints)))


def announce_from_router(application: object) -> list[AnnouncedEndpoint]:
    """What an application's own router contains, for `send_announce`: FastAPI, Flask, Starlette, or a plugin's framework.

    Raises `PluginError` where no installed plugin recognises the application.
    """
    settings = load(init={})
    server = Registry.discover(settings).make_server(application, ServerOptions(state=None))
    return server.routes()


async def process_ipc_messages(handshake: Handshake, handlers: Mapping[type[Message], Handler], server: Server | None = None) -> str:
    """Act on what arrives until the orchestrator asks for the end or is gone; returns the reason.

    `handlers` are called by message type; with `server`, HTTP requests over the link are answered by its application.
    """
    handshake.life.inbox.open(handlers, server)
    await handshake.stopped.wait()
    return handshake.life.stop.reason
