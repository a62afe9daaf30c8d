"""Resources that are opened once, perhaps late and by anybody, and closed by their owner.

An async context manager should be entered and left by one task: `Held` gives it a task of its own. `Deferred` is the
face of a resource that opens itself at first use; `Blocking` is the face for threads, which may not await.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from .errors import RequestTimeout, StorageError
from .interfaces import Authenticator, Cache, Database
from .services.secrets import SecretClient

T = TypeVar("T")


class Held(Generic[T]):
    """One async context manager, entered at the first `value()` and left by `close()`, both in a task of its own.

    Where entering fails, every caller that waited gets the error, and the next call tries again.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]], name: str) -> None:
        self._make = make
        self._name = name
        self._opened: asyncio.Future[T] | None = None
        self._finish: asyncio.Future[BaseException | None] | None = None
        self._owner: asyncio.Task[None] | None = None

    async def value(self) -> T:
        """What entering gave; enters now where nobody has yet."""
        if self._opened is None:
            loop = asyncio.get_running_loop()
            self._opened, self._finish = loop.create_future(), loop.create_future()
            self._owner = asyncio.create_task(self._own(self._opened, self._finish), name=f"holds {self._name}")
        return await asyncio.shield(self._opened)

    async def close(self, error: BaseException | None = None) -> None:
        """Leave, with `error` as the reason where there is one; nothing happens where nothing was opened."""
        owner, finish = self._owner, self._finish
        if owner is None or finish is None:
            return
        self._opened = self._finish = self._owner = None
        if not finish.done():
            finish.set_result(error)
        await owner

    def abandon(self) -> asyncio.Task[None] | None:
        """Nobody wants it any more: entering is interrupted; what was entered meanwhile is left. The task that does it, if there is any."""
        owner, opened, finish = self._owner, self._opened, self._finish
        self._opened = self._finish = self._owner = None
        if owner is None or opened is None or finish is None:
            return None
        if not opened.done():
            owner.cancel()
        elif not finish.done():
            finish.set_result(None)
        return owner

    async def _own(self, opened: asyncio.Future[T], finish: asyncio.Future[BaseException | None]) -> None:
        error: BaseException | None = None
        try:
            async with self._make() as value:
                opened.set_result(value)
                error = await finish
                if error is not None:
                    raise error
        except BaseException as raised:
            if raised is error:
                return
            if isinstance(raised, SystemExit):  # a task that raises it would end the event loop
                raised = RuntimeError(f"{self._name} called sys.exit({raised.code!r})")
            if opened.done():
                raise raised from None
            if self._opened is opened:
                self._opened = self._finish = self._owner = None
            if isinstance(raised, asyncio.CancelledError):
                opened.cancel()
                return
            opened.set_exception(raised)
            opened.exception()  # retrieved: a caller that was cancelled meanwhile must not leave a warning behind


