"""Secrets that change while a module runs, all of it or nothing (protocol 9.2).

    obtain ─► prepare ─► tell ─► commit
                 └────────┴────► undo

New values are read. Whoever was opened with one of the old values is opened a second time, beside the first. The subscribers are
told, one after the other. Only then everything is exchanged at once. Whoever refuses, or takes too long, makes the attempt void:
what was prepared is closed, and the subscribers that had agreed are told the old value again.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeAlias

from ..errors import PyWattError, SecretError
from ..redaction import Secret, redact

log = logging.getLogger(__name__)

LIMIT: Final = 5.0
"""Seconds for everything that one change sets off (protocol 9.2)."""
UNDOING: Final = 1.0
"""Of these, the seconds that are left for taking back what cannot be finished."""

Values: TypeAlias = Mapping[str, Secret]
OnRotation: TypeAlias = "Callable[[str, Secret], Awaitable[None] | None]"
"""Told a secret's name and its new value. Raising refuses it."""


class Prepared(Protocol):
    """Something that was opened with new values, beside what is in use. One of the two is called, once; neither may fail or wait."""

    def commit(self) -> None:
        """Use it from now on."""
        ...

    def abandon(self) -> None:
        """Close it unused."""
        ...


class Participant(Protocol):
    """Whoever is opened with secrets, and can be opened again with others."""

    @property
    def label(self) -> str:
        """What a person calls it: ``databases.main``."""
        ...

    def concerned(self, values: Values) -> bool:
        """Whether it was opened with another value of one of these."""
        ...

    async def prepare(self, values: Values) -> Prepared:
        """Open it with these values, and make sure that it works. Raising refuses them; a cancellation leaves nothing open."""
        ...


class Subscriber:
    """One function that wants to be told, and what it was told last."""

    def __init__(self, names: Iterable[str], callback: OnRotation, told: Mapping[str, Secret]) -> None:
        self.names, self.callback = frozenset(names), callback
        self.told: dict[str, Secret] = dict(told)

    @property
    def label(self) -> str:
        """The function's name."""
        return f"the subscriber {getattr(self.callback, '__qualname__', type(self.callback).__qualname__)}"

    def news(self, values: Values) -> list[tuple[str, Secret]]:
        """What it has not been told yet."""
        return [(name, secret) for name, secret in values.items() if name in self.names and self.told.get(name) != secret]

    async def tell(self, name: str, secret: Secret) -> None:
        """Call the function and wait until it is done."""
        answer = self.callback(name, secret)
        if inspect.isawaitable(answer):
            await answer


UNDER_WAY: contextvars.ContextVar[Attempt | None] = contextvars.ContextVar("UNDER_WAY", default=None)
"""The change that the code which runs now takes part in."""


class Rotation:
    """One module's participants and subscribers, and one change at a time."""

    def __init__(self) -> None:
        self._participants: list[Participant] = []
        self._subscribers: list[Subscriber] = []
        self._turn = asyncio.Lock()
        self._undoing: set[asyncio.Task[None]] = set()

    def join(self, participant: Participant) -> Callable[[], None]:
        """From now on `participant` is asked; call the result and it is no more."""
        self._participants.append(participant)
        return partial(_drop, self._participants, participant)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """From now on `subscriber` is told, after those that came before it; call the result and it is no more."""
        self._subscribers.append(subscriber)
        return partial(_drop, self._subscribers, subscriber)

    def delivered(self, name: str, secret: Secret) -> None:
        """The first value of a secret has come into use: whoever has subscribed to it before that knows it now."""
        for one in self._subscribers:
            if name in one.names:
                one.told.setdefault(name, secret)

    def concerns(self, values: Values) -> bool:
        """Whether anybody would have to be asked or told about these values."""
        return any(one.concerned(values) for one in self._participants) or any(one.news(values) for one in self._subscribers)

    async def run(self, obtain: Callable[[], Awaitable[Values]], commit: Callable[[Values], None], limit: float = LIMIT) -> None:
        """Make one change: `obtain` gives the new values, `commit` is called when everybody has agreed, in the moment of the exchange.

        It ends within `limit` seconds. Raises `SecretError`, which says who refused and why, or what `obtain` raises; then everything
        is as it was, or will be as soon as a subscriber that does not let itself be interrupted gives way.
        """
        inside = UNDER_WAY.get()
        if inside is not None and not inside.over:
            raise SecretError("whoever takes part in a change of secrets cannot begin another one: return first")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        last = deadline - min(UNDOING, limit / 2)
        try:
            async with asyncio.timeout_at(last):
                await self._turn.acquire()
        except TimeoutError:
            raise SecretError("an earlier change of secrets is still under way") from None
        attempt = Attempt(self._participants, self._subscribers)
        work = loop.create_task(attempt.forward(obtain), name="a change of secrets")
        try:
            await asyncio.wait({work}, timeout=last - loop.time())
            if not work.done():
                raise SecretError(f"not done after {limit - (deadline - last):g} s: {attempt.doing}")
            values = work.result()
        except BaseException:
            undoing = loop.create_task(self._undo(attempt, work), name="undoing a change of secrets")
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
            await asyncio.wait({undoing}, timeout=deadline - loop.time())
            raise
        try:
            attempt.commit()
            commit(values)
        finally:
            attempt.over = True
            self._turn.release()

    async def _undo(self, attempt: Attempt, work: asyncio.Task[Values]) -> None:
        """Everything as it was. The next change has to wait for it."""
        try:
            work.cancel()
            await asyncio.wait({work})  # a subscriber that does not let itself be interrupted is waited for
            if not work.cancelled():
                work.exception()  # it has been told already, or came too late to matter
            await attempt.undo()
        finally:
            attempt.over = True
            self._turn.release()


