"""One request on its way to an instance over HTTP, and the response on its way back."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .bodies import LAST_CHUNK, BadBody, ChunkedBody, EndlessBody, LengthBody, chunk
from .lines import HEAD_END
from .request import IDEMPOTENT
from .response import BadResponse
from .tunnel import Tunnel
from .upstream import least_busy

if TYPE_CHECKING:
    from .client import ClientConnection
    from .request import RequestHead
    from .response import ResponseHead
    from .routing import Match
    from .upstream import Instance, UpstreamConnection

logger = logging.getLogger("pywatt.gateway")

REPLAY_LIMIT = 65_536
"""Bytes of a request that are kept until its response begins, so that it can be sent again."""
RECONNECT_PAUSE = 0.05
"""Seconds between two attempts to reach an instance."""


class Exchange:
    """Relays one request and its response, whatever their framing, with back-pressure both ways.

    The client's side calls `body_received`, `body_finished`, `client_*` and `timed_out`; the module's side calls
    `response_received` and `upstream_*`. It ends with exactly one of `ClientConnection.answered`, `problem`, `reset`.
    """

    __slots__ = (
        "_begun",
        "_body",
        "_client",
        "_connection",
        "_counted",
        "_held",
        "_match",
        "_partial",
        "_rechunk",
        "_request",
        "_retried",
        "_reusable",
        "_silence",
        "_task",
        "_unsent",
        "instance",
    )
    _body: LengthBody | ChunkedBody | EndlessBody
    _silence: float
    """Seconds that the module may be silent, once it has begun to answer."""

    def __init__(self, client: ClientConnection, match: Match, request: RequestHead) -> None:
        self._client = client
        self._match = match
        self._request = request
        self.instance: Instance | None = None
        """The one that was asked last."""
        self._counted = False
        """Whether it counts this exchange as in flight."""
        self._connection: UpstreamConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._unsent: bytes | None = b""
        """What has to be sent to an instance, or could have to be sent again; None where that is no longer possible."""
        self._retried = False
        self._partial = b""
        """The beginning of the response's head."""
        self._begun = False
        """Whether the head of the response has been forwarded."""
        self._rechunk = False
        """Whether the client gets the body in chunks."""
        self._reusable = False
        """Whether the connection may be used again after the response."""
        self._held = False
        """Whether reading from the module is paused."""

    # ── towards the module ──────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Send the head, at once where a connection is idle."""
        match = self._match
        self._unsent = self._request.start + self._client.lines_for_module(match.prefix) + HEAD_END
        instance = least_busy(match.module.instances)
        connection = instance.pool.take() if instance is not None and instance.pool is not None else None
        if instance is not None and connection is not None:
            self._enter(instance)
            self._attach(connection)
        else:
            self._acquire(instance, None)

    def _enter(self, instance: Instance) -> None:
        self.instance = instance
        self._counted = True
        instance.in_flight += 1

    def _leave(self) -> None:
        if self._counted and self.instance is not None:
            self._counted = False
            self.instance.in_flight -= 1

    def _acquire(self, first: Instance | None, avoid: Instance | None) -> None:
        self._client.expect_nothing()
        self._task = asyncio.create_task(self._reach(first, avoid))

    async def _reach(self, first: Instance | None, avoid: Instance | None) -> None:
        """Wait for a ready instance, `first` if it is known, and a connection to it, as long as `ready_timeout` allows."""
        client, name = self._client, self._match.module.name
        connection = None
        try:
            async with asyncio.timeout(client.options.ready_timeout):
                while connection is None:
                    instance = first or await client.gateway.ready_instance(name, avoid)
                    if instance is None:
                        break
                    if instance.address is None or client.gateway.is_guarded_since(self._request, self._match):
                        self._hand_over()
                        return
                    self._enter(instance)
                    try:
                        connection = await instance.connection()
                    except OSError:
                        self._leave()
                        first, avoid = None, instance
                        await asyncio.sleep(RECONNECT_PAUSE)
            detail = f"module {name} is not running"
        except TimeoutError:
            detail = f"module {name} has no instance ready"
        self._task = None
        if connection is not None:
            self._attach(connection)
            if self._unsent is not None and len(self._unsent) > REPLAY_LIMIT:
                self._unsent = None
        else:
            self._leave()
            client.problem(503, detail, module=name)

    def _hand_over(self) -> None:
        """The module has announced meanwhile that it serves no port, or that a token is needed: the request is routed once more."""
        assert self._unsent is not None  # Only a connection makes it None, and there has been none, or one that gave it back.
        body = self._unsent[self._unsent.index(HEAD_END) + len(HEAD_END) :]
        if self._request.lines.chunked:
            body, _ = ChunkedBody().feed(body)
        self._task = None
        self._request.route = None
        self._client.resume_reading()
        self._client.hand_over([body] if body else [])

    def _attach(self, connection: UpstreamConnection) -> None:
        """Send what there is of the request so far."""
        client = self._client
        self._connection = connection
        connection.user = self
        if self._unsent is not None:
            connection.transport.write(self._unsent)
        if client.reading_paused:
            client.resume_reading()
        if client.complete:
            client.expect_within(client.options.response_timeout)
        else:
            client.expect_body()

    def body_received(self, payload: bytes) -> None:
        """A part of the request's body."""
        self._send(chunk(payload) if self._request.lines.chunked else payload)

    def body_finished(self) -> None:
        """The request is complete."""
        if self._request.lines.chunked:
            self._send(LAST_CHUNK)
        if self._connection is not None and not self._begun:
            self._client.expect_within(self._client.options.response_timeout)

    def _send(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.transport.write(data)
            if self._unsent is not None:
                self._unsent = self._unsent + data if len(self._unsent) + len(data) <= REPLAY_LIMIT else None
        elif self._unsent is not None:
            self._unsent += data
            if len(self._unsent) > REPLAY_LIMIT:
                self._client.pause_reading()

    # ── towards the client ──────────────────────────────────────────────────────────────────────────────────────────

    def response_received(self, data: bytes) -> None:
        """Bytes of the response, cut anywhere."""
        if self._begun:
            self._body_received(data)
            return
        if self._partial:
            data = self._partial + data
        while (end := data.find(HEAD_END) + 4) >= 4:
            try:
                head = self._client.gateway.responses[data[:end]]
                if head.status >= 200:
                    self._respond(head, data[end:])
                    return
                if head.status == 101:
                    self._switch(head, data[end:])
                    return
            except (BadResponse, BadBody) as error:
                self._reject(error)
                return
            data = data[end:]
        self._partial = data
        if len(data) > self._client.options.max_head_bytes:
            self._reject(BadResponse("its head is too long"))

    def _respond(self, head: ResponseHead, rest: bytes) -> None:
        """Forward the head, with the framing that the client understands, and the beginning of the body."""
        client = self._client
        self._reusable = head.reusable
        if head.length == len(rest) and self._request.method != b"HEAD" and not head.bodiless:
            client.respond(head.status, b"".join((head.start, client.last_lines(), rest)))
            self._finish(b"")
            return
        framing, payload = b"", b""
        after: bytes | None = rest
        if not head.bodiless and self._request.method != b"HEAD":
            framing = self._frame(head)
            payload, after = self._take(rest)
        self._begun = True
        self._unsent = None
        client.respond(head.status, b"".join((head.start, framing, client.last_lines(), payload)))
        if after is not None:
            self._finish(after)
        else:
            events = head.field(b"content-type").startswith(b"text/event-stream")
            self._silence = client.options.tunnel_timeout if events else client.options.stream_timeout
            client.expect_within(self._silence)

    def _frame(self, head: ResponseHead) -> bytes:
        """Choose how the body is framed on either side; returns the header line for the client that its head has not got."""
        if head.length is not None:
            self._body = LengthBody(head.length)
            return b""
        self._body = ChunkedBody() if head.chunked else EndlessBody()
        if self._request.http10:
            self._client.keep_alive = False
            return b""
        self._rechunk = True
        return b"\r\nTransfer-Encoding: chunked"

    def _take(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The payload in `data`, framed for the client, and what comes after the end of the body, None while it has not ended."""
        payload, after = self._body.feed(data)
        if self._rechunk:
            payload = chunk(payload) + LAST_CHUNK if after is not None else chunk(payload)
        return payload, after

    def _body_received(self, data: bytes) -> None:
        try:
            payload, after = self._take(data)
        except BadBody as error:
            logger.warning("module %s sent a response that cannot be forwarded to its end: %s", self._match.module.name, error)
            self._break_off()
            return
        if payload:
            self._client.write(payload)
        if after is not None:
            self._finish(after)
        else:
            self._client.expect_within(self._silence)

    def _finish(self, after: bytes) -> None:
        """The response is complete. `after` is what the module sent behind it, which nobody asked for."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._reusable and not after and self._client.complete:
                if self._held:
                    connection.transport.resume_reading()
                connection.pool.give_back(connection, self._client.gateway.now)
            else:
                connection.discard()
        self._leave()
        self._client.answered()

    def _switch(self, head: ResponseHead, rest: bytes) -> None:
        """The module agrees to change protocols: from here on bytes are passed on unread."""
        client, connection = self._client, self._connection
        if not client.upgrade or not head.upgrade or connection is None or self.instance is None:
            raise BadResponse("it changes to another protocol unasked")
        lines = b"\r\nConnection: upgrade\r\nUpgrade: " + head.upgrade + client.signature()
        client.respond(101, b"".join((head.start, lines, rest)))
        client.begin_tunnel(Tunnel(client, connection, self.instance))

    # ── what can go wrong ───────────────────────────────────────────────────────────────────────────────────────────

    def upstream_lost(self, error: Exception | None) -> None:
        """The module closed the connection, or died."""
        self._connection = None
        if self._begun:
            if isinstance(self._body, EndlessBody) and error is None:
                if self._rechunk:
                    self._client.write(LAST_CHUNK)
                self._finish(b"")
            else:
                self._break_off()
        elif self._unsent is not None and not self._partial and not self._retried and self._request.method in IDEMPOTENT:
            self._retried = True
            self._leave()
            self._acquire(None, self.instance)
        else:
            self._fail(502, f"module {self._match.module.name} closed the connection before it answered")

    def upstream_paused(self) -> None:
        """The module reads more slowly than the client sends."""
        self._client.pause_reading()

    def upstream_resumed(self) -> None:
        """The module has caught up."""
        self._client.resume_reading()

    def client_paused(self) -> None:
        """The client reads more slowly than the module sends."""
        if self._connection is not None:
            self._held = True
            self._connection.transport.pause_reading()

    def client_resumed(self) -> None:
        """The client has caught up."""
        if self._held and self._connection is not None:
            self._held = False
            self._connection.transport.resume_reading()
            self._client.expect_within(self._silence if self._begun else self._client.options.response_timeout)

    def client_lost(self) -> None:
        """The client is gone: closing the connection is how a module is told to stop."""
        self._drop()

    def timed_out(self) -> None:
        """The deadline that was set last has passed."""
        name, client = self._match.module.name, self._client
        if self._task is not None:
            client.expect_nothing()  # `_reach` has a limit of its own
        elif self._begun:
            self._break_off()
        elif client.complete or client.reading_paused:
            self._fail(504, f"module {name} did not answer within {client.options.response_timeout:g} s")
        else:
            self._fail(408, f"the body of the request stopped arriving for {client.options.body_timeout:g} s")

    def _reject(self, error: Exception) -> None:
        """What the module sent could be understood in two ways, or not at all. The client is not told the details."""
        name = self._match.module.name
        logger.warning("module %s sent a response that cannot be forwarded: %s", name, error)
        self._fail(502, f"module {name} sent a response that cannot be forwarded")

    def _fail(self, status: int, detail: str) -> None:
        """Answer in the module's place; nothing of its response has been forwarded."""
        self._drop()
        self._client.problem(status, detail, module=self._match.module.name)

    def _break_off(self) -> None:
        """The response has begun and cannot be completed: the client must not take it for complete."""
        self._drop()
        self._client.reset()

    def _drop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.discard()
            self._connection = None
        self._leave()
