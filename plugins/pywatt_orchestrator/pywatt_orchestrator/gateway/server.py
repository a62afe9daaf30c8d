"""The front door: one listening socket, all modules behind it."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING, Any

from pywatt_core.errors import ConfigError, ServerError
from pywatt_core.protocol.values import TcpAddress

from .authentication import Authentication
from .client import ClientConnection
from .exchange import Exchange
from .inside import METRICS_PATH, ControlDoor, may_see, show_metrics
from .lines import header_lines
from .linked import LinkExchange
from .paths import BadPath
from .record import Recorder, log_access
from .replies import allow, index
from .request import RequestParser
from .response import response_heads
from .routing import RouteTable
from .streamed import StreamedExchange
from .templates import ANY_METHOD
from .upstream import Pool, least_busy
from .waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pywatt_core.telemetry import Metrics

    from .options import GatewayOptions
    from .request import RequestHead
    from .routing import Match
    from .upstream import Instance

LONGEST_TICK = 0.5
"""Seconds between two sweeps over all connections, at most."""


class Gateway:
    """One HTTP front door. `update` swaps the routes while it runs; `drain`, then `close`, ends it."""

    def __init__(
        self,
        options: GatewayOptions,
        *,
        on_access: Callable[[Mapping[str, Any]], None] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.options = options
        self.table = RouteTable()
        self.address: TcpAddress | None = None
        """What is really bound; None before `start`."""
        self.draining = False
        self.now = 0.0
        """The loop's time at the last sweep: exact enough for deadlines, and free."""
        self.metrics = metrics if options.metrics != "off" else None
        """What ``/_pywatt/metrics`` shows."""
        self.control: ControlDoor | None = None
        """What ``/_pywatt/api`` leads to, where the orchestrator has such a thing."""
        self.authenticate: Callable[[str], Awaitable[object]] | None = None
        """Checks a token, and raises what `pywatt_core.access.Authenticator` does. Without it nobody passes who needs one."""
        self.warned = float("-inf")
        """When the log was last told that tokens cannot be checked."""
        self.requests = RequestParser(options)
        self.responses = response_heads(options)
        self._clients: set[ClientConnection] = set()
        self._changed: asyncio.Future[None] | None = None
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._tick = min(LONGEST_TICK, options.shortest_timeout() / 8)
        self._nobody_left: asyncio.Future[None] | None = None
        if on_access is None and options.access_log:
            on_access = log_access
        records = on_access is not None or self.metrics is not None
        self.recorder = Recorder(on_access, self.metrics, lambda: len(self._clients)) if records else None

    # ── its life ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Bind and accept. Raises `ServerError` or `ConfigError`, which name what is wrong and the way out."""
        options, loop = self.options, asyncio.get_running_loop()
        context = self._tls()
        try:
            self._server = await loop.create_server(
                lambda: ClientConnection(self),
                options.bind,
                options.port,
                backlog=1024,
                ssl=context,
                ssl_handshake_timeout=options.head_timeout if context else None,
            )
        except OSError as error:
            raise ServerError(
                f"the gateway cannot listen on {options.bind}:{options.port}: {_reason(error)}; "
                "stop the program that uses the port (ss -ltnp shows it), or choose another one: port in [gateway]"
            ) from error
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = TcpAddress(host, port)
        self._sweep()

    def _tls(self) -> ssl.SSLContext | None:
        if self.options.tls_cert is None or self.options.tls_key is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.options.tls_cert, self.options.tls_key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or getattr(error, "reason", None) or error
            raise ConfigError(
                f"gateway.tls_cert {self.options.tls_cert} with gateway.tls_key {self.options.tls_key} cannot be used: {reason}; "
                "both must be readable PEM files that belong together, the key without a passphrase"
            ) from error
        return context

    def update(self, table: RouteTable) -> None:
        """Route by `table` from the next request on. What is under way with an instance that is gone still ends there."""
        options = self.options
        kept = {instance for module in table.modules for instance in module.instances}
        for instance in {instance for module in self.table.modules for instance in module.instances} - kept:
            instance.on_ready = None
            if instance.pool is not None:
                instance.pool.close()
        for instance in kept:
            instance.on_ready = self._notify
            if instance.address is not None and (instance.pool is None or instance.pool.closed):
                instance.pool = Pool(instance.address, options.max_upstream_connections, options.connect_timeout)
        self.table = table
        self.requests.heads.clear()
        self._notify()

    async def drain(self, deadline: float) -> bool:
        """Accept nothing new and let what is under way finish, `deadline` seconds at most; False where something was cut."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.close_if_idle()
        return await self._emptied(deadline)

    async def _emptied(self, deadline: float) -> bool:
        """Wait until no connection is left; False where `deadline` seconds were not enough."""
        if self._clients:
            self._nobody_left = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(deadline):
                    await self._nobody_left
            except TimeoutError:
                return False
        return True

    async def close(self) -> None:
        """Close every connection and the listening socket. May be called without `start`, and twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for client in list(self._clients):
            client.transport.abort()
        self.update(RouteTable())
        await self._emptied(1.0)
        if self.recorder is not None:
            self.recorder.write()

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────

    def dispatch(self, client: ClientConnection, request: RequestHead, *, checked: bool = False) -> None:
        """Find who answers the client's request, and let them. `checked`: it has shown the token that it may need."""
        match = request.route or self._route(client, request)
        if match is not None:
            if request.guarded and not checked:
                client.converse(Authentication(client, match.module.name))
            elif not match.linked:
                client.converse(Exchange(client, match, request))
            else:
                client.converse(StreamedExchange(client, match) if match.streamed else LinkExchange(client, match))

    def _route(self, client: ClientConnection, request: RequestHead) -> Match | None:
        """Look the request up in the table, and note in it what was found; None where nothing is open to it, which is answered."""
        if request.path == b"*":
            client.answer(204, b"\r\nAllow: " + allow(ANY_METHOD).encode(), b"")
            return None
        try:
            match = self.table.resolve(request.path)
        except BadPath as error:
            client.keep_alive = False
            client.problem(400, str(error))
            return None
        if match is None or match.methods is None or request.method not in match.methods or request.method == b"TRACE":
            self._closed(client, match)
            return None
        if match.module.endpoints is None and self.options.authenticate is not None:  # what needs a token is not known yet
            client.converse(Waiting(client, match.module.name))
            return None
        request.guarded = self.options.authenticate is not None and match.guards(request)
        request.route = match
        request.start = b"".join((request.method, b" ", match.inner, request.query, b" HTTP/1.1", request.lines.kept))
        return match

    def is_guarded_since(self, request: RequestHead, match: Match) -> bool:
        """Whether a request that has waited needs a token by now that it did not need when `match` was found for it."""
        if self.options.authenticate is None:
            return False
        now = self.table.resolve(request.path)
        return now is not None and now.guards(request) and not match.guards(request)

    def _closed(self, client: ClientConnection, match: Match | None) -> None:
        """Answer where nothing is open to the request."""
        request = client.request
        if match is None:
            self._not_mounted(client, request)
            return
        module = match.module
        client.module = module.name
        if match.methods is not None:
            client.problem(405, "the path does not admit this method", module=module.name, lines=[("Allow", allow(match.methods))])
        elif module.endpoints is None and not module.mount_all:
            client.converse(Waiting(client, module.name))
        elif not match.inner and (below := self.table.resolve(request.path + b"/")) is not None and below.methods is not None:
            client.answer(308, b"\r\nLocation: " + request.path + b"/" + request.query, b"")
        else:
            client.problem(404, f"module {module.name} has no such path", module=module.name)

    def _not_mounted(self, client: ClientConnection, request: RequestHead) -> None:
        if request.path == METRICS_PATH and self.metrics is not None and may_see(client, request):
            show_metrics(client, request, self.metrics)
        elif self.control is not None and self.control.takes(client, request):
            self.control.answer(client, request)
        elif request.path != b"/":
            client.problem(404, "no module is mounted at this path")
        elif request.method in (b"GET", b"HEAD"):
            lines, body = index(self.table, request.lines.field(b"accept"))
            client.answer(200, header_lines(lines), body)
        else:
            client.problem(405, "the path does not admit this method", lines=[("Allow", "GET, HEAD")])

    async def ready_instance(self, name: str, avoid: Instance | None = None) -> Instance | None:
        """The instance of module `name` to send the next request to; waits until there is one. None where none will come."""
        while (module := self.table.module(name)) is not None and module.instances:
            instance = least_busy(module.instances, avoid)
            if instance is not None:
                return instance
            await self.changed()
        return None

    async def changed(self) -> None:
        """Wait for a new table, or for an instance that becomes ready."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    # ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────

    def admit(self, client: ClientConnection) -> bool:
        """Count a new connection; False where there are as many as there may be."""
        self._clients.add(client)
        return len(self._clients) <= self.options.max_connections

    def forget(self, client: ClientConnection) -> None:
        """A connection is closed."""
        self._clients.discard(client)
        if not self._clients and self._nobody_left is not None and not self._nobody_left.done():
            self._nobody_left.set_result(None)

    def _sweep(self) -> None:
        """Tell every connection whose deadline has passed; close idle connections to modules before the modules do."""
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        late = self.now - self._tick
        for client in [client for client in self._clients if client.deadline < late]:
            client.timed_out()
        idle = self.now - self.options.upstream_idle_timeout
        for module in self.table.modules:
            for instance in module.instances:
                if instance.pool is not None:
                    instance.pool.expire(idle)
        self._sweeping = loop.call_later(self._tick, self._sweep)


def _reason(error: OSError) -> str:
    """What the system says about it, without what asyncio writes around it."""
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror or str(error)
