"""One orchestrator from start to end, in the order in which it happens. Whatever is opened is closed in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from pywatt_core.config import check_section, references
from pywatt_core.errors import ConfigError, Unavailable
from pywatt_core.redaction import redactor
from pywatt_core.services.formats import open_serializers
from pywatt_core.telemetry import guard_streams, metrics

from .api import PATH, ControlApi, read_control
from .control import ControlServer
from .desk import SecretDesk
from .figures import lines_of
from .gateway import Gateway
from .gateway.inside import ControlDoor
from .guard import Guardian
from .hosted_auth import claims_of
from .hub import Hub
from .lines import Record
from .logs import OURSELVES, Journal, timestamp
from .output import Output
from .reaper import reap_orphans
from .registration import RegistrationOptions, RegistrationServer
from .rendering import as_json, as_text
from .rotation import Rotator
from .runtime import RuntimeFolder, claim
from .services import read_services
from .sources import SecretSources
from .states import State
from .supervisor import Supervisor
from .surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pywatt_core.config import Settings

    from .checking import Reading
    from .project import Project
    from .services import Services

GATEWAY_FIRST = 0.5
"""Seconds that requests under way get before the modules are told to stop; they drain their own part after that."""
GATEWAY_LAST = 2.0
"""Seconds that the front door has to pass on the last answers after the modules have ended."""
GATEWAY_DRAIN = 600.0
"""Seconds that the front door lets requests finish in all; the modules' own limits end them sooner."""
REAP_EVERY = 1.0
"""Seconds between two looks for ended orphans, as PID 1 only."""
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def orchestrate(reading: Reading, *, identity: Path, command: str, json: bool = False) -> int:
    """Run a project until somebody asks for its end or nothing is left to run; return the exit code.

    `identity` is what there may be one orchestrator of: the configuration file, or the module's file for `pywatt run`.
    Raises `PyWattError` for what keeps it from starting.
    """
    guard_streams()  # for the rest of this process, which is ours
    project = reading.project
    folder = claim(identity, project.folder, command)
    try:
        folder.check_sockets(
            [module_id for plan in project.modules.values() if plan.unix for module_id in plan.module_ids()],
            [module_id for plan in project.modules.values() if "unix" in plan.channels for module_id in plan.module_ids()],
        )
        _raise_file_limit()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_Orchestrator(reading, folder, json=json).live())
    finally:
        folder.release()