class Deferred:
    """The face of a held resource: each of its methods opens it first. `interface` says which methods there are."""

    def __init__(self, held: Held[Any], interface: type) -> None:
        self._held = held
        self._interface = interface

    def __getattr__(self, name: str) -> Any:
        declared = inspect.getattr_static(self._interface, name, None)
        if declared is None or name.startswith("_"):
            raise AttributeError(f"{self._interface.__name__} has no {name!r}")
        if isinstance(declared, property):
            raise StorageError(
                f"{name!r} is known once the {self._interface.__name__.lower()} is open: await its ping() or first operation before asking"
            )
        if inspect.iscoroutinefunction(declared):
            return self._calling(name)
        if str(inspect.signature(declared).return_annotation).startswith("AsyncIterator"):
            return self._iterating(name)
        return self._entering(name)

    def _calling(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await getattr(await self._held.value(), name)(*args, **kwargs)

        return call

    def _iterating(self, name: str) -> Callable[..., AsyncIterator[Any]]:
        async def iterate(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            items = getattr(await self._held.value(), name)(*args, **kwargs)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()

        return iterate

    def _entering(self, name: str) -> Callable[..., AbstractAsyncContextManager[Any]]:
        @asynccontextmanager
        async def enter(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            async with getattr(await self._held.value(), name)(*args, **kwargs) as value:
                yield value

        return enter


class Blocking:
    """Every method of `target` in blocking form, with a deadline, for any thread but the loop's.

    Coroutines are run on the loop and waited for, async context managers become ``with`` blocks, async iterators plain
    ones; databases, caches and secrets among the attributes are wrapped likewise, everything else is handed out as it is.
    A call that is not done within `timeout` seconds is cancelled and raises `RequestTimeout`.
    """

    def __init__(self, target: object, loop: asyncio.AbstractEventLoop, thread_id: int, timeout: float) -> None:
        self._target, self._loop, self._thread_id, self._timeout = target, loop, thread_id, timeout

    def within(self, seconds: float) -> Blocking:
        """The same with another deadline for each call."""
        return Blocking(self._target, self._loop, self._thread_id, seconds)

    def around(self, target: object) -> Blocking:
        """The blocking form of something else, with the same deadline."""
        return Blocking(target, self._loop, self._thread_id, self._timeout)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if inspect.ismethod(value) or inspect.isfunction(value):
            return self._calling(value)
        if isinstance(value, Mapping) and value and all(_is_asynchronous(item) for item in value.values()):
            return {key: self.around(item) for key, item in value.items()}
        return self.around(value) if _is_asynchronous(value) else value

    def __getitem__(self, key: Any) -> Any:
        return cast("Any", self._target)[key]

    def __contains__(self, key: object) -> bool:
        return key in cast("Any", self._target)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._target, AsyncIterator):
            return self._iterate(self._target, "next")
        return iter(cast("Any", self._target))

    def __len__(self) -> int:
        return len(cast("Any", self._target))

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"Blocking({self._target!r})"

    def _calling(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._refuse_the_loop(function.__name__)
            outcome = function(*args, **kwargs)
            if inspect.isawaitable(outcome):
                return self._run(_awaited(outcome), function.__name__)
            if isinstance(outcome, AbstractAsyncContextManager):
                return _BlockingContext(self, outcome, function.__name__)
            if isinstance(outcome, AsyncIterator):
                return self._iterate(outcome, function.__name__)
            return self.around(outcome) if _is_asynchronous(outcome) else outcome

        return call

    def _refuse_the_loop(self, name: str) -> None:
        if threading.get_ident() == self._thread_id:
            raise RuntimeError(f"state.sync.{name}() would block the event loop: inside async code, await the same method without .sync")

    def _run(self, coroutine: Any, name: str) -> Any:
        self._refuse_the_loop(name)
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(self._timeout)
        except TimeoutError as error:
            if future.done() and not future.cancelled() and future.exception() is error:
                raise
            future.cancel()
            raise RequestTimeout(
                f"{name}() was not done within {self._timeout:g} s; use state.sync.within(seconds) where it may take longer"
            ) from None

    def _iterate(self, items: AsyncIterator[Any], name: str) -> Iterator[Any]:
        end = object()

        async def following() -> Any:
            return await anext(items, end)

        try:
            while (item := self._run(following(), name)) is not end:
                yield item
        finally:
            close = getattr(items, "aclose", None)
            if close is not None and threading.get_ident() == self._thread_id:
                self._loop.create_task(close())  # dropped on the loop's own thread, which cannot wait for it
            elif close is not None:
                self._run(_awaited(close()), name)


class _BlockingContext(AbstractContextManager[Any]):
    """An async context manager as a ``with`` block: its own task enters and leaves it."""

    def __init__(self, face: Blocking, manager: AbstractAsyncContextManager[Any], name: str) -> None:
        self._face, self._name = face, name
        self._held: Held[Any] = Held(lambda: manager, name)

    def __enter__(self) -> Any:
        return self._face.around(self._face._run(self._entered(), self._name))

    async def _entered(self) -> Any:
        try:
            return await self._held.value()
        except asyncio.CancelledError:
            self._held.abandon()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._face._run(self._held.close(error), self._name)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _is_asynchronous(value: object) -> bool:
    """Whether `value` is one of the things a state holds whose methods have to be awaited; the user's own objects are not."""
    if type(value) is Deferred:  # it answers for its interface only
        return True
    if isinstance(value, SecretClient | Database | Cache | Authenticator):
        return True
    typed = sys.modules.get("pywatt_core.builtin.typed_cache")  # without it there are none, and it is not needed to start
    return typed is not None and isinstance(value, typed.TypedCache)
