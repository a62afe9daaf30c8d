"""The options of a database that is a server, in every spelling that has been promised, and the address that they come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import ConfigError
from ..redaction import Secret

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection, Mapping

TlsMode: TypeAlias = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]
"""No TLS; TLS where the server has it; TLS with any certificate; with one that is signed; and that is for the server's name."""

TLS_MODES: tuple[TlsMode, ...] = ("disable", "prefer", "require", "verify-ca", "verify-full")

DIALECTS = {
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
}
"""Every name of a kind of database, and the dialect that it means."""

ALIASES = {"dsn": "url", "username": "user", "db": "database", "pool_config": "pool", "sslmode": "ssl_mode"}
"""Further spellings of options, and the options that they mean."""


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """The connections that a module keeps to a server. Times are in seconds."""

    min_connections: int = 1
    """How many are kept open, whether anybody needs them or not."""
    max_connections: int = 10
    """How many there are at the same time, at most."""
    acquire_timeout: float = 10.0
    """How long a statement or a transaction waits for one that other tasks use."""
    idle_timeout: float = 300.0
    """One that nobody used for so long is closed, down to `min_connections`. 0: never."""
    max_lifetime: float = 1800.0
    """One that is so old is closed when its user gives it back. 0: never."""

    def __post_init__(self) -> None:
        if self.max_connections < 1:
            raise ValueError(f"max_connections is {self.max_connections}: at least 1 is needed")
        if not 0 <= self.min_connections <= self.max_connections:
            raise ValueError(f"min_connections is {self.min_connections}: a number from 0 to max_connections is needed")
        for name in ("acquire_timeout", "idle_timeout", "max_lifetime"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}: a number of seconds, 0 or more, is needed")


@dataclass(frozen=True, kw_only=True)
class ServerDatabaseOptions:
    """The keys that every database server's section has. Times are in seconds.

    Where it is, who asks and what for stand either in `url` or in the fields; a field beside a URL says what the URL leaves out.
    """

    url: str = field(default="", repr=False)
    """``scheme://user:password@host:port/database``, several hosts as ``host1:port1,host2:port2``. Best as ``"secret:NAME"``."""
    dsn: str = field(default="", repr=False)
    """The same as `url`."""
    type: str = ""
    """May name the kind of database once more; it has to be the one that `use` names."""
    db_type: str = ""
    """The same as `type`."""
    host: str = ""
    """The server's name or address, ``localhost`` by default; a path that begins with ``/`` is a folder with a Unix socket."""
    hosts: tuple[str, ...] = ()
    """Several servers, each ``"name"`` or ``"name:port"``, asked in this order until one answers."""
    port: int | None = None
    """Its port, by default the one that such servers have."""
    user: str = ""
    """The name to log in with."""
    username: str = ""
    """The same as `user`."""
    password: Secret | None = None
    """Its password."""
    database: str = ""
    """The database's name on the server."""
    db: str = ""
    """The same as `database`."""
    pool: PoolOptions | None = None
    """How many connections there are and how long they live: a table ``[databases.NAME.pool]``."""
    pool_config: PoolOptions | None = None
    """The same as `pool`."""
    ssl_mode: TlsMode | None = None
    """``disable``: no TLS. ``prefer``: TLS where the server has it, any certificate. ``require``: TLS or nothing, any certificate.
    ``verify-ca``: the certificate has to be signed by `ca_cert`. ``verify-full``: and be for the server's name.
    The default is ``verify-full`` where `ca_cert` is set, ``require`` where `client_cert` is, else ``prefer``."""
    sslmode: TlsMode | None = None
    """The same as `ssl_mode`."""
    ca_cert: Path | None = None
    """PEM file with the authorities that may have signed the server's certificate; those of the system by default."""
    client_cert: Path | None = None
    """PEM file with the certificate to show to a server that wants one."""
    client_key: Path | None = None
    """PEM file with its private key, not encrypted; where there is none, `client_cert` holds the key too."""
    connect_timeout: float = 10.0
    """How long making one connection may take, TLS and the login included."""
    statement_timeout: float = 60.0
    """How long one statement may run before it is cancelled and raises `Unavailable`. 0: for ever."""
    close_timeout: float = 5.0
    """How long closing waits for what is still running before it is cut off."""
    cached_statements: int = 100
    """How many prepared statements each connection keeps. 0 behind a proxy that hands a connection's statements to different servers."""
    slow_statement: float = 1.0
    """A statement that takes longer is logged with its text, never with its values. 0: none is."""

    def __post_init__(self) -> None:
        for alias, name in ALIASES.items():
            if getattr(self, alias) and getattr(self, name):
                raise ValueError(f"{alias} is the same as {name}: set one of them")
        if self.host and self.hosts:
            raise ValueError("hosts and host are both set: use one of them")
        if self.port is not None and not 0 < self.port < 65536:
            raise ValueError(f"port is {self.port}: a number from 1 to 65535 is needed")
        if self.cached_statements < 0:
            raise ValueError(f"cached_statements is {self.cached_statements}: 0 or more is needed")
        if not 0 < self.connect_timeout < float("inf"):
            raise ValueError(f"connect_timeout is {self.connect_timeout}: a number of seconds above 0 is needed")
        for name in ("statement_timeout", "close_timeout", "slow_statement"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}: a number of seconds, 0 or more, is needed")
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key needs client_cert, the certificate that it belongs to")
        problem = _tls_problem(self, self.ssl_mode or self.sslmode)
        if problem:
            raise ValueError(problem)

    @property
    def pooling(self) -> PoolOptions:
        """The pool's options, however they are spelled."""
        return self.pool or self.pool_config or PoolOptions()


