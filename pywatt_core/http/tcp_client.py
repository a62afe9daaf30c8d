"""`HttpTcpClient`: HTTP requests over framed TCP, many at once over one connection (protocol 7.2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, urlencode

from ..errors import ChannelClosed, LocalProtocolError, ProtocolError, PyWattError, RemoteProtocolError, RequestTimeout
from ..protocol.codec import text_of
from ..protocol.framing import BASE64, BINARY, JSON, TCP_LIMIT
from ..protocol.http_tcp import HttpTcpRequest, HttpTcpResponse, read_response, write
from ..protocol.lenient import Unreadable
from ..transports.frames import FrameStream
from ..transports.link import new_id
from ..transports.pool import ConnectionPool
from ..transports.tcp import tune
from .api import JSON as JSON_TYPE
from .api import to_json

if TYPE_CHECKING:
    import ssl
    from contextlib import AbstractAsyncContextManager

    from ..telemetry.channel_metrics import PoolMetrics

log = logging.getLogger("pywatt.http")

Pairs: TypeAlias = "Mapping[str, Any] | Iterable[tuple[str, Any]]"

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
RETRY_PAUSE = 0.05
"""Seconds between two attempts."""
MOST_WAITING = 10_000
"""Requests of one connection that wait for their answers; more fail at once."""
SAFE = "/%:@!$&'()*+,;=~-._?#[]"
"""What is not percent-encoded in a path: it is there on purpose."""


class HttpTcpClient:
    """Requests to one peer. Use it as an async context manager, or `close` it; it connects with the first request.

    `base_url` stands before every path. `timeout` is in seconds for a whole `send`, connecting and further attempts included,
    `connect_timeout` for one attempt to connect. `retries` is how often a request is sent again after the connection broke:
    one that cannot have been executed, or an idempotent one. `max_connections` are opened at most, the second where the first
    is busy; requests beyond share them. One that lies idle for a minute is closed. `tls` is the context for a peer that wants
    TLS.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        base_url: str = "",
        timeout: float = 30.0,
        connect_timeout: float = 30.0,
        retries: int = 1,
        max_connections: int = 1,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        limit: int = TCP_LIMIT,
    ) -> None:
        if max_connections < 1 or retries < 0 or not timeout > 0 or not connect_timeout > 0:
            raise ValueError("an HttpTcpClient has at least one connection, no fewer than 0 retries, and time limits above 0")
        self.host, self.port = host, port
        self.base_url, self.timeout, self.connect_timeout, self.retries = base_url, timeout, connect_timeout, retries
        self.headers = dict(headers or {})
        """Sent with every request that does not set them itself."""
        self._maximum, self._tls, self._limit = max_connections, tls, limit
        self._pool: ConnectionPool[_Connection] | None = None
        """Made with the first request, in the loop that runs then."""
        self._lent: dict[_Connection, AbstractAsyncContextManager[_Connection]] = {}
        """What the pool has lent: each has requests under way."""
        self._connecting = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> HttpTcpClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────

    def request(self, method: str, url: str) -> HttpTcpRequestBuilder:
        """Begin a request; ``send()`` sends it."""
        return HttpTcpRequestBuilder(self, method.upper(), self.url(url))

    def get(self, url: str) -> HttpTcpRequestBuilder:
        """GET."""
        return self.request("GET", url)

    def post(self, url: str) -> HttpTcpRequestBuilder:
        """POST."""
        return self.request("POST", url)

    def put(self, url: str) -> HttpTcpRequestBuilder:
        """PUT."""
        return self.request("PUT", url)

    def delete(self, url: str) -> HttpTcpRequestBuilder:
        """DELETE."""
        return self.request("DELETE", url)

    def patch(self, url: str) -> HttpTcpRequestBuilder:
        """PATCH."""
        return self.request("PATCH", url)

    def head(self, url: str) -> HttpTcpRequestBuilder:
        """HEAD."""
        return self.request("HEAD", url)

    def options(self, url: str) -> HttpTcpRequestBuilder:
        """OPTIONS."""
        return self.request("OPTIONS", url)

    def url(self, url: str) -> str:
        """`url` below `base_url`, one slash between them; a whole URL stays as it is. What may not stand in one is percent-encoded."""
        if self.base_url and not url.lower().startswith(("http://", "https://")):
            url = f"{self.base_url.rstrip('/')}/{url.lstrip('/')}"
        return quote(url, safe=SAFE)

    async def send(self, request: HttpTcpRequest, *, timeout: float | None = None, retries: int | None = None) -> HttpTcpResponse:
        """Send `request` and return the response that carries its id.

        Raises `RequestTimeout`, `ChannelClosed` (its ``executed`` says what the peer may have done), `RemoteProtocolError` for
        a response that cannot be read, `LocalProtocolError` for a request that cannot be written.
        """
        seconds = self.timeout if timeout is None else timeout
        left = self.retries if retries is None else retries
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        connection = await self._borrow()
                        try:
                            return await connection.ask(request)
                        finally:
                            await self._give_back(connection)
                    except ChannelClosed as error:
                        if left <= 0 or self._closed or (error.executed != "no" and request.method not in IDEMPOTENT):
                            raise
                    left -= 1
                    await asyncio.sleep(RETRY_PAUSE)
        except TimeoutError:
            raise RequestTimeout(
                f"{request.method} {self._where} was not answered within {seconds:g} s; it may or may not have been executed"
            ) from None

    # ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────

    def pool_metrics(self) -> PoolMetrics:
        """How the connections are: in use, idle, opened and closed so far."""
        from ..protocol.durations import Duration
        from ..telemetry.channel_metrics import PoolMetrics

        if self._pool is not None:
            return PoolMetrics.of(self._pool)
        return PoolMetrics(
            active_connections=0,
            idle_connections=0,
            max_pool_size=self._maximum,
            total_connections_created=0,
            total_connections_destroyed=0,
            avg_connection_lifetime=Duration.of(0),
        )

    async def _borrow(self) -> _Connection:
        """A connection that nobody uses, as long as there may be one more; else the one that the fewest use."""
        async with self._connecting:
            if not self._closed and self._pool is None:
                self._pool = ConnectionPool(
                    self._connect, close=_Connection.close, is_healthy=lambda one: not one.ended, maximum=self._maximum
                )
            usable = [one for one in self._lent if not one.ended]
            if usable and len(self._lent) >= self._maximum and not self._closed:
                connection = min(usable, key=lambda one: one.users)
            else:
                connection = await self._lend()
            connection.users += 1
            return connection

    async def _lend(self) -> _Connection:
        """One that lies idle, or a new one, from the pool."""
        if self._pool is None or self._closed:
            raise self._over()
        lease = self._pool.connection(timeout=2 * self.connect_timeout)
        try:
            connection = await lease.__aenter__()
        except RuntimeError:
            raise self._over() from None
        self._lent[connection] = lease
        if self._closed:
            connection.users += 1
            await self._give_back(connection)
            raise self._over()
        return connection

    async def _give_back(self, connection: _Connection) -> None:
        connection.users -= 1
        if not connection.users:
            await self._lent.pop(connection).__aexit__(None, None, None)  # waits for nothing

    def _over(self) -> ChannelClosed:
        return ChannelClosed(f"the client of {self._where} is closed", executed="no")

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(self.connect_timeout):
                reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self._tls)
        except TimeoutError:
            raise ChannelClosed(f"Connection timeout after {self.connect_timeout:g}s: {self._where}", executed="no") from None
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise ChannelClosed(f"Connection failed: {self._where}: {reason}", executed="no") from error
        tune(writer.get_extra_info("socket"))
        return _Connection(FrameStream(reader, writer, limit=self._limit), self._where)

    @property
    def _where(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def close(self) -> None:
        """Close for good; requests under way fail. May be called twice."""
        self._closed = True
        for connection in list(self._lent):
            await connection.close()
        if self._pool is not None:
            await self._pool.close()


class _Connection:
    """One connection: everybody writes, one task reads and hands each response to whoever waits for its id."""

    def __init__(self, stream: FrameStream, where: str) -> None:
        self._stream, self._where = stream, where
        self._waiting: dict[str, asyncio.Future[HttpTcpResponse]] = {}
        self._reading = asyncio.create_task(self._read(), name=f"responses of {where}")
        self.users = 0
        """Requests under way."""

    @property
    def ended(self) -> bool:
        return self._reading.done()

    async def ask(self, request: HttpTcpRequest) -> HttpTcpResponse:
        id = request.request_id
        if len(self._waiting) >= MOST_WAITING:
            raise ChannelClosed(f"{len(self._waiting)} requests wait for {self._where} already", executed="no")
        if id in self._waiting:
            raise LocalProtocolError("a request with the same request_id is under way")
        data = write(request, id=new_id())
        if self.ended:
            raise ChannelClosed(f"{self._where} closed the connection", executed="no")
        waiting: asyncio.Future[HttpTcpResponse] = asyncio.get_running_loop().create_future()
        self._waiting[id] = waiting
        try:
            await self._stream.send(data)
            return await waiting
        finally:
            self._waiting.pop(id, None)
            if waiting.done() and not waiting.cancelled():
                waiting.exception()  # retrieved: the request may have ended in another way

    async def _read(self) -> None:
        reason: Exception | None = None
        try:
            while (frame := await self._stream.receive()) is not None:
                self._take(*frame)
        except PyWattError as error:
            reason = error
        finally:
            await self._stream.close()
            waiting, self._waiting = self._waiting, {}
            for one in waiting.values():
                if not one.done():
                    closed = ChannelClosed(f"{self._where} closed the connection before it answered")
                    closed.__cause__ = reason
                    one.set_exception(closed)

    def _take(self, code: int, payload: bytes) -> None:
        try:
            if code not in (JSON, BINARY, BASE64):
                raise Unreadable(f"a frame of format {code}, which nobody reads here", kind="encoding")
            response = read_response(text_of(code, payload))
        except ProtocolError as error:
            members = error.members if isinstance(error, Unreadable) else {}
            waiting = self._waiting.get(str(members.get("request_id")))
            log.warning("%s sent what is no response: %s", self._where, error)
            if waiting is not None and not waiting.done():
                waiting.set_exception(RemoteProtocolError(f"the response of {self._where} cannot be read: {error}"))
            return
        waiting = self._waiting.get(response.request_id)
        if waiting is None:
            log.debug("%s sent a response that nobody waits for", self._where)
        elif not waiting.done():
            waiting.set_result(response)

    async def close(self) -> None:
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({self._reading})
        await self._stream.close()


class HttpTcpRequestBuilder:
    """One request in the making; every method returns it. It may be sent several times, each time under an id of its own."""

    def __init__(self, client: HttpTcpClient, method: str, url: str) -> None:
        self._client, self._method, self._url = client, method, url
        self._query: list[tuple[str, str]] = []
        self._headers: dict[str, str] = dict(client.headers)
        self._body: bytes | None = None
        self._timeout: float | None = None
        self._retries: int | None = None

    def query(self, pairs: Pairs | None = None, /, **more: Any) -> HttpTcpRequestBuilder:
        """Add parameters, in their order, percent-encoded."""
        given = pairs.items() if isinstance(pairs, Mapping) else pairs or ()
        self._query += [(name, str(value)) for name, value in (*given, *more.items())]
        return self

    def header(self, name: str, value: str) -> HttpTcpRequestBuilder:
        """Set a header, in place of one of the same name in any case."""
        for known in [key for key in self._headers if key.lower() == name.lower()]:
            del self._headers[known]
        self._headers[name] = value
        return self

    def headers(self, headers: Mapping[str, str]) -> HttpTcpRequestBuilder:
        """Set several."""
        for name, value in headers.items():
            self.header(name, value)
        return self

    def json(self, data: Any) -> HttpTcpRequestBuilder:
        """`data` as the body, in JSON. Raises `HttpError.Json` for what JSON has no form for."""
        self._body = to_json(data)
        return self.header("Content-Type", JSON_TYPE)

    def body(self, data: bytes | str) -> HttpTcpRequestBuilder:
        """The body as it is; text in UTF-8."""
        self._body = data.encode() if isinstance(data, str) else bytes(data)
        return self

    def timeout(self, seconds: float) -> HttpTcpRequestBuilder:
        """In place of the client's."""
        self._timeout = seconds
        return self

    def retries(self, count: int) -> HttpTcpRequestBuilder:
        """In place of the client's."""
        self._retries = count
        return self

    def build(self) -> HttpTcpRequest:
        """The message, under a new id."""
        uri = self._url
        if self._query:
            uri, hash_mark, fragment = uri.partition("#")
            separator = "" if uri.endswith(("?", "&")) else "&" if "?" in uri else "?"
            uri += separator + urlencode(self._query, quote_via=quote) + hash_mark + fragment
        return HttpTcpRequest(new_id(), self._method, uri, dict(self._headers), self._body)

    async def send(self) -> HttpTcpResponse:
        """Send it. Raises what `HttpTcpClient.send` raises; a response with an error's status is a response."""
        return await self._client.send(self.build(), timeout=self._timeout, retries=self._retries)
