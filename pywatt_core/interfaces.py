"""What plugins provide: small Protocols, and `Provider`, the one idea a plugin author must learn.

A plugin describes (`hookspecs`), an object acts (here). Nothing in this file does any work of its own.
"""

from __future__ import annotations

import enum
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar, overload, runtime_checkable

from .access import Authenticator as Authenticator  # what is provided, in a file of its own
from .access import SecretSource as SecretSource

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from .http.guarding import Guard
    from .http.streams import Stream
    from .protocol.messages import AnnouncedEndpoint, Extension, HttpRequest, HttpResponse, Init, Message, Metadata
    from .protocol.session import Facts, Problem
    from .services.channels import Channels

T = TypeVar("T")

Params: TypeAlias = "Sequence[object] | Mapping[str, object]"
"""Values for a statement: a sequence for ``?``, a mapping for ``:name``."""

# Most values here are named tuples: a frozen dataclass takes seven times as long to define, in each process that starts.


# ── providers ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Orchestrator(NamedTuple):
    """A module's orchestrator: the ways to it, and what its init line says beyond the inherited protocol (None: nothing)."""

    channels: Channels
    extension: Extension | None


class Context:
    """Where a provider is being opened, so that its messages and its relative paths make sense.

    `section` is the configuration section, for example ``databases.main``; relative paths in options resolve against
    `folder`, the one that holds the configuration file (the current directory where there is none). `orchestrator` is the module's way
    to its orchestrator, None for whoever has none.
    """

    __slots__ = ("folder", "module_id", "orchestrator", "section")

    def __init__(self, *, module_id: str, section: str, folder: Path | None = None, orchestrator: Orchestrator | None = None) -> None:
        if folder is None:
            from pathlib import Path  # not at the top: looking at what is installed has no use for it

            folder = Path(os.curdir)
        self.module_id = module_id
        self.section = section
        self.folder = folder
        self.orchestrator = orchestrator

    def __repr__(self) -> str:
        return f"Context(module_id={self.module_id!r}, section={self.section!r}, folder={self.folder!r})"


class Provider(NamedTuple, Generic[T]):
    """A named way to open a *T*: configuration picks it by name with ``use = "name"``.

    `options` is a frozen keyword-only dataclass: one field an option, its default and docstring are the documentation.
    `open(options, context)` is an async context manager: entering connects, leaving closes. Import the backend's
    library inside `open`, so that looking at what is installed imports none of them. Either may be named instead,
    ``"package.module:Options"``, and is then imported when a section first uses it.
    """

    name: str
    options: type[Any] | str
    open: Callable[[Any, Context], AbstractAsyncContextManager[T]] | str


class Command(NamedTuple):
    """A sub-command of ``pywatt``, imported only when it is called. `target` is ``"package.module:click_command"``."""

    name: str
    help: str
    target: str


class TopSection(NamedTuple):
    """A top-level table of the configuration file that belongs to a plugin; it is checked and explained with all others."""

    name: str
    """``"gateway"`` for ``[gateway]``."""
    options: str
    """``"package.module:Options"``: a frozen keyword-only dataclass as for a `Provider`, imported only when a file is checked."""
    named: bool = False
    """True where the table holds entries, each with these options: ``[modules.NAME]``."""
    overlays: bool = False
    """True where an entry may also hold tables that are laid over the top-level ones: ``[modules.NAME.databases.main]``."""
    secrets: str = ""
    """The option that lists names of secrets which have to be there, so that ``pywatt check`` can look."""
    check: str = ""
    """``"package.module:function"``, called by ``pywatt check`` with the `Settings`, for rules that span several options;
    it raises `ConfigError` with every problem."""


