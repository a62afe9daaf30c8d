"""A `Link` marries one byte stream to one `Session`. It is the only read loop and the only writer, on both ends.

A message on an idle line is written at once. What else is sent in the same loop tick is collected and leaves in one system
call, and so is everything while requests of ours are in flight, or while messages arrive several at a time. Back-pressure
works both ways: `send` waits while the peer does not read, and `pause_reading` makes the peer wait while we are behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, cast

from ..errors import ChannelClosed, LocalProtocolError, RemoteProtocolError, RequestTimeout
from .ids import new_id as new_id
from .reading import Reading
from .waiting import Waiting

if TYPE_CHECKING:
    from ..protocol.messages import Message, Metadata
    from ..protocol.session import Problem, Session

OnMessage = Callable[["Message", "Link"], None]
OnClose = Callable[["Link", Exception | None], None]

NO_DEADLINE = float("inf")

PIECE = 262_144
"""Bytes after which what one tick sends is handed to the transport: a larger piece would cost more memory and save nothing."""

SOON = 0.0004
"""Seconds that the first of what one tick collects waits at most, if more is sent then: beyond them the peer could have begun with it,
and two processors share the work instead of taking turns."""

UNREAD = 1024 * 1024
"""Bytes that wait for the peer before `send` and `request` wait for it too. One piece and one message come on top."""

BACKLOG = 128 * 1024 * 1024
"""Bytes that may wait for a peer that does not read: two of the largest messages."""

LAST_WORDS = 1.0
"""Seconds for what a peer still said, once it has stopped to listen."""

CLOSE_PATIENCE = 5.0
"""Seconds that the peer has to read what was still to be written when this end closes."""


class Link(Reading, asyncio.Protocol):
    """One end of a conversation over pipes or a socket.

    `on_message` is called for every message that is not the answer to a request of ours; it must return at once.
    `on_close` is called exactly once when the stream is gone, with the reason where there is one. `backlog` is in bytes: while more
    than that waits for a peer that does not read, who sends without waiting for it (`post`) gets the link cut.
    """

    def __init__(self, session: Session, *, on_message: OnMessage, on_close: OnClose | None = None, backlog: int = BACKLOG) -> None:
        super().__init__()
        self.session = session
        self.connection = self
        """As a channel has it, which has one link after the other."""
        self.error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._on_message = on_message
        self._on_close = on_close
        self._report, session.on_problem = session.on_problem, self._on_problem
        self._writer: asyncio.WriteTransport | None = None
        self._one_transport = True
        self.closing = False
        """True once this end has begun to close."""
        self._written = asyncio.Event()
        self._waiting: dict[Hashable, Waiting] = {}
        self._outgoing = bytearray()
        self._unsent: list[Hashable] = []
        self._collecting = False
        """True from the first message of a tick, unless it is waited for, until the tick's end."""
        self._collected_at = 0.0
        """When the first message was collected of those that have not left."""
        self._in_batch = False
        """True while the peer sends several messages at once: what is said then is not waited for by somebody who has nothing else."""
        self._stuck = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._backlog = backlog
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = NO_DEADLINE
        self.messages_sent = self.messages_received = self.bytes_sent = self.bytes_received = 0

    # ── the caller's side ───────────────────────────────────────────────────────────────────────────────────────────

    def post(self, message: Message, *, metadata: Metadata | None = None) -> None:
        """Hand over a message without waiting for anything, an answer to it included.

        Raises `LocalProtocolError` where the message is illegal now and `ChannelClosed` where the link is gone.
        """
        self._put(message, metadata, False)

    async def send(self, message: Message, *, metadata: Metadata | None = None) -> None:
        """Like `post`, then wait until the peer keeps up again."""
        self.post(message, metadata=metadata)
        if not self._writable.is_set():
            await self._writable.wait()

    async def request(self, message: Message, *, timeout: float, metadata: Metadata | None = None) -> Message:
        """Send a message that expects an answer and return the answer.

        `timeout` is in seconds and covers everything. Raises `RequestTimeout`; `ChannelClosed` whose ``executed`` says
        what the peer may have done; `LocalProtocolError` where nothing answers this message.
        """
        if self.closed.done():  # over two pipes this end may still write, but no answer can arrive
            raise ChannelClosed(f"{message.op!r} was not sent: the link is closed", executed="no")
        deadline = self._loop.time() + timeout
        if self._stuck:
            await self._until_writable(message, deadline)
        key = self._put(message, metadata, True)
        if key is None:
            raise LocalProtocolError(f"nothing answers {message.op!r}: send it, do not request it")
        waiting = Waiting(key, self._loop.create_future(), deadline, message.op, self._waiting.get(key))
        self._waiting[key] = waiting
        if deadline < self._sweep_at:
            self._schedule_sweep(deadline)
        try:
            return await waiting.future
        except asyncio.CancelledError:
            self._give_up(waiting)
            raise

    @property
    def traffic(self) -> tuple[int, int, int, int]:
        """Messages sent, messages received, bytes sent, bytes received; what waits to be written is not sent yet."""
        return self.messages_sent, self.messages_received, self.bytes_sent, self.bytes_received

    @property
    def in_flight(self) -> int:
        """Requests of ours that have no answer yet; several that wait for the same answer are one."""
        return len(self._waiting)

    @property
    def keeps_up(self) -> bool:
        """False while the peer does not read what it is sent, so that `send` would wait."""
        return not self._stuck

    @property
    def unwritten(self) -> int:
        """Bytes that wait because the peer does not read."""
        return self._writer.get_write_buffer_size() if self._writer is not None else 0

    async def caught_up(self) -> None:
        """Wait until the peer keeps up, or is gone."""
        await self._writable.wait()

    async def close(self) -> None:
        """Write what is still waiting to be written, as long as the peer is patiently waited for, then close both directions."""
        self._flush()
        self.closing = True
        if self._writer is not None:
            self._writer.close()
        if self._reader is not None:
            self._reader.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_PATIENCE):
                await asyncio.shield(self.closed)
                if not self._one_transport and self._writer is not None:
                    await self._written.wait()
        if not self.closed.done() and self._writer is not None:
            self._writer.abort()
            await asyncio.shield(self.closed)

    def abort(self, error: Exception) -> None:
        """Close at once because of `error`: what was not written yet is lost, and a peer that does not read is not waited for."""
        self._fail(error)
        if self._writer is not None:
            self._writer.abort()

    def close_writing(self) -> None:
        """Close our direction only: the peer sees the end of the stream, its answers still arrive."""
        self._flush()
        self.closing = True
        if self._writer is not None and not self._one_transport:
            self._writer.close()
        elif self._writer is not None and self._writer.can_write_eof():
            self._writer.write_eof()

    # ── asyncio's side ──────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._reader = cast("asyncio.ReadTransport", transport)
        if self._one_transport:
            self._writer = cast("asyncio.WriteTransport", transport)
            self._writer.set_write_buffer_limits(high=UNREAD)

    def attach_writer(self, transport: asyncio.WriteTransport) -> None:
        """Give a link over two pipes its outgoing one, before its incoming one is connected."""
        self._writer = transport
        self._one_transport = False
        transport.set_write_buffer_limits(high=UNREAD)

    def data_received(self, data: bytes) -> None:
        try:
            received = self.session.take(data)
        except RemoteProtocolError as error:
            self._fail(error)
            return
        self.bytes_received += len(data)
        self.messages_received += len(received)
        self._in_batch = len(received) > 1
        for message, answers, _metadata in received:
            if answers is not None:
                waiting = self._waiting.pop(answers, None)
                while waiting is not None:
                    if not waiting.future.done():
                        waiting.future.set_result(message)
                    waiting = waiting.earlier
                continue
            try:
                self._on_message(message, self)
            except Exception as error:
                self._loop.call_exception_handler({"message": f"acting on {message.op!r} failed", "exception": error, "protocol": self})
        if self.session.failure is not None:
            self._fail(self.session.failure)

    def eof_received(self) -> bool:
        try:
            self.session.take(b"")
        except RemoteProtocolError as error:
            self.error = self.error or error
        return False

    def pause_writing(self) -> None:
        self._stuck = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self._stuck = False
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing arrives any more. Over two pipes the outgoing one stays open, so that running work can still be answered."""
        if self.closed.done():
            return
        self.error = self.error or error
        if not self.session.closed:
            self.eof_received()
        self.resume_writing()
        unsent, self._outgoing = set(self._unsent), bytearray()
        self.session.abandon()
        waiting, self._waiting = self._waiting, {}
        for one in (one for chain in waiting.values() for one in chain):
            if not one.future.done():
                executed = "no" if one.key in unsent else "unknown"
                text = (
                    f"the link closed before {one.op!r} was answered"
                    if executed == "unknown"
                    else f"the link closed before {one.op!r} was sent"
                )
                one.future.set_exception(ChannelClosed(text, executed=executed))
        if self._sweep is not None:
            self._sweep.cancel()
        if self._reader is not None:
            self._reader.close()
        if self._one_transport:
            self._writer = None
        self.closed.set_result(None)
        if self._on_close is not None:
            self._on_close(self, self.error)

    def writer_lost(self, error: Exception | None) -> None:
        """The outgoing pipe of a link over two pipes is gone: closed by us, or because nobody reads it any more."""
        self._written.set()
        by_us = self._writer is None or self.closing
        self._writer = None
        self.resume_writing()
        if not by_us:  # what the peer wrote before it went may still be on its way
            reason = error or BrokenPipeError("nobody reads what this end writes")
            self._loop.call_later(LAST_WORDS, self._fail, reason)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _put(self, message: Message, metadata: Metadata | None, wait: bool) -> Hashable | None:
        """Send now, or collect for the end of the tick; the key that the answer will carry, None where none is waited for."""
        writer = self._writer
        if writer is None or self.closing:
            raise ChannelClosed(f"{message.op!r} was not sent: the link is closed", executed="no")
        if self._stuck and writer.get_write_buffer_size() > self._backlog:
            self.abort(ChannelClosed(f"the peer does not read: more than {self._backlog} bytes wait for it", executed="no"))
            raise ChannelClosed(f"{message.op!r} was not sent: the peer did not read, and the link was cut", executed="no")
        outgoing = self._outgoing
        if not self._collecting:
            if not self._waiting and not self._in_batch:
                data, key = self.session.send(message, metadata=metadata, wait=wait)
                self.messages_sent += 1
                self.bytes_sent += len(data)
                if data:
                    writer.write(data)
                if key is None:  # else it is waited for, and what follows is collected because of that
                    self._collecting = True
                    self._collected_at = monotonic()
                    self._loop.call_soon(self._end_tick)
                return key
            self._collecting = True
            self._collected_at = monotonic()
            self._loop.call_soon(self._end_tick)
        key = self.session.send_into(outgoing, message, metadata, wait)
        self.messages_sent += 1
        if key is not None:
            self._unsent.append(key)
        if len(outgoing) >= PIECE:
            self._flush()
        elif not self.messages_sent & 7 and monotonic() - self._collected_at > SOON:
            self._flush_now(writer)
        return key

    def _end_tick(self) -> None:
        self._collecting = False
        self._flush()

    def _flush(self) -> None:
        if self._outgoing and self._writer is not None:
            outgoing, self._outgoing = self._outgoing, bytearray()  # the transport may keep what it could not write at once
            self._unsent.clear()
            self.bytes_sent += len(outgoing)
            self._writer.write(outgoing)

    def _flush_now(self, writer: asyncio.WriteTransport) -> None:
        """Give the peer something to do while this tick goes on. uvloop writes at the end of a tick what does not fill its buffer."""
        writer.set_write_buffer_limits(high=1)
        self._flush()
        self._collected_at = monotonic()
        if not writer.is_closing():
            writer.set_write_buffer_limits(high=UNREAD)

    async def _until_writable(self, message: Message, deadline: float) -> None:
        """Wait until the peer reads. Raises `RequestTimeout`; `_put` says so where the link is gone instead."""
        try:
            async with asyncio.timeout_at(deadline):
                while self._stuck:
                    await self._writable.wait()
        except TimeoutError:
            raise RequestTimeout(f"{message.op!r} was not sent in time, and was not executed: the peer does not read") from None

    def _on_problem(self, problem: Problem) -> None:
        """What arrived malformed was dropped; who waits for it must know, and who sent it gets its negative answer."""
        if problem.answers is not None:
            for waiting in self._waiting.pop(problem.answers, ()):
                if not waiting.future.done():
                    waiting.future.set_exception(RemoteProtocolError(f"the answer to {waiting.op!r} cannot be read: {problem.detail}"))
        if problem.refusal is not None:
            with suppress(ChannelClosed):  # the other direction is open still, and what else has come over it counts
                self.post(problem.refusal)
        self._count_rubbish(self._loop)
        if self._report is not None:
            self._report(problem)

    def _give_up(self, given_up: Waiting) -> None:
        left: Waiting | None = None
        for waiting in reversed(list(self._waiting.pop(given_up.key, ()))):
            if waiting is not given_up:
                waiting.earlier = left
                left = waiting
        if left is not None:
            self._waiting[given_up.key] = left
        else:
            self.session.forget(given_up.key)

    def _schedule_sweep(self, when: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at = when
        self._sweep = self._loop.call_at(when, self._time_out)

    def _time_out(self) -> None:
        """One timer serves all requests: it fires at the earliest deadline and is set anew for the next."""
        self._sweep, self._sweep_at = None, NO_DEADLINE
        now = self._loop.time()
        earliest = NO_DEADLINE
        for waiting in [one for chain in self._waiting.values() for one in chain]:
            if waiting.deadline <= now:
                self._give_up(waiting)
                if not waiting.future.done():
                    waiting.future.set_exception(
                        RequestTimeout(f"{waiting.op!r} was not answered in time; it may or may not have been executed")
                    )
            else:
                earliest = min(earliest, waiting.deadline)
        if earliest != NO_DEADLINE:
            self._schedule_sweep(earliest)

    def _fail(self, error: Exception) -> None:
        """The stream cannot be trusted any more: close it; `on_close` carries the reason."""
        if self.closed.done():
            return
        self.error = self.error or error
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None and not self._one_transport:
            self._writer.close()
        self._loop.call_soon(self.connection_lost, error)
