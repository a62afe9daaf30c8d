"""What one process says and what it is answered, whatever link it comes over. One row a message."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from pywatt_core.errors import ChannelClosed, PyWattError
from pywatt_core.protocol.hosted import HOSTING
from pywatt_core.protocol.http_pieces import HTTP_STREAM
from pywatt_core.protocol.messages import (
    Announce,
    DiscoverServiceProviders,
    GetSecret,
    Heartbeat,
    HeartbeatAck,
    Identify,
    Message,
    PortRequest,
    RegisterServiceProvider,
    RotationAck,
    RouteToModule,
    ServiceOperation,
    ServiceRequest,
)

from .hosting import ProcessServices

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from pywatt_core.protocol.session import Problem
    from pywatt_core.transports.link import Link

    from .desk import SecretDesk
    from .hub import Hub, Peer
    from .logs import Source
    from .project import ModulePlan

FEATURES = (HTTP_STREAM, HOSTING)
"""What we understand beyond the inherited protocol, whatever the channels."""
MOST_AT_ONCE = 100
"""Answers to one process that are under way, and messages of its that somebody does not keep up with; beyond them it waits itself."""
MOST_BYTES = 16 * 2**20
"""Bytes of such messages, and of answers that it does not read; beyond them it waits likewise."""
PATIENCE = 10.0
"""Seconds that a process is not read because it does not read what it is answered. Perhaps it waits for us to read first."""


class Conversation:
    """One process's side of everything that is not HTTP. Nothing here ever waits while a link is being read."""

    def __init__(
        self, plan: ModulePlan, peer: Peer, *, desk: SecretDesk, hub: Hub, source: Source, on_announce: Callable[[Announce], None]
    ) -> None:
        self.plan, self._peer = plan, peer
        self._desk, self._hub, self._source, self._on_announce = desk, hub, source, on_announce
        self.announced = False
        self._pulse: float | None = None
        self._asked: set[str] = set()
        self._tasks: dict[asyncio.Task[None], int] = {}
        self._bytes = 0
        self._held: set[Link] = set()
        """Links that are not read until there is less under way."""
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._services = ProcessServices(hub.services, peer)
        self._rows: dict[type[Message], Callable[[Any, Link], None]] = {
            Announce: self._announce,
            GetSecret: self._get_secret,
            HeartbeatAck: self._heartbeat_ack,
            PortRequest: lambda message, link: self._reply(hub.ports.answer(peer, message), link),
            RotationAck: self._nothing,
            Identify: self._nothing,
            RegisterServiceProvider: lambda message, link: self._reply(hub.directory.register(peer, message), link),
            DiscoverServiceProviders: lambda message, link: self._reply(hub.directory.discover(peer, message), link),
            ServiceRequest: self._services.request,
            ServiceOperation: self._services.operate,
            RouteToModule: self._route_to_module,
        }

    def leave_to(self, function: Callable[[Any, Link], None], kinds: Iterable[type[Message]]) -> None:
        """Messages of these kinds are somebody else's business."""
        self._rows.update(dict.fromkeys(kinds, function))

    def take(self, message: Message, link: Link) -> None:
        """A link's `on_message`."""
        row = self._rows.get(type(message))
        if row is None:
            self._source.note(f"a message that nothing waits for was ignored: {message.op}", level="debug")
        else:
            row(message, link)

    def problem(self, problem: Problem) -> None:
        """A session's `on_problem`: what cannot be acted on is shown, and costs the module nothing else."""
        if problem.kind == "text":
            self._source.stray(problem.text)
        elif problem.kind == "illegal" and "send 'announce'" in problem.detail:
            self._source.note("it announced itself again; the first announce stands", level="warning")
        elif problem.kind == "unknown":
            self._source.note(f"a message of an unknown kind was ignored: {problem.detail}", level="warning")
        else:
            self._source.note(f"a message was dropped ({problem.kind}): {problem.detail}", level="warning")

    @property
    def pulse(self) -> float | None:
        """When it last acknowledged a heartbeat on standard output, by the loop's clock; now, where it is us who do not read."""
        return self._loop.time() if self._held else self._pulse

    def end(self) -> None:
        """The process is gone."""
        self._ended = True
        for task in self._tasks:
            task.cancel()
        self._services.end()

    # ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _announce(self, message: Announce, _link: Link) -> None:
        self.announced = True
        self._on_announce(message)

    def _heartbeat_ack(self, _message: HeartbeatAck, link: Link) -> None:
        self._pulse = self._loop.time()

    def _nothing(self, _message: Message, _link: Link) -> None:
        """Understood, and nothing follows from it."""

    def _get_secret(self, message: GetSecret, link: Link) -> None:
        self._work(self._deliver(message.name, link), link)

    async def _deliver(self, name: str, link: Link) -> None:
        starting = not self.announced
        answer = await self._desk.answer(self._peer, self.plan, name, asked=self._asked, starting=starting, note=self._source.note)
        if answer.value is None and self.plan.rust:
            return  # The Rust SDK knows no negative answer and would take this line for a broken one (protocol 9.1).
        await self._send(answer, link)
        if self.plan.rust:
            await self._send(Heartbeat(), link)  # It may swallow the line after its answer (protocol 9.3).

    def _route_to_module(self, message: RouteToModule, link: Link) -> None:
        if self._ended:
            return
        work = self._hub.broker.route(self._peer, message, link)
        if work is not None:
            self._work(work, link, MOST_BYTES + 1 if self._hub.broker.crowded else len(message.payload.data))
        elif not link.keeps_up and link.unwritten > MOST_BYTES:
            self._work(_patience(link), link, MOST_BYTES + 1)

    # ── answering ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _reply(self, message: Message, link: Link) -> None:
        self._work(self._send(message, link), link)

    def _work(self, work: Coroutine[Any, Any, None], link: Link, size: int = 0) -> None:
        """Answer without keeping the link's reader; who asks faster than it takes the answers has to wait itself."""
        task = self._loop.create_task(work)
        self._tasks[task] = size
        self._bytes += size
        task.add_done_callback(self._done)
        if len(self._tasks) >= MOST_AT_ONCE or self._bytes > MOST_BYTES:
            self._held.add(link)
            link.pause_reading()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._bytes -= self._tasks.pop(task)
        if self._held and len(self._tasks) < MOST_AT_ONCE and self._bytes <= MOST_BYTES:
            held, self._held = self._held, set()
            for link in held:
                link.resume_reading()

    async def _send(self, message: Message, link: Link) -> None:
        try:
            await link.send(message)
        except ChannelClosed:
            pass  # It ended while it was being answered.
        except PyWattError as error:
            self._source.note(f"an answer could not be sent: {error}", level="error")


async def _patience(link: Link) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await link.caught_up()
