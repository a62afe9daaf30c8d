"""The one client for a module's secrets: a cache in front of wherever they come from, and rotation (protocol 9).

Under an orchestrator values come over the link, stand-alone from the chain of secret sources. Every value is registered
for redaction before anybody sees it.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from .. import redaction
from ..errors import ChannelClosed, PyWattError, RequestTimeout, SecretError, SecretNotFound
from ..interfaces import SecretSource
from ..protocol.messages import GetSecret, RotationAck
from ..protocol.messages import Secret as SecretMessage
from ..redaction import Secret
from ..transports.link import Link

log = logging.getLogger(__name__)

Fetch = Callable[[str], Awaitable[str]]
OnRotation = Callable[[str, Secret], Awaitable[None] | None]

ANSWER_TIMEOUT = 5.0
"""Seconds to wait for one secret, and at most for everything that a rotation sets off (protocol 9.1, 9.2)."""

REMEMBERED_ROTATIONS = 1024


class SecretMode(enum.Enum):
    """Where a value may come from (protocol 9.1)."""

    CACHE_THEN_REMOTE = "cache, else ask"
    FORCE_REMOTE = "always ask, and update the cache"
    CACHE_ONLY = "cache, else not found"


class SecretClient:
    """Secrets by name. ``await secrets.get(name)`` asks, ``secrets[name]`` reads what has been delivered already."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._cache: dict[str, Secret] = {}
        self._asking: dict[str, asyncio.Task[Secret]] = {}
        self._subscribers: list[tuple[frozenset[str], OnRotation]] = []
        self._rotations: OrderedDict[str, None] = OrderedDict()

    async def get(self, name: str, mode: SecretMode = SecretMode.CACHE_THEN_REMOTE) -> Secret:
        """The secret. Callers that ask for one name at the same time share one question.

        Raises `SecretNotFound`, or `SecretError` where the source did not answer in time.
        """
        cached = self._cache.get(name)
        if cached is not None and mode is not SecretMode.FORCE_REMOTE:
            return cached
        if mode is SecretMode.CACHE_ONLY:
            raise SecretNotFound(f"the secret {name!r} has not been delivered")
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(self._ask(name), name=f"secret {name}")
            asking.add_done_callback(lambda task: self._asking.pop(name) if self._asking.get(name) is task else None)
        return await asyncio.shield(asking)

    def put(self, name: str, value: str) -> Secret:
        """Take a value that came unasked, or that this process sets for itself; it replaces the cached one."""
        redaction.register(value, name=name)
        secret = Secret(value)
        self._cache[name] = secret
        self._asking.pop(name, None)  # what is on its way is older
        return secret

    def subscribe(self, names: Iterable[str], callback: OnRotation) -> None:
        """Call `callback(name, secret)` with the new value each time one of `names` is rotated."""
        self._subscribers.append((frozenset(names), callback))

    async def rotated(self, names: Sequence[str], rotation_id: str) -> RotationAck | None:
        """Fetch anew what was delivered of `names`, or subscribed to, tell the subscribers, and only then acknowledge.

        Until then the value from before can still be read. What cannot be fetched any more is forgotten. A rotation that
        was seen before gives None: it is acknowledged once.
        """
        if rotation_id in self._rotations:
            return None
        self._rotations[rotation_id] = None
        if len(self._rotations) > REMEMBERED_ROTATIONS:
            self._rotations.popitem(last=False)
        for name in names:
            self._asking.pop(name, None)  # an answer on its way may be the value from before
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await asyncio.gather(*(self._tell(name) for name in names))
        except TimeoutError:
            return RotationAck(rotation_id=rotation_id, status="error", message=f"not done after {ANSWER_TIMEOUT:g} s")
        except Exception as error:
            known = isinstance(error, PyWattError)  # its text says it all; a fault in a callback needs its traceback
            log.error("rotating secrets failed: %s", error, exc_info=None if known else error, extra={"names": list(names)})
            return RotationAck(rotation_id=rotation_id, status="error", message=redaction.redact(str(error)) or type(error).__name__)
        return RotationAck(rotation_id=rotation_id, status="success")

    def __getitem__(self, name: str) -> Secret:
        try:
            return self._cache[name]
        except KeyError:
            known = ", ".join(sorted(self._cache)) or "none"
            raise SecretNotFound(
                f"the secret {name!r} has not been delivered (delivered: {known}); declare it with secrets=[{name!r}] or await get()"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._cache

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._cache))

    def __len__(self) -> int:
        return len(self._cache)

    def __repr__(self) -> str:
        return f"SecretClient({', '.join(sorted(self._cache))})"

    async def _ask(self, name: str) -> Secret:
        value = await self._fetch(name)
        if self._asking.get(name) is asyncio.current_task():
            return self.put(name, value)
        redaction.register(value, name=name)  # rotated or set meanwhile: good for who asked before, not for the cache
        return Secret(value)

    async def _tell(self, name: str) -> None:
        callbacks = [callback for names, callback in self._subscribers if name in names]
        if not callbacks and name not in self._cache:
            return
        try:
            secret = await self.get(name, SecretMode.FORCE_REMOTE)
        except BaseException:
            self._cache.pop(name, None)
            raise
        for callback in callbacks:
            outcome = callback(name, secret)
            if inspect.isawaitable(outcome):
                await outcome


def fetch_over(link: Link, *, timeout: float = ANSWER_TIMEOUT) -> Fetch:
    """Secrets from the orchestrator at the other end of `link`."""

    async def fetch(name: str) -> str:
        try:
            answer = await link.request(GetSecret(name=name), timeout=timeout)
        except RequestTimeout as error:
            raise SecretError(
                f"the orchestrator did not answer for the secret {name!r} within {timeout:g} s; does it know that name?"
            ) from error
        except ChannelClosed as error:
            raise SecretError(f"the orchestrator went away before it delivered the secret {name!r}") from error
        assert isinstance(answer, SecretMessage)
        if answer.error is not None or answer.value is None:
            raise SecretNotFound(f"the orchestrator refused the secret {name!r}: {answer.error or 'no value'}")
        return answer.value

    return fetch


def fetch_from(sources: Sequence[tuple[str, SecretSource]]) -> Fetch:
    """Secrets from a chain of named sources: the first that knows the name wins."""

    async def fetch(name: str) -> str:
        for _label, source in sources:
            value = await source.get(name)
            if value is not None:
                return value
        asked = ", ".join(label for label, _source in sources) or "none configured"
        usual = {"env", "dotenv"} <= {label for label, _source in sources}
        way_out = "; set it in the environment or in the .env file beside pywatt.toml" if usual else ""
        raise SecretNotFound(f"no source knows the secret {name!r} (asked: {asked}){way_out}")

    return fetch
