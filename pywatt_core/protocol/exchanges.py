"""Which message answers which: what of ours waits for an answer, and what of the peer's we still owe one (protocol 3.4).

One `Exchange` per kind of request and per session, used at both ends. The asking end calls `expect`, `resolve` and
`forget`, the answering end `owe` and `settle`. Because an answer may be sent only where a request was received, and an
answer that comes after its request was given up is remembered as late, whatever may be sent is welcome when it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, NoReturn, TypeAlias

from ..errors import LocalProtocolError
from .messages import RESPONSE_ENDPOINT, HttpResponse, HttpResponseStart, Message, Rotated, RoutedModuleResponse, RouteToModule, Secret

REMEMBERED: Final = 65_536
"""How many requests given up, and how many left unanswered, a session remembers; the oldest are forgotten beyond that."""

AUTO_ASSIGNED: Final = "auto-assigned"
"""The reference's orchestrator may put this in place of the id of a port request (protocol 3.4)."""


class Late:
    """The answer to a request that was given up: nothing waits for it, and nothing is wrong with it."""


LATE: Final = Late
Outcome: TypeAlias = "Hashable | type[Late] | None"
"""The key under which the request waits; None where the message is to be delivered like any other; `LATE`: to be dropped."""


class Stray(Exception):
    """An answer to nothing that was asked."""


class Exchange:
    """Requests and answers that carry the same id, in the member of the same name."""

    def __init__(self, request: type[Message], answer: type[Message], member: str) -> None:
        self.request, self.answer, self._member = request, answer, member
        self._id: Callable[[Message], str] = attrgetter(member)
        self._waiting: dict[str, Hashable] = {}
        self._late: dict[str, Hashable] = {}
        self._owed: dict[str, int] = {}

    def expect(self, message: Message) -> Hashable | None:
        """A request of ours is being sent: the key under which it now waits. Raises `LocalProtocolError` for an id in use."""
        id = self._id(message)
        if id in self._waiting or id in self._late:
            self._refuse_id(message)
        self._waiting[id] = key = (self.answer, id)
        return key

    def _refuse_id(self, message: Message) -> NoReturn:
        raise LocalProtocolError(f"{message.op!r} may not be sent: an earlier one with the same {self._member} has not been answered yet")

    def resolve(self, message: Message) -> Outcome:
        """An answer has arrived. Raises `Stray` where nobody asked."""
        id = self._id(message)
        return self._waiting.pop(id, None) or self._resolve_late(id, message)

    def _resolve_late(self, id: str, message: Message) -> Outcome:
        if self._late.pop(id, None):
            return LATE
        raise Stray(f"nothing that waits for {message.op!r} has this {self._member}")

    def find(self, members: Mapping[str, Any]) -> Hashable | None:
        """The key of the request that a malformed answer was for, as far as its members tell; it no longer waits."""
        id = members.get(self._member)
        return self._waiting.pop(id, None) if isinstance(id, str) else None

    def forget(self, key: tuple[Any, ...]) -> None:
        """A request of ours is given up; its answer may still come."""
        id = key[1]
        if self._waiting.pop(id, None):
            self._late[id] = key
            bound(self._late)

    def abandon(self) -> list[Hashable]:
        """The keys of all that waits; nothing does any more."""
        keys = list(self._waiting.values())
        self._waiting.clear()
        self._late.clear()
        return keys

    def owe(self, message: Message) -> None:
        """A request of the peer's has arrived."""
        id, owed = self._id(message), self._owed
        if id in owed:
            owed[id] += 1
        else:
            owed[id] = 1
            if len(owed) > REMEMBERED:
                bound(owed)

    def owe_malformed(self, members: Mapping[str, Any]) -> None:
        """A request of the peer's has arrived that could not be read, save for its id: it may still be refused."""
        id = members.get(self._member)
        if isinstance(id, str):
            self._owed[id] = self._owed.get(id, 0) + 1

    def settle(self, message: Message) -> None:
        """An answer of ours is being sent. Raises `LocalProtocolError` where nobody asked, or it has been answered."""
        id = self._id(message)
        count = self._owed.pop(id, 0)
        if count == 0:
            raise LocalProtocolError(f"{message.op!r} may not be sent: no request with this {self._member} is waiting for it")
        if count > 1:
            self._owed[id] = count - 1

    def waive(self, message: Message) -> None:
        """A request of the peer's wants no answer: none is owed."""
        id = self._id(message)
        count = self._owed.pop(id, 0)
        if count > 1:
            self._owed[id] = count - 1


def bound(memory: dict[Any, Any]) -> None:
    """Forget the oldest beyond what is remembered."""
    while len(memory) > REMEMBERED:
        del memory[next(iter(memory))]


class HttpExchange(Exchange):
    """Responses leave with a status that HTTP knows."""

    def settle(self, message: HttpResponse | HttpResponseStart) -> None:  # type: ignore[override]  # called for nothing else
        if not 100 <= message.status_code <= 599:
            raise LocalProtocolError(f"{message.op!r} may not be sent: its status_code is not between 100 and 599")
        Exchange.settle(self, message)  # not super(), which costs as much again


class PortExchange(Exchange):
    """The reference's orchestrator may answer with an id that stands for whichever request is oldest."""

    def _resolve_late(self, id: str, message: Message) -> Outcome:
        if id == AUTO_ASSIGNED:
            for oldest in self._waiting:
                return self._waiting.pop(oldest)
            for oldest in self._late:
                del self._late[oldest]
                return LATE
        return super()._resolve_late(id, message)


