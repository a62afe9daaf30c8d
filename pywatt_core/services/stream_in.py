"""The end of a stream that receives: what `@module.on_stream` functions are given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ..errors import LocalProtocolError, PyWattError, RemoteError
from ..protocol import failures
from ..protocol.stream_flow import Receiver as Flow
from ..protocol.streams import StreamAccept, StreamAck, StreamChunk, StreamConfig

if TYPE_CHECKING:
    from ..protocol.streams import StreamOpen

log = logging.getLogger(__name__)

Tell = Callable[[str, Any], Any]
"""``await tell(endpoint, value)``: tell the sender something, in the format of the stream."""

ACK: Final = "__stream_ack__"
ACCEPT: Final = "__stream_accept__"


class InboundStream(AsyncIterator[bytes]):
    """``async for piece in stream: …``: the sender waits while you do.

    `source`: the module id of the sender. `total_size` in bytes, None where the sender does not know it. `metadata`: its
    content type, priority and properties. `size`: bytes taken so far. Iterating raises `RemoteError` for a stream that cannot be
    right, or is larger than it may be.
    """

    def __init__(
        self, source: str, opened: StreamOpen, config: StreamConfig, tell: Tell, *, max_size: int | None, formats: Sequence[str]
    ) -> None:
        self.source, self.endpoint = source, opened.endpoint
        self.total_size, self.metadata = opened.total_size, opened.metadata
        self.size = 0
        self.format = next((format for format in formats if format in opened.formats), "Json")
        self._opened, self._config, self._tell = opened, config, tell
        self._flow = Flow(opened.stream_id, config, max_size=max_size)
        self._changed = asyncio.Event()
        self._ended = False
        self._refusals: dict[int, StreamAck] = {}
        self._has_news = False
        self._telling: asyncio.Task[None] | None = None
        self._accepting: asyncio.Task[None] | None = None

    @property
    def content_type(self) -> str | None:
        """What the sender says that the bytes are."""
        return self.metadata.content_type

    @property
    def properties(self) -> dict[str, str]:
        """What else the sender says of them."""
        return self.metadata.properties

    @property
    def priority(self) -> str:
        """``"Low"``, ``"Normal"``, ``"High"`` or ``"Critical"``."""
        return self.metadata.priority.value

    @property
    def complete(self) -> bool:
        """Whether all bytes have been taken."""
        return self._flow.complete

    # ── taking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def __anext__(self) -> bytes:
        while True:
            for piece in self._flow.read():
                self.size += len(piece)
                self._acknowledge()
                return piece
            if self._flow.failure is not None:
                raise RemoteError(f"the stream of {self.source} is broken: {self._flow.failure}", code=failures.BAD_REQUEST)
            if self._flow.complete:
                self._acknowledge()
                raise StopAsyncIteration
            if self._ended:
                raise LocalProtocolError("the stream is over: it can only be read by the function that received it, while that runs")
            self._changed.clear()
            await self._changed.wait()

    async def read(self) -> bytes:
        """All that is still to come, in one piece; no more than ``max_size`` of ``@module.on_stream``."""
        return b"".join([piece async for piece in self])

    # ── the service's side ──────────────────────────────────────────────────────────────────────────────────────────

    async def accept(self) -> None:
        """Tell the sender to begin, and tell it again as long as nothing arrives: the word may have been lost. Raises `ChannelClosed`."""
        said = StreamAccept(self._opened.stream_id, self.format, self._config.max_chunk_size, self._flow.credit)
        await self._tell(ACCEPT, said)

        async def again() -> None:
            while True:
                await asyncio.sleep(self._config.ack_timeout.seconds)
                with suppress(PyWattError):
                    await self._tell(ACCEPT, said)

        self._accepting = asyncio.get_running_loop().create_task(again())

    def take(self, chunk: StreamChunk) -> None:
        """A chunk has arrived."""
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None
        ack = self._flow.take(chunk)
        is_told_with_others = ack.success and chunk.sequence < (ack.below or 0)
        if not is_told_with_others and len(self._refusals) < self._config.window_size:
            self._refusals[chunk.sequence] = ack
        self._changed.set()
        self._acknowledge()

    def end(self) -> None:
        """Nobody reads it any more."""
        self._ended = True
        self._changed.set()
        for task in (self._telling, self._accepting):
            if task is not None:
                task.cancel()

    def _acknowledge(self) -> None:
        """Soon: whatever comes until then is acknowledged with it."""
        self._has_news = True
        if self._telling is None and not self._ended:
            self._telling = asyncio.get_running_loop().create_task(self._tell_all())

    async def _tell_all(self) -> None:
        try:
            while self._has_news:
                self._has_news = False
                refusals, self._refusals = self._refusals, {}
                for ack in refusals.values():
                    await self._tell(ACK, ack)
                await self._tell(ACK, self._flow.acknowledgement())
        except PyWattError as error:  # the sender asks again for what it did not hear
            log.warning("a stream could not be acknowledged", extra={"source": self.source, "reason": str(error)})
        finally:
            self._telling = None

    def __repr__(self) -> str:
        return f"InboundStream({self.source!r}, {self.endpoint!r}, size={self.size}, total_size={self.total_size})"