class Address(NamedTuple):
    """Where a database is, and who asks. Its text shows no password."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    """A host that begins with ``/`` is a folder with a Unix socket."""
    user: str
    password: Secret | None
    database: str
    tls: TlsMode
    parameters: Mapping[str, str]
    """What stood behind the ``?`` of the URL, without the mode of TLS."""

    def __str__(self) -> str:
        places = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.scheme}://{self.user}@{places}/{self.database}"


def address(options: ServerDatabaseOptions, *, scheme: str, schemes: Collection[str], port: int) -> Address:
    """The address that the options name. `scheme` is how it is shown, `schemes` are those of a URL, `port` is the usual one.

    Raises `ConfigError` that names the option and never shows a URL, which may hold a password.
    """
    for name in ("type", "db_type"):
        kind = getattr(options, name)
        if kind and DIALECTS.get(kind.lower()) != DIALECTS[scheme]:
            raise ConfigError(f"{name} is {kind!r}, and this is {scheme}: remove it, or change `use`")
    name = "dsn" if options.dsn else "url"
    url = _Url.read(options.url or options.dsn, name, schemes)
    for option, inside in (
        ("host", url.hosts),
        ("hosts", url.hosts),
        ("port", any(port is not None for _, port in url.hosts)),
        ("user", url.user),
        ("username", url.user),
        ("password", url.password),
        ("database", url.database),
        ("db", url.database),
        ("ssl_mode", url.mode),
        ("sslmode", url.mode),
    ):
        if inside and getattr(options, option):
            raise ConfigError(f"{option} is set, and {name} says it too: remove one of them")
    problem = _tls_problem(options, url.mode)
    if problem:
        raise ConfigError(problem)
    hosts = url.hosts or tuple(_host_and_port(one, "hosts") for one in options.hosts) or ((options.host or "localhost", None),)
    return Address(
        scheme,
        tuple((host, own or options.port or port) for host, own in hosts),
        url.user or options.user or options.username,
        Secret(url.password) if url.password else options.password,
        url.database or options.database or options.db,
        url.mode or options.ssl_mode or options.sslmode or _usual_tls(options),
        url.parameters,
    )


@dataclass(frozen=True, kw_only=True)
class AddressedOptions(ServerDatabaseOptions):
    """Options that come to an address, which is looked at as soon as there are any. Subclasses say how such servers are addressed."""

    scheme: ClassVar[str]
    """The dialect, and how a URL that is shown begins."""
    schemes: ClassVar[tuple[str, ...]]
    """How URLs may begin."""
    usual_port: ClassVar[int]
    parameters: ClassVar[frozenset[str]] = frozenset()
    """What may stand behind the ``?`` of a URL, beside where the server is and how to speak TLS with it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self.address  # noqa: B018 - raises what is wrong with it
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @property
    def address(self) -> Address:
        """Where the database is. Raises `ConfigError` that names the option and shows no URL."""
        found = address(self, scheme=self.scheme, schemes=self.schemes, port=self.usual_port)
        unknown = sorted(found.parameters.keys() - self.parameters)
        if unknown:
            name = "dsn" if self.dsn else "url"
            raise ConfigError(f"{name} has the parameter {unknown[0]!r}, which is unknown here: set it as an option of the section instead")
        if not found.database:
            raise ConfigError(
                f'no database is named: set url = "{self.scheme}://user:password@host/database", best as "secret:NAME", '
                "or host, user, password and database"
            )
        return found


