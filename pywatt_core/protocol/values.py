"""What messages are made of: byte strings, addresses, service types, payloads, metadata (protocol 2.2, 3.5, 4.1, 4.6)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct, field, structs

U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
I64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


if TYPE_CHECKING:
    from .encoded import Message as EnvelopeMessage

    Body = bytes
else:
    Body = Any  # msgspec would read the number arrays of JSON as nothing, and Base64 text as bytes; `octets` does it right


def octets(value: object, name: str) -> bytes:
    """What the member `name` is to hold, from what a decoder or a caller put there: bytes, or an array of their numbers.

    Raises ValueError for everything else, text above all: nobody knows whether it would be Base64 (protocol 3.5).
    """
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, list):
        try:
            return bytes(msgspec.convert(value, list[int]))  # convert refuses booleans, bytes what is no byte
        except ValueError:
            pass
    raise ValueError(f"Expected an array of integers 0 to 255 in `{name}`")


class Discreet(Struct, frozen=True):
    """A Struct whose repr names the fields of `hidden` without their values, so that no log or traceback shows them."""

    hidden: ClassVar[frozenset[str]] = frozenset()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return [(name, _Veil(value) if name in self.hidden and value is not None else value) for name, value in values]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class _Veil:
    """Stands for a value that must not be shown; tells its size where it has one."""

    def __init__(self, value: object) -> None:
        self.text = f"<{len(value)} hidden>" if isinstance(value, bytes | dict | list) else "<hidden>"

    def __repr__(self) -> str:
        return self.text


# ── identifiers ─────────────────────────────────────────────────────────────────────────────────────────────────────

UUID_SHAPE = bytes(ord("h") if code in b"0123456789abcdef" else code if code == ord("-") else ord("?") for code in range(256))
UUID_FORM = b"hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh"
"""``text.encode().translate(UUID_SHAPE) == UUID_FORM`` tells a canonical UUID in a fifth of the time of a regular expression."""

_HYPHENATED = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII).fullmatch
_PLAIN = re.compile(r"[0-9a-fA-F]{32}", re.ASCII).fullmatch


def canonical_uuid(text: str, name: str = "") -> str:
    """The lower-case hyphenated form. Also reads 32 digits, ``{…}`` and ``urn:uuid:…``.

    Raises ValueError for all else; it says that it is the member `name`.
    """
    if isinstance(text, str):
        bare = text.removeprefix("urn:uuid:")
        if bare is text and text[:1] == "{" and text[-1:] == "}":
            bare = text[1:-1]
        if _HYPHENATED(bare):
            return bare.lower()
        if bare is text and _PLAIN(bare):
            bare = bare.lower()
            return f"{bare[:8]}-{bare[8:12]}-{bare[12:16]}-{bare[16:20]}-{bare[20:]}"
    raise ValueError(f"Expected a UUID in `{name}`" if name else "Expected a UUID")


# ── addresses ───────────────────────────────────────────────────────────────────────────────────────────────────────


class TcpAddress(NamedTuple):
    """An IP address and port; `host` is without brackets, may carry a numeric ``%scope``."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixAddress(NamedTuple):
    """The path of a Unix socket; ``@`` in front means an abstract one."""

    path: str

    def __str__(self) -> str:
        return self.path


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_V4 = re.compile(rf"({_OCTET}(?:\.{_OCTET}){{3}}):([0-9]{{1,8}})", re.ASCII).fullmatch
_V6 = re.compile(r"\[([0-9a-fA-F:.]+)(?:%([0-9]{1,10}))?\]:([0-9]{1,8})", re.ASCII).fullmatch


def socket_address(text: str) -> TcpAddress | None:
    """``a.b.c.d:port`` or ``[v6]:port`` as the reference reads it; None for everything else, host names included."""
    if match := _V4(text):
        host, port = match[1], int(match[2])
        return TcpAddress(host, port) if port <= 0xFFFF else None
    if match := _V6(text):
        from ipaddress import AddressValueError, IPv6Address  # a few milliseconds that IPv4 need not pay

        try:
            host = str(IPv6Address(match[1]))
        except AddressValueError:
            return None
        scope, port = int(match[2] or 0), int(match[3])
        if port > 0xFFFF or scope > 0xFFFFFFFF:
            return None
        return TcpAddress(f"{host}%{scope}" if scope else host, port)
    return None


