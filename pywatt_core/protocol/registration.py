"""What a module says to an orchestrator that did not start it: register, heartbeat, capabilities, unregister (protocol 10).

A protocol of its own, on a TCP connection of its own: requests in envelopes, bare answers, one after the other. Reading is
tolerant: envelopes or none on both sides, and the spellings of an earlier Python port (10.4). What cannot be read raises
`Unreadable`, whose text names the field and never shows a value.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, structs
from msgspec.structs import replace

from ..errors import LocalProtocolError
from .envelope import UNWRITABLE, Envelope, is_finite
from .lenient import Unreadable, safe_text, too_deep, unit_name
from .values import U16, Discreet, Metadata, canonical_uuid

T = TypeVar("T")

FRAME_LIMIT: Final = 65_536
"""Bytes of one request: what is registered is kept, so that it has to be small."""

ANSWER_LIMIT: Final = 2 * FRAME_LIMIT
"""Bytes of one answer, which may repeat what was registered."""


class HealthStatus(enum.Enum):
    """How a module feels. ``str()`` is in lower case; reading takes either case."""

    HEALTHY = "Healthy"
    DEGRADED = "Degraded"
    UNHEALTHY = "Unhealthy"

    @classmethod
    def _missing_(cls, value: object) -> HealthStatus | None:
        return next((one for one in cls if isinstance(value, str) and one.value.lower() == value.lower()), None)

    def __str__(self) -> str:
        return self.value.lower()


class ModuleInfo(Struct, frozen=True, omit_defaults=True):
    """Who registers. `id` is a UUID that the module wants to be known by; the orchestrator chooses one where there is none."""

    name: str
    version: str
    description: str
    id: str | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        _canonical(self, "id")


class RegisteredModule(Discreet, frozen=True, omit_defaults=True):
    """What a registration gives: `id` and `token` go with every later request to `orchestrator_host`:`orchestrator_port`."""

    hidden = frozenset({"token", "env"})

    info: ModuleInfo
    id: str
    token: str
    orchestrator_host: str
    orchestrator_port: U16
    env: dict[str, str] | None = None
    additional_data: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        _canonical(self, "id")


class Endpoint(Struct, frozen=True, omit_defaults=True):
    """One path among a module's capabilities; `methods` in upper case."""

    path: str
    methods: list[str]
    auth: str | None = None
    metadata: dict[str, str] | None = None


class Capabilities(Struct, frozen=True, omit_defaults=True):
    """What a module can do."""

    endpoints: list[Endpoint]
    message_types: list[str] | None = None
    additional_capabilities: dict[str, Any] | None = None


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Request(Discreet, frozen=True, omit_defaults=True, tag_field="request_type"):
    hidden = frozenset({"token"})
    kind: ClassVar[str] = ""


class Register(_Request, frozen=True, omit_defaults=True, tag="register"):
    """Let me in."""

    kind = "register"
    module_info: ModuleInfo


class _Known(_Request, frozen=True, omit_defaults=True):
    module_id: str
    token: str

    def __post_init__(self) -> None:
        _canonical(self, "module_id")


class HeartbeatReport(_Known, frozen=True, omit_defaults=True, tag="heartbeat"):
    """I am here, and this is how I feel."""

    kind = "heartbeat"
    status: HealthStatus
    details: dict[str, str] | None = None


class Advertise(_Known, frozen=True, omit_defaults=True, tag="capabilities"):
    """What I can do; replaces what was said before."""

    kind = "capabilities"
    capabilities: Capabilities


class Unregister(_Known, frozen=True, omit_defaults=True, tag="unregister"):
    """I am going."""

    kind = "unregister"


Request: TypeAlias = Register | HeartbeatReport | Advertise | Unregister

OLD_NAMES: Final = {"registration": "register", "unregistration": "unregister"}
"""How the earlier Python port calls two of them."""

KINDS: Final = frozenset({"register", "heartbeat", "capabilities", "unregister"})


class Asked(NamedTuple):
    """A request as it arrived."""

    request: Request
    spelling: str
    """Its ``request_type`` as it was written, which the answer repeats."""
    old: bool
    """It is spelt as the earlier Python port spells: its answers are enveloped and in lower case."""
    id: str | None
    """``metadata.id``, which an enveloped answer repeats."""


class Answer(Discreet, frozen=True, omit_defaults=True):
    """What every request is answered with; `module` after a register, `status` after a heartbeat, even one that failed."""

    hidden = frozenset({"context"})

    response_type: str
    success: bool
    error: str | None = None
    module: RegisteredModule | None = None
    status: HealthStatus | None = None
    context: dict[str, str] | None = None


class Answered(NamedTuple):
    """An answer as it arrived."""

    answer: Answer
    id: str | None
    """``metadata.id`` of its envelope, None where it came bare."""


# ── what is refused, and why ────────────────────────────────────────────────────────────────────────────────────────

NOT_REGISTERED: Final = "not registered"
"""The error of a request whose module the orchestrator does not know, as after its restart: register again."""

BAD_TOKEN: Final = "authentication failed"


def name_taken(name: str) -> str:
    """The error of a register whose name somebody else has."""
    return f"module name {name!r} is already taken"