def _tls_problem(options: ServerDatabaseOptions, mode: TlsMode | None) -> str:
    """Files that a mode of TLS would not look at, though somebody has set them; empty where there are none."""
    if mode is not None and not mode.startswith("verify") and options.ca_cert is not None:
        return f'ca_cert is not looked at with ssl_mode = "{mode}": use "verify-full"'
    if mode in ("disable", "prefer") and options.client_cert is not None:
        return f'client_cert needs TLS for certain, and ssl_mode is "{mode}": use "require" or "verify-full"'
    return ""


def _usual_tls(options: ServerDatabaseOptions) -> TlsMode:
    return "verify-full" if options.ca_cert else "require" if options.client_cert else "prefer"


class _Url(NamedTuple):
    hosts: tuple[tuple[str, int | None], ...] = ()
    user: str = ""
    password: str = ""
    database: str = ""
    mode: TlsMode | None = None
    parameters: Mapping[str, str] = {}

    @classmethod
    def read(cls, text: str, name: str, schemes: Collection[str]) -> _Url:
        if not text:
            return cls()
        scheme, separator, _ = text.partition("://")
        if not separator or scheme.lower() not in schemes:
            raise ConfigError(f"{name} has to begin with {' or '.join(f'{one}://' for one in sorted(schemes))}")
        try:
            parts = urlsplit(text, allow_fragments=False)
        except ValueError as error:
            raise ConfigError(f"{name} cannot be read: its host is not one") from error
        login, _, places = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        if "@" in parts.path + parts.query:  # then what stands there may be the rest of a password, and errors would show it as a name
            raise ConfigError(f"{name} cannot be read: in a user's name or a password, write / ? # @ and : as %2F %3F %23 %40 and %3A")
        folder = parameters.pop("host", "")
        if folder:  # a path cannot stand where a URL has its host, but its port can
            places = f"socket{places}" if places[:1] in ("", ":") else places
        hosts = tuple(_host_and_port(unquote(place), name) for place in places.split(",")) if places else ()
        if folder:
            hosts = ((folder, hosts[0][1]),)
        mode = parameters.pop("sslmode", "") or parameters.pop("ssl_mode", "")
        if mode and mode not in TLS_MODES:
            raise ConfigError(f"{name} asks for sslmode={mode}; there are {', '.join(TLS_MODES)}")
        found = next((one for one in TLS_MODES if one == mode), None)
        return cls(hosts, unquote(user), unquote(password), unquote(parts.path[1:]), found, parameters)


def _host_and_port(text: str, name: str) -> tuple[str, int | None]:
    """``name``, ``name:port``, ``[::1]:port`` or a folder."""
    if text.startswith("/"):
        return text, None
    host, bracket, rest = text.removeprefix("[").partition("]") if text.startswith("[") else (text.partition(":")[0], "", "")
    port = rest.removeprefix(":") if bracket else text.partition(":")[2]
    if not host or (port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
        raise ConfigError(f"{name} names a server that is neither host nor host:port")
    return host, int(port) if port else None


def tls_context(options: ServerDatabaseOptions, mode: TlsMode, folder: Path) -> ssl.SSLContext | None:
    """What to speak TLS with in this mode, None for ``disable``; relative paths belong to `folder`.

    TLS 1.2 is the oldest version. Raises `ConfigError` that names the file which cannot be used.
    """
    if mode == "disable":
        return None
    from ..transports.tls import ClientTls

    ca_cert, client_cert, client_key = (
        None if file is None else folder / file.expanduser() for file in (options.ca_cert, options.client_cert, options.client_key)
    )
    verifies = mode.startswith("verify")
    context = ClientTls(ca_cert=ca_cert, client_cert=client_cert, client_key=client_key, verify_server=verifies).context()
    if mode == "verify-ca":
        context.check_hostname = False
    return context