class RouteExchange(Exchange):
    """A `route_to_module` may itself be a reply, which nothing answers (protocol 12.4)."""

    def expect(self, message: RouteToModule) -> Hashable | None:  # type: ignore[override]
        if message.target_endpoint == RESPONSE_ENDPOINT:
            return None
        id = message.request_id  # as in `Exchange.expect`, which would cost as much again: this is the way of every request
        if id in self._waiting or id in self._late:
            self._refuse_id(message)
        self._waiting[id] = key = (self.answer, id)
        return key

    def owe(self, message: RouteToModule) -> None:  # type: ignore[override]
        if message.target_endpoint == RESPONSE_ENDPOINT:
            return
        owed = self._owed
        if message.request_id in owed or len(owed) >= REMEMBERED:
            Exchange.owe(self, message)
        else:
            owed[message.request_id] = 1

    def resolve(self, message: RoutedModuleResponse) -> Outcome:  # type: ignore[override]
        return self._waiting.pop(message.request_id, None) or self._resolve_late(message.request_id, message)


class SecretExchange(Exchange):
    """Secrets are asked for by name, by several at once, and may also be pushed unasked: nothing is ever owed or stray.

    A second request for a name that is being asked for shares the answer of the first and need not travel; unless the
    secret has been rotated in between, for then the first answer may still be the old value.
    """

    def __init__(self, request: type[Message], answer: type[Message], member: str) -> None:
        super().__init__(request, answer, member)
        self._before_rotation: dict[str, list[Hashable]] = {}
        self._serial = 0

    def is_asked(self, message: Message) -> bool:
        """True where the same name is under way, and its answer will do."""
        return self._id(message) in self._waiting

    def expect(self, message: Message) -> Hashable | None:
        name = self._id(message)
        if name not in self._waiting:
            self._serial += 1
            self._waiting[name] = (self.answer, name, self._serial)
        return self._waiting[name]

    def rotate(self, names: Iterable[str]) -> None:
        """These secrets have changed: what is asked from now on is not answered by what comes for the requests before."""
        for name in names:
            if key := self._waiting.pop(name, None):
                self._before_rotation.setdefault(name, []).append(key)

    def resolve(self, message: Secret) -> Outcome:  # type: ignore[override]
        return self._take(message.name) or (LATE if message.value is None else None)

    def find(self, members: Mapping[str, Any]) -> Hashable | None:
        name = members.get(self._member)
        return self._take(name) if isinstance(name, str) else None

    def _take(self, name: str) -> Hashable | None:
        if keys := self._before_rotation.get(name):
            key = keys.pop(0)
            if not keys:
                del self._before_rotation[name]
            return key
        return self._waiting.pop(name, None)

    def forget(self, key: tuple[Any, ...]) -> None:
        name = key[1]
        if self._waiting.get(name) == key:
            del self._waiting[name]
        elif key in (keys := self._before_rotation.get(name, [])):
            keys.remove(key)
            if not keys:
                del self._before_rotation[name]

    def abandon(self) -> list[Hashable]:
        keys = [*self._waiting.values(), *(key for keys in self._before_rotation.values() for key in keys)]
        self._waiting.clear()
        self._before_rotation.clear()
        return keys

    def owe(self, message: Message) -> None:
        """Silence is an answer too."""

    def settle(self, message: Message) -> None:
        """Pushing is always allowed."""


class RotationExchange(Exchange):
    """Rotations are acknowledged, each once; their arrival tells the requests for secrets."""

    secrets: SecretExchange | None = None

    def owe(self, message: Rotated) -> None:  # type: ignore[override]
        super().owe(message)
        if self.secrets is not None:
            self.secrets.rotate(message.keys)


class QueueExchange(Exchange):
    """Answers without any key, in the order of the requests; one may be waiting at a time (protocol 3.4)."""

    def __init__(self, request: type[Message], answer: type[Message], member: str) -> None:
        super().__init__(request, answer, member)
        self._queue: dict[Hashable, bool] = {}
        self._serial = 0
        self._count = 0

    def expect(self, message: Message) -> Hashable | None:
        if any(self._queue.values()):
            raise LocalProtocolError(f"{message.op!r} may not be sent: the one before has not been answered yet, and answers carry no key")
        self._serial += 1
        key = (self.answer, self._serial)
        self._queue[key] = True
        return key

    def resolve(self, message: Message) -> Outcome:
        for key, waiting in self._queue.items():
            del self._queue[key]
            return key if waiting else LATE
        raise Stray(f"nothing waits for {message.op!r}")

    def find(self, members: Mapping[str, Any]) -> Hashable | None:
        for key, waiting in self._queue.items():
            del self._queue[key]
            return key if waiting else None
        return None

    def forget(self, key: tuple[Any, ...]) -> None:
        if key in self._queue:
            self._queue[key] = False
            bound(self._queue)

    def abandon(self) -> list[Hashable]:
        keys = [key for key, waiting in self._queue.items() if waiting]
        self._queue.clear()
        return keys

    def owe(self, message: Message) -> None:
        self._count += 1

    def settle(self, message: Message) -> None:
        if not self._count:
            raise LocalProtocolError(f"{message.op!r} may not be sent: no request is waiting for it")
        self._count -= 1