# ── storage ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Row(dict[str, Any]):
    """One row: a mapping from column name to value, whose values are attributes too (``row["id"]``, ``row.id``)."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the row has no column {name!r}; it has {', '.join(self) or 'none'}") from None


class Queries(Protocol):
    """What a database and a transaction both offer. Parameters are never pasted into the text of a statement."""

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run one statement; return the number of rows it inserted, changed or deleted (0 for DDL)."""
        ...

    @overload
    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]: ...
    @overload
    async def fetch_all(self, sql: str, params: Params = (), *, into: type[T]) -> list[T]: ...
    async def fetch_all(self, sql: str, params: Params = (), *, into: type[Any] | None = None) -> Any: ...
    @overload
    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, params: Params = (), *, into: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, params: Params = (), *, into: type[Any] | None = None) -> Any: ...

    async def fetch_value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row, or None where there is no row."""
        ...

    def iterate(self, sql: str, params: Params = ()) -> AsyncIterator[Row]:
        """Rows one after the other in bounded memory; closing the iterator early frees its connection."""
        ...

    def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AbstractAsyncContextManager[Queries]:
        """A transaction, or inside one a savepoint: committed on leaving, rolled back by an exception or a cancellation."""
        ...


@runtime_checkable
class Database(Queries, Protocol):
    """A pool of connections to one database. Errors are `StorageError` and its kinds, the driver's own kept as cause."""

    @property
    def dialect(self) -> str:
        """``"sqlite"``, ``"postgresql"`` or ``"mysql"``."""
        ...

    async def ping(self) -> None:
        """Ask the server something small; raise `Unavailable` where it does not answer."""
        ...


@dataclass(frozen=True, kw_only=True)
class CacheStats:
    """Counters since the cache was opened; None where the backend cannot tell."""

    hits: int | None = None
    misses: int | None = None
    sets: int | None = None
    deletes: int | None = None
    item_count: int | None = None
    memory_used_bytes: int | None = None


class CacheLock(Protocol):
    """A lock that is held. It is given up by leaving its block, never by anything that another owner does."""

    @property
    def token(self) -> int:
        """Greater than that of every earlier holder of the same lock: what is written with an older one can be refused."""

    async def extend(self, ttl: float | None = None) -> None:
        """Hold it for `ttl` seconds from now (None: as many as at first). Raises `Conflict` where it is held no longer."""


@runtime_checkable
class Cache(Protocol):
    """Keys are text, values bytes; `ttl` is in seconds, None means the configured default, which may be none at all."""

    async def get(self, key: str) -> bytes | None: ...
    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None: ...
    async def delete(self, key: str) -> bool: ...
    async def exists(self, key: str) -> bool: ...
    async def ttl(self, key: str) -> float | None:
        """Seconds that the key has left; None where it has no limit. Raises `NotFound` where there is no such key."""
        ...

    async def set_nx(self, key: str, value: bytes, *, ttl: float | None = None) -> bool:
        """Store only where the key is absent, atomically; tell whether it was stored."""
        ...

    async def get_set(self, key: str, value: bytes) -> bytes | None:
        """Replace atomically and return what was there."""
        ...

    async def increment(self, key: str, delta: int = 1) -> int:
        """Add atomically to a decimal integer (0 where the key is absent) and return the sum."""
        ...

    async def decrement(self, key: str, delta: int = 1) -> int: ...
    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Only the keys that were found."""
        ...

    async def set_many(self, items: Mapping[str, bytes], *, ttl: float | None = None) -> None: ...
    async def delete_many(self, keys: Sequence[str]) -> int: ...
    async def clear(self, namespace: str | None = None) -> None:
        """Drop everything, or the keys that begin with ``namespace + ":"``."""
        ...

    async def get_or_set(
        self, key: str, make: Callable[[], Awaitable[bytes] | bytes], *, ttl: float | None = None, timeout: float = 30.0
    ) -> bytes:
        """What is there, or what `make` gives, stored: of all who ask at once one calls it, the others wait `timeout` seconds at most."""

    def lock(self, key: str, *, ttl: float = 30.0, wait: float | None = 10.0) -> AbstractAsyncContextManager[CacheLock]:
        """Mutual exclusion among all users of the cache; `RequestTimeout` after `wait` seconds."""

    async def stats(self) -> CacheStats: ...


# ── serializers, channels ────────────────────────────────────────────────────────────────────────────────────────────


@runtime_checkable
class Serializer(Protocol):
    """Values to bytes and back, for payloads and cache values."""

    @property
    def format(self) -> str:
        """The name offered to peers, for example ``"json"``."""
        ...

    def encode(self, value: object) -> bytes: ...
    def decode(self, data: bytes, type: type[T]) -> T:
        """Raises `RemoteProtocolError` that names the field, never anything else, whatever the bytes are."""
        ...


class ChannelContext(Context):
    """What a channel's provider is told beside the section: the init message, and where to hand what arrives.

    `facts` is what the module's links have seen (`protocol.session.Facts`), shared by all of them. `on_message(message, link)`
    takes every message that answers nothing; `link` has ``post`` and ``send`` for the reply. `on_state(state)` is told each
    change of the channel's state. None of the three may block.
    """

    __slots__ = ("facts", "init", "on_message", "on_problem", "on_state")

    def __init__(
        self,
        *,
        module_id: str,
        section: str,
        init: Init,
        facts: Facts,
        on_message: Callable[[Message, Any], None],
        on_problem: Callable[[Problem], None],
        on_state: Callable[[ChannelState], None],
        folder: Path | None = None,
    ) -> None:
        super().__init__(module_id=module_id, section=section, folder=folder)
        self.init, self.facts = init, facts
        self.on_message, self.on_problem, self.on_state = on_message, on_problem, on_state


class ChannelState(enum.Enum):
    """Where a channel is (protocol 5.2). A failed one has given up for good."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    FAILED = "failed"


