"""What a session remembers and reports: facts shared by a module's links, messages received, problems met."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import count
from typing import Any, NamedTuple, TypeAlias

from .messages import Announce, Init, Message, Metadata, Role


class Facts:
    """What the links of one module have seen, at one end. Its sessions share one object; nothing is ever taken back.

    `seen` holds the types of all messages sent or received, `offered` the frame formats that each side said it reads.
    """

    def __init__(self, *, complete: bool = False) -> None:
        self.seen: set[type[Message]] = {Init, Announce} if complete else set()
        self.offered: dict[Role, frozenset[str]] = dict.fromkeys(Role, frozenset({"msgpack"} if complete else ()))

    def note(self, message: Message) -> None:
        """`message` has been sent or received."""
        self.seen.add(type(message))
        if isinstance(message, Init | Announce) and message.pywatt is not None:
            self.offered[message.sender] = frozenset(message.pywatt.formats)


class Received(NamedTuple):
    """A message that has arrived; `answers` is the key under which a request of ours waits for it."""

    message: Message
    answers: Hashable | None
    metadata: Metadata | None


Taken: TypeAlias = "tuple[Any, Hashable | None, Metadata | None]"
"""`Received` as a plain tuple."""


class Problem(NamedTuple):
    """Something that arrived and was dropped.

    `kind`: ``"text"`` no message at all, a stray print, which `text` holds (cut to 8192 characters); ``"unknown"`` an `op` that nobody
    knows; ``"invalid"``; ``"illegal"`` not now, or an answer to nothing; ``"too long"``; ``"encoding"``. `detail` is safe to log.
    `answers`: the key of the request of ours that a malformed message was to answer: it will get no other answer.
    `refusal`: the negative answer that may be sent for a malformed request.
    """

    kind: str
    detail: str
    text: str = ""
    answers: Hashable | None = None
    refusal: Message | None = None


def id_sequence(seed: int) -> Callable[[], str]:
    """Ids of the shape of random UUIDs: 74 bits from `seed`, then a count."""
    prefix = f"{seed >> 42 & 0xFFFFFFFF:08x}-{seed >> 26 & 0xFFFF:04x}-4{seed >> 14 & 0xFFF:03x}-{0x8000 | seed & 0x3FFF:04x}-"
    return map(f"{prefix}%012x".__mod__, count(1)).__next__  # no Python runs for an id: half the time


_numbers = count()


def own_seed() -> int:
    """Another number for each call and, by the secret with which the interpreter hashes text, for each process.

    This room is pure: it has no other source of chance. Whoever has one passes ``new_id`` to the session.
    """
    number = next(_numbers)
    return (hash(f"{number} high") & (2**64 - 1)) << 64 | hash(f"{number} low") & (2**64 - 1)
