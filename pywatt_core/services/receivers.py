"""What a module receives: functions by endpoint, by source, by topic and by stream, gathered before the module lives."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

ENDPOINT = re.compile(r"(?!__)[^\s:\x00-\x1f\x7f]{1,200}")
"""Names with two leading underscores are PyWatt's own."""


class OnTopic(NamedTuple):
    """A function for what is published; the other members are those of `Subscription`."""

    pattern: str
    function: Callable[..., Any]
    queue: int
    overflow: str


class OnStream(NamedTuple):
    """A function for streams; `max_size` in bytes, None for any."""

    function: Callable[..., Any]
    max_size: int | None


class Receivers:
    """One module's receiving functions. Each method is a decorator that returns the function unchanged.

    Two functions for one name are a `TypeError` that names both.
    """

    def __init__(self) -> None:
        self.endpoints: dict[str, Callable[..., Any]] = {}
        self.sources: dict[str, Callable[..., Any]] = {}
        self.default: Callable[..., Any] | None = None
        self.topics: list[OnTopic] = []
        self.streams: dict[str, OnStream] = {}

    @property
    def answering(self) -> list[Callable[..., Any]]:
        """All functions that requests and messages go to."""
        return [*self.endpoints.values(), *self.sources.values(), *(() if self.default is None else (self.default,))]

    def on(self, endpoint: str) -> Callable[[F], F]:
        """Requests and messages for `endpoint`."""
        return self._into(self.endpoints, "endpoint", endpoint)

    def on_source(self, module: str) -> Callable[[F], F]:
        """Messages from `module` that name no endpoint which somebody receives."""
        return self._into(self.sources, "module", module)

    def on_default(self, function: F) -> F:
        """Messages that nobody else receives."""
        if self.default is not None:
            raise TypeError(f"two functions receive what nobody else does: {_named(self.default)} and {_named(function)}")
        self.default = function
        return function

    def on_topic(self, pattern: str, *, queue: int = 1000, overflow: str = "drop") -> Callable[[F], F]:
        """What is published to the topics that `pattern` fits: ``*`` is one segment, ``#`` the rest. Several functions may.

        `queue` messages wait for the function at most; `overflow` says whether more drive out the oldest (``"drop"``) or make
        whoever publishes wait (``"wait"``).
        """
        from ..protocol.topics import TopicPattern

        try:
            TopicPattern(pattern)
        except ValueError as error:
            raise TypeError(str(error)) from None
        if isinstance(queue, bool) or not isinstance(queue, int) or queue < 1 or overflow not in ("drop", "wait"):
            raise TypeError(f"queue= is a number above 0 and overflow= is 'drop' or 'wait', not {queue!r} and {overflow!r}")

        def register(function: F) -> F:
            self.topics.append(OnTopic(pattern, function, queue, overflow))
            return function

        return register

    def on_stream(self, endpoint: str, *, max_size: int | None = 1 << 30) -> Callable[[F], F]:
        """Streams that another module sends to `endpoint`; one of more than `max_size` bytes is refused, None takes any."""
        place: dict[str, Callable[..., Any]] = {name: known.function for name, known in self.streams.items()}
        check = self._into(place, "stream", endpoint)

        def register(function: F) -> F:
            self.streams[endpoint] = OnStream(check(function), max_size)
            return function

        return register

    def _into(self, table: dict[str, Callable[..., Any]], what: str, name: str) -> Callable[[F], F]:
        if not isinstance(name, str) or ENDPOINT.fullmatch(name) is None:
            wrong = f"the name of the {what} is a text without blanks and colons, not beginning with '__', not {name!r}"
            raise TypeError(f"{wrong}: the name comes first, and the function below it" if callable(name) else wrong)

        def register(function: F) -> F:
            if name in table:
                raise TypeError(f"two functions receive the {what} {name!r}: {_named(table[name])} and {_named(function)}")
            table[name] = function
            return function

        return register


def _named(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", function))
