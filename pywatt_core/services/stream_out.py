"""The end of a stream that sends: what `state.open_stream` gives."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import LocalProtocolError, PyWattError, RemoteError, RemoteProtocolError, RequestTimeout
from ..protocol import failures
from ..protocol.stream_flow import Sender as Flow
from ..protocol.streams import StreamAccept, StreamAck, StreamChunk, StreamConfig, StreamDone, StreamMetadata, StreamOpen

if TYPE_CHECKING:
    from ..protocol.priorities import StreamPriority
    from .streams import Streams

ENDED = "stream_ended"
"""The code of the `RemoteError` where the receiver has ended the stream before it was all sent."""


class OutboundStream:
    """``async with state.open_stream("files:upload") as stream: await stream.write(data)``.

    Leaving the block waits until the receiver has taken everything and its function is done; `result` is then what that
    returned. Leaving it with an exception calls the stream off at the receiver.
    """

    def __init__(
        self,
        streams: Streams,
        target: str,
        endpoint: str,
        config: StreamConfig,
        *,
        stream_id: str,
        total_size: int | None,
        metadata: StreamMetadata,
        timeout: float,
    ) -> None:
        self.target, self.endpoint, self.id = target, endpoint, stream_id
        self.total_size, self.metadata = total_size, metadata
        self.result: Any = None
        self.receiver = ""
        """The module id of the very process that receives, once it has accepted."""
        self.format = "Json"
        self.is_queued = False
        """The service's note that it knows that there is something to send."""
        self._streams, self._config, self._timeout = streams, config, timeout
        self._flow: Flow | None = None
        self._request: asyncio.Task[StreamDone] | None = None
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop

    @property
    def priority(self) -> StreamPriority:
        """Of its chunks before those of this module's other streams."""
        return self.metadata.priority

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return 0 if self._flow is None else self._flow.size

    @property
    def _name(self) -> str:
        return f"the stream to {self.target}:{self.endpoint}"

    # ── the caller's side ───────────────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> OutboundStream:
        if self._request is not None:
            raise LocalProtocolError(f"{self._name} is entered once: open another one")
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                await self._streams.enter(self)
        except TimeoutError:
            raise RequestTimeout(f"{self._name} had to wait for other streams for longer than {self._timeout:.3g} s") from None
        try:
            said = StreamOpen(
                stream_id=self.id,
                endpoint=self.endpoint,
                chunk_size=self._config.max_chunk_size,
                total_size=self.total_size,
                metadata=self.metadata,
                formats=self._streams.formats,
            )
            self._request = self._loop.create_task(self._streams.ask(self.target, said, self._timeout))
            self._request.add_done_callback(self._over)
            while self._flow is None:
                self._check()
                await self._change()
        except BaseException:
            await self._leave()
            raise
        return self

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; waits while the receiver, or a stream of higher priority, does not leave room. Pieces of any size are fine.

        Raises `RemoteError` (code ``"stream_ended"`` where the receiver has ended it, ``"disconnected"`` where its process has),
        `RequestTimeout`, `ChannelClosed`, `LocalProtocolError` for more than `total_size`.
        """
        view = memoryview(data).cast("B")
        flow = self._entered()
        while len(view):
            self._check()
            room = flow.room
            if room:
                try:
                    flow.add(view[:room])
                except ValueError as error:
                    raise LocalProtocolError(f"{self._name}: {error}") from None
                view = view[room:]
                self._streams.has_news(self)
            else:
                await self._change()
        self._check()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                await self._finish()
        finally:
            await self._leave()

    async def _finish(self) -> None:
        flow, request = self._entered(), self._request
        assert request is not None
        try:
            flow.finish()
        except ValueError as error:
            raise LocalProtocolError(f"{self._name}: {error}") from None
        self._streams.has_news(self)
        while not request.done():
            if flow.failure is not None:
                raise self._failed(flow.failure)
            await self._change()
        done = self._outcome(request)
        if done.size != flow.size:
            raise RemoteError(self._early(done), code=ENDED, executed="yes")
        self.result = done.result

    async def _leave(self) -> None:
        """Nothing more is sent; the receiver's function is called off where it still runs."""
        if self._timer is not None:
            self._timer.cancel()
        self._streams.leave(self)
        if self._request is not None and not self._request.done():
            self._request.cancel()
            await asyncio.wait([self._request])

    def _entered(self) -> Flow:
        if self._flow is None:
            raise LocalProtocolError(f"{self._name} is not open: write within 'async with'")
        return self._flow

    def _over(self, request: asyncio.Task[StreamDone]) -> None:
        if not request.cancelled():
            request.exception()  # retrieved: the caller may have failed for a reason of its own
        self._changed.set()

    async def _change(self) -> None:
        """Wait until something may be otherwise."""
        self._changed.clear()
        await self._changed.wait()

    def _check(self) -> None:
        """Raise why nothing more can be sent, where that is so."""
        if self._request is not None and self._request.done():
            done = self._outcome(self._request)
            if not done.is_all or done.size != self.size:
                raise RemoteError(self._early(done), code=ENDED, executed="yes")
        if self._flow is not None and self._flow.failure is not None:
            raise self._failed(self._flow.failure)

    def _early(self, done: StreamDone) -> str:
        return f"{self.receiver or self.target} has ended {self._name} after {done.size} bytes, before it was all sent"

    def _outcome(self, request: asyncio.Task[StreamDone]) -> StreamDone:
        try:
            return request.result()
        except RemoteError as error:
            if error.code == failures.NO_ENDPOINT and "__stream_open__" in str(error):
                raise RemoteError(f"{self.target} receives no streams", code=error.code, executed="no") from None
            raise
        except RequestTimeout:
            raise RequestTimeout(f"{self._name} was not over within {self._timeout:.3g} s") from None

    def _failed(self, error: PyWattError) -> PyWattError:
        text = f"{self._name}: {error}"
        if isinstance(error, RemoteError):
            return RemoteError(text, code=error.code)
        return RequestTimeout(text)

    # ── the service's side ──────────────────────────────────────────────────────────────────────────────────────────

    def accepted(self, source: str, said: StreamAccept) -> None:
        """The receiver wants it."""
        if self._flow is not None or source.partition(".")[0] != self.target.partition(".")[0]:
            return
        if said.format not in self._streams.formats or said.chunk_size > self._config.max_chunk_size:
            raise RemoteProtocolError(f"{source} accepts a stream in a form that was not offered")
        self.receiver, self.format = source, said.format
        config = StreamConfig(
            max_chunk_size=said.chunk_size,
            window_size=self._config.window_size,
            ack_timeout=self._config.ack_timeout,
            max_retries=self._config.max_retries,
        )
        self._flow = Flow(
            self.id,
            config,
            metadata=self.metadata,
            total_size=self.total_size,
            credit=said.credit,
            strong=said.format == "MessagePack",
        )
        self._changed.set()

    def acknowledged(self, source: str, ack: StreamAck) -> None:
        """The receiver's word on what it got."""
        if self._flow is not None and source == self.receiver:
            self._flow.acknowledge(ack, self._loop.time())
            self._changed.set()
            self._streams.has_news(self)

    def next(self) -> StreamChunk | None:
        """The chunk to send now, if there is one; when there may be one again, the service is told."""
        if self._flow is None or (self._request is not None and self._request.done()):
            return None
        chunk = self._flow.next(self._loop.time())
        if chunk is not None or self._flow.failure is not None:
            self._changed.set()
        deadline = self._flow.deadline
        if self._timer is None and deadline is not None:
            self._timer = self._loop.call_at(deadline, self._look_again)
        return chunk

    def _look_again(self) -> None:
        self._timer = None
        self._streams.has_news(self)

    def __repr__(self) -> str:
        return f"OutboundStream({self.target!r}, {self.endpoint!r}, size={self.size}, total_size={self.total_size})"
