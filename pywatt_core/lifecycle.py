"""One module's life, from the init line to exit: `live` reads top to bottom.

    init line ─► config ─► plugins ─► state ─► server ─► announce ─► serve ─► drain ─► stop

Whatever is entered on the way is left in reverse by one exit stack. A failure ends the life with the exit code of the
step that it happened in (`EXIT_CODES`); a stop that arrives while the module is still starting ends the start.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from . import telemetry
from .definition import Definition, outcome
from .errors import BootstrapError, ChannelClosed, ConfigError, PluginError, ServerError
from .interfaces import ServerOptions
from .listening import Listening, listen
from .protocol.formats import offered_formats
from .protocol.http_pieces import HTTP_STREAM
from .protocol.messages import Announce, AnnouncedEndpoint, Extension, Init
from .protocol.session import Role, Session
from .redaction import register
from .resources import deliver, open_resources, open_secrets
from .services.channels import Channels
from .services.formats import open_serializers
from .services.turns import DEPTHS
from .serving import Inbox, guard_for, plain_routes, refuse_unguarded
from .state import AppState
from .transports.link import Link, new_id
from .transports.stdio import Wire, open_pipes

if TYPE_CHECKING:
    from .config import Settings
    from .interfaces import Server
    from .registry import Registry

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 30.0
"""Seconds to wait for the init line (settled: protocol 2.1 has no limit of its own)."""

DRAIN_UNCONFIGURED = 10.0
"""Seconds for the drain of a life that ends before its configuration is known."""

CLOSE_TIMEOUT = 10.0
"""Seconds that closing everything may take once the drain is over."""


CROSSING = 0.02
"""Seconds in which a request may still arrive that the orchestrator sent on one link before it told the module to stop on another."""


class Step(enum.Enum):
    """Where in its life a module is."""

    INIT = "init"
    CONFIG = "config"
    PLUGINS = "plugins"
    STATE = "state"
    APPLICATION = "application"
    SERVER = "server"
    SERVE = "serve"
    DRAIN = "drain"


EXIT_CODES: Mapping[Step, int] = {
    Step.INIT: 3,
    Step.CONFIG: 2,
    Step.PLUGINS: 4,
    Step.STATE: 5,
    Step.APPLICATION: 1,
    Step.SERVER: 4,
    Step.SERVE: 1,
    Step.DRAIN: 6,
}
"""What the process ends with when a step fails; 0 is a life that was lived to its end, 6 one whose drain was cut short."""


class Stop:
    """The one wish to end: who asked first, and how long running work may take."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.ending = asyncio.Event()
        """Set once the end has begun, asked for or not: from then on everything has a deadline."""
        self.reason = ""
        self.drain: float | None = None
        """Seconds for the drain; None takes the configured ones."""
        self.starting: asyncio.Task[Any] | None = None

    def ask(self, reason: str, drain: float | None = None) -> None:
        """Ask for the end; the first reason stands, a later shorter drain counts."""
        if drain is not None:
            self.drain = drain if self.drain is None else min(drain, self.drain)
        if self.asked.is_set():
            return
        self.reason = reason
        self.asked.set()
        self.ending.set()
        if self.starting is not None:
            self.starting.cancel()


class Life:
    """The state of one life that outlasts its steps: where it is, and whether it was asked to end."""

    def __init__(self, definition: Definition, wire: Wire | None, environ: Mapping[str, str]) -> None:
        self.definition = definition
        self.wire = wire
        self.environ = environ
        self.step = Step.INIT
        self.drain_limit = DRAIN_UNCONFIGURED
        self.stop = Stop()
        self.inbox = Inbox(on_stop=self.stop.ask)
        self.cut_short = False
        self.signalled = False
        self.code = 0
        """The exit code, once it is known."""
        self.lost_channel = ""
        """The required channel that gave up, which ended this life."""
        self.on_serving: Callable[[], None] | None = None
        """Called once, when the module is announced and serves."""


