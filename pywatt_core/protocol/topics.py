"""Topics: their names, the patterns that fit them, and the message that is published (protocol 13.7).

A topic is segments between ``.`` or ``/``, which are the same: ``orders/created`` is ``orders.created``. In a pattern ``*``
stands for one segment and ``#``, at its end, for what is left, nothing included.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import field, structs

from .durations import Duration
from .lenient import Unreadable, safe_text
from .priorities import StreamPriority
from .values import Body, Discreet, octets

T = TypeVar("T", bound=Hashable)

MAX_LENGTH: Final = 512
"""Characters that a topic or pattern may have."""

ONE: Final = "*"
REST: Final = "#"

_SEPARATOR = re.compile(r"[./]")
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f]")

CONTENT_TYPE: Final = "content-type"
OCTETS: Final = "application/octet-stream"
"""What `PubSubMessage.metadata` says where the payload is a byte string of the publisher's, and not JSON."""


def segments(topic: str) -> tuple[str, ...]:
    """The segments of a topic. Raises ValueError that says what is wrong with it."""
    parts = _parts(topic, "topic")
    for part in parts:
        if ONE in part or REST in part:
            raise ValueError(f"a topic has no wildcards, they are for who subscribes: {topic!r}")
    return parts


def _parts(text: str, what: str) -> tuple[str, ...]:
    if not isinstance(text, str) or not text:
        raise ValueError(f"a {what} is a text such as 'orders.created', not {text!r}")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a {what} has {MAX_LENGTH} characters at most, not {len(text)}")
    if _UNFIT.search(text):
        raise ValueError(f"a {what} has no blanks or control characters: {text!r}")
    parts = tuple(_SEPARATOR.split(text))
    if "" in parts:
        raise ValueError(f"a {what} has no empty segments: {text!r}")
    return parts


class TopicPattern:
    """``orders.*``, ``orders.#``, or a topic as it is. Raises ValueError that says what is wrong with it. Immutable, hashable."""

    __slots__ = ("segments", "text")

    def __init__(self, text: str) -> None:
        parts = _parts(text, "topic pattern")
        for place, part in enumerate(parts):
            if (ONE in part and part != ONE) or (REST in part and part != REST):
                raise ValueError(f"a wildcard is a whole segment of a topic pattern: {text!r}")
            if part == REST and place < len(parts) - 1:
                raise ValueError(f"'#' is the last segment of a topic pattern: {text!r}")
        self.text, self.segments = text, parts

    def matches(self, topic: str) -> bool:
        """Whether it fits. Raises ValueError for what is no topic."""
        names = segments(topic)
        wanted = self.segments
        if wanted[-1] == REST:
            wanted = wanted[:-1]
            names = names[: len(wanted)]
        return len(wanted) == len(names) and all(want in (ONE, name) for want, name in zip(wanted, names, strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopicPattern) and self.segments == other.segments

    def __hash__(self) -> int:
        return hash(self.segments)

    def __repr__(self) -> str:
        return f"TopicPattern({self.text!r})"


class PubSubMessage(Discreet, frozen=True):
    """What is published. `payload` is bytes; `ttl` is how long it is worth delivering; `publisher` is a module id.

    Raises ValueError for what is no topic.
    """

    hidden = frozenset({"payload", "metadata"})

    topic: str
    payload: Body
    priority: StreamPriority = StreamPriority.NORMAL
    ttl: Duration | None = None
    publisher: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.payload, bytes):
            structs.force_setattr(self, "payload", octets(self.payload, "payload"))
        segments(self.topic)

    @property
    def is_json(self) -> bool:
        """Whether the payload is JSON text."""
        return self.metadata.get(CONTENT_TYPE) != OCTETS

    def decode(self, type: Any = Any) -> Any:
        """What was published, as `type`; `bytes` is the payload as it is. Raises `Unreadable`, which names the field."""
        from .payloads import reader

        if self.is_json and type is not bytes:
            return reader(type, "Json")(self.payload)
        if type in (bytes, Any, None):
            return self.payload
        try:
            return msgspec.convert(self.payload, type)
        except msgspec.ValidationError as error:
            raise Unreadable(safe_text(error)) from None


class _Node(Generic[T]):
    """What subscribers wait for one segment further on."""

    __slots__ = ("children", "here", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.here: dict[T, None] = {}
        self.rest: dict[T, None] = {}

    @property
    def empty(self) -> bool:
        return not (self.children or self.here or self.rest)


class TopicTable(Generic[T]):
    """Subscribers by pattern. A topic is matched segment by segment, however many patterns there are."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._length = 0

    def __len__(self) -> int:
        """Pairs of pattern and subscriber."""
        return self._length

    def add(self, pattern: TopicPattern, subscriber: T) -> None:
        """From now on; adding a pair twice is adding it once."""
        node = self._root
        for part in pattern.segments:
            if part == REST:
                break
            node = node.children.setdefault(part, _Node())
        place = node.rest if pattern.segments[-1] == REST else node.here
        if subscriber not in place:
            place[subscriber] = None
            self._length += 1

    def remove(self, pattern: TopicPattern, subscriber: T) -> None:
        """No longer; nothing happens for a pair that is not there."""
        path = [self._root]
        parts = [part for part in pattern.segments if part != REST]
        for part in parts:
            following = path[-1].children.get(part)
            if following is None:
                return
            path.append(following)
        place = path[-1].rest if pattern.segments[-1] == REST else path[-1].here
        if subscriber in place:
            del place[subscriber]
            self._length -= 1
        for parent, part in zip(reversed(path[:-1]), reversed(parts), strict=True):
            if not parent.children[part].empty:
                break
            del parent.children[part]

    def match(self, topic: str) -> list[T]:
        """Each subscriber that a pattern brings the topic to, once. Raises ValueError for what is no topic."""
        return list(dict.fromkeys(self._found(segments(topic))))

    def _found(self, names: tuple[str, ...]) -> Iterator[T]:
        nodes = [self._root]
        for name in names:
            for node in nodes:
                yield from node.rest
            nodes = [child for node in nodes for child in (node.children.get(name), node.children.get(ONE)) if child is not None]
            if not nodes:
                return
        for node in nodes:
            yield from node.here
            yield from node.rest
