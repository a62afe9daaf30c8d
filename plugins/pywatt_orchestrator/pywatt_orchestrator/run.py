"""One process of one instance: spawned, greeted, watched until it is ready, kept alive, ended, reaped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from pywatt_core.errors import ChannelClosed, PyWattError
from pywatt_core.protocol.messages import (
    Announce,
    Extension,
    Heartbeat,
    HttpRequest,
    HttpResponse,
    Init,
    Message,
    Rotated,
    Shutdown,
    TcpAddress,
    UnixAddress,
)
from pywatt_core.protocol.session import Facts, Role, Session, Wire
from pywatt_core.transports.link import Link, new_id
from pywatt_core.transports.stdio import open_pipes

from . import probe
from .carrying import KINDS, Carrying
from .channels import ProcessChannels
from .conversation import FEATURES, Conversation
from .logs import Pump, Source
from .places import Place, announced_address
from .process import Child, Spawn, environment, spawn, without_core_file
from .rust_http import RustHttp, rust_turns
from .telling import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pywatt_core.protocol.messages import RotationAck
    from pywatt_core.protocol.session import Problem

    from .carrying import Asker, Carried
    from .project import ModulePlan
    from .surroundings import Surroundings

LAST_WORDS = 0.5
"""Seconds to read on after a process has ended, where something that it started still holds its pipes."""
LINK_REQUEST = 60.0
"""Seconds that a module without a port has for one HTTP request."""
DUMP_TIME = 1.0
"""Seconds that a process which hangs gets to write down where."""
MISSED_BEFORE_NOTICE = 2.0
"""Seconds without an acknowledgement after which a module is taken for hanging: two heartbeats."""
NO_PORT = "http_ipc_only"
"""The feature of a module that serves no port."""


def offers(announce: Announce, feature: str) -> bool:
    """Whether a module announced a feature beyond the protocol's own."""
    return announce.pywatt is not None and feature in announce.pywatt.features