async def live(life: Life, stack: AsyncExitStack) -> None:
    """Live one life. Raises whatever ended it early; returns when it was asked to stop and has drained.

    What was opened is on `stack`: the caller closes it, whatever came of the life.
    """
    definition, stop = life.definition, life.stop
    link, init = await open_orchestrator(life, stack) if life.wire is not None else (None, None)

    life.step = Step.CONFIG
    settings = read_settings(definition, init, life.environ)
    life.drain_limit = settings.module.drain
    life.inbox.request_bytes = settings.module.requests_bytes
    life.inbox.allowance = DEPTHS * (settings.module.messages_at_once + settings.module.messages_waiting)
    module_id = init.module_id if init is not None else definition.name
    telemetry.configure(
        module_id,
        level=_log_level(settings, init),
        format=settings.module.log_format or ("json" if init is not None else "auto"),
        weak_secrets=init is None or init.pywatt is None,  # an orchestrator of ours tells it for all its modules
    )

    life.step = Step.PLUGINS
    registry = open_registry(settings)

    life.step = Step.STATE
    serializers = await open_serializers(stack, registry, settings, module_id)
    channels = await connect(stack, life, settings, registry, link, init)
    state = await open_state(stack, definition, settings, registry, module_id, link, init, channels=channels)
    state.serializers.update(serializers)

    life.step = Step.APPLICATION
    application = await outcome(definition.build(state))
    if definition.receivers.answering:
        state.messaging.begin()
    if definition.receivers.streams:
        state.streams.begin()

    life.step = Step.SERVER
    server, place = make_server(stack, life, registry, state, application, init)
    await enter_lifespans(stack, registry, state)
    await start_server(server, place)
    life.inbox.open(registry.handlers(state), server)

    life.step = Step.SERVE
    if link is not None and init is not None:
        await link.send(announcement(definition, server, place.address, init))
    stop.starting = None
    await state.begin()
    if life.on_serving is not None:
        life.on_serving()
    log.info("serving", extra={"address": place.address, "module_version": definition.version})
    await stop.asked.wait()

    life.step = Step.DRAIN
    log.info("stopping", extra={"reason": stop.reason})
    await state.end()
    life.cut_short = not await drain(life, server, settings)
    if life.lost_channel:
        life.step = Step.STATE
        raise ChannelClosed(f"the channel {life.lost_channel!r}, which the orchestrator requires, is lost", executed="no")


# ── the steps ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def open_orchestrator(life: Life, stack: AsyncExitStack) -> tuple[Link, Init]:
    """Open the wire and wait for the init line (protocol 2.1)."""
    assert life.wire is not None
    session = Session(Role.MODULE, new_id=new_id, on_problem=life.inbox.problem)
    link = await open_pipes(session, *life.wire, on_message=life.inbox.take, on_close=life.inbox.closed)
    stack.push_async_callback(link.close)
    seconds = handshake_timeout(life.environ)
    try:
        async with asyncio.timeout(seconds):
            init = await life.inbox.init
    except TimeoutError:
        raise BootstrapError(
            f"no init line arrived within {seconds:g} s: an orchestrator writes it to standard input; "
            "set PYWATT_STANDALONE=1 to run this module without one"
        ) from None
    session.module_id = init.module_id
    if init.auth_token:
        register(init.auth_token, name="auth_token")
    return link, init


def handshake_timeout(environ: Mapping[str, str]) -> float:
    """``PYWATT__MODULE__HANDSHAKE_TIMEOUT``, which only the environment can set: the init line comes before any other source."""
    text = environ.get("PYWATT__MODULE__HANDSHAKE_TIMEOUT") or str(HANDSHAKE_TIMEOUT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"PYWATT__MODULE__HANDSHAKE_TIMEOUT={text!r} is not a number of seconds above 0")
    return seconds


def read_settings(definition: Definition, init: Init | None, environ: Mapping[str, str]) -> Settings:
    """The effective configuration; an orchestrator of ours has read the file for us."""
    from . import config

    delivered = init.pywatt.config if init is not None and init.pywatt is not None else None
    return config.load(decorator=definition.config, init=delivered, environ=environ, defer=True)


def open_registry(settings: Settings) -> Registry:
    """Discover the plugins, which checks the whole configuration against them: one report of everything that is wrong."""
    from .registry import Registry

    registry = Registry.discover(settings)
    broken = [f"{plugin.label} is broken and left out: {plugin.broken}" for plugin in registry.plugins if plugin.broken]
    for warning in broken:
        log.warning("%s", warning)
    return registry


async def connect(
    stack: AsyncExitStack, life: Life, settings: Settings, registry: Registry, link: Link | None, init: Init | None
) -> Channels | None:
    """Open the channels of the init line; there are none stand-alone. The loss of a required one ends the module."""
    if link is None or init is None or not (init.tcp_channel or init.ipc_channel or settings.channels):
        return None if link is None else Channels(link)
    from .connecting import open_channels

    def lost(name: str) -> None:
        life.lost_channel = life.lost_channel or name
        life.stop.ask(f"the required channel {name!r} is lost")

    inbox = life.inbox
    return await open_channels(stack, settings, registry, link, init, on_message=inbox.take, on_problem=inbox.problem, on_lost=lost)


async def open_state(
    stack: AsyncExitStack,
    definition: Definition,
    settings: Settings,
    registry: Registry,
    module_id: str,
    link: Link | None,
    init: Init | None,
    *,
    channels: Channels | None = None,
) -> AppState[Any]:
    """Secrets, then databases, caches and authenticators in order, then the user's own state."""
    secrets, sources = await open_secrets(stack, registry, settings, module_id, channels=channels, init=init, follow=definition.rotate)
    state: AppState[Any] = AppState(
        module_id=module_id,
        config=settings,
        secrets=secrets,
        init=init,
        channels=channels,
        receivers=definition.receivers,
    )
    stack.push_async_callback(state.close)
    declared = await deliver(state, definition)
    await open_resources(state, registry)
    if definition.state_builder is not None:
        state.user_state = await outcome(definition.state_builder(init, declared))
    sources.begin(stack)
    return state


