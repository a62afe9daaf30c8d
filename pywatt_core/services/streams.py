"""Streams of bytes between modules (protocol 13.6).

A stream is one request, answered when it is over; so it ends with an error at once when either process does. Its chunks and
acknowledgements are messages of their own to the endpoints ``__stream__`` and ``__stream_ack__``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from msgspec import Raw

from ..errors import LocalProtocolError, PyWattError, RemoteError
from ..protocol import failures
from ..protocol.payloads import write_bare
from ..protocol.priorities import PriorityMessageQueue, StreamPriority
from ..protocol.streams import StreamAccept, StreamAck, StreamChunk, StreamConfig, StreamDone, StreamMetadata, StreamOpen, to_json
from ..transports.link import new_id
from .messaging import parted
from .stream_in import ACCEPT, ACK, InboundStream
from .stream_out import OutboundStream

if TYPE_CHECKING:
    from ..protocol.messages import EncodedMessage
    from .arrivals import Arrival
    from .messaging import Messaging
    from .receivers import OnStream
    from .receiving import Receiver

log = logging.getLogger(__name__)

OPEN: Final = "__stream_open__"
CHUNK: Final = "__stream__"

AT_ONCE: Final = 100
"""Streams of one module that come in at once, more are refused; and that go out at once, more wait."""

LONGEST: Final = 86_400.0
"""Seconds that a stream may take where the caller does not say."""

READ_AHEAD: Final = 1 << 20
"""Bytes of a file that are read at once."""


class Streams:
    """One module's streams, both ways."""

    def __init__(self, messaging: Messaging, config: StreamConfig | None = None) -> None:
        self._messaging = messaging
        self.config = config or StreamConfig()
        self._inbound: dict[tuple[str, str], InboundStream] = {}
        self._outbound: dict[str, OutboundStream] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._queue: PriorityMessageQueue[OutboundStream] = PriorityMessageQueue(AT_ONCE)
        self._pump: asyncio.Task[None] | None = None
        self._bound: dict[str, Receiver] = {}
        for endpoint, function in ((OPEN, self._open), (CHUNK, self._chunk), (ACK, self._ack), (ACCEPT, self._accept)):
            messaging.reserve(endpoint, function)

    @property
    def formats(self) -> tuple[str, ...]:
        """Formats of chunks that this module reads and writes, the best first; MessagePack where it could offer it."""
        return ("MessagePack", "Json") if self._messaging.speaks_pywatt else ("Json",)

    def begin(self) -> None:
        """The module is to serve. Raises `TypeError` for a function that cannot be called with a stream."""
        import inspect

        from .receiving import Receiver

        for endpoint, known in self._messaging.receivers.streams.items():
            if not inspect.iscoroutinefunction(known.function):
                raise TypeError(f"the function for the stream {endpoint!r} has to be an 'async def': it reads with 'async for'")
            self._bound[endpoint] = Receiver(known.function, type(self._messaging.state))

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def open(
        self,
        target: str,
        *,
        total_size: int | None = None,
        content_type: str | None = None,
        priority: StreamPriority | str = StreamPriority.NORMAL,
        properties: Mapping[str, str] | None = None,
        timeout: float | None = None,
        config: StreamConfig | None = None,
    ) -> OutboundStream:
        """``async with streams.open("files:upload") as stream: await stream.write(data)``

        `total_size` in bytes where it is known: no other number is sent then. `priority`: its chunks go before those of lower ones
        of this module. `timeout` in seconds covers everything, a day by default. Raises `LocalProtocolError` for arguments that
        make no sense; entering raises what a request raises.
        """
        module, endpoint = parted(target)
        if total_size is not None and (isinstance(total_size, bool) or not isinstance(total_size, int) or total_size < 0):
            raise LocalProtocolError(f"total_size is a number of bytes or None, not {total_size!r}")
        try:
            known = msgspec.convert(dict(properties or {}), dict[str, str])
            metadata = StreamMetadata(total_size or 0, content_type, StreamPriority.parse(priority), known)
        except ValueError as error:
            raise LocalProtocolError(f"no stream: {error}") from None
        return OutboundStream(
            self,
            module,
            endpoint,
            config or self.config,
            stream_id=new_id(),
            total_size=total_size,
            metadata=metadata,
            timeout=LONGEST if timeout is None else timeout,
        )

    async def send_file(self, target: str, path: str | Path, **options: Any) -> Any:
        """Send a file; what the receiving function returned. `options` are those of `open`, but for `total_size`.

        The property ``name`` is the file's name where `options` do not say otherwise. Raises `OSError` too.
        """
        source = Path(path)
        file = await asyncio.to_thread(source.open, "rb")
        try:
            size = await asyncio.to_thread(lambda: file.seek(0, 2))
            await asyncio.to_thread(file.seek, 0)
            options["properties"] = {"name": source.name, **(options.get("properties") or {})}
            async with self.open(target, total_size=size, **options) as stream:
                while data := await asyncio.to_thread(file.read, READ_AHEAD):
                    await stream.write(data)
            return stream.result
        finally:
            await asyncio.to_thread(file.close)

    async def ask(self, target: str, said: StreamOpen, timeout: float) -> StreamDone:
        """Make the request that is the stream."""
        done: StreamDone = await self._messaging.request(f"{target}:{OPEN}", said, StreamDone, timeout=timeout, id=said.stream_id)
        return done

    async def enter(self, stream: OutboundStream) -> None:
        """Wait for a place among the streams that go out at once."""
        await self._places.acquire()
        self._outbound[stream.id] = stream

    def leave(self, stream: OutboundStream) -> None:
        """It is over."""
        if self._outbound.pop(stream.id, None) is not None:
            self._places.release()
        if stream.is_queued:
            self._queue.remove(stream, stream.priority)
            stream.is_queued = False

    async def _part(self, target: str, endpoint: str, id: str, value: Any, format: str) -> None:
        """Send a part of the request `id`: to the very process at its other end, which the orchestrator finds by that."""
        await self._messaging.send(f"{target}:{endpoint}/{id}", value, format=format, properties={"endpoint": endpoint})

    def has_news(self, stream: OutboundStream) -> None:
        """There may be a chunk to send."""
        if stream.is_queued or stream.id not in self._outbound:
            return
        stream.is_queued = True
        self._queue.put(stream, stream.priority)
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        """Send chunk by chunk, the highest priority first, streams of one priority in turns."""
        try:
            while len(self._queue):
                stream = self._queue.get()
                stream.is_queued = False
                chunk = stream.next()
                if chunk is None:
                    continue
                self.has_news(stream)
                try:
                    await self._part(stream.receiver, CHUNK, stream.id, _content(chunk, stream.format), stream.format)
                except PyWattError as error:  # it is sent again when it was not acknowledged for long
                    log.warning("a chunk of a stream could not be sent", extra={"target": stream.receiver, "reason": str(error)})
        finally:
            self._pump = None

    # ── what arrives for streams that go out ────────────────────────────────────────────────────────────────────────

    async def _accept(self, arrival: Arrival) -> None:
        said: StreamAccept = arrival.decode(StreamAccept)
        stream = self._outbound.get(said.stream_id)
        if stream is not None:
            stream.accepted(arrival.source, said)

    async def _ack(self, arrival: Arrival) -> None:
        ack: StreamAck = arrival.decode(StreamAck)
        stream = self._outbound.get(ack.stream_id)
        if stream is not None:
            stream.acknowledged(arrival.source, ack)

    # ── receiving ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _open(self, arrival: Arrival) -> EncodedMessage | bytes:
        """Receive a whole stream: the answer is what the function made of it."""
        opened: StreamOpen = arrival.decode(StreamOpen)
        key = (arrival.source, opened.stream_id)
        receiver, known = self._found(opened)
        if key in self._inbound:
            raise RemoteError("a stream with this id is under way already", code=failures.BAD_REQUEST, executed="no")
        config = msgspec.structs.replace(self.config, max_chunk_size=min(opened.chunk_size, self.config.max_chunk_size))

        async def tell(endpoint: str, value: Any) -> None:
            await self._part(arrival.source, endpoint, arrival.request_id, value, stream.format)

        stream = InboundStream(arrival.source, opened, config, tell, max_size=known.max_size, formats=self.formats)
        self._inbound[key] = stream
        try:
            await stream.accept()
            result = await receiver(cast("Arrival", _Opened(stream)), self._messaging.state)
            return bytes(write_bare(StreamDone(stream.size, stream.complete, result)).data)
        finally:
            del self._inbound[key]
            stream.end()

    def _found(self, opened: StreamOpen) -> tuple[Receiver, OnStream]:
        """Who receives it. Raises `RemoteError` where nobody does."""
        me, known = self._messaging.module_id, self._messaging.receivers.streams.get(opened.endpoint)
        receiver = self._bound.get(opened.endpoint)
        if known is None or receiver is None:
            import difflib

            near = difflib.get_close_matches(opened.endpoint, self._messaging.receivers.streams, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise RemoteError(f"{me} receives no stream {opened.endpoint!r}{hint}", code=failures.NO_ENDPOINT, executed="no")
        if known.max_size is not None and (opened.total_size or 0) > known.max_size:
            text = f"{me} takes streams of {known.max_size} bytes at most for {opened.endpoint!r}, not {opened.total_size}"
            raise RemoteError(text, code=failures.BAD_REQUEST, executed="no")
        if len(self._inbound) >= AT_ONCE:
            raise RemoteError(f"{me} receives {AT_ONCE} streams already", code=failures.OVERLOADED, executed="no")
        return receiver, known

    async def _chunk(self, arrival: Arrival) -> None:
        chunk: StreamChunk = arrival.decode(StreamChunk)
        stream = self._inbound.get((arrival.source, chunk.stream_id))
        if stream is None:
            log.debug("a chunk of a stream that is over was dropped", extra={"source": arrival.source})
        else:
            stream.take(chunk)


class _Opened:
    """A stream as `Receiver` wants what a function is called with: its payload is the stream itself."""

    def __init__(self, stream: InboundStream) -> None:
        self._stream = stream

    def decode(self, _type: Any) -> InboundStream:
        return self._stream


def _content(chunk: StreamChunk, format: str) -> Any:
    """A chunk for `Messaging.send`: JSON has its data as numbers, as the protocol wants it."""
    return Raw(to_json(chunk)) if format == "Json" else chunk
