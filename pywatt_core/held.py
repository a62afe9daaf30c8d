"""Resources that are opened once, perhaps late and by anybody, and closed by their owner.

An async context manager should be entered and left by one task: `Held` gives it a task of its own. `Deferred` is the
face of a resource that opens itself at first use; `Blocking` is the face for threads, which may not await.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar

from .errors import RequestTimeout, StorageError

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

    async def _own(self, opened: asyncio.Future[T], finish: asyncio.Future[BaseException | None]) -> None:
        error: BaseException | None = None
        try:
            async with self._make() as value:
                opened.set_result(value)
                error = await finish
                if error is not None:
                    raise error
        except BaseException as raised:
            if opened.done():
                if raised is not error:
                    raise
                return
            self._opened = self._finish = self._owner = None
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
    ones; attributes that have such methods themselves (a database, a cache) are wrapped likewise. A call that is not
    done within `timeout` seconds is cancelled and raises `RequestTimeout`.
    """

    def __init__(self, target: object, loop: asyncio.AbstractEventLoop, thread_id: int, timeout: float) -> None:
        self._target, self._loop, self._thread_id, self._timeout = target, loop, thread_id, timeout

    def within(self, seconds: float) -> Blocking:
        """The same with another deadline for each call."""
        return Blocking(self._target, self._loop, self._thread_id, seconds)

    def __getattr__(self, name: str) -> Any:
        return self._wrap(getattr(self._target, name))

    def _wrap(self, value: Any) -> Any:
        if isinstance(value, Mapping) and value and all(_has_async_methods(item) for item in value.values()):
            return {key: self._wrap(item) for key, item in value.items()}
        if inspect.ismethod(value) or inspect.isfunction(value):
            return self._calling(value)
        if isinstance(value, str | int | float | bytes | bool | type(None)) or not _has_async_methods(value):
            return value
        return Blocking(value, self._loop, self._thread_id, self._timeout)

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
            return outcome

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
            if close is not None:
                self._run(_awaited(close()), name)


class _BlockingContext(AbstractContextManager[Any]):
    """An async context manager as a ``with`` block: its own task enters and leaves it."""

    def __init__(self, face: Blocking, manager: AbstractAsyncContextManager[Any], name: str) -> None:
        self._face, self._name = face, name
        self._held: Held[Any] = Held(lambda: manager, name)

    def __enter__(self) -> Any:
        return self._face._wrap(self._face._run(self._held.value(), self._name))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._face._run(self._held.close(error), self._name)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _has_async_methods(value: object) -> bool:
    return isinstance(value, Deferred) or any(
        inspect.iscoroutinefunction(getattr(type(value), name, None)) for name in dir(type(value)) if not name.startswith("_")
    )