class Run:
    """One process. `announced` resolves with its first announce, `doomed` with the reason why it has to be replaced."""

    def __init__(self, plan: ModulePlan, module_id: str, place: Place, around: Surroundings, *, on_notice: Callable[[bool], None]) -> None:
        self.plan, self.module_id, self._place, self._around = plan, module_id, place, around
        loop = asyncio.get_running_loop()
        self._loop = loop
        self.announced: asyncio.Future[Announce] = loop.create_future()
        self.doomed: asyncio.Future[str] = loop.create_future()
        self.hangs = False
        """It has left heartbeats unanswered for longer than two of them."""
        self.address: TcpAddress | UnixAddress | None = None
        """Where it is reached once it has announced itself; None for a module that serves no port."""
        self._on_notice = on_notice
        self._source = Source(around.journal, module_id)
        self._talk = Conversation(plan, self, desk=around.desk, hub=around.hub, source=self._source, on_announce=self._announce)
        self._carrying, self._rust_turns = Carrying(), rust_turns()
        self._talk.leave_to(self._carrying.take, KINDS)
        self._facts = Facts()
        self._link: Link | None = None
        self._channels = ProcessChannels(
            plan,
            module_id,
            around.listener,
            self._facts,
            on_message=self._talk.take,
            on_problem=self._talk.problem,
            on_lost=self._note_unless_it_ends,
            note=lambda text: self._source.note(text, level="error"),
        )
        self._pump: Pump | None = None
        self._pump_transport: asyncio.ReadTransport | None = None
        self.child: Child | None = None
        self.not_ready_because = "it has not announced itself"
        """What is missing until it is ready, for a person."""
        self._ending = False
        self._beat_at: float | None = None
        """When the heartbeat that waits for its acknowledgement was sent."""

    # ── beginning ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> Child:
        """Spawn and greet. Raises `PyWattError` or `OSError` with the reason where there is nothing to watch; nothing is left then."""
        try:
            self._place.open()
            self._channels.open(self._around.channel_path(self.module_id))
            self.child = child = spawn(self._what(), on_started=self._around.guardian.add, on_gone=self._around.guardian.discard)
            self._channels.let_in(child.pid)
            self._pump = pump = Pump(self._source)
            session = self._session(Wire.STDIO, self._talk.problem)
            self._link = await open_pipes(session, child.stdout, child.stdin, on_message=self._talk.take, on_close=self._wire_closed)
            self._pump_transport, _ = await self._loop.connect_read_pipe(lambda: pump, os.fdopen(child.stderr, "rb", buffering=0))
            with contextlib.suppress(ChannelClosed):  # It ended before it was greeted: its exit code says more.
                self._link.post(self._init())
        except BaseException:
            await self.kill()
            raise
        return child

    def _what(self) -> Spawn:
        settings = self.plan.settings
        extra = dict(settings.env)
        if settings.run is not None or settings.module_id_env:
            extra["PYWATT_MODULE_ID"] = self.module_id
        fd = self._place.fd
        if fd is not None:
            extra["PYWATT_LISTEN_FD"] = str(fd)
        return Spawn(
            argv=self.plan.command_line(self._around.python),
            cwd=str(self.plan.cwd),
            env=environment(self._around.environ, inherit=settings.inherit_env, extra=extra),
            pass_fds=() if fd is None else (fd,),
        )

    def _init(self) -> Init:
        offer = self._channels.offer()
        return Init(
            orchestrator_api=self._around.api,
            module_id=self.module_id,
            env=dict(self.plan.settings.env),
            listen=self._place.listen,
            tcp_channel=offer.tcp_channel,
            ipc_channel=offer.ipc_channel,
            auth_token=offer.auth_token,
            security_level=offer.security_level,
            pywatt=Extension(config=dict(self.plan.config), formats=offer.formats, features=(*FEATURES, *offer.features)),
        )

    def _session(self, wire: Wire, on_problem: Callable[[Problem], None]) -> Session:
        return Session(Role.ORCHESTRATOR, wire, facts=self._facts, module_id=self.module_id, on_problem=on_problem, new_id=new_id)

    # ── being a peer of other modules ───────────────────────────────────────────────────────────────────────────────

    @property
    def module(self) -> str:
        return self.plan.name

    @property
    def rust(self) -> bool:
        return self.plan.rust

    def reads(self, format: str) -> bool:
        """Whether its announce offered the format."""
        extension = self.announced.result().pywatt if self.announced.done() else None
        return extension is not None and format in extension.formats

    def way(self) -> Link:
        """Its channel where there is one, else its standard input. Raises `ChannelClosed` where it is gone."""
        link = self._channels.best or self._link
        if link is None:
            raise ChannelClosed(f"{self.module_id} is not running", executed="no")
        return link

    async def deliver(self, message: Message) -> None:
        """Send over the best of its links, over the next where that was just closed. Raises `ChannelClosed` where it is gone."""
        link = self.way()
        try:
            await link.send(message)
        except ChannelClosed as error:
            if error.executed != "no" or link is self._link or self._link is None:
                raise
            await self._link.send(message)

    def note(self, text: str, *, level: str = "info") -> None:
        """One line in its log."""
        self._source.note(text, level=level)

    # ── holding secrets ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def start_patience(self) -> float | None:
        """None once it has announced itself; until then the seconds that its start may take."""
        return None if self.announced.done() else self.plan.settings.start_timeout

    async def rotate(self, names: Sequence[str], rotation_id: str, *, timeout: float) -> RotationAck | None:
        """What `parties.Process` promises."""
        if self._link is None or self.child is None:
            return None
        message = Rotated(keys=list(names), rotation_id=rotation_id)
        return await tell(self._link, self.child.exited, message, ends=self._has_to_end, pad=self.rust, timeout=timeout)

    # ── being watched ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def ipc_only(self) -> bool:
        return self._offers(NO_PORT)

    def _offers(self, feature: str) -> bool:
        return self.announced.done() and offers(self.announced.result(), feature)

    def _announce(self, announce: Announce) -> None:
        if self.announced.done():
            return
        if not offers(announce, NO_PORT):
            try:
                self.address = announced_address(announce.listen, self._place)
            except ValueError as error:
                self.doom(str(error))  # It stays unannounced: nobody may be sent to an address of somebody else.
                return
        self.announced.set_result(announce)
        self._channels.announced()

    async def until_ready(self) -> None:
        """Wait for the announce, then until the address accepts and the health path answers 2xx, however long that takes."""
        announce = await self.announced
        path = self.plan.settings.health
        announced = {endpoint.path for endpoint in announce.endpoints if "GET" in (method.upper() for method in endpoint.methods)}
        pause = probe.FIRST_PAUSE
        while True:
            try:
                async with asyncio.timeout(probe.ATTEMPT):
                    await self._ask(path if path in announced else None)
                return
            except probe.NotWell as error:
                self.not_ready_because = str(error)
            except TimeoutError:
                self.not_ready_because = f"{path} was not answered within {probe.ATTEMPT:g} s"
            await asyncio.sleep(pause)
            pause = min(pause * 2, probe.LONGEST_PAUSE)

    async def _ask(self, path: str | None) -> None:
        if not self.ipc_only:
            assert self.address is not None
            await probe.ask(self.address, path)
        elif path is not None and self._link is not None:
            try:
                await probe.ask_over_link(self._link, path, timeout=probe.ATTEMPT)
            except PyWattError as error:
                raise probe.NotWell(f"{path} was not answered ({error})") from error

    async def http_request(self, request: HttpRequest) -> HttpResponse:
        """Carry a request to a module without a port. Raises what `Link.request` raises."""
        self._refuse_at_the_end()
        assert self._link is not None
        # On its channel the Rust SDK answers by itself (protocol 6.6).
        link = RustHttp(self._link, self._rust_turns) if self.rust else self.way()
        answer = await link.request(request, timeout=LINK_REQUEST)
        assert isinstance(answer, HttpResponse)
        return answer

    def http_stream(self, asker: Asker) -> Carried:
        """Begin a request whose bodies travel in pieces, over the best of its links. Raises `ChannelClosed` where it is gone."""
        self._refuse_at_the_end()
        return self._carrying.open(self.way(), asker)

    def _refuse_at_the_end(self) -> None:
        """A process that was told to end gets nothing new, also while the gateway has not heard of it yet."""
        if self._link is None or self._ending:
            raise ChannelClosed("the module is not running", executed="no")

    def beat(self, now: float, *, late: bool) -> None:
        """Called each second. `late`: we ourselves were held up, so that nobody else can be blamed."""
        self._channels.beat()
        if not self._offers("heartbeat") or self._link is None or self.doomed.done():
            return
        if self._beat_at is not None and (self._talk.pulse or 0.0) >= self._beat_at:
            self._beat_at = None
            self._notice(False)
        if self._beat_at is None:
            self._beat_at = now
            with contextlib.suppress(PyWattError):
                self._link.post(Heartbeat())
        elif late:
            self._beat_at = now
        elif now - self._beat_at >= self.plan.settings.hang_timeout:
            self.doom(f"it hangs: no heartbeat was acknowledged for {now - self._beat_at:.0f} s (hang_timeout)")
        elif now - self._beat_at >= MISSED_BEFORE_NOTICE:
            self._notice(True)

    def _notice(self, hangs: bool) -> None:
        if hangs is not self.hangs:
            self.hangs = hangs
            self._on_notice(hangs)

    def doom(self, reason: str) -> None:
        """It has to be replaced; the first reason stands."""
        if not self.doomed.done():
            self.doomed.set_result(reason)

    def _wire_closed(self, _link: Link, error: Exception | None) -> None:
        if self._has_to_end():
            return
        if error is not None:
            self.doom(f"its standard output cannot be read any more: {error}")
        else:
            self._note_unless_it_ends("it closed its standard output: it can announce and ask for nothing any more")

    def _note_unless_it_ends(self, text: str) -> None:
        """The streams of a process close a moment before its end is known; only when it lives on there is something to say."""
        self._loop.call_later(LAST_WORDS, lambda: None if self._has_to_end() else self._source.note(text, level="warning"))

    def _has_to_end(self) -> bool:
        """Nothing that closes now is worth a word."""
        return self._ending or self.child is None or self.child.exited.done()

    # ── ending ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def stop(self) -> int:
        """Ask it to end, then tell it, then end it with everything it started; return the exit code.

        One that has not announced itself has nothing to finish, and may not listen yet: it is told at once.
        """
        assert self.child is not None
        self._ending = True
        self._around.hub.leaving(self)
        settings = self.plan.settings
        # Standard input last: what ends may close its channels at once, and writing to a closed one would lose its last words.
        for link in (*self._channels.links, self._link):
            if link is not None:
                with contextlib.suppress(PyWattError):
                    link.post(Shutdown())
        if self._link is not None:
            self._link.close_writing()
        serves = self.announced.done()
        if not serves or not await self._ends_within(settings.stop_timeout):
            if serves:
                self._source.note(f"it does not end {settings.stop_timeout:g} s after shutdown (stop_timeout): SIGTERM", level="warning")
            self.child.signal(signal.SIGTERM)
            self.child.signal(signal.SIGCONT)
            if not await self._ends_within(settings.kill_timeout):
                self._source.note(f"it ignores SIGTERM for {settings.kill_timeout:g} s (kill_timeout): SIGKILL", level="warning")
        return await self.kill()

    async def dump_and_kill(self) -> int:
        """End a process that hangs; a Python one first writes to its log where (its faulthandler answers SIGABRT)."""
        assert self.child is not None
        if self.plan.settings.run is not None and without_core_file(self.child.pid):
            self.child.signal_leader(signal.SIGABRT)
            self.child.signal(signal.SIGCONT)
            await self._ends_within(DUMP_TIME)
        return await self.kill()

    async def kill(self) -> int:
        """End it now, with everything it started, and close what led to it; return the exit code. May be called twice."""
        self._ending = True
        self._around.hub.leaving(self)
        code = 0
        if self.child is not None:
            self.child.signal(signal.SIGKILL)
            code = await self.child.exited
        if self._pump is not None and self._pump_transport is not None:
            ends: list[asyncio.Future[None]] = [self._pump.ended, *(link.closed for link in self._channels.links)]
            if self._link is not None:
                ends.append(self._link.closed)
            await asyncio.wait(ends, timeout=LAST_WORDS)
            self._pump_transport.close()
        self._around.hub.gone(self)  # Not earlier: what it answered last may have been on its way still.
        self._talk.end()
        self._around.desk.gone(self)
        if self._link is not None:
            await self._link.close()
        await self._channels.close()
        return code

    def kill_at_once(self) -> None:
        """SIGKILL without waiting: somebody has lost patience."""
        if self.child is not None:
            self.child.signal(signal.SIGKILL)

    async def _ends_within(self, seconds: float) -> bool:
        assert self.child is not None
        done, _ = await asyncio.wait({self.child.exited}, timeout=seconds)
        return bool(done)