def listen_address(text: str) -> TcpAddress | UnixAddress:
    """Where a module listens (protocol 2.2): IP and port, or the path of a Unix socket.

    A path contains ``/``, starts with ``@`` or ends in ``.sock``. Raises ValueError for anything else: it would be taken
    for a path by the reference, and is almost certainly a mistyped address.
    """
    if address := socket_address(text):
        return address
    if "/" in text or text.startswith("@") or text.endswith(".sock"):
        return UnixAddress(text)
    raise ValueError("Expected IP:PORT, [IPv6]:PORT or the path of a Unix socket, which contains '/', starts with '@' or ends in '.sock'")


# ── service types ───────────────────────────────────────────────────────────────────────────────────────────────────


class ServiceType:
    """A kind of service: one of three that the wire knows by name, or a custom one (protocol 3.5). Immutable, hashable."""

    __slots__ = ("is_custom", "name")
    name: str
    is_custom: bool
    DATABASE: ClassVar[ServiceType]
    CACHE: ClassVar[ServiceType]
    JWT: ClassVar[ServiceType]
    USER_MANAGEMENT: ClassVar[ServiceType]
    ANALYTICS: ClassVar[ServiceType]

    def __init__(self, name: str, *, is_custom: bool = True) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "is_custom", is_custom)

    @classmethod
    def custom(cls, name: str) -> ServiceType:
        """A service type of the user's own."""
        return cls(name)

    @classmethod
    def parse(cls, value: object) -> ServiceType:
        """From any accepted spelling: a built-in name in any case, ``{"Custom": name}``, ``{"Cache": null}``, ``"Custom(x)"``.

        Raises ValueError for every other.
        """
        if isinstance(value, ServiceType):
            return value
        if isinstance(value, str):
            if found := _SPELLINGS.get(value) or _SPELLINGS.get(value.lower()):
                return found
            if value.startswith("Custom(") and value.endswith(")"):
                return cls(value[7:-1])
        elif isinstance(value, dict) and len(value) == 1:
            ((key, inner),) = value.items()
            if key == "Custom" and isinstance(inner, str):
                return cls(inner)
            if key in _BUILT_IN and inner is None:
                return _BUILT_IN[key]
        raise ValueError('Expected "Database", "Cache", "Jwt" or {"Custom": name}')

    @property
    def wire(self) -> str | dict[str, str]:
        """What is sent."""
        return {"Custom": self.name} if self.is_custom else self.name

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a ServiceType cannot be changed")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServiceType) and (self.name, self.is_custom) == (other.name, other.is_custom)

    def __hash__(self) -> int:
        return hash((self.name, self.is_custom))

    def __str__(self) -> str:
        return f"custom:{self.name}" if self.is_custom else self.name.lower()

    def __repr__(self) -> str:
        return f"ServiceType.custom({self.name!r})" if self.is_custom else f"ServiceType.{self.name.upper()}"

    def __reduce__(self) -> tuple[object, ...]:
        return ServiceType.parse, (self.wire,)


_BUILT_IN = {name: ServiceType(name, is_custom=False) for name in ("Database", "Cache", "Jwt")}
ServiceType.DATABASE, ServiceType.CACHE, ServiceType.JWT = _BUILT_IN.values()
ServiceType.USER_MANAGEMENT = ServiceType("user_management")
ServiceType.ANALYTICS = ServiceType("analytics")
_SPELLINGS = {
    **_BUILT_IN,
    **{name.lower(): kind for name, kind in _BUILT_IN.items()},
    **{name: ServiceType(name) for name in ("http", "grpc", "user_management", "analytics")},  # the earlier SDK's discovery
}


# ── parts of messages ───────────────────────────────────────────────────────────────────────────────────────────────


class AnnouncedEndpoint(Struct, frozen=True, omit_defaults=True):
    """One path that a module serves. `methods` in upper case; `auth` in practice ``"jwt"`` or None."""

    path: str
    methods: list[str]
    auth: str | None = None


class TcpChannel(Struct, frozen=True):
    """A TCP channel that the orchestrator offers. `address` is ``ip:port``; a host name is only accepted, never to be sent."""

    address: str
    tls_enabled: bool = False
    required: bool = False


class IpcChannel(Struct, frozen=True):
    """A Unix-socket channel that the orchestrator offers."""

    socket_path: str
    required: bool = False


class Extension(Discreet, frozen=True, omit_defaults=True):
    """What PyWatt peers tell each other in the member ``pywatt`` of init and announce; other peers ignore it.

    `formats`: what the sender reads beside JSON, as frames on channels and as payloads (``"msgpack"``, ``"cbor"``).
    `features` known today: ``"heartbeat"`` in an announce (this module acknowledges heartbeats), ``"http_ipc_only"`` in an
    announce (this module serves no port), ``"http_stream"`` in both (HTTP bodies may travel in pieces: `http_pieces`); ``"channel_token"``
    and ``"channel_greeting"`` in an init (on its channels the token has to be shown first, and a heartbeat follows a TLS handshake).
    `config`, in an init alone: the module's effective settings, secrets as ``secret:`` references.
    """

    hidden = frozenset({"config"})

    api: int = field(default_factory=lambda: 1)
    formats: tuple[str, ...] = field(default_factory=lambda: ())
    features: tuple[str, ...] = field(default_factory=lambda: ())
    config: dict[str, Any] | None = None


