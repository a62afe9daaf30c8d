"""The state machine, as three tables. None of them knows which side we are.

ORDER     each direction is an automaton of its own, over its own messages: both ends compute the same phase from the
          same ordered bytes.
REQUIRES  a message may require that the other side has sent something first. Requirements only ever become true, never
          false again: that is what makes messages that cross on the wire harmless.
REPLIES   which message answers which, and by which member the two are paired.

One joint state for both directions would be wrong: a `shutdown` that crosses an `announce` would make a well-behaved peer
look like a violator.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from .exchanges import Exchange, HttpExchange, PortExchange, QueueExchange, RotationExchange, RouteExchange, SecretExchange
from .messages import (
    MESSAGES,
    Announce,
    DiscoverServiceProviders,
    DiscoverServiceProvidersResponse,
    GetSecret,
    Heartbeat,
    HeartbeatAck,
    HttpRequest,
    HttpRequestCancel,
    HttpRequestPiece,
    HttpResponse,
    HttpResponseCredit,
    HttpResponseStart,
    HttpStreamRequest,
    Init,
    Message,
    PortRequest,
    PortResponse,
    RegisterServiceProvider,
    RegisterServiceProviderResponse,
    Role,
    Rotated,
    RotationAck,
    RoutedModuleMessage,
    RoutedModuleResponse,
    RouteToModule,
    Secret,
    ServiceOperation,
    ServiceOperationResult,
    ServiceRequest,
    ServiceResponse,
    Shutdown,
)
from .operations import OperationExchange


class Wire(enum.Enum):
    """What a session runs over; decides tables, framing and wrapping."""

    STDIO = "stdio"
    CHANNEL = "channel"


Phases: TypeAlias = dict[str, dict[type[Message], str]]

NEW: Final = "new"
OPEN: Final = "open"
ANNOUNCED: Final = "announced"
CLOSING: Final = "closing"


def _stay(phase: str, kinds: Iterable[type[Message]]) -> dict[type[Message], str]:
    return dict.fromkeys(kinds, phase)


_FROM_MODULE = set(MESSAGES[Role.MODULE].values()) - {Announce}
_FROM_ORCHESTRATOR = set(MESSAGES[Role.ORCHESTRATOR].values()) - {Init, Shutdown}
_WORK = {HttpRequest, HttpStreamRequest, Rotated}
"""What an orchestrator that has said shutdown asks for no more. Parts of streams that are under way it still delivers."""

_RUNNING: Phases = {
    OPEN: {**_stay(OPEN, _FROM_ORCHESTRATOR), Shutdown: CLOSING},
    CLOSING: {**_stay(CLOSING, _FROM_ORCHESTRATOR - _WORK), Shutdown: CLOSING},
}

ORDER: Final[dict[Wire, dict[Role, Phases]]] = {
    Wire.STDIO: {
        Role.ORCHESTRATOR: {NEW: {Init: OPEN}, **_RUNNING},
        Role.MODULE: {
            OPEN: {**_stay(OPEN, _FROM_MODULE), Announce: ANNOUNCED},
            ANNOUNCED: _stay(ANNOUNCED, _FROM_MODULE),
        },
    },
    Wire.CHANNEL: {
        Role.ORCHESTRATOR: _RUNNING,
        Role.MODULE: {OPEN: _stay(OPEN, _FROM_MODULE)},
    },
}
"""Wire, sender, phase, message: the phase that follows. What is not there is illegal; a sender begins in its first phase."""

REQUIRES: Final[dict[type[Message], type[Message]]] = {
    **dict.fromkeys(MESSAGES[Role.MODULE].values(), Init),
    HeartbeatAck: Heartbeat,
    **dict.fromkeys((HttpRequest, HttpStreamRequest, HttpRequestPiece, HttpResponseCredit, HttpRequestCancel), Announce),
    RoutedModuleMessage: Announce,
}
"""Message: what the other side must have sent before, on whichever link of the module."""


class Reply(NamedTuple):
    """How one kind of request is answered: by what, paired by which member of both, under which rule."""

    answer: type[Message]
    member: str
    exchange: type[Exchange] = Exchange


REPLIES: Final[dict[type[Message], Reply]] = {
    GetSecret: Reply(Secret, "name", SecretExchange),
    ServiceRequest: Reply(ServiceResponse, "id"),
    ServiceOperation: Reply(ServiceOperationResult, "connection_id", OperationExchange),
    RegisterServiceProvider: Reply(RegisterServiceProviderResponse, "op", QueueExchange),
    DiscoverServiceProviders: Reply(DiscoverServiceProvidersResponse, "op", QueueExchange),
    PortRequest: Reply(PortResponse, "request_id", PortExchange),
    RouteToModule: Reply(RoutedModuleResponse, "request_id", RouteExchange),
    HttpRequest: Reply(HttpResponse, "request_id", HttpExchange),
    HttpStreamRequest: Reply(HttpResponseStart, "request_id", HttpExchange),
    Rotated: Reply(RotationAck, "rotation_id", RotationExchange),
}
"""Request: its reply."""


def new_exchanges() -> list[Exchange]:
    """The exchanges of one session, one for each row of `REPLIES`."""
    exchanges = [reply.exchange(request, reply.answer, reply.member) for request, reply in REPLIES.items()]
    secrets = next(one for one in exchanges if isinstance(one, SecretExchange))
    for one in exchanges:
        if isinstance(one, RotationExchange):
            one.secrets = secrets
    return exchanges
