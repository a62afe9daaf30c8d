"""Every message of both directions: one frozen Struct per `op`, fields in the order in which they are emitted (protocol 3.2, 3.3).

A class's name is its wire tag in CamelCase. An absent optional is left out where the class has ``omit_defaults``, and is
null otherwise, field by field as the reference does it.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any, Literal

from msgspec import field, structs

from .http_pieces import HttpRequestCancel as HttpRequestCancel
from .http_pieces import HttpRequestCredit as HttpRequestCredit
from .http_pieces import HttpRequestPiece as HttpRequestPiece
from .http_pieces import HttpResponseAbort as HttpResponseAbort
from .http_pieces import HttpResponseCredit as HttpResponseCredit
from .http_pieces import HttpResponsePiece as HttpResponsePiece
from .http_pieces import HttpResponseStart as HttpResponseStart
from .http_pieces import HttpStreamRequest as HttpStreamRequest
from .kinds import Message as Message
from .kinds import ModuleMessage, OrchestratorMessage
from .kinds import Role as Role
from .values import U16, UUID_FORM, UUID_SHAPE, Body, octets
from .values import AnnouncedEndpoint as AnnouncedEndpoint
from .values import EncodedMessage as EncodedMessage
from .values import Extension as Extension
from .values import IpcChannel as IpcChannel
from .values import Metadata as Metadata
from .values import ProviderInfo as ProviderInfo
from .values import ServiceType as ServiceType
from .values import TcpAddress as TcpAddress
from .values import TcpChannel as TcpChannel
from .values import UnixAddress as UnixAddress
from .values import canonical_uuid as canonical_uuid
from .values import listen_address as listen_address

RESPONSE_ENDPOINT = "__response__"
"""`RouteToModule.target_endpoint` of a reply to a `RoutedModuleMessage` (protocol 12.4)."""

ORCHESTRATOR = "__orchestrator__"
"""`RouteToModule.target_module_id` of a request to a PyWatt orchestrator itself; no module can have this name."""


def _service_type(message: Message) -> None:
    kind = message.service_type  # type: ignore[attr-defined]  # every caller below has one
    if type(kind) is not ServiceType:
        structs.force_setattr(message, "service_type", ServiceType.parse(kind))


# ── module to orchestrator ──────────────────────────────────────────────────────────────────────────────────────────


class Identify(ModuleMessage, frozen=True, omit_defaults=True):
    """Who is at the other end of a channel, in one of two spellings; off by default, the reference has none (protocol 3.6)."""

    module_id: str | None = None
    identify: str | None = None

    def __post_init__(self) -> None:
        if self.module_id is None and self.identify is None:
            raise ValueError("Object missing required field `module_id`")

    @property
    def claimed(self) -> str:
        """The module id, whichever way it was spelt. A claim, not a proof."""
        return self.module_id if self.module_id is not None else self.identify or ""


class Announce(ModuleMessage, frozen=True, omit_defaults=True):
    """The module is ready: the address really bound, and what it serves there."""

    listen: str
    endpoints: list[AnnouncedEndpoint]
    pywatt: Extension | None = None


class GetSecret(ModuleMessage, frozen=True, gc=False):
    """Ask for a secret by name."""

    name: str


class RotationAck(ModuleMessage, frozen=True, omit_defaults=True):
    """A rotation has been dealt with. `status` is ``"success"`` or ``"error"``, `message` says why."""

    rotation_id: str
    status: str
    message: str | None = None


class RegisterServiceProvider(ModuleMessage, frozen=True, kw_only=True):
    """Offer a service to other modules. `address` is free text."""

    service_type: ServiceType
    name: str
    version: str | None = None
    address: str
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        _service_type(self)


class DiscoverServiceProviders(ModuleMessage, frozen=True):
    """Ask who offers a service: all of them, or the first."""

    service_type: ServiceType
    all_providers: bool | None = None

    def __post_init__(self) -> None:
        _service_type(self)


class ServiceRequest(ModuleMessage, frozen=True):
    """Open a connection to a service that the orchestrator hosts."""

    hidden = frozenset({"config"})

    id: str
    service_type: ServiceType
    config: Any = None

    def __post_init__(self) -> None:
        _service_type(self)


class ServiceOperation(ModuleMessage, frozen=True, omit_defaults=True):
    """One operation on such a connection. `params` must be given, null is a value.

    `request_id` is PyWatt's own: with it, several operations of one connection may be in flight.
    """

    hidden = frozenset({"params"})

    connection_id: str
    service_type: ServiceType
    operation: str
    params: Any
    request_id: str | None = None

    def __post_init__(self) -> None:
        _service_type(self)


class HttpResponse(ModuleMessage, frozen=True):
    """The answer to an `HttpRequest`. `body` is bytes or None."""

    hidden = frozenset({"headers", "body"})

    request_id: str
    status_code: U16
    headers: dict[str, str]
    body: Body | None = None

    def __post_init__(self) -> None:
        if self.body is not None and not isinstance(self.body, bytes):
            structs.force_setattr(self, "body", octets(self.body, "body"))


class PortRequest(ModuleMessage, frozen=True, gc=False):
    """Ask for a port, any or a certain one."""

    request_id: str
    specific_port: U16 | None = None


class RouteToModule(ModuleMessage, frozen=True, gc=False):
    """A message for another module. `request_id` is a UUID."""

    target_module_id: str
    target_endpoint: str
    request_id: str
    payload: EncodedMessage

    def __post_init__(self) -> None:
        if self.request_id.encode().translate(UUID_SHAPE) != UUID_FORM:
            structs.force_setattr(self, "request_id", canonical_uuid(self.request_id, "request_id"))


class HeartbeatAck(ModuleMessage, frozen=True, gc=False):
    """Alive."""


# ── orchestrator to module ──────────────────────────────────────────────────────────────────────────────────────────


class Init(OrchestratorMessage, frozen=True, omit_defaults=True):
    """The first line. `listen` is the address to serve at, as text (see `listen_address`); `env` is data, never exported.

    `debug_mode` and `log_level` are the earlier SDK's: honoured where present, not sent.
    """

    hidden = frozenset({"env", "auth_token"})

    orchestrator_api: str
    module_id: str
    env: dict[str, str]
    listen: str
    tcp_channel: TcpChannel | None = None
    ipc_channel: IpcChannel | None = None
    auth_token: str | None = None
    security_level: Literal["None", "Token", "Mtls"] = field(default_factory=lambda: "None")
    pywatt: Extension | None = None
    debug_mode: bool = False
    log_level: str | None = None


class Secret(OrchestratorMessage, frozen=True, omit_defaults=True):
    """A secret's value, asked for or pushed; or, with `error` instead of `value`, that there is none to be had."""

    hidden = frozenset({"value"})

    name: str
    value: str | None = None
    rotation_id: str | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        if self.value is None and self.error is None:
            raise ValueError("Object missing required field `value`")