class EncodedMessage(Discreet, frozen=True, gc=False):
    """A payload that travels through the orchestrator unread (protocol 4.6). `data` is bytes, `format` says what they hold.

    ``"MessagePack"`` and ``"Cbor"`` are for PyWatt peers that offered to read them; no other knows the names.
    """

    hidden = frozenset({"data"})

    data: Body
    format: Literal["Json", "Binary", "Base64", "Auto", "MessagePack", "Cbor"]

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes):
            structs.force_setattr(self, "data", octets(self.data, "data"))

    # What follows lives in `encoded`, which nobody imports who only passes payloads on.

    @staticmethod
    def from_message(message: EnvelopeMessage[Any]) -> EncodedMessage:
        """The message in JSON. Raises `LocalProtocolError` where its content cannot travel."""
        return message.encode()

    @staticmethod
    def from_message_binary(message: EnvelopeMessage[Any], type: Any = None, *, layout: str = "") -> EncodedMessage:
        """The message in bincode, its content as a `type`: its own where that is not given, so that an int is an ``i64``.

        The reference loses metadata on the way, so that a message with metadata is a ValueError unless a `layout` is chosen:
        ``"decoder"`` is what the reference reads, ``"encoder"`` what it writes. Raises TypeError for a type without a form in bincode.
        """
        from .encoded import write_bincode

        return EncodedMessage(write_bincode(message, type, layout=layout), "Binary")

    @staticmethod
    def from_message_base64(message: EnvelopeMessage[Any], type: Any = None, *, layout: str = "") -> EncodedMessage:
        """The same as Base64 text."""
        return EncodedMessage.from_message_binary(message, type, layout=layout).to_format("Base64")

    @staticmethod
    def encode_with_format(message: EnvelopeMessage[Any], format: str) -> EncodedMessage:
        """Always JSON, whatever `format` says: what the reference does, and what all its peers read."""
        from .encoded import EncodingFormat

        EncodingFormat(format)
        return message.encode()

    def decode(self, type: Any = Any) -> Any:
        """The content as a `type`, whether it is in an envelope or bare. Data called binary is read as JSON, then as bincode.

        Raises `RemoteProtocolError` that names the member.
        """
        from .encoded import decode

        return decode(self, type)

    def decode_full(self, type: Any = Any) -> EnvelopeMessage[Any]:
        """The envelope with its content as a `type`. Raises `RemoteProtocolError`, also where there is no envelope."""
        from .encoded import decode_full

        return decode_full(self, type)

    def to_format(self, target: str) -> EncodedMessage:
        """The same data in another form: JSON text as binary or Base64 and back. Nothing is decoded into values.

        Raises `LocalProtocolError` for ``"Auto"`` and for the formats that are PyWatt's own, `RemoteProtocolError` for data that is no
        Base64 or, on its way to JSON, no JSON.
        """
        from .encoded import convert

        return convert(self, target)

    def to_string(self) -> str:
        """The text of JSON and Base64. Raises `LocalProtocolError` for what is no text."""
        from .encoded import text

        return text(self)

    def peek_kind(self) -> str:
        """A guess at what this is: its ``kind``, its ``op``, the op in its envelope or its metadata's id; else ``"Unknown"``,
        ``"Invalid JSON"`` or ``"Invalid Base64"``. Raises `LocalProtocolError` for ``"Auto"``.
        """
        from .encoded import peek

        return peek(self)


class ProviderInfo(Struct, frozen=True, kw_only=True):
    """One registered provider of a service."""

    provider_id: str
    module_id: str
    service_type: ServiceType
    name: str
    version: str | None = None
    address: str
    metadata: dict[str, str] = field(default_factory=dict)
    is_healthy: bool


class Metadata(Discreet, frozen=True, omit_defaults=True):
    """What an envelope says about its message (protocol 4.1). `timestamp` in Unix seconds by convention."""

    hidden = frozenset({"properties"})

    id: str | None = None
    timestamp: I64 | None = None
    source: str | None = None
    destination: str | None = None
    properties: dict[str, Any] | None = None


def with_article(name: str) -> str:
    """``an int``, ``a list``."""
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"
