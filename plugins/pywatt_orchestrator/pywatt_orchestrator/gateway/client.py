"""One client's connection: cuts the stream into requests, and answers them in order, one at a time."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from email.utils import formatdate
from random import getrandbits
from typing import TYPE_CHECKING, Protocol, cast

from .bodies import BadBody, ChunkedBody, LengthBody
from .heads import HEAD_END, NO_BODY, Refused, RequestHead, header_lines, parse_request
from .replies import CONTINUE, PHRASES, Lines, problem

if TYPE_CHECKING:
    from .server import Gateway
    from .tunnel import Tunnel

BARE_LF = re.compile(rb"(?<!\r)\n")
HELD_LIMIT = 65_536
"""Bytes of further requests that are held while one is being answered; then reading stops."""
LINGER = 2.0
"""Seconds that a client gets to read an error reply while it still sends: closing at once could destroy the reply."""
NEVER = float("inf")
SIGNATURE = b"\r\nServer: pywatt\r\nX-Request-ID: "

UNREAD = RequestHead()
"""Stands for a request that could not be read."""
UNREAD.method, UNREAD.path, UNREAD.http10, UNREAD.kept = b"", b"", False, b""


class Conversation(Protocol):
    """Whoever answers the current request."""

    def start(self) -> None: ...
    def body_received(self, payload: bytes) -> None: ...
    def body_finished(self) -> None: ...
    def client_paused(self) -> None: ...
    def client_resumed(self) -> None: ...
    def client_lost(self) -> None: ...
    def timed_out(self) -> None: ...


class ClientConnection(asyncio.Protocol):
    """One client. `request` and what follows it belong to the request that is being answered."""

    request = UNREAD
    transport: asyncio.Transport
    keep_alive = True
    complete = True
    """Whether the request has been received to its end."""
    upgrade = b""
    request_id = b""
    trace = b""
    status = 0
    sent = 0
    module = served_by = ""
    """The instance that was asked."""
    began = 0.0
    deadline = NEVER
    reading_paused = False
    writing_paused = False
    _body: LengthBody | ChunkedBody | None = None
    _body_size = 0
    _conversation: Conversation | None = None
    _continue_due = False
    _held = b""
    _taking = False

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.options = gateway.options
        self._partial = bytearray()
        self._receive: Callable[[bytes], None] = self._head_received

    # ── the connection ──────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self.transport = cast("asyncio.Transport", transport)
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        scheme = b"https" if transport.get_extra_info("ssl_object") else b"http"
        self.peer = str(peer[0]) if peer else "unknown"
        self.local_host = (f"[{local[0]}]:{local[1]}" if ":" in local[0] else f"{local[0]}:{local[1]}").encode()
        self.forwarded = b"\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: " % (self.peer.encode(), scheme)
        self.expect_within(self.options.head_timeout)
        if not self.gateway.admit(self):
            self.keep_alive = False
            self._identify(UNREAD)
            self.problem(503, "the gateway has as many connections as it may have")

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was sent away."""
        self.gateway.forget(self)
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.client_lost()
            self._record(self.status or 499)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self.writing_paused = True
        self.expect_within(self.options.send_timeout)
        if self._conversation is not None:
            self._conversation.client_paused()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.writing_paused = False
        if self._conversation is not None:
            self._conversation.client_resumed()

    def pause_reading(self) -> None:
        """Let the client wait with what it sends."""
        if not self.reading_paused:
            self.reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take more from the client."""
        if self.reading_paused:
            self.reading_paused = False
            self.transport.resume_reading()

    def expect_nothing(self) -> None:
        """Nothing has to happen: somebody else watches the time."""
        self.deadline = NEVER

    def expect_response(self) -> None:
        """The request is complete and with the module."""
        self.expect_within(self.options.response_timeout)

    def expect_within(self, seconds: float) -> None:
        """Something has to happen within so many seconds, or `timed_out` is called."""
        self.deadline = self.gateway.now + seconds

    def timed_out(self) -> None:
        """The deadline has passed."""
        if self._conversation is not None and not self.writing_paused:
            self._conversation.timed_out()
        elif self._partial and self._receive == self._head_received:
            self.refuse(Refused(408, f"the head of the request did not arrive within {self.options.head_timeout:g} s"))
        elif self.writing_paused:
            self.reset()
        else:
            self.transport.abort() if self._receive == self._ignore else self.transport.close()

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered."""
        if self._conversation is None and not self._partial and self._receive == self._head_received:
            self.transport.close()

    def reset(self) -> None:
        """Cut the client off in a way that it cannot take for the end of a response."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    # ── requests in ─────────────────────────────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        """Bytes, cut anywhere, of whatever comes next."""
        self._taking = True
        self._receive(data)
        self._taking = False
        if self._held and self._conversation is None:
            self._take_held()

    def _take_held(self) -> None:
        """Go on with what was held, until a request has to wait for its answer."""
        if self._taking:
            return
        self._taking = True
        while self._held and self._conversation is None:
            data, self._held = self._held, b""
            self._receive(data)
        self._taking = False
        if len(self._held) <= HELD_LIMIT:
            self.resume_reading()

    def _head_received(self, data: bytes) -> None:
        """Part of a head, a head, or a head and more."""
        if self._partial:
            searched = max(0, len(self._partial) - 3)
            self._partial += data
            end = self._partial.find(HEAD_END, searched)
            if end >= 0:
                data = bytes(self._partial)
                self._partial.clear()
        else:
            searched = 0
            end = data.find(HEAD_END)
            if end < 0:
                self._partial += data
                self.deadline = min(self.deadline, self.gateway.now + self.options.head_timeout)
        if end < 0:
            self._check_partial(searched)
        else:
            end += 4
            self._begin(data, b"") if end == len(data) else self._begin(data[:end], data[end:])

    def _check_partial(self, searched: int) -> None:
        """Refuse at once what can no longer become a request. `searched` bytes have been looked at before."""
        partial = self._partial
        if len(partial) > self.options.max_head_bytes:
            self.refuse(
                Refused(
                    431 if b"\r\n" in partial[2:] else 414, f"the head of the request is longer than {self.options.max_head_bytes} bytes"
                )
            )
        elif BARE_LF.search(partial, searched) or not (partial[:1].isalpha() or b"\r\n".startswith(partial[:2]) or partial[:2] == b"\r\n"):
            self.refuse(Refused(400, "the request is malformed: lines end with CR LF, and the first one begins with a method"))

    def _begin(self, head: bytes, rest: bytes) -> None:
        """One whole head, and the bytes behind it."""
        options = self.options
        try:
            if len(head) > options.max_head_bytes:
                raise Refused(431, f"the head of the request is longer than {options.max_head_bytes} bytes")
            request = parse_request(head[2:] if head[:2] == b"\r\n" else head, options.max_headers, options.max_target_bytes)
            if request.length is not None and request.length > options.max_body_bytes:
                raise Refused(413, f"the body is longer than {options.max_body_bytes} bytes")
        except Refused as refused:
            self.refuse(refused)
            return
        self.request = request
        self.keep_alive = request.keep_alive
        self.upgrade = request.wanted_upgrade if request.upgrade else b""
        self.status = self.sent = 0
        self.served_by = self.module = ""
        if self.gateway.recorder is not None:
            self.began = asyncio.get_running_loop().time()
        self._identify(request)
        self.complete = not (request.chunked or request.length)
        if self.complete:
            self._receive, self._held = self._hold, rest
            self.gateway.dispatch(self)
        else:
            self._begin_with_body(request, rest)

    def _begin_with_body(self, request: RequestHead, rest: bytes) -> None:
        self._body = ChunkedBody() if request.chunked else LengthBody(request.length or 0)
        self._body_size = 0
        self._continue_due = bool(request.expect) and not rest and not request.http10
        try:
            payload, after = self._body.feed(rest)
        except BadBody as error:
            self.refuse(Refused(400, f"the body of the request is malformed: {error}"))
            return
        self._note_end(after)
        self.gateway.dispatch(self)
        if self._conversation is not None:
            self._body_part(payload, after)

    def _note_end(self, after: bytes | None) -> None:
        """Remember whether the body has ended, and what came behind it."""
        if after is None:
            self._receive = self._body_received
        else:
            self.complete = True
            self._receive, self._held = self._hold, after

    def _body_received(self, data: bytes) -> None:
        """More of the request's body."""
        assert self._body is not None
        try:
            payload, after = self._body.feed(data)
        except BadBody as error:
            self.refuse(Refused(400, f"the body of the request is malformed: {error}"))
            return
        self._continue_due = False
        self._note_end(after)
        self._body_part(payload, after)

    def _body_part(self, payload: bytes, after: bytes | None) -> None:
        """Pass on what has been taken out of its framing; answering may end the conversation at any point."""
        self._body_size += len(payload)
        if self._body_size > self.options.max_body_bytes:
            self.refuse(Refused(413, f"the body is longer than {self.options.max_body_bytes} bytes"))
            return
        if payload and self._conversation is not None:
            self.expect_within(self.options.body_timeout)
            self._conversation.body_received(payload)
        if after is not None and self._conversation is not None:
            self._conversation.body_finished()

    def hand_over(self, parts: list[bytes]) -> None:
        """Route the request once more, with what has been received of its body."""
        self._conversation = None
        self.gateway.dispatch(self)
        for part in parts:
            if self._conversation is not None:
                self._conversation.body_received(part)
        if self._conversation is not None and self.complete and (self.request.chunked or self.request.length):
            self._conversation.body_finished()

    def converse(self, conversation: Conversation) -> None:
        """Let `conversation` answer the request."""
        self._conversation = conversation
        conversation.start()

    def _hold(self, data: bytes) -> None:
        """Further requests, while one is being answered."""
        self._held += data
        if len(self._held) > HELD_LIMIT:
            self.pause_reading()

    def _ignore(self, data: bytes) -> None:
        """What a client still sends that has been refused."""

    def _identify(self, request: RequestHead) -> None:
        """Take over the request's ids, or give it some (settled 30)."""
        trace = request.traceparent
        if trace:
            self.trace = b"\r\ntraceparent: " + trace + (b"\r\ntracestate: " + request.tracestate if request.tracestate else b"")
            self.request_id = request.request_id or trace[3:35]
        else:
            ids = b"%048x" % getrandbits(192)
            self.trace = b"\r\ntraceparent: 00-%b-%b-01" % (ids[:32], ids[32:])
            self.request_id = request.request_id or ids[:32]

    # ── answers out ─────────────────────────────────────────────────────────────────────────────────────────────────

    def expect_body(self) -> None:
        """Somebody is there to take the request's body."""
        self.expect_within(self.options.body_timeout)
        if self._continue_due:
            self._continue_due = False
            self.transport.write(CONTINUE)

    def last_lines(self) -> bytes:
        """The gateway's own lines of a response, and the end of its head. Decides whether the connection stays."""
        self.keep_alive = self.keep_alive and self.complete and not self.upgrade and not self.gateway.draining
        lines = SIGNATURE + self.request_id + HEAD_END
        if not self.keep_alive:
            return b"\r\nConnection: close" + lines
        return b"\r\nConnection: keep-alive" + lines if self.request.http10 else lines

    def respond(self, status: int, data: bytes) -> None:
        """Send the head of the response, and what goes with it."""
        self.status = status
        self.write(data)

    def write(self, data: bytes) -> None:
        """Send a part of the response."""
        self.sent += len(data)
        self.transport.write(data)

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a whole response; `lines` are its header lines, each after its CRLF."""
        head = b"HTTP/1.1 %d %b" % (status, PHRASES.get(status, "Unknown").encode()) + lines
        if b"\r\ndate:" not in lines.lower():
            head += b"\r\nDate: " + formatdate(usegmt=True).encode()
        if status not in NO_BODY:
            head += b"\r\nContent-Length: %d" % len(body)
        if status in NO_BODY or self.request.method == b"HEAD":
            body = b""
        self.respond(status, head + self.last_lines() + body)
        self.answered()

    def problem(self, status: int, detail: str, *, module: str | None = None, lines: Lines = ()) -> None:
        """Answer with an error."""
        more, body = problem(status, detail, accept=self.request.field(b"accept"), request_id=self.request_id, module=module)
        if status in (502, 503, 504):
            more.append(("Retry-After", str(self.options.retry_after)))
        self.answer(status, header_lines([*lines, *more]), body)

    def answered(self) -> None:
        """The response is complete: go on with the next request, or close."""
        self._conversation = None
        self._record(self.status)
        if self.keep_alive and not self.gateway.draining:
            self._receive = self._head_received
            self.expect_within(self.options.idle_timeout)
            if self._held:
                self._take_held()
        else:
            self._close()

    def _record(self, status: int) -> None:
        recorder = self.gateway.recorder
        if recorder is not None:
            recorder.add(self, status, asyncio.get_running_loop().time() - self.began)

    def begin_tunnel(self, tunnel: Tunnel) -> None:
        """Whatever the client sends from now on is the tunnel's."""
        self.converse(tunnel)
        self._receive = tunnel.body_received
        held, self._held = self._held, b""
        if held:
            tunnel.body_received(held)
        self.resume_reading()

    def refuse(self, refused: Refused) -> None:
        """Answer with an error and close: where the next request would begin is unknown or not to be trusted."""
        conversation, self._conversation = self._conversation, None
        self._partial.clear()
        self.complete = self.keep_alive = False
        if conversation is None:
            self.request, self.status = UNREAD, 0
            self._identify(UNREAD)
        else:
            conversation.client_lost()
        if self.status:
            self.reset()
        else:
            self.problem(refused.status, refused.detail)

    def _close(self) -> None:
        if (self.complete and not self._held) or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._held = b""
        self._receive = self._ignore
        self.resume_reading()
        self.transport.write_eof()
        self.expect_within(LINGER)