class _Orchestrator:
    def __init__(self, reading: Reading, folder: RuntimeFolder, *, json: bool) -> None:
        self._reading, self._project, self._settings, self._folder = reading, reading.project, reading.settings, folder
        self._output = Output(1, notice=_dropped_notice(json))
        self._journal = Journal(_printer(self._output, self._project, json))
        self._asked = asyncio.Event()
        self._signals = 0
        self._supervisor: Supervisor | None = None
        self._guardian: Guardian | None = None

    async def live(self) -> int:
        try:
            async with AsyncExitStack() as stack:
                gateway = await self._open(stack)
                assert self._supervisor is not None
                self._supervisor.start()
                code = await self._until_the_end(self._supervisor)
                await self._close(gateway, self._supervisor)
            return code
        finally:
            self._output.close()

    async def _open(self, stack: AsyncExitStack) -> Gateway:
        """Everything but the modules. What cannot be had, such as the port, is found out before any of them starts."""
        self._take_logging(stack)
        self._take_signals(stack)
        self._guardian = guardian = Guardian(self._folder.path, self._folder.lock)
        guardian.start()
        stack.callback(guardian.close)
        stack.callback(self._folder.release)
        registry = self._reading.registry
        for warning in self._reading.warnings:
            self._journal.say(warning, level="warning")
        sources = SecretSources(
            lambda opened: registry.open_secret_sources(opened, self._settings, OURSELVES),
            self._journal,
            depends=frozenset(name for section in self._settings.secrets.values() for _, name in references(section.options)),
        )
        stack.push_async_callback(sources.close)
        await sources.open()
        desk = SecretDesk(sources, way_out=_way_out(self._settings))
        rotator = Rotator(desk, sources, self._journal)
        await open_serializers(stack, registry, self._settings, OURSELVES)
        gateway = Gateway(self._project.gateway, metrics=metrics)
        stack.push_async_callback(gateway.close)
        await gateway.start()
        services = read_services(self._settings, registry, desk.value)
        stack.push_async_callback(services.close)
        await self._open_authentication(gateway, services)
        hub = Hub(self._journal, services)
        stack.callback(hub.close)
        around = Surroundings(
            journal=self._journal,
            guardian=guardian,
            desk=desk,
            hub=hub,
            channel_path=self._folder.channel_path,
            listener=self._project.listener,
            api=_url(gateway),
            environ=os.environ,
        )
        await self._open_registration(stack)
        self._supervisor = Supervisor(self._project, self._folder, around, update=gateway.update, read_again=self._reading.again)
        metrics.collector(lines_of(self._supervisor, hub, rotator))
        control = ControlServer(str(self._folder.control), self._supervisor, rotator, self._journal, stop_everything=self._asked.set)
        options, token = await read_control(self._settings, sources.fetch)
        if options.http != "off":
            api = ControlApi(self._supervisor, self._journal, rotator, stop_everything=self._asked.set)
            gateway.control = ControlDoor(api.handle, token, options.http)
            control.api = (_url(gateway) + PATH, token)
        stack.push_async_callback(control.close)
        await control.start()
        stack.push_async_callback(rotator.close)
        sources.watch(rotator.look)
        self._journal.say(f"front door on {_url(gateway)}, {_counted(len(self._project.modules), 'module')}")
        return gateway

    async def _open_authentication(self, gateway: Gateway, services: Services) -> None:
        """What the front door checks tokens with, where ``[gateway] authenticate`` names it. Only what may pass is waited for later."""
        name = self._project.gateway.authenticate
        if name is None:
            return
        hosted = services.hosted[name]
        gateway.authenticate = partial(claims_of, hosted)
        try:
            await hosted.open()
        except Unavailable as error:
            text = f"[services.{name}] cannot check tokens now: {error}. The front door answers 503 where one is needed, and tries again"
            self._journal.say(text, level="warning")

    async def _open_registration(self, stack: AsyncExitStack) -> None:
        """The listener for modules that somebody else starts, where ``[registration]`` names an address."""
        table = self._settings.extra.get("registration")
        options, _ = check_section(table, RegistrationOptions, "registration") if isinstance(table, Mapping) else (None, [])
        if table is not None and options is None:
            raise ConfigError("registration: its options are plain values, none of them a secret")
        if options is None or options.listen is None:
            return
        ours = {*self._project.modules, *self._project.module_ids()}
        server = RegistrationServer(options, self._journal, taken=ours.__contains__)
        stack.push_async_callback(server.close)
        await server.start()
        self._journal.say(f"registrations on {server.address}")

    async def _until_the_end(self, supervisor: Supervisor) -> int:
        """Wait for a signal, for `pywatt stop`, or until nothing is left that could serve; return the exit code."""
        asked = asyncio.create_task(self._asked.wait())
        nothing_left = asyncio.create_task(supervisor.until(supervisor.nothing_left))
        try:
            await asyncio.wait({asked, nothing_left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            nothing_left.cancel()
        if self._asked.is_set():
            return 0
        failed = [instance for instance in supervisor.instances() if instance.state is State.FAILED]
        for instance in failed:
            self._journal.say(f"{instance.module_id} has failed: {instance.why}", level="error")
        self._journal.say("nothing is left to run" if failed else "every module has done its work", level="error" if failed else "info")
        return 1 if failed else 0

    async def _close(self, gateway: Gateway, supervisor: Supervisor) -> None:
        """The front door lets nobody in any more; the modules finish what runs; then everything goes."""
        self._journal.say("stopping")
        draining = asyncio.create_task(gateway.drain(GATEWAY_DRAIN))
        await asyncio.wait({draining}, timeout=GATEWAY_FIRST)
        await supervisor.stop()
        # What the modules have answered last may still be on its way through us.
        await asyncio.wait({draining}, timeout=GATEWAY_LAST)
        draining.cancel()
        await asyncio.wait({draining})
        self._journal.say("stopped")

    # ── signals and logging ─────────────────────────────────────────────────────────────────────────────────────────

    def _take_signals(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in END_SIGNALS:
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # As after nohup, or in the background of a script.
            loop.add_signal_handler(number, self._signal, number)
            stack.callback(loop.remove_signal_handler, number)
        if os.getpid() == 1:
            reaping = asyncio.create_task(self._reap(), name="reaping orphans")
            stack.callback(reaping.cancel)

    def _signal(self, number: int) -> None:
        self._signals += 1
        if self._signals == 1:
            self._journal.say(f"{signal.Signals(number).name}: stopping; once more to end everything at once")
            self._asked.set()
        elif self._supervisor is not None:
            self._journal.say(f"{signal.Signals(number).name} again: every module is ended at once", level="warning")
            self._supervisor.kill_at_once()

    async def _reap(self) -> None:
        """We are PID 1 of a container: orphans are ours to reap. (By the clock: uvloop lets nobody have SIGCHLD.)"""
        while True:
            await asyncio.sleep(REAP_EVERY)
            reap_orphans(self._own_children())

    def _own_children(self) -> set[int]:
        """Those that somebody waits for already."""
        runs = [instance.run for instance in self._supervisor.instances()] if self._supervisor is not None else []
        ours = {run.child.pid for run in runs if run is not None and run.child is not None}
        if self._guardian is not None and self._guardian.pid is not None:
            ours.add(self._guardian.pid)
        return ours

    def _take_logging(self, stack: AsyncExitStack) -> None:
        redactor.on_weak(self._weak)
        root = logging.getLogger()
        before, level = list(root.handlers), root.level
        root.handlers = [self._journal.forward_logging()]
        root.setLevel(logging.INFO)

        def give_back() -> None:
            root.handlers = before
            root.setLevel(level)

        stack.callback(give_back)

    def _weak(self, name: str, why: str) -> None:
        self._journal.say(f"the secret {name} {why}" if name else f"a secret without a name {why}", level="warning")


def _printer(output: Output, project: Project, json: bool) -> Callable[[Record], None]:
    if json:
        return lambda record: output.write(as_json(record))
    width = max(map(len, [OURSELVES, *project.module_ids()]))
    colour = os.isatty(1) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return lambda record: output.write(as_text(record, width=width, colour=colour)) if record.level != "debug" else None


def _dropped_notice(json: bool) -> Callable[[int], str]:
    def notice(count: int) -> str:
        text = f"{count} log lines were dropped: whoever reads this output does not keep up"
        record = Record(timestamp=timestamp(), module=OURSELVES, level="warning", message=text)
        return as_json(record) if json else as_text(record)

    return notice


def _way_out(settings: Settings) -> str:
    """How to provide a missing secret, with ``{name}`` and ``{module}`` in it."""
    ways = []
    for section in settings.secrets.values():
        if section.use == "env":
            ways.append(f"`export {_in_braces(section.options.get('prefix', ''))}{{name}}=…` before you start pywatt")
        elif section.use == "vault":
            ways.append("`pywatt secrets set {name}`")
        elif section.use == "dotenv":
            ways.append(f"a line {{name}}=… in {_in_braces(settings.folder / str(section.options.get('path', '.env')))}")
    return f"{', or '.join(ways) or 'add it to one of these'}; then `pywatt restart {{module}}`"


def _in_braces(text: object) -> str:
    return str(text).replace("{", "{{").replace("}", "}}")


def _url(gateway: Gateway) -> str:
    scheme = "https" if gateway.options.tls_cert is not None else "http"
    host, port = gateway.address or (gateway.options.bind, gateway.options.port)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Any = uvloop.new_event_loop
    return factory  # type: ignore[no-any-return]


def _raise_file_limit() -> None:
    """Every connection costs two descriptors, and the usual soft limit of 1024 is for programs that still use select()."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
