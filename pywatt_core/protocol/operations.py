"""Which operation a `service_operation_result` belongs to: the schema has no correlation key for it (protocol 3.4)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from ..errors import LocalProtocolError
from .exchanges import LATE, REMEMBERED, Exchange, Outcome, Stray, bound
from .messages import Message, ServiceOperation


class _Operation:
    """One operation under way at the asking end."""

    __slots__ = ("connection", "key", "request_id", "waiting")

    def __init__(self, key: Hashable, connection: str, request_id: str | None) -> None:
        self.key, self.connection, self.request_id, self.waiting = key, connection, request_id, True


class Naming(NamedTuple):
    """What a result says about the operation that it belongs to."""

    connection: str | None
    request_id: str | None


def naming(members: Mapping[str, Any]) -> Naming:
    """Connection and request id of a `service_operation_result`: those echoed in ``params`` first, then its own."""
    echo = members.get("params")
    echo = echo if isinstance(echo, dict) else {}
    connection = next((c for c in (echo.get("connection_id"), members.get("connection_id")) if isinstance(c, str)), None)
    request = (members.get("request_id"), members.get("id"), echo.get("request_id"))
    return Naming(connection, next((r for r in request if isinstance(r, str)), None))


def _naming_of(message: Message) -> Naming:
    result: Any = message
    return naming({"params": result.params, "connection_id": result.connection_id, "request_id": result.request_id, "id": result.id})


class OperationExchange(Exchange):
    """`service_operation_result` has no correlation key in the schema, so that it is found by whatever it carries.

    In this order: the connection, echoed or its own (the operation of that connection with the same request id, or as well
    without one; else the oldest); the request id; and where it carries nothing, the oldest operation, if there is exactly one
    connection with any under way. A result that may belong to an operation given up is taken for that one's.
    """

    def __init__(self, request: type[Message], answer: type[Message], member: str) -> None:
        super().__init__(request, answer, member)
        self._under_way: dict[str, list[_Operation]] = {}
        self._serial = 0
        self._due: dict[str, list[str | None]] = {}

    def expect(self, message: ServiceOperation) -> Hashable | None:  # type: ignore[override]
        for other in (one for operations in self._under_way.values() for one in operations):
            if message.request_id is None:
                if other.connection == message.connection_id and other.request_id is None and other.waiting:
                    raise LocalProtocolError(f"{message.op!r} may not be sent: without request_id, one at a time on each connection_id")
            elif other.request_id == message.request_id:
                raise LocalProtocolError(
                    f"{message.op!r} may not be sent: an earlier one with the same request_id has not been answered yet"
                )
        self._serial += 1
        key = (self.answer, self._serial)
        self._under_way.setdefault(message.connection_id, []).append(_Operation(key, message.connection_id, message.request_id))
        return key

    def resolve(self, message: Message) -> Outcome:
        operation = self._match(_naming_of(message))
        if operation is None:
            raise Stray(f"{message.op!r} does not say which operation it belongs to, or names none that is under way")
        self._remove(operation)
        return operation.key if operation.waiting else LATE

    def _match(self, name: Naming) -> _Operation | None:
        if name.connection is not None:
            operations = self._under_way.get(name.connection, [])
            return next((one for one in operations if one.request_id == name.request_id), None) or next(iter(operations), None)
        if name.request_id is not None:
            for operations in self._under_way.values():
                for one in operations:
                    if one.request_id == name.request_id:
                        return one
        if len(self._under_way) == 1:
            (operations,) = self._under_way.values()
            return operations[0]
        return None

    def _remove(self, operation: _Operation) -> None:
        operations = self._under_way[operation.connection]
        operations.remove(operation)
        if not operations:
            del self._under_way[operation.connection]

    def find(self, members: Mapping[str, Any]) -> Hashable | None:
        operation = self._match(naming(members))
        if operation is None:
            return None
        self._remove(operation)
        return operation.key if operation.waiting else None

    def forget(self, key: tuple[Any, ...]) -> None:
        for operations in self._under_way.values():
            for one in operations:
                if one.key == key:
                    one.waiting = False
                    return

    def abandon(self) -> list[Hashable]:
        keys = [one.key for operations in self._under_way.values() for one in operations if one.waiting]
        self._under_way.clear()
        return keys

    def owe(self, message: ServiceOperation) -> None:  # type: ignore[override]
        self._due.setdefault(message.connection_id, []).append(message.request_id)
        if len(self._due) > REMEMBERED:
            bound(self._due)

    def owe_malformed(self, members: Mapping[str, Any]) -> None:
        connection, request_id = members.get("connection_id"), members.get("request_id")
        if isinstance(connection, str):
            self._due.setdefault(connection, []).append(request_id if isinstance(request_id, str) else None)

    def settle(self, message: Message) -> None:
        connection, request_id = _naming_of(message)
        if connection is None:
            connection = next((name for name, due in self._due.items() if request_id in due and request_id is not None), None)
        due = self._due.get(connection) if connection is not None else None
        if not due or connection is None:
            raise LocalProtocolError(
                f"{message.op!r} may not be sent: it must echo in params (or name by connection_id) an operation that waits for it"
            )
        due.remove(request_id if request_id in due else due[0])
        if not due:
            del self._due[connection]
