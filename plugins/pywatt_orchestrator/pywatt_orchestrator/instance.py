"""One instance of a module through all its processes: started, made ready, restarted, stopped. `states` says what is possible."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from pywatt_core.errors import ChannelClosed, PyWattError
from pywatt_core.policies import Restarts

from .lines import Record
from .places import Place, TcpPlace, UnixPlace
from .process import EXIT_MEANINGS, NO_RESTART, NoProgram, describe_exit
from .run import Run
from .states import Event, State, following

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pywatt_core.protocol.messages import Announce, HttpRequest, HttpResponse

    from .carrying import Asker, Carried
    from .project import ModulePlan
    from .surroundings import Surroundings

_log = logging.getLogger(__name__)

PROGRESS_AFTER = 5.0
"""Seconds of starting after which it says what it waits for; then again after twice as long."""
NO_CORE = "No module named 'pywatt_core'"
"""What an interpreter says in which nobody has installed the core."""
SETTLED = (State.READY, State.FAILED, State.BACKOFF, State.STOPPED)
SHOWN_LINES = 20
"""Log lines that a status shows to say why."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `pywatt ps`."""

    module: str
    instance: str
    pid: int | None
    state: str
    restarts: int
    """Starts that nobody asked for."""
    address: str
    uptime: float | None
    """Seconds since the process was started, None where there is none."""
    why: str = ""
    """What it waits for, or why it is not running."""
    log: tuple[Record, ...] = ()
    """The last lines, where it is not running although it should."""
    secrets: str = ""
    """What is wrong with the values of its secrets: a rotation that failed."""