def refusal(error: str | None) -> tuple[str, str]:
    """A code and a text for a person, from the error of an answer: the wire has the text alone."""
    text = error or "Unknown error"
    lower = text.lower()
    if "already taken" in lower or lower == "name taken":
        return "name_taken", text[:1].upper() + text[1:]
    if lower.startswith(NOT_REGISTERED):
        return "not_registered", f"Registration rejected: {text}"
    if lower.startswith(BAD_TOKEN):
        return "authentication_failed", text[:1].upper() + text[1:]
    return "rejected", f"Registration rejected: {text}"


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_to_json = msgspec.json.Encoder().encode


def write_request(request: Request, *, id: str, metadata_id: str) -> bytes:
    """One request in its envelope. Raises `LocalProtocolError` where it holds what cannot travel or is too long."""
    return _written(Envelope(id=id, content=request, metadata=Metadata(id=metadata_id)), f"{request.kind!r}", FRAME_LIMIT)


def write_answer(answer: Answer, asked: Asked | None = None, *, id: str = "") -> bytes:
    """One answer as whoever `asked` reads it: bare, or for the earlier Python port in an envelope with the new `id`.

    Raises `LocalProtocolError` where it holds what cannot travel or is too long.
    """
    if asked is None or not asked.old:
        return _written(answer, "an answer", ANSWER_LIMIT)
    plain = msgspec.to_builtins(answer)
    if answer.status is not None:
        plain["status"] = str(answer.status)
    return _written(Envelope(id=id, content=plain, metadata=Metadata(id=asked.id)), "an answer", ANSWER_LIMIT)


def _written(value: Any, what: str, limit: int) -> bytes:
    try:
        data = _to_json(value)
        if b"null" in data and not is_finite(msgspec.to_builtins(value)):
            raise ValueError("NaN and infinity cannot be sent")
    except UNWRITABLE as error:
        reason = "text with a lone surrogate" if isinstance(error, UnicodeError) else str(error)
        raise LocalProtocolError(f"{what} cannot be sent: {reason}") from None
    if len(data) > limit:
        raise LocalProtocolError(f"{what} of {len(data)} bytes cannot be sent: the limit is {limit}")
    return data


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_UNREAD = (ValueError, TypeError, OverflowError, RecursionError)  # msgspec's own are ValueErrors


def read_request(data: bytes) -> Asked:
    """One request, enveloped or bare. Raises `Unreadable`; its `op` is the ``request_type`` as far as that could be read."""
    content, metadata_id, path = _unwrapped(data, "request_type")
    spelling = unit_name(content["request_type"])
    kind = OLD_NAMES.get(spelling, spelling) if isinstance(spelling, str) else None
    if kind not in KINDS:
        raise Unreadable(f"not a request that a module may make - at `{path}.request_type`", kind="unknown")
    status = unit_name(content.get("status"))
    old = spelling in OLD_NAMES or (kind == "heartbeat" and isinstance(status, str) and status.islower())
    mended = {**content, "request_type": kind, **({"status": status} if "status" in content else {})}
    request = _converted(mended, Request, path, op=str(spelling))
    return Asked(request, str(spelling), old, metadata_id)


def read_answer(data: bytes, expected: str) -> Answered:
    """The answer to a request of kind `expected`, bare or enveloped. Raises `Unreadable`, also for the answer to another kind."""
    content, metadata_id, path = _unwrapped(data, "response_type")
    mended = {**content, "status": unit_name(content["status"])} if "status" in content else content
    answer = _converted(mended, Answer, path)
    kind = OLD_NAMES.get(answer.response_type, answer.response_type)
    if kind in KINDS and kind != expected:
        raise Unreadable(f"the answer to {kind!r}, where {expected!r} was asked - at `{path}.response_type`")
    return Answered(answer if kind == answer.response_type else replace(answer, response_type=kind), metadata_id)


def _unwrapped(data: bytes, discriminator: str) -> tuple[dict[str, Any], str | None, str]:
    """The members of what was sent, ``metadata.id`` of its envelope, and the path to the members."""
    try:
        data.decode()
        if data.count(b"[") + data.count(b"{") > 127 and too_deep(data):
            raise Unreadable("nested deeper than 127 containers")
        value = msgspec.json.decode(data)
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8", kind="encoding") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(safe_text(error), kind="text") from None
    if not isinstance(value, dict):
        raise Unreadable("Expected a JSON object", kind="text")
    if discriminator in value:
        return value, None, "$"
    content = value.get("content")
    if not isinstance(content, dict) or discriminator not in content:
        raise Unreadable(f"Object missing required field `{discriminator}`", kind="text")
    metadata = value.get("metadata")
    id = metadata.get("id") if isinstance(metadata, dict) else None
    return content, id if isinstance(id, str) else None, "$.content"


def _converted(value: dict[str, Any], kind: Any, path: str, *, op: str = "") -> Any:
    try:
        return msgspec.convert(value, kind)
    except _UNREAD as error:
        raise Unreadable(safe_text(error, path), op=op) from None


def _canonical(message: Any, name: str) -> None:
    """A UUID in the member `name` in its usual form. Raises ValueError for what is none."""
    value = getattr(message, name)
    if value is not None:
        structs.force_setattr(message, name, canonical_uuid(value, name))