def make_server(
    stack: AsyncExitStack, life: Life, registry: Registry, state: AppState[Any], application: object, init: Init | None
) -> tuple[Server, Listening]:
    """Bind, and make the server that recognises the application. Nothing is accepted yet, nothing is announced."""
    definition = life.definition
    place: Listening = (
        listen(definition, init, life.environ, state.config)
        if definition.bind_http
        else Listening(None, init.listen if init else "", False)
    )
    # Without a port all requests come over the link, and so through the gateway of an orchestrator of ours.
    behind_gateway = place.inherited if definition.bind_http else init is not None and init.pywatt is not None
    options = ServerOptions(
        state=state,
        prefix=definition.prefix,
        behind_gateway=behind_gateway,
        threads=state.config.module.threads,
        port=definition.bind_http,
        guard=guard_for(definition, state),
    )
    if place.socket is not None:
        stack.callback(place.close)
    server = registry.make_server(application, options, framework=definition.framework)
    stack.push_async_callback(server.close)
    refuse_unguarded(server, options, definition)
    for path, handler in plain_routes(definition):
        server.add_route(path, handler)
    if definition.metrics_path is not None:
        from .telemetry.channel_lines import expose

        expose(state.channels)
    return server, place


async def enter_lifespans(stack: AsyncExitStack, registry: Registry, state: AppState[Any]) -> None:
    """Enter what plugins put around serving; each has ``module.open_timeout`` seconds for it."""
    seconds = state.config.module.open_timeout
    for lifespan in registry.lifespans(state):
        try:
            async with asyncio.timeout(seconds):
                await stack.enter_async_context(lifespan)
        except TimeoutError as error:
            raise PluginError(f"a plugin's lifespan was not entered within {seconds:g} s (module.open_timeout): {lifespan!r}") from error


async def start_server(server: Server, place: Listening) -> None:
    """From here on requests are accepted."""
    try:
        await server.start(place.socket)
    except SystemExit as error:
        raise ServerError(f"the server ended the process while it started (exit status {error.code})") from error


def announcement(definition: Definition, server: Server, address: str, init: Init) -> Announce:
    """What is told to the orchestrator once everything is bound and open (protocol 2.3)."""
    if definition.endpoints is None:
        endpoints: Sequence[AnnouncedEndpoint] = server.routes()
    else:
        endpoints = [
            endpoint if endpoint.path in (definition.health, definition.metrics_path) else _below(definition.prefix, endpoint)
            for endpoint in definition.endpoints
        ]
    told: dict[tuple[str, str | None], AnnouncedEndpoint] = {}
    for endpoint in endpoints:
        known = told.get((endpoint.path, endpoint.auth))
        methods = [*known.methods, *(method for method in endpoint.methods if method not in known.methods)] if known else endpoint.methods
        told[endpoint.path, endpoint.auth] = AnnouncedEndpoint(path=endpoint.path, methods=methods, auth=endpoint.auth)
    paths = {path for path, _auth in told}
    for path, _handler in plain_routes(definition):
        if path not in paths:
            told[path, None] = AnnouncedEndpoint(path=path, methods=["GET"])
    offer = None
    if init.pywatt is not None:
        features: tuple[str, ...] = ("heartbeat",) if definition.bind_http else ("heartbeat", "http_ipc_only")
        if HTTP_STREAM in init.pywatt.features and hasattr(server, "stream"):
            features += (HTTP_STREAM,)
        offer = Extension(formats=offered_formats(), features=features)
    return Announce(listen=address, endpoints=list(told.values()), pywatt=offer)


async def drain(life: Life, server: Server, settings: Settings) -> bool:
    """Take no new work and let what runs finish; False where something had to be cut short."""
    if life.inbox.told_to_stop:
        await asyncio.sleep(CROSSING)
    seconds = life.stop.drain if life.stop.drain is not None else settings.module.drain
    served, answered = await asyncio.gather(server.drain(seconds), life.inbox.drain(seconds))
    return served and answered


def _below(prefix: str, endpoint: AnnouncedEndpoint) -> AnnouncedEndpoint:
    return AnnouncedEndpoint(path=prefix + endpoint.path, methods=endpoint.methods, auth=endpoint.auth)


def _log_level(settings: Settings, init: Init | None) -> str:
    told = init is not None and init.log_level and settings.origin("module.log_level") == "default"
    return str(init.log_level) if init is not None and told else settings.module.log_level
