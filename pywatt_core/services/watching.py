"""Hearing of providers as they come and go: notes of the orchestrator, and what each loop has been told of them.

What is told are states. A note that got lost shows in the numbers of the next, and at the latest when the watch is renewed; the
present state is asked for then. Whoever is slow hears of the latest state of a provider, so that nothing piles up.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Iterable
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from ..errors import ChannelClosed, PyWattError
from ..protocol.values import ProviderInfo, ServiceType
from .providers import ServiceProvider

if TYPE_CHECKING:
    from .messaging import Messaging

log = logging.getLogger(__name__)

RENEW: Final = 30.0
"""Seconds between two looks whether a watch has missed something."""

KEPT: Final = 1000
"""Notes that are kept while the present state is being asked for; beyond them it is asked for again."""


class ProviderChange(enum.Enum):
    """What became of a provider."""

    ADDED = "added"
    CHANGED = "changed"
    """Offered anew, or its health is another."""
    REMOVED = "removed"


class ProviderEvent(NamedTuple):
    """One change; `provider` as it is now, or as it was last."""

    change: ProviderChange
    provider: ServiceProvider


class Gone(msgspec.Struct, frozen=True):
    """A provider that is there no more."""

    service_type: ServiceType
    provider_id: str


class Note(msgspec.Struct, frozen=True):
    """What the orchestrator tells. `serial` counts all notes to this process; `lost`: more has changed than could be told."""

    serial: int
    changed: list[ProviderInfo] = []
    removed: list[Gone] = []
    lost: bool = False


class State(msgspec.Struct, frozen=True):
    """What the orchestrator answers who begins to watch. No `providers`: nothing has changed since `serial`."""

    serial: int
    providers: list[ProviderInfo] | None = None


class View:
    """What one loop has been told; it is told the difference to what is, one provider at a time."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._told: dict[str, ProviderInfo] = {}
        self.dirty: dict[str, None] = dict.fromkeys(watch.present)
        self.changed = asyncio.Event()

    async def next(self) -> ProviderEvent:
        while True:
            while self.dirty:
                id = next(iter(self.dirty))
                del self.dirty[id]
                before, now = self._told.get(id), self._watch.present.get(id)
                if now is None and before is not None:
                    del self._told[id]
                    return ProviderEvent(ProviderChange.REMOVED, ServiceProvider.found(before))
                if now is not None and now != before:
                    self._told[id] = now
                    return ProviderEvent(ProviderChange.CHANGED if before is not None else ProviderChange.ADDED, ServiceProvider.found(now))
            self.changed.clear()
            await self.changed.wait()


class Watch:
    """One service type: its providers as the orchestrator told last, shared by all loops that watch it."""

    def __init__(self, messaging: Messaging, kind: ServiceType) -> None:
        self._messaging, self._kind = messaging, kind
        self.present: dict[str, ProviderInfo] = {}
        self.views: set[View] = set()
        self._serial = -1
        self._kept: list[Note] = []
        self._asking = False
        self._missed = asyncio.Event()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A context of its own: it outlives the request in which somebody may begin to watch, and that one's deadline.
        self._task = asyncio.create_task(self._follow(), name=f"watching {kind}", context=Context())

    def open(self) -> View:
        view = View(self)
        self.views.add(view)
        return view

    async def started(self) -> None:
        """Wait for the present state. Raises why it could not be had."""
        await asyncio.shield(self._first)

    async def end(self) -> None:
        """Nobody watches any more."""
        self._task.cancel()
        with suppress(PyWattError):
            await self._messaging.ask_orchestrator("unwatch", {"service_type": self._kind}, timeout=1.0)

    def hear(self, note: Note) -> None:
        """One note, in order or not."""
        if self._asking:
            self._kept.append(note)
            if len(self._kept) > KEPT:
                self._kept.clear()
                self._missed.set()
        elif note.serial == self._serial + 1 and not note.lost:
            self._apply(note)
        elif note.serial > self._serial:
            self._missed.set()

    async def _follow(self) -> None:
        while True:
            try:
                await self._ask()
            except PyWattError as error:
                if not self._first.done():
                    self._first.set_exception(error)
                    self._first.exception()  # whoever waits gets it; where nobody does, that is no mistake
                    return
                log.warning("whether providers of %s have changed cannot be asked: %s", self._kind, error)
            else:
                if not self._first.done():
                    self._first.set_result(None)
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW):
                    await self._missed.wait()

    async def _ask(self) -> None:
        """Ask for the present state, or whether anything was missed, and act on the notes that came meanwhile."""
        self._missed.clear()
        self._asking = True
        try:
            question = {"service_type": self._kind, "serial": self._serial}
            state: State = await self._messaging.ask_orchestrator("watch", question, response_type=State)
        except ChannelClosed:
            self._serial = -1  # who knows what was told meanwhile
            raise
        finally:
            self._asking = False
            kept, self._kept = self._kept, []
        if state.providers is not None:
            self._replace({info.provider_id: info for info in state.providers})
        self._serial = state.serial
        for note in kept:
            self.hear(note)

    def _replace(self, present: dict[str, ProviderInfo]) -> None:
        before, self.present = self.present, present
        self._touch([id for id in {**before, **present} if before.get(id) != present.get(id)])

    def _apply(self, note: Note) -> None:
        self._serial = note.serial
        changed = [info for info in note.changed if info.service_type == self._kind]
        gone = [one.provider_id for one in note.removed if one.service_type == self._kind]
        for info in changed:
            self.present[info.provider_id] = info
        for id in gone:
            self.present.pop(id, None)
        self._touch([*(info.provider_id for info in changed), *gone])

    def _touch(self, ids: Iterable[str]) -> None:
        for view in self.views:
            view.dirty.update(dict.fromkeys(ids))
            view.changed.set()