class Instance:
    """The supervisor tells it to start and to stop; it does the rest by itself and reports every change."""

    def __init__(
        self,
        plan: ModulePlan,
        module_id: str,
        place: Place,
        around: Surroundings,
        *,
        may_start: Callable[[], Awaitable[None]],
        on_change: Callable[[Instance], None],
    ) -> None:
        self.plan, self.module_id, self.place = plan, module_id, place
        self._around = around
        self._may_start, self._on_change = may_start, on_change
        self.state = State.STOPPED
        self.why = ""
        self.announce: Announce | None = None
        """What the process now running, or the last one, announced."""
        self.run: Run | None = None
        self.exit_code: int | None = None
        self._processes = 0
        self._started = 0.0
        self._restarts = Restarts()
        self._task: asyncio.Task[None] | None = None
        self._restarting = False
        self._replacing: set[asyncio.Task[None]] = set()
        self._retired = False
        self.stops = 0
        """How often somebody wanted it to stop: a wish to restart it that came before is void then."""
        self.waits = False
        """It may not start yet, because of what it depends on; `why` names it."""
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()

    # ── from outside ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def hangs(self) -> bool:
        return self.run is not None and self.run.hangs

    @property
    def stopped_by_request(self) -> bool:
        """Somebody stopped it, and may want to start it again."""
        return self.state is State.STOPPED and self._stop.is_set()

    def start(self) -> None:
        """Begin to live, as after a person's word: earlier failures are forgotten. Nothing happens where it lives."""
        if self._retired or (self._task is not None and not self._task.done()):
            return
        self._stop.clear()
        self._restarts.forget()
        self._enter(Event.START)
        self._task = asyncio.create_task(self._live(), name=f"instance {self.module_id}")
        self._task.add_done_callback(_report_crash)

    async def stop(self) -> None:
        """End the process gracefully and stay stopped, whatever restart is under way; returns when it is gone."""
        self.stops += 1
        self._restarting = False
        self._stop.set()
        if self._task is not None:
            await asyncio.wait({self._task})
        if self.state is State.FAILED:
            self._enter(Event.STOP)

    async def retire(self) -> None:
        """Stop for good: the orchestrator ends."""
        self._retired = True
        await self.stop()

    async def restart(self) -> None:
        """End the process gracefully and start another one at the same address, whose backlog keeps who comes meanwhile.

        Cancelling ends the waiting alone: a module that was told to end is started again even so.
        """
        replacing = asyncio.create_task(self._replace(), name=f"restarting {self.module_id}")
        self._replacing.add(replacing)
        replacing.add_done_callback(self._replacing.discard)
        await asyncio.shield(replacing)

    async def _replace(self) -> None:
        before = self.stops
        self._stop.set()
        if self._task is not None:
            self._restarting = True
            await asyncio.wait({self._task})
            self._restarting = False
        if self.stops == before:
            self.start()

    @property
    def comes_back(self) -> bool:
        """Whether there is, or soon will be, a process without a person's word."""
        return self._restarting or self.state not in (State.FAILED, State.STOPPED)

    def kill_at_once(self) -> None:
        """A person has lost patience: no more grace."""
        if self.run is not None:
            self.run.kill_at_once()

    async def settled(self) -> State:
        """Wait until it is known what became of a start: ready, ended, or held up by what it depends on."""
        while self.state not in SETTLED and not self.waits:
            self._changed.clear()
            await self._changed.wait()
        return self.state

    def wait_for(self, text: str) -> None:
        """What it depends on is not ready; `text` says so."""
        if self.state is State.STARTING and self.run is None:
            self.why, self.waits = text, True
            self._changed.set()

    async def http_request(self, request: HttpRequest) -> HttpResponse:
        """Carry a request to a module without a port. Raises what `Link.request` raises."""
        return await self._running().http_request(request)

    def http_stream(self, asker: Asker) -> Carried:
        """Begin a request in pieces to a module without a port. Raises `ChannelClosed` where it is gone."""
        return self._running().http_stream(asker)

    def _running(self) -> Run:
        if self.run is None:
            raise ChannelClosed(f"{self.module_id} is not running", executed="no")
        return self.run

    def status(self, now: float | None = None) -> Status:
        """How it is, for a person."""
        child = self.run.child if self.run is not None else None
        running = child is not None and not child.exited.done()
        waits = self.state in (State.BACKOFF, State.FAILED)
        return Status(
            module=self.plan.name,
            instance=self.module_id,
            pid=child.pid if child is not None and running else None,
            state=self.state.value,
            restarts=self._restarts.count,
            address=self._address(),
            uptime=round((time.monotonic() if now is None else now) - self._started, 1) if running else None,
            why=self.why if not self.hangs else "it does not acknowledge heartbeats",
            log=tuple(self._around.journal.last([self.module_id], SHOWN_LINES)) if waits else (),
            secrets=self._around.desk.ledger.trouble(self.module_id, self.run),
        )

    def _address(self) -> str:
        if self.run is not None and self.run.announced.done():
            return "stdio" if self.run.ipc_only else str(self.run.announced.result().listen)
        return self.place.listen if self.run is not None else ""

    # ── living ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _enter(self, event: Event, why: str = "") -> None:
        self.state, self.why = following(self.state, event), why
        self._report()

    def _report(self) -> None:
        self._changed.set()
        self._on_change(self)

    def _say(self, text: str, level: str = "info") -> None:
        self._around.journal.say(text, module=self.module_id, level=level)

    async def _live(self) -> None:
        try:
            may_start = await self._unless_stopped(self._may_start())
            self.waits = False
            if not may_start:
                self._enter(Event.STOP)
                self._enter(Event.EXIT_DONE)
                return
            while True:
                event, why = await self._one_process()
                if event is not Event.EXIT_AGAIN:
                    self._enter(event, why)
                    return
                delay = self._restarts.next_delay(time.monotonic(), well_for=self._well_for, chance=random.random())
                when = "at once" if delay == 0 else f"in {delay:.1f} s"
                self._enter(event, f"{why}; it starts again {when}")
                self._say(f"{why}; it starts again {when}", "error")
                if not await self._unless_stopped(asyncio.sleep(delay)):
                    self._enter(Event.STOP)
                    return
                self._enter(Event.START)
        finally:
            if not self._restarting:
                self.place.close()

    async def _unless_stopped(self, awaitable: Awaitable[None]) -> bool:
        """Wait for it, or for the wish to stop; False where that came first."""
        waiting = asyncio.ensure_future(awaitable)
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return not self._stop.is_set()
        finally:
            waiting.cancel()
            stopping.cancel()

    async def _one_process(self) -> tuple[Event, str]:
        """From spawn to reaped; says what follows."""
        if self._processes:
            await self._around.desk.refresh()
        self._processes += 1
        self._started = time.monotonic()
        self._well_since: float | None = None
        self._restarts.started(self._started)
        run = Run(self.plan, self.module_id, self.place, self._around, on_notice=self._hang_noticed)
        try:
            child = await run.open()
        except (PyWattError, OSError) as error:
            return self._after_failed_start(error)
        self.run, self.waits = run, False
        self._report()
        readying = asyncio.create_task(self._make_ready(run), name=f"readying {self.module_id}")
        stopping = asyncio.create_task(self._stop.wait())
        try:
            reasons: list[asyncio.Future[Any]] = [child.exited, run.doomed, stopping]
            await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
            readying.cancel()
            return await self._end(run)
        finally:
            readying.cancel()
            stopping.cancel()
            self.run = None

    async def _end(self, run: Run) -> tuple[Event, str]:
        """The process has ended, or has to."""
        assert run.child is not None
        if not run.child.exited.done():
            if self._stop.is_set():
                self._enter(Event.STOP)
                self.exit_code = await run.stop()
                return Event.EXIT_DONE, ""
            reason = run.doomed.result()
            self._say(f"{reason}: it is ended" if not run.hangs else f"{reason}; its stack, where it is a Python module, follows", "error")
            self.exit_code = await (run.dump_and_kill() if run.hangs else run.kill())
            return self._after_exit(self.exit_code, reason)
        code = self.exit_code = await run.kill()
        if self._stop.is_set():
            self._enter(Event.STOP)
            return Event.EXIT_DONE, ""
        return self._after_exit(code, "")

    def _after_failed_start(self, error: Exception) -> tuple[Event, str]:
        reason = str(error)
        if isinstance(error, NoProgram):
            reason = f"{reason}; {self._way_out()}"
            self._say(reason, "error")
            return Event.EXIT_FAILED, reason
        if self.plan.settings.restart == "never":
            self._say(reason, "error")
            return Event.EXIT_FAILED, reason
        return Event.EXIT_AGAIN, reason

    def _after_exit(self, code: int, reason: str) -> tuple[Event, str]:
        """What an end that nobody asked for means."""
        why = reason or self._describe(code)
        restart = self.plan.settings.restart
        if not reason and code in NO_RESTART:
            why = f"{why}; {self._way_out()}"
            self._say(why, "error")
            return Event.EXIT_FAILED, why
        if not reason and code == 0 and restart != "always":
            self._say("it has ended: its work is done")
            return Event.EXIT_DONE, "its work is done"
        if restart == "never":
            self._say(f'{why}; restart = "never"', "error")
            return Event.EXIT_FAILED, why
        return Event.EXIT_AGAIN, why

    def _way_out(self) -> str:
        return f"it is not started again until that is mended: then `pywatt restart {self.plan.name}`"

    def _describe(self, code: int) -> str:
        text = f"it ended with {describe_exit(code)}"
        if self.plan.settings.run is not None and code in EXIT_MEANINGS:
            text += f" ({EXIT_MEANINGS[code]})"
        if self.state is State.STARTING:
            text += " before it announced itself"
            if any(NO_CORE in record.message for record in self._around.journal.last([self.module_id], SHOWN_LINES)):
                python = self.plan.settings.python or self._around.python
                text += f"; its interpreter has no pywatt-core: {python} -m pip install pywatt-core"
        return text

    @property
    def _well_for(self) -> float:
        """Seconds that the last process was ready."""
        return time.monotonic() - self._well_since if self._well_since is not None else 0.0

    # ── becoming ready ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _make_ready(self, run: Run) -> None:
        progress = asyncio.create_task(self._say_progress(run))
        limit = self.plan.settings.start_timeout
        try:
            async with asyncio.timeout(limit):
                self.announce = await asyncio.shield(run.announced)
                self._enter(Event.ANNOUNCE)
                await run.until_ready()
        except TimeoutError:
            run.doom(f"it was not ready within {limit:g} s (start_timeout): {run.not_ready_because}")
        except Exception as error:
            _log.exception("watching %s become ready failed", self.module_id)
            run.doom(f"nobody can tell whether it is ready: {error}")
        else:
            if not run.doomed.done():
                self._well_since = time.monotonic()
                self._around.hub.ready(run)
                self._enter(Event.PROBED)
        finally:
            progress.cancel()

    async def _say_progress(self, run: Run) -> None:
        pause = PROGRESS_AFTER
        while True:
            await asyncio.sleep(pause)
            spent = time.monotonic() - self._started
            self._say(f"still starting: {run.not_ready_because} ({spent:.0f} s of {self.plan.settings.start_timeout:g} s)")
            pause *= 2

    def _hang_noticed(self, hangs: bool) -> None:
        self._say("it does not acknowledge heartbeats" if hangs else "it acknowledges heartbeats again", "warning" if hangs else "info")
        if self.run is not None:
            self._around.hub.health_changed(self.run)
        self._report()


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("%s is no longer supervised", task.get_name(), exc_info=error)


def place_for(plan: ModulePlan, socket_path: str) -> Place:
    """The address of one instance."""
    return UnixPlace(socket_path) if plan.unix else TcpPlace()
