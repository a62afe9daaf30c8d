"""All modules of one orchestrator: started in the order of their dependencies, shown to the gateway, stopped in reverse."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from pywatt_core.config import suggestion
from pywatt_core.errors import ConfigError
from pywatt_core.protocol.http_pieces import HTTP_STREAM

from . import gateway as front
from .instance import Instance, Status, place_for
from .run import NO_PORT, offers
from .states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .project import ModulePlan, Project
    from .runtime import RuntimeFolder
    from .surroundings import Surroundings

_log = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds between heartbeats."""
LATE = 2.0
"""Seconds between two beats that show that we were held up ourselves."""


class Supervisor:
    """`start`, then `stop`. Everything between happens by itself; `update` is called with a new table of routes each time it changes."""

    def __init__(
        self,
        project: Project,
        folder: RuntimeFolder,
        around: Surroundings,
        *,
        update: Callable[[front.RouteTable], None],
        read_again: Callable[[], Project],
    ) -> None:
        self.project = project
        self._read_again = read_again
        self._around = around
        self._update = update
        self._loop = asyncio.get_running_loop()
        self._instances: dict[str, list[Instance]] = {}
        for name, plan in project.modules.items():
            self._instances[name] = [
                Instance(
                    plan,
                    module_id,
                    place_for(plan, folder.socket_path(module_id)),
                    around,
                    may_start=self._dependencies_of(plan),
                    on_change=self._changed,
                )
                for module_id in plan.module_ids()
            ]
        around.hub.expects, around.hub.knows = self._expects, self._knows
        self._turns = {name: asyncio.Lock() for name in self._instances}
        """One restart of a module at a time; a wish to stop it waits for nobody."""
        self._doors: dict[str, front.Instance] = {}
        self._publishing = False
        self._change = asyncio.Condition()
        self._waking: set[asyncio.Task[None]] = set()
        self._beat: asyncio.TimerHandle | None = None
        self._last_beat = 0.0
        self._announced_ready: set[str] = set()
        self.stopping = False

    # ── all of them ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start every module; those with dependencies once these are ready."""
        self._publish()
        self._tick()
        for instance in self.instances():
            instance.start()

    async def stop(self) -> None:
        """Stop every module, those that others depend on after these; returns when no process is left."""
        self.stopping = True
        names = list(self._instances)
        tasks: dict[str, asyncio.Task[None]] = {}
        for name in reversed(self._in_order(names)):
            dependents = [other for other in names if name in self.project.modules[other].settings.depends_on]
            tasks[name] = asyncio.create_task(self._stop_after([tasks[other] for other in dependents], name), name=f"stopping {name}")
        if tasks:
            await asyncio.wait(tasks.values())
        if self._beat is not None:
            self._beat.cancel()
        for task in tasks.values():
            task.result()

    async def _stop_after(self, first: Sequence[asyncio.Task[None]], name: str) -> None:
        if first:
            await asyncio.wait(first)
        await asyncio.gather(*(instance.retire() for instance in self._instances[name]))

    def kill_at_once(self) -> None:
        """End every process without grace."""
        for instance in self.instances():
            instance.kill_at_once()

    def _in_order(self, names: Iterable[str]) -> list[str]:
        """Dependencies before those that need them."""
        ordered: dict[str, None] = {}

        def visit(name: str) -> None:
            if name not in ordered:
                for dependency in self.project.modules[name].settings.depends_on:
                    if dependency in self._instances:
                        visit(dependency)
                ordered[name] = None

        for name in names:
            visit(name)
        return list(ordered)

    # ── some of them ────────────────────────────────────────────────────────────────────────────────────────────────

    def instances(self, name: str | None = None) -> list[Instance]:
        """The instances of the module `name`, the instance `name`, or all. Raises `ConfigError` that names the nearest."""
        everything = [instance for many in self._instances.values() for instance in many]
        if name is None:
            return everything
        found = self._instances.get(name) or [instance for instance in everything if instance.module_id == name]
        if not found:
            raise ConfigError(f"there is no module {name!r}. {suggestion(name, self._instances, 'modules')}")
        return found

    def status(self, name: str | None = None) -> list[Status]:
        """How they are. Raises like `instances`."""
        return [instance.status() for instance in self.instances(name)]

    async def stop_module(self, name: str) -> None:
        """Stop one module or instance until somebody restarts it, also while it is being restarted. Raises like `instances`."""
        await asyncio.gather(*(instance.stop() for instance in self.instances(name)))

    async def restart_module(self, name: str) -> list[Status]:
        """Restart one module or instance, one process after the other, each ready before the next; requests wait meanwhile.

        The configuration is read again for it. Returns how they are then, which need not be ready: one that waits for a
        dependency is not waited for. Raises like `instances`, and `ConfigError` where the configuration is wrong now: then
        everything stays as it is. Cancelling it leaves the instances alone whose turn has not come.
        """
        found = self.instances(name)
        module = found[0].plan.name
        stops = {instance.module_id: instance.stops for instance in found}
        async with self._turns[module]:
            plan = self._changed_plan(self.project.modules[module])
            for instance in found:
                if instance.stops != stops[instance.module_id]:
                    break  # Somebody has stopped it while it waited for its turn.
                instance.plan = plan
                await instance.restart()
                if await instance.settled() is not State.READY:
                    break
        return [instance.status() for instance in found]

    def _changed_plan(self, old: ModulePlan) -> ModulePlan:
        """The module as the configuration describes it now, as far as a single module can change."""
        new = self._read_again().modules.get(old.name)
        if new is None:
            raise ConfigError(f"the configuration has no module {old.name!r} any more: `pywatt stop {old.name}` stops it")
        fixed = {
            "instances": new.module_ids() != old.module_ids(),
            "listen": new.unix != old.unix,
            "mount": new.mount != old.mount,
            "depends_on": set(new.settings.depends_on) != set(old.settings.depends_on),
        }
        if changed := [option for option, differs in fixed.items() if differs]:
            options = " and ".join(f"modules.{old.name}.{option}" for option in changed)
            raise ConfigError(f"{options} changed, which concerns more than this module: `pywatt stop`, then `pywatt up`")
        self.project = replace(self.project, modules={**self.project.modules, old.name: new})
        return new

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is asked after every change."""
        async with self._change:
            await self._change.wait_for(condition)

    def nothing_left(self) -> bool:
        """Nothing runs and nothing will without a person."""
        return not any(instance.comes_back or instance.stopped_by_request for instance in self.instances())

    # ── dependencies ────────────────────────────────────────────────────────────────────────────────────────────────

    def _dependencies_of(self, plan: ModulePlan) -> Callable[[], asyncio.Future[None]]:
        async def wait(instances: list[Instance]) -> None:
            said = None
            while waiting := [name for name in plan.settings.depends_on if not self._is_ready(name)]:
                text = f"it waits for {' and '.join(self._word_about(name) for name in waiting)}"
                for instance in instances:
                    instance.wait_for(text)
                hopeless = any(self._instances[name][0].state is State.FAILED for name in waiting)
                if hopeless and text != said:
                    said = text
                    self._around.journal.say(text, module=plan.name, level="warning")
                async with self._change:
                    await self._change.wait()

        return lambda: asyncio.ensure_future(wait(self._instances[plan.name]))

    def _is_ready(self, name: str) -> bool:
        """One ready instance is enough to be of use."""
        return any(instance.state is State.READY for instance in self._instances.get(name, ()))

    def _expects(self, name: str) -> bool:
        """Whether a module or instance of this name is there, or will be without a person's word."""
        found = self._instances.get(name) or [one for many in self._instances.values() for one in many if one.module_id == name]
        return not self.stopping and any(instance.comes_back for instance in found)

    def _knows(self, name: str) -> bool:
        """Whether there is a module or instance of this name at all."""
        return name in self._instances or any(one.module_id == name for many in self._instances.values() for one in many)

    def _word_about(self, name: str) -> str:
        state = self._instances[name][0].state
        return f"{name}, which is {state.value}" if state in (State.FAILED, State.STOPPED, State.BACKOFF) else name

    # ── telling others ──────────────────────────────────────────────────────────────────────────────────────────────

    def _changed(self, instance: Instance) -> None:
        if not self._publishing:
            self._publishing = True
            self._loop.call_soon(self._after_change)
        if instance.state is State.READY and not instance.hangs and instance.module_id not in self._announced_ready:
            self._announced_ready.add(instance.module_id)
            spent = instance.status().uptime or 0.0
            self._around.journal.say(f"ready in {spent:.2f} s on {instance.plan.mount}", module=instance.module_id)
        elif instance.state in (State.STARTING, State.STOPPED):
            self._announced_ready.discard(instance.module_id)

    def _after_change(self) -> None:
        self._publishing = False
        self._publish()
        self._around.hub.changed()
        task = self._loop.create_task(self._wake())
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    async def _wake(self) -> None:
        async with self._change:
            self._change.notify_all()

    def _publish(self) -> None:
        """A new table of routes: who is there, and what each module announced last."""
        modules = []
        for name, instances in self._instances.items():
            settings = self.project.modules[name].settings
            announces = [instance.announce for instance in instances if instance.announce is not None]
            doors = [door for instance in instances if (door := self._door(instance)) is not None]
            modules.append(
                front.ModuleRoutes(
                    name=name,
                    mount=self.project.modules[name].mount,
                    endpoints=announces[-1].endpoints if announces else None,
                    instances=doors,
                    mount_all=settings.mount_all,
                    expose=settings.expose,
                    health=settings.health,
                    metrics=settings.metrics,
                )
            )
        self._update(front.RouteTable(modules))

    def _door(self, instance: Instance) -> front.Instance | None:
        """How the gateway reaches an instance; None where nobody is coming back there without a person."""
        if not instance.comes_back:
            self._doors.pop(instance.module_id, None)
            return None
        run = instance.run
        announced = run is not None and run.announced.done() and not run.doomed.done()
        address = run.address if run is not None and announced else instance.place.address
        # Until a new process has announced itself, it is taken to serve like the one before it.
        announce = run.announced.result() if run is not None and announced else instance.announce
        over_link = announce is not None and offers(announce, NO_PORT)
        carry = instance.http_request if over_link else None
        stream = instance.http_stream if over_link and announce is not None and offers(announce, HTTP_STREAM) else None
        door = self._doors.get(instance.module_id)
        reached = (None if over_link else address, carry, stream)
        if door is None or (door.address, door.http_request, door.http_stream) != reached:
            door = front.Instance(
                instance.module_id,
                None if over_link else address,
                trusted=instance.place.trusted,
                http_request=carry,
                http_stream=stream,
            )
            self._doors[instance.module_id] = door
        ready = instance.state is State.READY and not instance.hangs
        if door.ready is not ready:
            door.ready = ready
        return door

    # ── heartbeats ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _tick(self) -> None:
        now = self._loop.time()
        late = self._last_beat != 0.0 and now - self._last_beat > BEAT + LATE
        self._last_beat = now
        for instance in self.instances():
            if instance.run is not None and instance.state in (State.ANNOUNCED, State.READY):
                try:
                    instance.run.beat(now, late=late)
                except Exception:
                    _log.exception("watching the heartbeats of %s failed", instance.module_id)
        self._beat = self._loop.call_later(BEAT, self._tick)
