"""A database, cache or authenticator that can be exchanged while it is used.

Everybody holds its *face*. Each call goes to what stands behind the face when the call begins, and is counted there until it has
ended: an operation, a transaction, a lock that is held, an iteration. After an exchange new calls go to the new one; the old one
is closed when its last call has ended, or some time later.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncContextDecorator
from functools import cache, partial, wraps
from types import FunctionType, TracebackType
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar, cast

from .errors import SecretNotFound, Unavailable
from .held import Held
from .redaction import Secret

log = logging.getLogger(__name__)

T = TypeVar("T")

DRAIN: Final = 60.0
"""Seconds that what is under way on an old one may go on."""
MOST_OLD: Final = 16
"""Old ones that may wait for their last call at the same time; a further exchange is refused."""

GetSecret: TypeAlias = "Callable[[str], Awaitable[str]]"

FORWARDED: Final = frozenset({"__aiter__", "__bool__", "__call__", "__contains__", "__getitem__", "__iter__", "__len__", "__str__"})
"""Special methods that a face has where the thing behind it has them."""


class Behind(Generic[T]):
    """One opened resource, and how many calls are under way on it."""

    __slots__ = ("held", "idle", "under_way", "value")

    def __init__(self, held: Held[T], value: T) -> None:
        self.held, self.value = held, value
        self.under_way = 0
        self.idle: asyncio.Event | None = None
        """Set when the last call has ended; None as long as it is the current one."""

    def ended(self) -> None:
        """One call less."""
        self.under_way -= 1
        if self.idle is not None and self.under_way == 0:
            self.idle.set()


class Face:
    """Everything that the resource behind it has. Its class is made for the class of the resource: see `face_class`."""

    __slots__ = ("__weakref__", "_behind")

    _behind: Behind[Any]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_behind":
            raise AttributeError(name)  # who looks for special methods on an instance must not find those of another
        return getattr(self._behind.value, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._behind.value)})

    def __repr__(self) -> str:
        return repr(self._behind.value)

    def __copy__(self) -> Face:
        return self

    def __deepcopy__(self, memo: object) -> Face:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a database, cache or authenticator cannot be pickled: pass its name")


class Replaceable(Generic[T]):
    """The owner of one resource with a face. A participant of `services.rotation`.

    `make` opens it: an async context manager that is given a function which gets secrets. What it asks for is remembered: it is opened
    again when one of these has another value. `interface` is the Protocol that it fulfils, `drain` is in seconds.
    """

    def __init__(
        self,
        make: Callable[[GetSecret], AbstractAsyncContextManager[T]],
        label: str,
        *,
        interface: type | None = None,
        drain: float = DRAIN,
    ) -> None:
        self._make, self._label, self._interface, self._drain = make, label, interface, drain
        self._face: Face | None = None
        self._used: dict[str, Secret] = {}
        self._old: dict[Behind[T], asyncio.Task[None]] = {}
        self._unused: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def label(self) -> str:
        """What it is called, such as ``databases.main``."""
        return self._label

    @property
    def face(self) -> T:
        """What everybody holds. It has been opened."""
        assert self._face is not None
        return cast("T", self._face)

    @property
    def old(self) -> int:
        """How many are left that still have calls under way."""
        return len(self._old)

    async def open(self, secret: GetSecret) -> T:
        """Open it for the first time. Raises what opening it raises."""
        opened, self._used = await self._opened(secret)
        face: Face = face_class(type(opened.value), self._interface)()  # type: ignore[arg-type]  # a type can be hashed
        face._behind = opened
        self._face = face
        return self.face

    def concerned(self, values: Mapping[str, Secret]) -> bool:
        """Whether it was opened with another value of one of these."""
        return any(name in self._used and self._used[name] != secret for name, secret in values.items())

    async def prepare(self, values: Mapping[str, Secret]) -> Replacement[T]:
        """Open it a second time, with these values, and ask it for a sign of life where it has a ``ping``.

        Raises what opening it raises, and `Unavailable` where too many old ones are still used.
        """
        if len(self._old) >= MOST_OLD:
            raise Unavailable(
                f"{len(self._old)} that were replaced are still being used; the oldest is cut off {self._drain:g} s after that"
            )

        async def secret(name: str) -> str:
            found = values.get(name, self._used.get(name))
            if found is None:
                raise SecretNotFound(f"{self._label} asks for the secret {name!r}, and did not when it was opened first")
            return found.expose_secret()

        opened, used = await self._opened(secret)
        try:
            ping = getattr(opened.value, "ping", None)
            if inspect.iscoroutinefunction(ping):
                await ping()
        except BaseException:
            self._close_unused(opened)
            raise
        return Replacement(self, opened, used)

    async def close(self) -> None:
        """Close it, and whatever is left of old ones, at once."""
        self._closed = True
        for old in self._old:
            assert old.idle is not None
            old.idle.set()
        current = [self._face._behind.held.close()] if self._face is not None else []
        results = await asyncio.gather(*current, *self._old.values(), *self._unused, return_exceptions=True)
        for error in results[: len(current)]:  # the others have been logged
            if isinstance(error, BaseException):
                raise error

    def _close_unused(self, opened: Behind[T]) -> None:
        """Close one that nobody has seen."""

        async def close() -> None:
            try:
                await opened.held.close()
            except Exception as error:
                log.error("what was opened in vain could not be closed", exc_info=error, extra={"section": self._label})

        task = asyncio.get_running_loop().create_task(close(), name=f"closing {self._label}")
        self._unused.add(task)
        task.add_done_callback(self._unused.discard)

    def _use(self, opened: Behind[T], used: dict[str, Secret]) -> None:
        face = self._face
        assert face is not None
        if self._closed:
            self._close_unused(opened)
            return
        before, face._behind, self._used = face._behind, opened, used
        face.__class__ = face_class(type(opened.value), self._interface)  # type: ignore[arg-type]
        before.idle = asyncio.Event()
        if before.under_way == 0:
            before.idle.set()
        leaving = asyncio.get_running_loop().create_task(self._leave(before), name=f"leaving {self._label}")
        self._old[before] = leaving

    async def _leave(self, old: Behind[T]) -> None:
        assert old.idle is not None
        try:
            async with asyncio.timeout(self._drain):
                await old.idle.wait()
        except TimeoutError:
            log.warning(
                "what was replaced is closed although it is still used",
                extra={"section": self._label, "calls": old.under_way, "seconds": self._drain},
            )
        try:
            await old.held.close()
        except Exception as error:
            log.error("what was replaced could not be closed", exc_info=error, extra={"section": self._label})
        self._old.pop(old, None)

    async def _opened(self, secret: GetSecret) -> tuple[Behind[T], dict[str, Secret]]:
        used: dict[str, Secret] = {}

        async def noted(name: str) -> str:
            value = await secret(name)
            used[name] = Secret(value, name=name)
            return value

        held: Held[T] = Held(partial(self._make, noted), self._label)
        try:
            return Behind(held, await held.value()), used
        except BaseException:
            if (owner := held.abandon()) is not None:
                self._unused.add(owner)
                owner.add_done_callback(self._unused.discard)
            raise


class Replacement(Generic[T]):
    """One that was opened to take the place of another. One of the two is called."""

    def __init__(self, owner: Replaceable[T], opened: Behind[T], used: dict[str, Secret]) -> None:
        self._owner, self._opened, self._used = owner, opened, used

    def commit(self) -> None:
        """Every call that begins from now on goes to this one."""
        self._owner._use(self._opened, self._used)

    def abandon(self) -> None:
        """Close it unused."""
        self._owner._close_unused(self._opened)


# ── faces ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def face_class(kind: type, interface: type | None = None) -> type[Face]:
    """A subclass of `Face` with every public member of `kind`, and of `interface`, as methods and properties of its own."""
    members: dict[str, Any] = {"__slots__": ()}
    for name in {*dir(kind), *(dir(interface) if interface is not None else ())}:
        if name.startswith("_") and name not in FORWARDED:
            continue
        found = inspect.getattr_static(kind, name, None)
        declared = inspect.getattr_static(interface, name, None) if found is None and interface is not None else found
        if name in FORWARDED and (not isinstance(declared, FunctionType)):
            continue
        members[name] = _member(name, declared)
    return type(f"Face of {kind.__qualname__}", (Face,), members)


def _member(name: str, declared: Any) -> Any:
    function = declared.__func__ if isinstance(declared, staticmethod | classmethod) else declared
    if isinstance(function, type) or not callable(function) or not hasattr(type(function), "__get__"):  # no method
        return property(lambda self: getattr(self._behind.value, name))
    made = _calling(name) if inspect.iscoroutinefunction(function) else _asking(name)
    return wraps(function)(made) if isinstance(function, FunctionType) else made


def _calling(name: str) -> Callable[..., Any]:
    async def call(self: Face, *args: Any, **kwargs: Any) -> Any:
        behind = self._behind
        behind.under_way += 1
        try:
            return await getattr(behind.value, name)(*args, **kwargs)
        finally:
            behind.under_way -= 1  # `ended`, written out: this is the path of every statement
            if behind.idle is not None and behind.under_way == 0:
                behind.idle.set()

    return call


def _asking(name: str) -> Callable[..., Any]:
    """A plain method, or one that makes an async iterator: what it returns tells how long the call lasts."""

    def ask(self: Face, *args: Any, **kwargs: Any) -> Any:
        behind = self._behind
        answer = getattr(behind.value, name)(*args, **kwargs)
        if answer is None or isinstance(answer, str | bytes | int | float):
            return answer
        if hasattr(answer, "__aenter__") and hasattr(answer, "__aexit__"):
            kind = AwaitableEntrance if hasattr(answer, "__await__") else Entrance
            return kind(self, behind, answer, name, args, kwargs)
        if hasattr(answer, "__anext__"):
            return _items(self, behind, answer, name, args, kwargs)
        if inspect.isawaitable(answer):
            return _awaited(behind, answer)
        return answer

    return ask


async def _items(
    face: Face, behind: Behind[Any], items: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> AsyncIterator[Any]:
    if behind is not face._behind:  # exchanged since it was made
        await _close(items)
        behind = face._behind
        items = getattr(behind.value, name)(*args, **kwargs)
    behind.under_way += 1
    try:
        async for item in items:
            yield item
    finally:
        try:
            await _close(items)
        finally:
            behind.ended()


async def _close(items: Any) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


async def _awaited(behind: Behind[Any], answer: Awaitable[Any]) -> Any:
    behind.under_way += 1
    try:
        return await answer
    finally:
        behind.ended()


class Entrance(AsyncContextDecorator, AbstractAsyncContextManager[Any]):
    """An async context manager of a resource, which counts as long as it is entered: a transaction, a lock."""

    def __init__(self, face: Face, behind: Behind[Any], manager: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._face, self._behind, self._manager = face, behind, manager
        self._again = name, args, kwargs

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_manager":
            raise AttributeError(name)
        return getattr(self._manager, name)

    def _recreate_cm(self) -> Any:
        name, args, kwargs = self._again
        return getattr(self._face, name)(*args, **kwargs)

    async def __aenter__(self) -> Any:
        if self._behind is not self._face._behind:  # exchanged since it was made
            self._behind = self._face._behind
            name, args, kwargs = self._again
            self._manager = getattr(self._behind.value, name)(*args, **kwargs)
        self._behind.under_way += 1
        try:
            return await self._manager.__aenter__()
        except BaseException:
            self._behind.ended()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> Any:
        try:
            return await self._manager.__aexit__(kind, error, traceback)
        finally:
            self._behind.ended()


class AwaitableEntrance(Entrance):
    """One that can be awaited instead of entered, as a connection of some pools."""

    def __await__(self) -> Generator[Any, Any, Any]:
        return _awaited(self._behind, self._manager).__await__()
