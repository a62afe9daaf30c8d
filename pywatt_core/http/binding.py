"""How a handler is called: by the names of its parameters, in the loop or in a thread."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, get_type_hints

import msgspec

from .failures import InvalidRequest

Bound: TypeAlias = Callable[[Any, Any, Mapping[str, str]], Awaitable[Any]]
"""Called with the request, the module's state and the parameters of the path."""

NAMED = ("request", "state")


def bind(handler: Callable[..., Any], names: Sequence[str]) -> Bound:
    """`handler` with what it asks for: ``request``, ``state``, the path's parameters `names`; its first other parameter is the request.

    A parameter with an annotation such as ``int`` or ``UUID`` gets its value converted; a value that does not fit is an
    `InvalidRequest` that names it. A plain function runs in a worker thread. Raises `TypeError` for a parameter that nothing
    can be given for.
    """
    signature = inspect.signature(handler)
    hints = _hints(handler)
    wanted: dict[str, str] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in names or parameter.name in NAMED:
            wanted[parameter.name] = parameter.name
        elif "request" not in wanted.values():
            wanted[parameter.name] = "request"
        elif parameter.default is parameter.empty:
            raise TypeError(
                f"{_name(handler)} asks for {parameter.name!r}, which nothing is given for: a handler gets the request, `state`"
                + (f" and the parameters of its path, {', '.join(names)}" if names else "; its path has no parameters")
            )
    positional = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_ONLY]
    types = {name: hints[name] for name in names if name in wanted and hints.get(name, str) is not str}

    def arguments(request: Any, state: Any, params: Mapping[str, str]) -> tuple[list[Any], dict[str, Any]]:
        values: dict[str, Any] = {}
        for name, what in wanted.items():
            if what in params:
                values[name] = _converted(name, params[what], types.get(name))
            else:
                values[name] = state if what == "state" else request
        return [values.pop(name) for name in positional], values

    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None)):  # noqa: B004  its own kind

        async def in_loop(request: Any, state: Any, params: Mapping[str, str]) -> Any:
            first, rest = arguments(request, state, params)
            return await handler(*first, **rest)

        return in_loop

    async def in_thread(request: Any, state: Any, params: Mapping[str, str]) -> Any:
        first, rest = arguments(request, state, params)
        found = await asyncio.to_thread(handler, *first, **rest)
        return await found if inspect.isawaitable(found) else found

    return in_thread


def _hints(handler: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(handler)
    except (NameError, TypeError):  # a type that only the type checker sees: the text stays text
        return {}


def _converted(name: str, value: str, kind: Any) -> Any:
    if kind is None:
        return value
    try:
        return msgspec.convert(value, kind, strict=False)
    except (msgspec.ValidationError, ValueError):
        wanted = getattr(kind, "__name__", None) or str(kind)
        raise InvalidRequest(f"the parameter {name!r} of the path is no {wanted}") from None


def _name(handler: Callable[..., Any]) -> str:
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__