class Rotated(OrchestratorMessage, frozen=True):
    """Secrets have changed; to be acknowledged once they are in use. `keys` may be empty."""

    keys: list[str]
    rotation_id: str


class Shutdown(OrchestratorMessage, frozen=True, gc=False):
    """Drain and exit."""


class RegisterServiceProviderResponse(OrchestratorMessage, frozen=True):
    """Whether the offer was taken."""

    success: bool
    provider_id: str | None = None
    error: str | None = None


class DiscoverServiceProvidersResponse(OrchestratorMessage, frozen=True):
    """Who offers the service."""

    success: bool
    providers: list[ProviderInfo] = field(default_factory=list)
    error: str | None = None


class ServiceResponse(OrchestratorMessage, frozen=True):
    """Whether the connection was opened, and its id."""

    id: str
    service_type: ServiceType
    success: bool
    error: str | None = None
    connection_id: str | None = None

    def __post_init__(self) -> None:
        _service_type(self)


class ServiceOperationResult(OrchestratorMessage, frozen=True, omit_defaults=True):
    """The result of an operation. The schema has no correlation key; the last four members say whose result it is (protocol 3.4).

    `params` echoes the operation: ``{"connection_id", "service_type", "operation", "params"}``.
    """

    hidden = frozenset({"result", "params"})

    success: bool
    result: Any = field(default_factory=type(None))
    error: str | None = field(default_factory=type(None))
    params: Any = None
    connection_id: str | None = None
    request_id: str | None = None
    id: str | None = None


class HttpRequest(OrchestratorMessage, frozen=True):
    """An HTTP request for the module's application. `uri` is path and query, one value per header, `body` bytes or None."""

    hidden = frozenset({"headers", "body"})

    request_id: str
    method: str
    uri: str
    headers: dict[str, str] = field(default_factory=dict)
    body: Body | None = None

    def __post_init__(self) -> None:
        if self.body is not None and not isinstance(self.body, bytes):
            structs.force_setattr(self, "body", octets(self.body, "body"))


class PortResponse(OrchestratorMessage, frozen=True, gc=False):
    """The port, 0 where there is none to be had."""

    request_id: str
    success: bool
    port: U16
    error_message: str | None = None


class RoutedModuleMessage(OrchestratorMessage, frozen=True, gc=False):
    """A message of another module. `original_request_id` is a UUID."""

    source_module_id: str
    original_request_id: str
    payload: EncodedMessage

    def __post_init__(self) -> None:
        if self.original_request_id.encode().translate(UUID_SHAPE) != UUID_FORM:
            structs.force_setattr(self, "original_request_id", canonical_uuid(self.original_request_id, "original_request_id"))


class RoutedModuleResponse(OrchestratorMessage, frozen=True, gc=False):
    """The answer to a `RouteToModule` with the same UUID."""

    source_module_id: str
    request_id: str
    payload: EncodedMessage

    def __post_init__(self) -> None:
        if self.request_id.encode().translate(UUID_SHAPE) != UUID_FORM:
            structs.force_setattr(self, "request_id", canonical_uuid(self.request_id, "request_id"))


class Heartbeat(OrchestratorMessage, frozen=True, gc=False):
    """Still there?"""


MESSAGES: dict[Role, dict[str, type[Message]]] = {
    role: {kind.op: kind for kind in base.__subclasses__()}
    for role, base in ((Role.MODULE, ModuleMessage), (Role.ORCHESTRATOR, OrchestratorMessage))
}
"""Every message by its sender and its `op`."""


def union_of(sender: Role) -> Any:
    """The tagged union of all that `sender` may send, for a msgspec decoder."""
    return reduce(or_, MESSAGES[sender].values())
