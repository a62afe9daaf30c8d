"""Whole frames over a TCP connection, for the protocols that are no session: one asks, the other answers (protocol 4.4, 10)."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Literal

from ..errors import ChannelClosed
from ..protocol.framing import JSON, LengthFraming, Payload
from .tcp import tune

CHUNK = 65_536


class FrameStream:
    """Both directions of one connection, frame by frame. Cancelling a `receive` loses nothing of what has arrived."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, limit: int) -> None:
        self._reader, self._writer = reader, writer
        self._framing = LengthFraming(limit)
        self._arrived: deque[Payload] = deque()
        self._sending = asyncio.Lock()

    @classmethod
    async def connect(cls, host: str, port: int, *, limit: int) -> FrameStream:
        """Connect; `host` may be a name. Raises `OSError` where nobody listens."""
        reader, writer = await asyncio.open_connection(host, port, limit=CHUNK)
        tune(writer.get_extra_info("socket"))
        return cls(reader, writer, limit=limit)

    @property
    def ended(self) -> bool:
        """True once nothing more can be received, or the connection has been closed here."""
        return not self._arrived and (self._reader.at_eof() or self._writer.is_closing())

    async def send(self, data: bytes, code: int = JSON) -> None:
        """Write one frame, when the peer has read those before it, and wait until it keeps up.

        A sender that gives up waiting for its turn has sent nothing, so that what waits for a peer that does not read is one frame.
        Raises `ChannelClosed` where the connection is gone, `LocalProtocolError` for a frame over the limit.
        """
        frame = self._framing.wrap(data, code)
        async with self._sending:
            await self._drained(executed="no")
            if self._writer.is_closing():
                raise ChannelClosed("the connection is closed", executed="no")
            self._writer.write(frame)
            await self._drained(executed="unknown")

    async def _drained(self, *, executed: Literal["no", "unknown"]) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            raise ChannelClosed(f"the connection broke: {error}", executed=executed) from error

    async def receive(self) -> Payload | None:
        """The next frame: its format code and its bytes, none for a code that nobody reads. None at the end of the stream.

        Raises `RemoteProtocolError` for a frame over the limit, after which nothing can be read any more, and
        `ChannelClosed` where the connection broke or ended within a frame.
        """
        while not self._arrived:
            if self._framing.failure is not None:
                raise self._framing.failure
            try:
                data = await self._reader.read(CHUNK)
            except OSError as error:
                raise ChannelClosed(f"the connection broke: {error}") from error
            if not data:
                if self._framing.partial:
                    raise ChannelClosed("the connection ended within a frame")
                return None
            self._arrived.extend(self._framing.feed(data))
        return self._arrived.popleft()

    async def close(self) -> None:
        """Close the connection at once; what has not been written is lost. May be called twice."""
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()
