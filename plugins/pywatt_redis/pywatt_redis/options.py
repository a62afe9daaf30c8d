"""The options of the cache ``redis``, in every spelling that has been promised, and the servers that they come to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from pywatt_core.errors import ConfigError
from pywatt_core.redaction import Secret

PORT, SENTINEL_PORT = 6379, 26379

ALIASES = {"dsn": "url", "user": "username", "db": "database", "service": "sentinel", "tls_enabled": "tls"}
"""Further spellings of options, and the options that they mean."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of a ``[caches.NAME]`` section with ``use = "redis"``. Times are in seconds.

    Where the server is and who asks stand either in `url` or in the fields; a field beside a URL says what the URL leaves out.
    """

    url: str = field(default="", repr=False)
    """``redis://user:password@host:port/database``, ``rediss://…`` with TLS, ``unix:///path?db=0``. Best as ``"secret:NAME"``.
    Several hosts as ``host1:port1,host2:port2``."""
    dsn: str = field(default="", repr=False)
    """The same as `url`."""
    host: str = ""
    """The server's name or address, ``localhost`` by default; a path that begins with ``/`` is a Unix socket."""
    hosts: tuple[str, ...] = ()
    """Several, each ``"name"`` or ``"name:port"``: the sentinels, or nodes of the cluster; one of them has to answer."""
    port: int | None = None
    """By default 6379, and 26379 for sentinels."""
    username: str = ""
    """The name to log in with; servers older than Redis 6 know only passwords."""
    user: str = ""
    """The same as `username`."""
    password: Secret | None = None
    """The password to log in with."""
    database: int | None = None
    """The database's number, 0 by default. A cluster has no others."""
    db: int | None = None
    """The same as `database`."""
    namespace: str = ""
    """What every key of this cache begins with on the server, followed by ``:``, so that others may use the server too."""
    default_ttl: float | None = None
    """Seconds that a value is kept where `set` does not say; none means until the server needs the room."""
    sentinel: str = ""
    """The name that the sentinels give the service: they are asked for its primary, `host` and `hosts` being theirs."""
    service: str = ""
    """The same as `sentinel`."""
    sentinel_username: str = ""
    """The name to log in with at the sentinels."""
    sentinel_password: Secret | None = None
    """The password to log in with at the sentinels."""
    cluster: bool = False
    """The servers are a cluster; `host` and `hosts` are some of its nodes."""
    tls: bool = False
    """Speak TLS 1.2 or newer, with the sentinels too. A URL that begins with ``rediss://`` says the same."""
    tls_enabled: bool = False
    """The same as `tls`."""
    ca_cert: Path | None = None
    """PEM file with the authorities that may have signed the server's certificate; those of the system by default."""
    client_cert: Path | None = None
    """PEM file with the certificate to show to a server that wants one."""
    client_key: Path | None = None
    """PEM file with its private key, not encrypted; where there is none, `client_cert` holds the key too."""
    server_name: str = ""
    """The name that the server's certificate has to be for, by default the host that is connected to."""
    verify_server: bool = True
    """False takes any certificate: whoever sits between can then read and change everything."""
    connections: int = 1
    """Connections to each server. All callers share them, and what they ask at the same time travels together, so that one is the
    fastest; with more, small values need not wait behind large ones."""
    pending: int = 10_000
    """Commands under way on one connection at most; who asks for more waits until there is room."""
    connect_timeout: float = 5.0
    """How long making one connection may take, TLS and the login included."""
    timeout: float = 5.0
    """How long one command may take before it raises `Unavailable`."""
    close_timeout: float = 2.0
    """How long closing waits for what is under way before it is cut off."""

    def __post_init__(self) -> None:
        for alias, name in ALIASES.items():
            if getattr(self, alias) and getattr(self, name):
                raise ValueError(f"{alias} is the same as {name}: set one of them")
        if self.host and self.hosts:
            raise ValueError("hosts and host are both set: use one of them")
        if self.port is not None and not 0 < self.port < 65536:
            raise ValueError(f"port is {self.port}: a number from 1 to 65535 is needed")
        for name in ("database", "db"):
            number = getattr(self, name)
            if number is not None and number < 0:
                raise ValueError(f"{name} is {number}: a number, 0 or more, is needed")
        if self.cluster and (self.sentinel or self.service):
            raise ValueError("cluster and sentinel are both set: a cluster looks after its primaries itself")
        if self.default_ttl is not None and not 0 < self.default_ttl < math.inf:
            raise ValueError(f"default_ttl is {self.default_ttl}: more than 0 seconds are needed, or leave it out")
        for name in ("connections", "pending"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: at least 1 is needed")
        for name in ("connect_timeout", "timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}: a number of seconds above 0 is needed")
        if not 0 <= self.close_timeout < math.inf:
            raise ValueError(f"close_timeout is {self.close_timeout}: a number of seconds, 0 or more, is needed")
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key needs client_cert, the certificate that it belongs to")
        if not self.verify_server and self.ca_cert is not None:
            raise ValueError("ca_cert is not looked at with verify_server = false: remove one of them")


class Server(NamedTuple):
    """One server, and how to log in. Its text shows no password."""

    host: str
    """A name, an address, or the path of a Unix socket."""
    port: int
    username: str = ""
    password: Secret | None = None
    database: int = 0
    tls: bool = False

    def __str__(self) -> str:
        if self.host.startswith("/"):
            return f"Redis at {self.host}"
        return f"Redis at [{self.host}]:{self.port}" if ":" in self.host else f"Redis at {self.host}:{self.port}"


def servers(options: Options) -> tuple[Server, ...]:
    """The servers that the options name: one, or the sentinels, or some nodes of the cluster.

    Raises `ConfigError` that names the option and never shows a URL, which may hold a password.
    """
    name = "dsn" if options.dsn else "url"
    hosts, username, password, database, tls = _read(options.url or options.dsn, name)
    for option, inside in (
        ("host", hosts),
        ("hosts", hosts),
        ("port", any(port is not None for _, port in hosts)),
        ("username", username),
        ("user", username),
        ("password", password),
        ("database", database is not None),
        ("db", database is not None),
    ):
        if inside and getattr(options, option) not in (None, "", ()):
            raise ConfigError(f"{option} is set, and {name} says it too: remove one of them")
    service = options.sentinel or options.service
    hosts = hosts or tuple(_host_and_port(one, "hosts") for one in options.hosts) or ((options.host or "localhost", None),)
    if len(hosts) > 1 and not (options.cluster or service):
        raise ConfigError('several hosts are named: set sentinel = "NAME" or cluster = true, or name one host')
    number = next((one for one in (database, options.database, options.db) if one is not None), 0)
    if number and options.cluster:
        raise ConfigError(f"the database is number {number}, and a cluster has only number 0")
    if any(host.startswith("/") for host, _ in hosts) and (options.cluster or service):
        raise ConfigError("a Unix socket is neither a sentinel nor a node of a cluster")
    secret = Secret(password) if password else options.password
    tls = tls or options.tls or options.tls_enabled
    if options.ca_cert is not None and not tls:
        raise ConfigError("ca_cert is set without tls = true: nothing would be encrypted")
    usual = options.port or (SENTINEL_PORT if service else PORT)
    return tuple(Server(host, own or usual, username or options.username or options.user, secret, number, tls) for host, own in hosts)


def _read(url: str, name: str) -> tuple[tuple[tuple[str, int | None], ...], str, str, int | None, bool]:
    """What a URL says: hosts, user name, password, database, whether TLS is wanted."""
    if not url:
        return (), "", "", None, False
    scheme = url.partition("://")[0].lower()
    if "://" not in url or scheme not in {"redis", "rediss", "unix"}:
        raise ConfigError(f"{name} has to begin with redis://, rediss:// or unix://")
    try:
        parts = urlsplit(url, allow_fragments=False)
    except ValueError as error:
        raise ConfigError(f"{name} cannot be read: its host is not one") from error
    login, _, places = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    number = parameters.pop("db", "")
    if parameters:
        raise ConfigError(f"{name} asks for {', '.join(parameters)}: behind the ? only db=NUMBER is known; options stand in the section")
    if scheme == "unix":
        hosts: tuple[tuple[str, int | None], ...] = ((unquote(places + parts.path), None),)
    else:
        hosts = tuple(_host_and_port(unquote(place), name) for place in places.split(",")) if places else ()
        number = number or unquote(parts.path[1:])
    if number and not (number.isascii() and number.isdigit()):
        raise ConfigError(f"{name} names a database that is not a number")
    return hosts, unquote(username), unquote(password), int(number) if number else None, scheme == "rediss"


def _host_and_port(text: str, name: str) -> tuple[str, int | None]:
    """``name``, ``name:port``, ``[::1]:port`` or the path of a Unix socket."""
    if text.startswith("/"):
        return text, None
    host, bracket, rest = text.removeprefix("[").partition("]") if text.startswith("[") else (text.partition(":")[0], "", "")
    port = rest.removeprefix(":") if bracket else text.partition(":")[2]
    if not host or (port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
        raise ConfigError(f"{name} names a server that is neither host nor host:port")
    return host, int(port) if port else None