@runtime_checkable
class Channel(Protocol):
    """A way to the orchestrator beside stdio, full duplex. What is sent while it is not connected raises `ChannelClosed`
    whose ``executed`` is ``"no"``; what was in flight when a connection broke ends with ``"no"`` or ``"unknown"``.
    """

    @property
    def name(self) -> str:
        """``"tcp"``, ``"unix"`` or a plugin's own; the name of its section."""
        ...

    @property
    def state(self) -> ChannelState: ...
    def post(self, message: Message, *, metadata: Metadata | None = None) -> None:
        """Hand over a message without waiting for anything. Raises `ChannelClosed` or `LocalProtocolError`."""
        ...

    async def send(self, message: Message, *, metadata: Metadata | None = None) -> None:
        """Like `post`, then wait until the peer keeps up again."""
        ...

    async def request(self, message: Message, *, timeout: float, metadata: Metadata | None = None) -> Message:
        """Send and return the answer; `timeout` is in seconds. Raises `RequestTimeout`, `ChannelClosed` or `LocalProtocolError`."""
        ...

    async def close(self) -> None:
        """Close for good; may be called twice."""
        ...


# ── servers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class ServerOptions(NamedTuple):
    """What a server plugin is told about the application that it is asked to serve."""

    state: Any
    """The module's `AppState`; the plugin hands it to handlers in its framework's own way."""
    prefix: str = ""
    """A path such as ``/v1`` below which the user's routes live (the decorator's ``version=``); extra routes stay outside."""
    behind_gateway: bool = False
    """True only on the orchestrator's own socket: ``X-Forwarded-*`` headers are then believed."""
    threads: int = 8
    """Worker threads of a WSGI server."""
    port: bool = True
    """False where all requests come over links: `Server.start` will be given None."""
    guard: Guard | None = None
    """Which requests need a token, because their endpoints are announced with ``auth``; the core's fronts ask it before the application."""


PlainReply: TypeAlias = tuple[int, str, bytes]
"""Status, content type, body."""


@runtime_checkable
class Server(Protocol):
    """One framework's way to serve one application. Called by the life cycle in the order of the methods."""

    def routes(self) -> list[AnnouncedEndpoint]:
        """What the application's own router contains, `prefix` included: ``{name}`` is one segment, ``{*rest}`` the remainder."""
        ...

    def add_route(self, path: str, handler: Callable[[], PlainReply]) -> bool:
        """Serve GET `path` from `handler` (called in any thread, quick). False, and nothing done, where the user has that path."""
        ...

    async def start(self, listener: socket.socket | None) -> None:
        """Enter the framework's lifespan once, then accept from `listener`, which the caller has bound. None: no port at all.

        The server closes `listener` when it drains.
        """
        ...

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer one HTTP request that came over a link, through the real application."""
        ...

    async def drain(self, deadline: float) -> bool:
        """Accept nothing new and let what runs finish, `deadline` seconds at most; False where something had to be cut short."""
        ...

    async def close(self) -> None:
        """Leave the lifespan; no thread, task or socket of the server survives. May be called without `start`, and twice."""
        ...


@runtime_checkable
class StreamingServer(Server, Protocol):
    """A server whose bodies may travel over a link in pieces; one without `stream` gets and gives them whole."""

    async def stream(self, stream: Stream) -> None:
        """Answer one HTTP request that came over a link, piece by piece; return when the response is complete or given up."""
        ...


Handler: TypeAlias = "Callable[[Any], Awaitable[Message | None]]"
"""Acts on one message; what it returns is sent back on the link that the message came from."""
