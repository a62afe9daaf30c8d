"""`EncodedStream`: a bounded queue of encoded messages, filled from a reader or drained into a writer by a task (protocol 4.8)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ..errors import ChannelClosed, PyWattError, RemoteProtocolError
from ..protocol.encoded import EncodedMessage, EncodingFormat, Message
from ..protocol.framing import TCP_LIMIT, LengthFraming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

CAPACITY: Final = 100
"""Messages that wait in a stream, at most."""

CAPACITY_BYTES: Final = TCP_LIMIT
"""Bytes of messages that wait, beyond which a stream counts as full; one message more may be in it."""

CHUNK: Final = 64 * 1024
LINGER: Final = 5.0
"""Seconds that closing a stream waits for what is being written."""

_FORMATS: Final = {one.code: one.value for one in EncodingFormat if one is not EncodingFormat.AUTO}
_CODES: Final = {one.value: one.code for one in EncodingFormat}


class _Queue:
    """What both ends share: messages in order, then the end, which may be an error."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.messages: deque[EncodedMessage] = deque()
        self.size = 0
        self.ended = False
        self.failure: PyWattError | None = None
        self.changed = asyncio.Condition()

    async def put(self, message: EncodedMessage) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.ended or (len(self.messages) < self.capacity and self.size < CAPACITY_BYTES))
            if self.ended:
                raise ChannelClosed("the stream is closed", executed="no") from self.failure
            self.messages.append(message)
            self.size += len(message.data)
            self.changed.notify_all()

    async def get(self) -> EncodedMessage | None:
        """The next message; None at the end. Raises the failure that ended the stream, once."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.messages or self.ended)
            if self.messages:
                message = self.messages.popleft()
                self.size -= len(message.data)
                self.changed.notify_all()
                return message
            failure, self.failure = self.failure, None
            if failure is not None:
                raise failure
            return None

    async def end(self, failure: PyWattError | None = None) -> None:
        async with self.changed:
            self.ended, self.failure = True, self.failure or failure
            self.changed.notify_all()


class Sender:
    """The end that takes messages."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue

    async def send(self, message: Message[Any] | EncodedMessage) -> None:
        """Put a message, as a JSON envelope where it is not encoded yet; wait while the stream is full.

        Raises `ChannelClosed` (executed ``"no"``) once the stream is closed, `LocalProtocolError` for what cannot travel.
        """
        await self._queue.put(message.encode() if isinstance(message, Message) else message)

    async def close(self) -> None:
        """Nothing follows; what waits is still delivered. May be called twice."""
        await self._queue.end()


class Receiver:
    """The end that gives messages: ``async for message in receiver``. An error that ended the stream is raised once, at the end."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue

    async def receive(self) -> EncodedMessage | None:
        """The next message; None once the stream has ended. Raises what ended it, once."""
        return await self._queue.get()

    async def __aiter__(self) -> AsyncIterator[EncodedMessage]:
        while (message := await self._queue.get()) is not None:
            yield message


class EncodedStream:
    """A queue of at most 100 encoded messages with a sender and a receiver; an async context manager, which closes it.

    `from_reader` fills it with the frames of a reader until the first error or the end, `to_writer` drains it into a writer as frames.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._queue = _Queue(capacity)
        self._sender: Sender | None = Sender(self._queue)
        self._receiver: Receiver | None = Receiver(self._queue)
        self._task: asyncio.Task[None] | None = None
        self._drains = False

    @classmethod
    def from_reader(cls, reader: asyncio.StreamReader, *, limit: int = TCP_LIMIT) -> EncodedStream:
        """A stream of the frames that arrive; `limit` is in bytes, of one. Its receiver is the end to take."""
        stream = cls()
        stream._sender = None
        stream._task = asyncio.create_task(_fill(stream._queue, reader, limit), name="encoded stream: reading")
        return stream

    @classmethod
    def to_writer(cls, writer: asyncio.StreamWriter, *, limit: int = TCP_LIMIT) -> EncodedStream:
        """A stream whose messages are written. The writer stays the caller's to close."""
        stream = cls()
        stream._receiver = None
        stream._drains = True
        stream._task = asyncio.create_task(_drain(stream._queue, writer, limit), name="encoded stream: writing")
        return stream

    def split(self) -> tuple[Sender | None, Receiver | None]:
        """Both ends, each for one taker: an end that was taken before, or that works by itself, is None."""
        ends = self._sender, self._receiver
        self._sender = self._receiver = None
        return ends

    async def send(self, message: Message[Any] | EncodedMessage) -> None:
        """`Sender.send`. Raises `ChannelClosed` also where the sender was taken or reads from a reader."""
        if self._sender is None:
            raise ChannelClosed("the sending end of this stream is not here: it was taken, or a reader fills it", executed="no")
        await self._sender.send(message)

    async def receive(self) -> EncodedMessage | None:
        """`Receiver.receive`; None where the receiver was taken or a writer drains it."""
        return None if self._receiver is None else await self._receiver.receive()

    async def __aiter__(self) -> AsyncIterator[EncodedMessage]:
        while (message := await self.receive()) is not None:
            yield message

    async def close(self) -> None:
        """End the stream. One that drains into a writer has 5 s to write what waits; raises `ChannelClosed` where that failed.

        May be called twice.
        """
        await self._queue.end()
        task, self._task = self._task, None
        if task is None:
            return
        if self._drains:
            await asyncio.wait([task], timeout=LINGER)
        late = not task.done()
        task.cancel()
        await asyncio.wait([task])
        if self._drains and (late or self._queue.failure is not None):
            reason = f"within {LINGER:g} s" if late else f"({self._queue.failure})"
            raise ChannelClosed(f"not every message of the stream could be written {reason}") from self._queue.failure

    async def __aenter__(self) -> EncodedStream:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await self.close()
        except ChannelClosed:
            if error is None:
                raise


async def _fill(queue: _Queue, reader: asyncio.StreamReader, limit: int) -> None:
    framing = LengthFraming(limit)
    failure: PyWattError | None = None
    try:
        while failure is None and (data := await reader.read(CHUNK)):
            for code, payload in framing.feed(data):
                if code not in _FORMATS:
                    failure = RemoteProtocolError(f"a frame of the unknown format {code}")
                    break
                await queue.put(EncodedMessage(payload, _FORMATS[code]))  # type: ignore[arg-type]
            failure = failure or framing.failure
        if failure is None and framing.partial:
            failure = ChannelClosed("the connection ended within a frame")
    except (OSError, asyncio.IncompleteReadError) as error:
        failure = ChannelClosed(f"reading failed: {error}")
    except ChannelClosed:  # our own end was closed
        failure = None
    await queue.end(failure)


async def _drain(queue: _Queue, writer: asyncio.StreamWriter, limit: int) -> None:
    framing = LengthFraming(limit)
    failure: PyWattError | None = None
    try:
        while (message := await queue.get()) is not None:
            code = _CODES[message.format]
            if not code:
                raise RemoteProtocolError("Auto is no format that data can be in")
            writer.write(framing.wrap(message.data, code))
            await writer.drain()
    except OSError as error:
        failure = ChannelClosed(f"writing failed: {error}")
    except PyWattError as error:
        failure = error
    if failure is not None:
        queue.messages.clear()  # nobody will write them
        queue.size = 0
        await queue.end(failure)
