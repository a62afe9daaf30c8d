"""Rotation: a secret that has another value now reaches everybody who uses it, or nobody (protocol 9.2).

One at a time. The new value is proposed: whoever asks is given it. Services that we host are opened anew beside the old ones,
then every process that holds the secret is told, and acknowledges once it uses the new value. When all of them do, it is in
force. When one refuses, or does not answer in time, the old one is in force again and everybody who was told is told once more.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, cast

import msgspec

from pywatt_core.errors import SecretError, SecretNotFound
from pywatt_core.redaction import register
from pywatt_core.transports.link import new_id

from .parties import Service, ask, plain, prepare

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .desk import SecretDesk
    from .ledger import Holder
    from .logs import Journal
    from .parties import Process
    from .sources import SecretSources

_log = logging.getLogger(__name__)

AT_ONCE: Final = 16
"""Secrets that are read from the sources at once."""
STOPPING: Final = "the orchestrator is stopping"


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one secret; there is no value in it."""

    name: str
    result: Literal["rotated", "unchanged", "refused", "failed", "missing", "unused"]
    used_by: list[str] = []
    """Who uses it, the hosted services in brackets."""
    reasons: dict[str, str] = {}
    """Who refused the new value, and why."""
    why: str = ""
    """Why it could not be read."""


@dataclass
class _Wish:
    """Secrets to look at; what comes before its turn is added to it."""

    everything: bool = False
    names: set[str] = field(default_factory=set)
    insist_on_everything: bool = False
    insist_on: set[str] = field(default_factory=set)
    """A person asked for these: values that were refused before are tried again."""
    waiting: list[asyncio.Future[dict[str, Result]]] = field(default_factory=list)

    def insists(self, name: str) -> bool:
        return self.insist_on_everything or name in self.insist_on


