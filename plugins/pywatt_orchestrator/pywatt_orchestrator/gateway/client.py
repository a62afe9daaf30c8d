"""One client's connection: its requests are answered in order, one at a time."""

from __future__ import annotations

import asyncio
import socket
import struct
from email.utils import formatdate
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, cast

from .ids import fresh_ids
from .intake import Intake
from .lines import HEAD_END, header_lines
from .replies import CONTINUE, PHRASES, Lines, problem
from .request import UNREAD, Refused
from .response import NO_BODY

if TYPE_CHECKING:
    from .request import RequestHead
    from .server import Gateway
    from .tunnel import Tunnel
    from .upstream import Instance

LINGER = 2.0
"""Seconds that a client gets to read an error reply while it still sends: closing at once could destroy the reply."""
NEVER = float("inf")
FRESH_IDS = fresh_ids()
SIGNATURE = b"\r\nServer: pywatt\r\nX-Request-ID: "


class Conversation(Protocol):
    """Whoever answers the current request."""

    @property
    def instance(self) -> Instance | None:
        """The instance that was asked last."""
        ...

    def start(self) -> None: ...
    def body_received(self, payload: bytes) -> None: ...
    def body_finished(self) -> None: ...
    def client_paused(self) -> None: ...
    def client_resumed(self) -> None: ...
    def client_lost(self) -> None: ...
    def timed_out(self) -> None: ...


