"""The one client for a module's secrets: a cache in front of wherever they come from, and changes that are all or nothing.

Under an orchestrator values come over the link, stand-alone from the chain of secret sources. Every value is registered
for redaction before anybody sees it. How a change is made is in `rotation`.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar, cast

from ..access import ListedSource, SecretInfo, WritableSource
from ..errors import PyWattError, SecretError, SecretNotFound
from ..interfaces import SecretSource
from ..protocol.messages import RotationAck
from ..redaction import Secret, TypedSecret
from .rotation import LIMIT, OnRotation, Participant, Rotation, Subscriber, Values, reason
from .secret_cache import SIZE, SecretCache
from .secret_versions import version_of
from .secret_views import CurrentSecret, Watching

log = logging.getLogger(__name__)

T = TypeVar("T")

Fetch = Callable[[str], Awaitable[str]]

ANSWER_TIMEOUT = LIMIT
"""Seconds to wait for one secret, and at most for everything that a rotation sets off (protocol 9.1, 9.2)."""

REMEMBERED_ROTATIONS = 1024


class SecretMode(enum.Enum):
    """Where a value may come from (protocol 9.1)."""

    CACHE_THEN_REMOTE = "cache, else ask"
    FORCE_REMOTE = "always ask, and update the cache"
    CACHE_ONLY = "cache, else not found"


class SecretClient:
    """Secrets by name. ``await secrets.get(name)`` asks, ``secrets[name]`` reads what has been delivered already.

    `source` is where they come from: a secret source, a chain of them, or a function that fetches one. `ttl` is the number of seconds
    after which a value is asked for anew, None for never; where its source cannot be reached then, the value from before is used
    for `stale` more seconds, None for as long as that lasts. `size` is how many secrets are remembered beside those that somebody
    depends on.
    """

    def __init__(
        self,
        source: SecretSource | Fetch,
        *,
        ttl: float | None = None,
        stale: float | None = None,
        size: int = SIZE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source: SecretSource | None = cast("SecretSource", source) if hasattr(source, "get") else None
        self._fetch = fetching(source)
        self._ttl, self._stale = ttl, stale
        self._cache = SecretCache(size, ttl, clock)
        self._asking: dict[str, asyncio.Task[Secret]] = {}
        self._changing: frozenset[str] = frozenset()
        """What is read anew at the moment: answers to others are not kept."""
        self._rotation = Rotation()
        self._rotations: OrderedDict[str, None] = OrderedDict()
        self._watching: weakref.WeakSet[Watching] = weakref.WeakSet()

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, name: str, mode: SecretMode = SecretMode.CACHE_THEN_REMOTE) -> Secret:
        """The secret. Callers that ask for one name at the same time share one question.

        Raises `SecretNotFound` with the places looked in, or `SecretError` where the source did not answer in time.
        """
        if mode is not SecretMode.FORCE_REMOTE:
            cached = self._cache.get(name)
            if cached is not None and (self._cache.is_fresh(name) or mode is SecretMode.CACHE_ONLY):
                return cached
            if mode is SecretMode.CACHE_ONLY:
                raise SecretNotFound(f"the secret {name!r} has not been delivered")
        try:
            return await self._asked(name)
        except SecretNotFound:
            if not self._cache.is_kept(name):
                self._cache.forget(name)
            raise
        except SecretError as error:
            before = self._cache.get(name)
            if mode is SecretMode.FORCE_REMOTE or before is None or self._too_old(name):
                raise
            self._cache.use_on(name)
            log.warning("a secret could not be read anew, its last value stays in use: %s", reason(error), extra={"secret_name": name})
            return before

    async def get_typed(self, name: str, kind: type[T] | Callable[[str], T], *, lenient: bool = False) -> TypedSecret[T]:
        """The secret, read as ``int``, ``bool``, ``float``, ``str`` or by a function of the text. See `TypedSecret.parse`.

        Raises what `get` raises, and `SecretError`, which names the secret and not its value, where it cannot be read so.
        """
        return TypedSecret.parse(await self.get(name), kind, name=name, lenient=lenient)

    def current(self, name: str) -> CurrentSecret:
        """A secret whose text is, each time it is asked for, the one in use. It has been delivered, or `SecretNotFound` is raised."""
        self.keep([name])
        self[name]
        return CurrentSecret(self, name)

    async def names(self) -> Collection[str]:
        """What the source holds, where it can tell, and what has been delivered. An orchestrator does not tell what it holds."""
        delivered = frozenset(self._cache)
        return delivered | frozenset(await self._source.names()) if isinstance(self._source, ListedSource) else delivered

    async def describe(self, name: str) -> SecretInfo | None:
        """Version, time of the last change and whatever else the source knows; None where nobody knows the secret.

        Of a secret whose source does not tell, such as an orchestrator, there is the version of the value in use.
        """
        found = await self._source.describe(name) if isinstance(self._source, ListedSource) else None
        used = self._cache.get(name)
        return SecretInfo(version_of(name, used.expose_secret())) if found is None and used is not None else found

    # ── changing ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def set(self, name: str, value: str) -> None:
        """Store a value in the source, and use it here. Raises `SecretError` where the source cannot be set, or the value is refused."""
        Secret(value, name=name)
        if not isinstance(self._source, WritableSource):
            raise SecretError(
                f"the secret {name!r} cannot be set from here: it comes from {self._source or 'a source'!r}, which is read-only for modules"
            )
        await self._source.set(name, value)
        try:
            await self.change({name: value})
        except SecretError as error:
            raise SecretError(f"the secret {name!r} is stored, and is not used here yet: {error}") from error

    async def change(self, values: Mapping[str, str]) -> None:
        """Use these values from now on, in this process alone: all of them, or none where `SecretError` says who refuses them."""
        secrets = {name: Secret(value, name=name) for name, value in values.items()}

        async def given() -> Values:
            return secrets

        await self._change(secrets, given)

    def put(self, name: str, value: str) -> Secret:
        """Take a value that came unasked, or that this process sets for itself; it replaces the cached one, whoever uses that."""
        secret = Secret(value, name=name)
        self._take({name: secret})
        return secret

    async def deliver(self, name: str, value: str) -> None:
        """Take what the orchestrator has pushed unasked: at once for readers, and then for whoever depends on it, unless they refuse."""
        before = self._cache.get(name)
        secret = self.put(name, value)
        if not self._rotation.concerns({name: secret}):
            return
        try:
            await self.change({name: value})
        except SecretError as error:
            self._complain("a pushed secret is not used", [name], error)
            if before is not None and self._cache.get(name) is secret:
                self._take({name: before})

    def subscribe(self, names: str | Iterable[str], callback: OnRotation) -> Callable[[], None]:
        """Call `callback(name, secret)`, a function or a coroutine function, before another value of one of `names` is used.

        It has to be ready for the new value when it returns; the rotation is acknowledged after that. Raising refuses the value: the whole
        change is taken back, and whoever had agreed is called again with the old value. Until the end ``secrets[name]`` is
        the old one. Call what this returns to be told no more.
        """
        if not callable(callback):
            raise TypeError("a subscriber is a function of a secret's name and its new value")
        wanted = frozenset([names] if isinstance(names, str) else names)
        self.keep(wanted)
        told = {name: secret for name in wanted if (secret := self._cache.get(name)) is not None}
        leaving = ExitStack()
        leaving.callback(self._rotation.subscribe(Subscriber(wanted, callback, told)))
        leaving.callback(self._cache.let_go, wanted)
        return leaving.close

    def join(self, participant: Participant) -> Callable[[], None]:
        """Have `participant` prepare for each change that concerns it. Call what this returns to leave it out."""
        return self._rotation.join(participant)

    def watch(self, *names: str) -> Watching:
        """``async for name, secret in secrets.watch("DB_URL"): …``: each value as it comes into use, of all secrets where no name is given.

        A value that was replaced before anybody looked is left out. Watching has no vote: to refuse a value, subscribe.
        """
        watching = Watching(names)
        self._watching.add(watching)
        return watching

    def keep(self, names: Iterable[str]) -> None:
        """These are needed for as long as the module lives: they are never dropped for others, and a rotation without one fails."""
        self._cache.keep(names)

    def concerned(self, names: Iterable[str]) -> list[str]:
        """Those that were delivered or that somebody depends on: what a rotation has to read anew."""
        return [name for name in dict.fromkeys(names) if name in self._cache or self._cache.is_kept(name)]

    async def refresh(self, names: Iterable[str], *, limit: float = ANSWER_TIMEOUT) -> None:
        """Read those of `names` anew that were delivered or that somebody depends on, and use what they are now, all or none.

        It ends within `limit` seconds. Raises `SecretError`, which says who refused or what could not be read: then everything is as
        it was.
        """
        wanted = list(names)
        for name in wanted:
            self._asking.pop(name, None)  # an answer on its way may be the value from before
        if concerned := self.concerned(wanted):
            gone: list[str] = []
            await self._change(concerned, partial(self._read_anew, concerned, gone), limit)
            for name in gone:
                self._cache.forget(name)

    async def rotated(self, names: Sequence[str], rotation_id: str) -> RotationAck | None:
        """Carry out a rotation and say how it ended; see `refresh`. One that was seen before gives None: it is acknowledged once."""
        if rotation_id in self._rotations:
            return None
        self._rotations[rotation_id] = None
        if len(self._rotations) > REMEMBERED_ROTATIONS:
            self._rotations.popitem(last=False)
        try:
            await self.refresh(names)
        except Exception as error:
            self._complain("rotating secrets failed, the values from before stay in use", names, error)
            return RotationAck(rotation_id=rotation_id, status="error", message=reason(error))
        return RotationAck(rotation_id=rotation_id, status="success")

    # ── what was delivered ──────────────────────────────────────────────────────────────────────────────────────────

    def __getitem__(self, name: str) -> Secret:
        secret = self._cache.get(name)
        if secret is None:
            known = ", ".join(self._cache) or "none"
            raise SecretNotFound(
                f"the secret {name!r} has not been delivered (delivered: {known}); declare it with secrets=[{name!r}] or await get()"
            )
        return secret

    def __contains__(self, name: object) -> bool:
        return name in self._cache

    def __iter__(self) -> Iterator[str]:
        return iter(self._cache)

    def __len__(self) -> int:
        return len(self._cache)

    def __repr__(self) -> str:
        return f"SecretClient({', '.join(self._cache)})"

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _asked(self, name: str) -> Secret:
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(self._ask(name), name=f"secret {name}")
            asking.add_done_callback(partial(self._answered, name))
        return await asyncio.shield(asking)

    def _answered(self, name: str, task: asyncio.Task[Secret]) -> None:
        if self._asking.get(name) is task:
            del self._asking[name]
        if not task.cancelled():
            task.exception()  # whoever waited may be gone

    async def _ask(self, name: str) -> Secret:
        secret = Secret(await self._fetch(name), name=name)
        if self._asking.get(name) is not asyncio.current_task() or name in self._changing:
            return secret  # rotated or set meanwhile: good for who asked before, not for the cache
        before = self._cache.get(name)
        if before is not None and before != secret and self._rotation.concerns({name: secret}):
            await self.change({name: secret.expose_secret()})
        else:
            self._take({name: secret})
        return secret

    async def _read_anew(self, names: Collection[str], gone: list[str]) -> Values:
        """The values that the source has now. What it does not know any more, and nobody depends on, is added to `gone`."""
        answers = await asyncio.gather(*(self._fetch(name) for name in names), return_exceptions=True)
        values: dict[str, Secret] = {}
        failed: list[BaseException] = []
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, str):
                values[name] = Secret(answer, name=name)
            elif isinstance(answer, SecretNotFound) and not self._cache.is_kept(name):
                gone.append(name)
            else:
                failed.append(answer)
        if failed:
            raise SecretError("; ".join(map(reason, failed))) from failed[0]
        return values

    async def _change(self, names: Iterable[str], obtain: Callable[[], Awaitable[Values]], limit: float = ANSWER_TIMEOUT) -> None:
        changing = frozenset(names)
        news: list[str] = []

        async def obtaining() -> Values:
            self._changing = changing  # its turn has come
            values = await obtain()
            news.extend(name for name, one in values.items() if self._cache.get(name) != one or self._rotation.concerns({name: one}))
            return values

        try:
            await self._rotation.run(obtaining, self._take, limit)
        except BaseException:
            for name in filter(
                self.__contains__, changing
            ):  # of each name the newest values are hidden: this one must not become the oldest
                Secret(self[name].expose_secret(), name=name)
            raise
        finally:
            if self._changing is changing:
                self._changing = frozenset()
        if news:
            log.info("secrets changed", extra={"names": sorted(news)})

    def _take(self, values: Values) -> None:
        for name, secret in values.items():
            self._asking.pop(name, None)  # an answer that is still on its way is older
            before = self._cache.get(name)
            self._cache.put(name, secret)
            if before is None:
                self._rotation.delivered(name, secret)
            if before != secret:
                for watching in self._watching:
                    watching.add(name, secret)

    def _too_old(self, name: str) -> bool:
        return self._stale is not None and self._cache.age(name) > (self._ttl or 0.0) + self._stale

    def _complain(self, text: str, names: Iterable[str], error: Exception) -> None:
        """Tell of a failure: a fault in somebody's code with its traceback, what is known by its text alone."""
        fault = error.__cause__ if isinstance(error, SecretError) and error.__cause__ is not None else error
        known = isinstance(fault, PyWattError)
        log.error("%s: %s", text, reason(error), exc_info=None if known else fault, extra={"names": list(names)})


def fetching(source: SecretSource | Fetch) -> Fetch:
    """The function that gets one secret from `source`, or raises `SecretNotFound`."""
    found: Any = source
    if not hasattr(source, "get"):
        return cast("Fetch", found)
    if hasattr(source, "fetch"):
        return found.fetch  # type: ignore[no-any-return]

    async def fetch(name: str) -> str:
        value = await found.get(name)
        if value is None:
            raise SecretNotFound(f"{found!r} does not know the secret {name!r}")
        return cast("str", value)

    return fetch