class Rotator:
    """`look` says that something may have changed; `rotate` is for a person, who waits for the outcome."""

    def __init__(self, desk: SecretDesk, sources: SecretSources, journal: Journal) -> None:
        self._ledger, self._sources, self._journal = desk.ledger, sources, journal
        self._wish: _Wish | None = None
        self._worker: asyncio.Task[None] | None = None
        self._late: set[asyncio.Task[str]] = set()
        """Processes that were told while they started, and have not acknowledged yet."""
        self._closed = False
        self.done = self.refused = 0
        """Rotations so far, for the metrics."""
        desk.on_doubt = lambda name: self.look(frozenset({name}))

    def look(self, names: frozenset[str] | None = None) -> None:
        """These secrets, or all, may have other values now: rotate those that somebody holds and that do."""
        if self._closed:
            return
        wish = self._next()
        if names is None:
            wish.everything = True
        else:
            wish.names |= names & self._ledger.names

    async def rotate(self, names: Sequence[str] = ()) -> list[Result]:
        """Read the sources anew and rotate what differs of these secrets, or of all that somebody holds; what became of each.

        Raises `SecretError` where the orchestrator ends meanwhile.
        """
        if self._closed:
            raise SecretError(STOPPING)
        wish = self._next()
        wish.everything |= not names
        wish.insist_on_everything |= not names
        wish.names.update(names)
        wish.insist_on.update(names)
        waiting: asyncio.Future[dict[str, Result]] = asyncio.get_running_loop().create_future()
        wish.waiting.append(waiting)
        results = await waiting
        return [results[name] for name in (dict.fromkeys(names) if names else sorted(results)) if name in results]

    def refusals(self) -> dict[str, dict[str, str]]:
        """The secrets that keep their values because the new ones were refused: by whom, and why."""
        return {name: dict(refusal.reasons) for name, refusal in self._ledger.refused.items()}

    async def close(self) -> None:
        """The orchestrator ends: what is under way is withdrawn, and nobody is told any more."""
        self._closed = True
        tasks: list[asyncio.Task[object]] = [*self._late, *([self._worker] if self._worker is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._wish is not None:
            _answer(self._wish, SecretError(STOPPING))

    # ── one after the other ─────────────────────────────────────────────────────────────────────────────────────────

    def _next(self) -> _Wish:
        if self._wish is None:
            self._wish = _Wish()
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._work(), name="rotating secrets")
        return self._wish

    async def _work(self) -> None:
        while (wish := self._wish) is not None:
            self._wish = None
            try:
                results = await self._carry_out(wish)
            except asyncio.CancelledError:
                _answer(wish, SecretError(STOPPING))
                raise
            except Exception as error:
                _log.exception("rotating secrets failed")
                _answer(wish, SecretError(f"rotating failed: {type(error).__name__}"))
            else:
                _answer(wish, results)

    async def _carry_out(self, wish: _Wish) -> dict[str, Result]:
        if wish.waiting:
            await self._sources.refresh()
        found, results = await self._find(sorted(wish.names | self._ledger.names if wish.everything else wish.names))
        wanted = {name for name, value in found.items() if self._ledger.wants(name, value, insist=wish.insists(name))}
        results.update((name, Result(name=name, result="unchanged", used_by=self._users([name]))) for name in found.keys() - wanted)
        for group in self._ledger.groups(wanted):
            beside = self._ledger.refused_beside(group)
            outcome = await self._rotate({name: found[name] for name in group})
            if beside and any(result.result == "refused" for result in outcome.values()):
                outcome |= await self._rotate_together({name: found[name] for name in group}, beside)
            results.update(outcome)
        return results

    async def _rotate_together(self, values: Mapping[str, str], beside: Collection[str]) -> dict[str, Result]:
        """What was refused just now, once more with what was refused before: a user and a password may stand in two files."""
        found, _ = await self._find(sorted(beside))
        changed = self._ledger.changes(found)
        return await self._rotate({**values, **{name: found[name] for name in changed}}) if changed else {}

    async def _find(self, names: Sequence[str]) -> tuple[dict[str, str], dict[str, Result]]:
        """What the sources say of `names` now, and what there is to say of those that cannot be rotated."""
        found: dict[str, str] = {}
        results: dict[str, Result] = {}
        failed: dict[str, list[str]] = {}
        at_once = asyncio.Semaphore(AT_ONCE)

        async def read(name: str) -> None:
            async with at_once:
                try:
                    value = await self._sources.fetch(name)
                except SecretNotFound as error:
                    results[name] = self._missing(name, str(error))
                    return
                except SecretError as error:
                    results[name] = Result(name=name, result="failed", why=plain(str(error)), used_by=self._users([name]))
                    failed.setdefault(str(error), []).append(name)
                    return
            if name in self._ledger.names:
                register(value, name=name)
                found[name] = value
            else:
                results[name] = Result(name=name, result="unused")

        await asyncio.gather(*map(read, names))
        for error, unread in failed.items():
            self._journal.say(f"{_named(unread)} could not be read, what was known before stays in use: {error}", level="error")
        return found, results

    def _missing(self, name: str, why: str) -> Result:
        if name in self._ledger.names and self._ledger.vanished(name):
            text = f"the secret {name!r} is in no source any more: who uses it keeps it, and nobody else is given it"
            self._journal.say(text, level="warning")
        return Result(name=name, result="missing", why=plain(why), used_by=self._users([name]))

    # ── one rotation ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _rotate(self, values: Mapping[str, str]) -> dict[str, Result]:
        """All of these, or none."""
        told = self._ledger.propose(values)
        services = [holder for holder in told if isinstance(holder, Service)]
        asked: dict[Process, frozenset[str]] = {}
        try:
            reasons = await prepare(services, values)
            if not reasons:
                asked = _processes(told)
                reasons = await self._tell(asked, values)
        except BaseException:
            self._ledger.withdraw(values, None)
            for service in services:
                service.discard()
            raise
        if reasons:
            self.refused += 1
            await self._go_back(values, asked, services, reasons)
            return {name: Result(name=name, result="refused", reasons=reasons, used_by=self._users([name])) for name in values}
        self.done += 1
        for holder in told:
            self._ledger.hold(holder, values)
        self._ledger.commit(values)
        for service in services:
            service.commit()
        self._journal.say(f"{_named(values)} rotated: {', '.join(self._users(values)) or 'nobody uses it any more'}")
        return {name: Result(name=name, result="rotated", used_by=self._users([name])) for name in values}

    async def _go_back(
        self, values: Mapping[str, str], asked: Mapping[Process, frozenset[str]], services: Sequence[Service], reasons: Mapping[str, str]
    ) -> None:
        """Everybody uses again what was in force before."""
        before = self._ledger.changes(values)
        for name, value in before.items():
            register(value, name=name)  # Of each name the newest values are hidden: this one must not become the oldest.
        astray = self._ledger.withdraw(values, reasons)
        for service in services:
            service.discard()
        await self._open_again([holder for holder in astray if isinstance(holder, Service)], before)
        for holder in asked:  # Some were only told once more of what others use already.
            self._ledger.hold(cast("Holder", holder), values.keys() - before.keys(), known=holder.module_id not in reasons)
        told: dict[Process, frozenset[str]] = {}
        for holder, names in (*asked.items(), *_processes(astray).items()):
            if concerned := frozenset(before) & (names | told.get(holder, frozenset())):
                told[holder] = concerned
        lost = await self._tell(told, before)
        for holder, names in told.items():
            reason = lost.get(holder.module_id)
            self._ledger.hold(cast("Holder", holder), names, known=reason is None)
            if reason is not None:
                text = f"nobody can tell which value of {_named(names)} it uses: it was told to go back, and {reason}"
                self._journal.say(
                    f"{text}; `pywatt restart {holder.module_id}` gives it the one in force", module=holder.module_id, level="error"
                )
        self._say_who_refused(values, before, reasons)

    def _say_who_refused(self, values: Mapping[str, str], before: Mapping[str, str], reasons: Mapping[str, str]) -> None:
        who = "; ".join(f"{module_id}: {reason}" for module_id, reason in reasons.items())
        remedy = f"once that is mended, `pywatt rotate {' '.join(sorted(values))}`"
        what = "not rotated, the value before stays in use" if before else "refused, although others use this value"
        self._journal.say(f"{_named(values)} {what}. {who}. {remedy[0].upper()}{remedy[1:]}", level="error")

    async def _open_again(self, services: Sequence[Service], before: Mapping[str, str]) -> None:
        """Services that were opened with what is withdrawn now."""
        failed = await prepare(services, before)
        for service in services:
            if service.module_id in failed:
                service.discard()
                self._journal.say(
                    f"{service.module_id} could not be opened with the value before: {failed[service.module_id]}", level="error"
                )
            else:
                service.commit()
            self._ledger.hold(service, before, known=service.module_id not in failed)

    async def _tell(self, told: Mapping[Process, frozenset[str]], values: Mapping[str, str]) -> dict[str, str]:
        """Say to each that these secrets have other values; who refused, and why."""
        rotation_id = new_id()
        asking = {asyncio.create_task(ask(holder, names, rotation_id)): holder for holder, names in told.items()}
        voters = [task for task, holder in asking.items() if holder.start_patience is None]
        try:
            if voters:
                await asyncio.wait(voters)
        except asyncio.CancelledError:
            for task in asking:
                task.cancel()
            raise
        for task, holder in asking.items():
            if not task.done():
                self._late.add(task)
                task.add_done_callback(lambda task, holder=holder: self._came_late(task, holder, values))  # type: ignore[misc]
        return {holder.module_id: task.result() for task, holder in asking.items() if task.done() and task.result()}

    def _came_late(self, task: asyncio.Task[str], holder: Process, values: Mapping[str, str]) -> None:
        """A process that was told while it started has answered. What is in force is in force: it may only be left behind."""
        self._late.discard(task)
        if task.cancelled() or not task.result():
            return
        names = [name for name, value in values.items() if self._ledger.value(name) == value]
        if names:
            self._ledger.hold(cast("Holder", holder), names, known=False)
            text = f"it refused {_named(names)} as in force now: {task.result()}; `pywatt rotate` tells it again"
            self._journal.say(text, module=holder.module_id, level="error")

    def _users(self, names: Collection[str]) -> list[str]:
        return sorted({holder.module_id for name in names for holder in self._ledger.holders(name)})


def _processes(told: Mapping[Holder, frozenset[str]]) -> dict[Process, frozenset[str]]:
    return {cast("Process", holder): names for holder, names in told.items() if not isinstance(holder, Service)}


def _answer(wish: _Wish, outcome: dict[str, Result] | SecretError) -> None:
    for waiting in wish.waiting:
        if waiting.done():
            continue  # The client has gone.
        if isinstance(outcome, SecretError):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)


def _named(names: Collection[str]) -> str:
    """``the secret 'A'``, ``the secrets 'A', 'B'``."""
    return f"the secret{'' if len(names) == 1 else 's'} {', '.join(map(repr, sorted(names)))}"