class Told(NamedTuple):
    """One call of a subscriber, and what it had known before."""

    subscriber: Subscriber
    name: str
    before: Secret | None


class Attempt:
    """One change on its way: who has prepared what, and who was told."""

    def __init__(self, participants: Iterable[Participant], subscribers: Iterable[Subscriber]) -> None:
        self._participants, self._subscribers = tuple(participants), tuple(subscribers)
        self._prepared: list[Prepared] = []
        self._told: list[Told] = []
        self.doing = "it has not begun"
        """What is waited for."""
        self.over = False

    async def forward(self, obtain: Callable[[], Awaitable[Values]]) -> Values:
        """Everything before the exchange. Raises what `run` promises."""
        UNDER_WAY.set(self)
        self.doing = "the new values are being read"
        values = await obtain()
        await self._prepare([one for one in self._participants if one.concerned(values)], values)
        for subscriber in self._subscribers:
            for name, secret in subscriber.news(values):
                self.doing = f"{subscriber.label} has not returned"
                await self._tell(subscriber, name, secret)
        return values

    def commit(self) -> None:
        """The exchange."""
        for one in self._prepared:
            one.commit()

    async def undo(self) -> None:
        """Close what was prepared, and tell those who were told, the last one first, that it is the old value again."""
        UNDER_WAY.set(self)
        for one in self._prepared:
            one.abandon()
        for subscriber, name, before in reversed(self._told):
            if before is None:
                subscriber.told.pop(name, None)
                log.warning("%s was told a secret that is not used after all; what it knew before is not known", subscriber.label)
                continue
            subscriber.told[name] = before
            try:
                await subscriber.tell(name, before)
            except (Exception, SystemExit) as error:
                known = isinstance(error, PyWattError)
                log.error(
                    "%s does not take the old value back: %s",
                    subscriber.label,
                    reason(error),
                    exc_info=None if known else error,
                    extra={"secret_name": name},
                )

    async def _prepare(self, participants: Iterable[Participant], values: Values) -> None:
        """All at once. The first refusal ends it for all of them."""
        preparing = {asyncio.create_task(one.prepare(values), name=f"preparing {one.label}"): one for one in participants}
        pending = set(preparing)
        try:
            while pending:
                self.doing = f"{', '.join(sorted(preparing[task].label for task in pending))} is not open yet"
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                refused = [error for task in done if (error := self._collect(task)) is not None]
                if refused:
                    labels = [preparing[task].label for task in done if task.cancelled() or task.exception() is not None]
                    raise refusal("; ".join(f"{label}: {reason(error)}" for label, error in zip(labels, refused, strict=True)), refused[0])
        finally:
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)
                for task in pending:
                    self._collect(task)

    def _collect(self, task: asyncio.Task[Prepared]) -> BaseException | None:
        """Keep what a participant has prepared; what it raised where it did not."""
        if task.cancelled():
            return asyncio.CancelledError("it was cancelled")
        error = task.exception()
        if error is None:
            self._prepared.append(task.result())
        return error

    async def _tell(self, subscriber: Subscriber, name: str, secret: Secret) -> None:
        told = Told(subscriber, name, subscriber.told.get(name))
        try:
            await subscriber.tell(name, secret)
        except asyncio.CancelledError:
            self._told.append(told)  # nobody knows how far it came
            raise
        except (Exception, SystemExit) as error:  # a task that raises SystemExit would end the event loop
            raise refusal(f"{subscriber.label}: {reason(error)}", error) from error
        subscriber.told[name] = secret
        self._told.append(told)


def refusal(text: str, error: BaseException) -> SecretError:
    """The error that says who refused."""
    refused = SecretError(text)
    refused.__cause__ = error
    return refused


def reason(error: BaseException) -> str:
    """What went wrong, in words that hold no secret."""
    text = redact(str(error))
    if isinstance(error, PyWattError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _drop(members: list[Participant] | list[Subscriber], member: Participant | Subscriber) -> None:
    if member in members:
        members.remove(member)  # type: ignore[arg-type]
