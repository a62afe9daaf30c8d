"""How a user's function is called with what arrived: its parameters are read once, from names and annotations."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from functools import cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from ..errors import LocalProtocolError, RemoteProtocolError
from ..protocol.payloads import reader
from .arrivals import Arrival
from .turns import DEPTHS, Levels

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

log = logging.getLogger(__name__)

PAYLOAD: Final = "payload"
STATE: Final = "state"
MESSAGE: Final = "message"

WORKERS: Final = 32
"""Plain functions that run at once, for each depth of requests within requests, each in a thread; they are no other work's threads,
whose turn would not come else."""

BY_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY
VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Levels] = WeakKeyDictionary()


@cache
def _workers() -> Executor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(WORKERS * DEPTHS, thread_name_prefix="pywatt-messages")


async def _in_a_thread(call: Callable[[], Any]) -> Any:
    """Call it in a worker thread, once one is free.

    The executor is given no more than its threads can take: what it queued it would keep, also when nobody waits for it any more.
    A thread counts as taken until its function returns, whatever became of whoever waited for that.
    """
    loop = asyncio.get_running_loop()
    turns = _turns.setdefault(loop, Levels(WORKERS, sys.maxsize)).here()  # Who calls this bounds how many wait.
    try:
        await turns.__aenter__()
    except asyncio.CancelledError:
        log.warning("a plain function was not called in time: all worker threads are busy", extra={"threads": WORKERS})
        raise

    def leave(_done: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(turns.leave)

    outcome = _workers().submit(call)
    outcome.add_done_callback(leave)
    return await asyncio.wrap_future(outcome)


class Receiver:
    """A function, and which of its parameters are what.

    The payload goes to the first parameter that is neither the state (annotated `AppState`, or called ``state``) nor the message
    itself (annotated with `message_type`, or called ``message``), as a value of its annotation; a function without one gets none. A
    coroutine function runs on the loop, any other in a worker thread. Raises `TypeError` for a function that cannot be called so.
    """

    def __init__(self, function: Callable[..., Any], state_type: type[Any] | None = None, message_type: type[Any] = Arrival) -> None:
        self.function = function
        self.type: Any = Any
        self._roles: list[tuple[str, str]] = []
        hints = _hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind in VARIADIC:
                continue
            role = _role(name, hints.get(name, parameter.empty), state_type, message_type)
            if role in (known for _, known in self._roles):
                if parameter.default is not parameter.empty:
                    continue
                raise TypeError(
                    f"{_place(function)} takes a payload, the state and the message at most, each once: {name!r} is one too many"
                )
            if role == PAYLOAD:
                self.type = hints.get(name, Any)
                if self.type is object:
                    self.type = Any
                if isinstance(self.type, str):
                    raise TypeError(f"{_place(function)}: the type {self.type!r} of {name!r} is not known where the function is defined")
            self._roles.append((name if parameter.kind is BY_KEYWORD else "", role))
        self._is_coroutine = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004

    async def __call__(self, arrival: Arrival, state: Any = None) -> Any:
        """Raises what the function raises, and `RemoteProtocolError` that names the field where the payload does not fit."""
        arguments: list[Any] = []
        named: dict[str, Any] = {}
        for keyword, role in self._roles:
            value = arrival.decode(self.type) if role == PAYLOAD else state if role == STATE else arrival
            if keyword:
                named[keyword] = value
            else:
                arguments.append(value)
        if self._is_coroutine:
            return await self.function(*arguments, **named)
        call = partial(copy_context().run, self.function, *arguments, **named)
        outcome = await _in_a_thread(call)
        return await outcome if inspect.isawaitable(outcome) else outcome

    def check(self) -> None:
        """Raise `TypeError` where no payload can ever become what the function takes."""
        try:
            reader(self.type)(b"null")
        except RemoteProtocolError:  # it could be read, and is not that
            return
        except (TypeError, LocalProtocolError) as error:
            raise TypeError(f"{_place(self.function)} cannot be sent anything: {error}") from None

    def __repr__(self) -> str:
        return f"Receiver({_place(self.function)})"


def _role(name: str, hint: Any, state_type: type[Any] | None, message_type: type[Any]) -> str:
    if isinstance(hint, str):  # it cannot be resolved, which is nobody's concern where its name tells enough
        spelt = hint.partition("[")[0].rpartition(".")[2].strip()
        return STATE if spelt == "AppState" else MESSAGE if spelt == message_type.__name__ else PAYLOAD
    if hint in (inspect.Parameter.empty, Any):
        return name if name in (STATE, MESSAGE) else PAYLOAD
    kind = typing.get_origin(hint) or hint
    if not isinstance(kind, type) or kind is object:
        return PAYLOAD
    if _is_one(message_type, kind):
        return MESSAGE
    return STATE if state_type is not None and _is_one(state_type, kind) else PAYLOAD


def _is_one(given: type[Any], kind: type[Any]) -> bool:
    try:
        return issubclass(given, kind)
    except TypeError:  # a TypedDict, or a protocol that does not tell
        return False


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotations, resolved as far as they can be; what cannot stays text."""
    plain = inspect.unwrap(function)
    plain = getattr(plain, "func", plain)  # functools.partial
    if not hasattr(plain, "__annotations__"):
        plain = getattr(plain, "__call__", plain)  # noqa: B004 - an object whose class says how it is called
    try:
        return typing.get_type_hints(plain, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError):
        return {name: _resolved(annotation, plain) for name, annotation in getattr(plain, "__annotations__", {}).items()}


def _resolved(annotation: Any, function: Any) -> Any:
    shim = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(shim, globalns=getattr(function, "__globals__", {}), include_extras=True)["it"]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return annotation


def _place(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}()"
