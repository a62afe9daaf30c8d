"""Memcached: where it is, and how it is used."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

PORT = 11211


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of a ``[caches.NAME]`` section with ``use = "memcached"``. Times are in seconds."""

    url: str = ""
    """``memcached://host:port``, instead of `host` and `port`."""
    host: str = "127.0.0.1"
    """Where the server is."""
    port: int = PORT
    """The port that it listens on."""
    hosts: tuple[str, ...] = ()
    """One ``host`` or ``host:port``, instead of `host` and `port`. Keys are not spread over several servers."""
    namespace: str = ""
    """Put before every key, with a colon, so that several users of one server keep apart. `clear()` is refused then."""
    default_ttl: float | None = None
    """Seconds that a value is kept where `set` does not say, rounded up to whole ones; none means until something else needs the room.
    What would end after 2038, which the server cannot count to, has no end either."""
    max_value_bytes: int = 1_000_000
    """What a value may have; more is refused before it is sent. The server's own limit is its option ``-I``: 1 MiB for value and key."""
    max_connections: int = 10
    """Connections at once, at most; made when they are needed."""
    connect_timeout: float = 5.0
    """Seconds for a connection to be made."""
    acquire_timeout: float = 5.0
    """Seconds that an operation waits for a connection that others use."""
    operation_timeout: float = 2.0
    """Seconds for the server's answer."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[!-~]{0,100}", self.namespace):
            raise ValueError("namespace has spaces, other than ASCII characters, or more than 100 of them")
        if self.default_ttl is not None and not 0 < self.default_ttl < math.inf:
            raise ValueError(f"default_ttl is {self.default_ttl}: more than 0 seconds are needed, or leave it out")
        for name in ("max_value_bytes", "max_connections"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: at least 1 is needed")
        for name in ("connect_timeout", "acquire_timeout", "operation_timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}: more than 0 seconds are needed")
        if self.url and self.hosts:
            raise ValueError("hosts is given beside url: one of them says where the server is")
        if len(self.hosts) > 1:
            raise ValueError(
                "hosts names several servers, and keys are not spread over them: name one, or put a proxy such as mcrouter before them"
            )
        self.address  # noqa: B018 - raises what is wrong with it

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, from whichever option names them."""
        text, option = (self.url, "url") if self.url else (f"memcached://{self.hosts[0]}", "hosts") if self.hosts else ("", "port")
        if not text:
            if not 0 < self.port < 65536 or not self.host:
                raise ValueError(f"port is {self.port} and host {self.host!r}: they name no server")
            return self.host, self.port
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = parts = None
        if parts is None or parts.scheme != "memcached" or not host or parts.path.strip("/") or parts.query or parts.username:
            raise ValueError(f"{option} is not of the form {'memcached://host:port' if option == 'url' else 'host:port'}")
        return host, port or PORT