class ClientConnection(Intake, asyncio.Protocol):
    """One client. What is set in `request_begun` belongs to the request that is being answered."""

    transport: asyncio.Transport
    peer: str
    local_host: bytes
    _forwarded: bytes
    """The header lines that say where requests of this connection come from, each after its CRLF."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway.options, gateway.requests.heads)
        self.gateway = gateway
        self.deadline = NEVER
        """The loop's time after which `timed_out` is called."""
        self.reading_paused = False
        self.writing_paused = False
        self._conversation: Conversation | None = None
        self.keep_alive = False
        """Whether the connection stays when the request has been answered."""
        self.request_id = b""
        self._trace_id = b""
        self._special = b""
        """Header lines for the module that few requests need, each after its CRLF."""
        self.upgrade = b""
        """The protocol that the client asks to change to."""
        self._continue_due = False
        self.status = 0
        """Of the response, once it has begun."""
        self.sent = 0
        """Bytes of the response."""
        self.module = ""
        """Who would have been asked, where nobody was."""
        self._began = 0.0

    # ── the connection ──────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self.transport = cast("asyncio.Transport", transport)
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        scheme = b"https" if transport.get_extra_info("ssl_object") else b"http"
        self.peer = str(peer[0]) if peer else "unknown"
        self.local_host = (f"[{local[0]}]:{local[1]}" if ":" in local[0] else f"{local[0]}:{local[1]}").encode()
        self._forwarded = b"\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b" % (self.peer.encode(), scheme)
        self.expect_within(self.options.head_timeout)
        if not self.gateway.admit(self):
            self.request_id = next(FRESH_IDS)
            self.complete = False
            self.problem(503, "the gateway has as many connections as it may have")

    def data_received(self, data: bytes) -> None:
        """Bytes, cut anywhere, of whatever comes next."""
        self._receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was sent away."""
        self.gateway.forget(self)
        if self._conversation is not None:
            self._conversation.client_lost()
            self._record(self.status or 499)
            self._conversation = None

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self.expect_within(self.options.send_timeout)
        self.writing_paused = True
        if self._conversation is not None:
            self._conversation.client_paused()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.writing_paused = False
        if self._conversation is not None:
            self._conversation.client_resumed()
        else:
            self._go_on()

    def pause_reading(self) -> None:
        """Let the client wait with what it sends."""
        if not self.reading_paused:
            self.reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take more from the client, unless it has sent too many requests already."""
        if self.reading_paused and not self.holds_too_much:
            self.reading_paused = False
            self.transport.resume_reading()

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered."""
        if self.between_requests:
            self.transport.close()

    def reset(self) -> None:
        """Cut the client off in a way that it cannot take for the end of a response."""
        self.keep_alive = False
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    # ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def expect_within(self, seconds: float) -> None:
        """Something has to happen within so many seconds, or `timed_out` is called; first of all a client has to read."""
        if not self.writing_paused:
            self.deadline = self.gateway.now + seconds

    def expect_nothing(self) -> None:
        """Somebody else watches the time."""
        self.deadline = NEVER

    def timed_out(self) -> None:
        """The deadline has passed."""
        if self.writing_paused:
            self.reset()
        elif self._conversation is not None:
            self._conversation.timed_out()
        elif self.within_head:
            self.refuse(Refused(408, f"the head of the request did not arrive within {self.options.head_timeout:g} s"))
        else:
            self.transport.abort()

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────

    def head_begun(self) -> None:
        """A part of a head has arrived."""
        self.deadline = min(self.deadline, self.gateway.now + self.options.head_timeout)

    def request_begun(self) -> bool:
        """Find who answers `request`; returns whether somebody wants its body."""
        request = self.request
        self.keep_alive = request.keep_alive
        self.status = 0
        if request.ordinary:
            self.request_id = next(FRESH_IDS)
        else:
            self._note_special(request)
        if self.gateway.recorder is not None:
            self.module = ""
            self._began = perf_counter()
        self.gateway.dispatch(self, request)
        return self._conversation is not None

    def _note_special(self, request: RequestHead) -> None:
        """Whatever most requests have not: ids of their own, an upgrade, an expectation, no Host."""
        fresh = next(FRESH_IDS)
        lines = request.lines
        trace = lines.traceparent or b"00-%b-%b-01" % (fresh, fresh[:16])
        self._trace_id = trace[3:35]
        self.request_id = lines.request_id or self._trace_id
        self.upgrade = request.wanted_upgrade
        self._continue_due = bool(lines.expect) and not request.http10 and not self.body_begun
        self._special = b"\r\nX-Request-ID: %b\r\ntraceparent: %b" % (self.request_id, trace)
        if lines.traceparent and lines.tracestate:
            self._special += b"\r\ntracestate: " + lines.tracestate
        if self.upgrade:
            self._special += b"\r\nConnection: upgrade\r\nUpgrade: " + self.upgrade
        if lines.host is None:
            self._special += b"\r\nHost: %b\r\nX-Forwarded-Host: %b" % (self.local_host, self.local_host)

    @property
    def trace_id(self) -> bytes:
        """The trace that the request belongs to; one that came without begins a trace of its own name."""
        return self.request_id if self.request.ordinary else self._trace_id

    def lines_for_module(self, prefix: bytes) -> bytes:
        """What the gateway adds to a request, each line after its CRLF; `prefix` is the line that tells the mount."""
        if not self.request.ordinary:
            return self._forwarded + prefix + self._special
        name = self.request_id
        return b"".join((self._forwarded, prefix, b"\r\nX-Request-ID: ", name, b"\r\ntraceparent: 00-", name, b"-", name[:16], b"-01"))

    def converse(self, conversation: Conversation) -> None:
        """Let `conversation` answer the request."""
        self._conversation = conversation
        conversation.start()

    def expect_body(self) -> None:
        """Somebody is there to take the request's body."""
        self.expect_within(self.options.body_timeout)
        if self._continue_due:
            self._continue_due = False
            self.transport.write(CONTINUE)

    def body_part(self, payload: bytes) -> bool:
        """Pass a part of the request's body on; returns whether somebody wants the rest."""
        self._continue_due = False
        if self._conversation is not None:
            self.expect_within(self.options.body_timeout)
            self._conversation.body_received(payload)
        return self._conversation is not None

    def body_ended(self) -> None:
        """The request is complete."""
        if self._conversation is not None:
            self._conversation.body_finished()

    def hand_over(self, parts: list[bytes], *, checked: bool = False) -> None:
        """Route the request once more, with what has been received of its body. `checked`: the token that it may need has been."""
        self._conversation = None
        self.gateway.dispatch(self, self.request, checked=checked)
        if all(self.body_part(part) for part in parts) and self.complete and not self.request.empty:
            self.body_ended()

    def begin_tunnel(self, tunnel: Tunnel) -> None:
        """Whatever the client sends from now on is the tunnel's."""
        self.converse(tunnel)
        self.pass_all_to(tunnel.body_received)
        self.resume_reading()

    def held_too_much(self) -> None:
        """The client goes on sending requests while one is being answered."""
        self.pause_reading()

    # ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def last_lines(self) -> bytes:
        """The gateway's own lines of a response, and the end of its head. Decides whether the connection stays."""
        if not self.keep_alive or not self.complete or self.upgrade or self.gateway.draining:
            self.keep_alive = False
            return b"\r\nConnection: close" + self.signature()
        if self.request.http10:
            return b"\r\nConnection: keep-alive" + self.signature()
        return SIGNATURE + self.request_id + HEAD_END

    def signature(self) -> bytes:
        """The lines that every response ends its head with."""
        return SIGNATURE + self.request_id + HEAD_END

    def respond(self, status: int, data: bytes) -> None:
        """Send the head of the response, and what goes with it."""
        self.status = status
        self.sent = len(data)
        self.transport.write(data)

    def write(self, data: bytes) -> None:
        """Send more of the response."""
        self.sent += len(data)
        self.transport.write(data)

    def answered(self) -> None:
        """The response is complete: go on with the next request, or close."""
        if self.gateway.recorder is not None:
            self._record(self.status)
        self._conversation = None
        if not self.keep_alive or (self.gateway.draining and not self._held):
            self._close()
            return
        if self._held or self.writing_paused or self.reading_paused:
            asyncio.get_running_loop().call_soon(self._go_on)
        else:
            self.deadline = self.gateway.now + self.options.idle_timeout
            self._receive = self._head_received

    def _go_on(self) -> None:
        """Begin the next of several requests that came at once, but not before the client has taken its answers.

        Not within `answered`, because there may be thousands of them.
        """
        if self._conversation is None and self.waits_for_answer and not self.writing_paused and not self.transport.is_closing():
            self.expect_within(self.options.idle_timeout)
            self.take_held()
            self.resume_reading()

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
        more, body = problem(status, detail, accept=self.request.lines.field(b"accept"), request_id=self.request_id, module=module)
        if status in (502, 503, 504):
            more.append(("Retry-After", str(self.options.retry_after)))
        self.answer(status, header_lines([*lines, *more]), body)

    def refuse(self, refused: Refused) -> None:
        """Answer with an error and close: where the next request would begin is unknown or not to be trusted."""
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.client_lost()
        else:
            if self.complete:  # that is, the one before this: this one has not been read so far as to be a request
                self.request = UNREAD
            self.status = 0
            self.module = ""
            self.request_id = next(FRESH_IDS)
        self.complete = self.keep_alive = False
        if self.status:
            self.reset()
        else:
            self.problem(refused.status, refused.detail)

    def _record(self, status: int) -> None:
        recorder = self.gateway.recorder
        if recorder is not None:
            instance = self._conversation.instance if self._conversation is not None else None
            recorder.add(self, status, perf_counter() - self._began, instance)

    def _close(self) -> None:
        """Close, after the client has had time to read the answer where it still sends."""
        self.pass_all_to(self._ignore)
        if self.complete or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.resume_reading()
            self.transport.write_eof()
            self.expect_within(LINGER)

    def _ignore(self, data: bytes) -> None:
        """What a client still sends that has been refused."""
