"""When which chunk and which acknowledgement of a stream is sent: the two ends of protocol 13.6 as automata, without I/O.

The wire between them may lose, repeat, delay, reorder and damage what it carries. Times are seconds by any clock that does
not go back. Both ends hold at most `window_size` chunks in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from ..errors import PyWattError, RemoteError, RemoteProtocolError, RequestTimeout
from .streams import GIB, StreamAck, StreamChunk, StreamConfig, StreamMetadata, byte_sum, crc32, expanded, is_intact


class _Outstanding:
    """A chunk that was sent and is not acknowledged yet; `due` is when it counts as lost, `tries` how often it was sent."""

    __slots__ = ("chunk", "due", "tries")

    def __init__(self, chunk: StreamChunk, due: float) -> None:
        self.chunk, self.due, self.tries = chunk, due, 1


class Sender:
    """The end that has the bytes.

    ``add`` takes bytes while there is ``room``; ``finish`` says that there will be no more. ``next`` gives what is to be
    sent now, ``acknowledge`` takes the other end's word, and ``next`` has to be asked again at ``deadline`` at the latest.

    `total_size` in bytes where it is known: the chunks are then as the reference cuts them. Where it is not, a chunk is
    sent short rather than held back while nothing else is under way.
    """

    def __init__(
        self,
        stream_id: str,
        config: StreamConfig | None = None,
        *,
        metadata: StreamMetadata | None = None,
        total_size: int | None = None,
        credit: int | None = None,
        strong: bool = False,
    ) -> None:
        self.config = config or StreamConfig()
        self.failure: PyWattError | None = None
        self.size = 0
        """Bytes taken so far."""
        self.acknowledged = 0
        """Chunks that have arrived."""
        self._id, self._metadata, self._total_size = stream_id, metadata or StreamMetadata(), total_size
        self._checksum = crc32 if strong else byte_sum
        self._credit = credit
        self._chunk = self.config.max_chunk_size
        self._count = max(1, -(-total_size // self._chunk)) if total_size is not None else 0
        self._buffer = bytearray()
        self._finished = False
        self._final_made = False
        self._sequence = 0
        self._outstanding: dict[int, _Outstanding] = {}
        self._probe: int | None = None
        self._stalled: float | None = None

    # ── bytes in ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def room(self) -> int:
        """Bytes that `add` takes now without keeping more than one chunk back."""
        return max(0, self._chunk - len(self._buffer))

    def add(self, data: bytes | memoryview) -> None:
        """Bytes to send. Raises ValueError after `finish` and for more than `total_size`."""
        if self._finished:
            raise ValueError("the stream is finished: nothing can be added")
        if self._total_size is not None and self.size + len(data) > self._total_size:
            raise ValueError(f"more than the {self._total_size} bytes that the stream was opened for")
        self._buffer += data
        self.size += len(data)

    def finish(self) -> None:
        """There will be no more. Raises ValueError where less than `total_size` was added."""
        if self._total_size is not None and self.size != self._total_size:
            raise ValueError(f"{self.size} bytes of the {self._total_size} that the stream was opened for")
        self._finished = True

    @property
    def complete(self) -> bool:
        """Whether everything has arrived at the other end."""
        return self._final_made and not self._outstanding

    # ── chunks out ──────────────────────────────────────────────────────────────────────────────────────────────────

    def next(self, now: float) -> StreamChunk | None:
        """The chunk to send now, or None where nothing is to be done before an acknowledgement or `deadline`."""
        if self.failure is not None:
            return None
        for waiting in self._outstanding.values():
            if waiting.due <= now:
                return self._again(waiting, now)
        if len(self._outstanding) >= self.config.window_size or not self._has_chunk():
            self._stalled = None
            return None
        if self._credit is not None and self._sequence >= self._credit:
            return self._beyond_credit(now)
        self._stalled = None
        return self._fresh(now)

    @property
    def deadline(self) -> float | None:
        """When `next` has to be asked again, if nothing happens before; None for never."""
        times = [waiting.due for waiting in self._outstanding.values()]
        if self._stalled is not None:
            times.append(self._stalled)
        return None if self.failure is not None else min(times, default=None)

    def _has_chunk(self) -> bool:
        if self._final_made:
            return False
        if self._finished or len(self._buffer) > self._chunk:
            return True
        if self._total_size is not None:
            return len(self._buffer) == self._chunk or (bool(self._buffer) and self.size == self._total_size)
        return len(self._buffer) == self._chunk or (bool(self._buffer) and not self._outstanding)

    def _beyond_credit(self, now: float) -> StreamChunk | None:
        """The other end has no room. When nothing was heard for long, one chunk asks whether its word on new room was lost."""
        if self._outstanding:
            self._stalled = None
            return None
        if self._stalled is None:
            self._stalled = now + self.config.ack_timeout.seconds
        if now < self._stalled:
            return None
        self._stalled = None
        self._probe = self._sequence
        return self._fresh(now)

    def _fresh(self, now: float) -> StreamChunk:
        data = bytes(self._buffer[: self._chunk])
        del self._buffer[: self._chunk]
        sequence, self._sequence = self._sequence, self._sequence + 1
        if self._total_size is not None:
            is_final, count = sequence == self._count - 1, self._count
        else:
            is_final = self._finished and not self._buffer
            count = sequence + 1 if is_final else 0
        self._final_made = is_final
        words = self._first_words(is_final) if sequence == 0 else None
        chunk = StreamChunk(self._id, sequence, count, data, False, self._checksum(data), is_final, words)
        self._outstanding[sequence] = _Outstanding(chunk, now + self.config.ack_timeout.seconds)
        return chunk

    def _first_words(self, is_all: bool) -> StreamMetadata:
        size = self._total_size if self._total_size is not None else self.size if is_all else 0
        return replace(self._metadata, total_size=size)

    def _again(self, waiting: _Outstanding, now: float) -> StreamChunk | None:
        if waiting.tries > self.config.max_retries:
            self.failure = RequestTimeout(
                f"chunk {waiting.chunk.sequence} of the stream was sent {waiting.tries} times and never acknowledged as taken"
            )
            return None
        waiting.tries += 1
        waiting.due = now + self.config.ack_timeout.seconds
        return waiting.chunk

    # ── acknowledgements in ─────────────────────────────────────────────────────────────────────────────────────────

    def acknowledge(self, ack: StreamAck, now: float) -> None:
        """The other end's word. What it says about chunks that are not under way is passed over."""
        if self.failure is not None or ack.stream_id != self._id:
            return
        if ack.below is not None:
            for sequence in [sequence for sequence in self._outstanding if sequence < ack.below]:
                self._arrived(sequence)
        if ack.credit is not None and (self._credit is None or ack.credit > self._credit):
            self._credit, self._stalled = ack.credit, None
        waiting = self._outstanding.get(ack.sequence)
        if waiting is None or (not ack.success and ack.error is None and ack.credit is not None):
            self._answered_probe(now)
        elif ack.success:
            self._arrived(ack.sequence)
        elif waiting.tries > self.config.max_retries:
            self.failure = RemoteError(
                f"chunk {ack.sequence} of the stream was refused {waiting.tries} times: {ack.error or 'no reason given'}",
                code="stream_refused",
            )
        else:
            waiting.due = now

    def _arrived(self, sequence: int) -> None:
        del self._outstanding[sequence]
        self.acknowledged += 1
        if sequence == self._probe:
            self._probe = None

    def _answered_probe(self, now: float) -> None:
        """Whoever answers is there: a full receiver is waited for, however long it takes its bytes."""
        waiting = self._outstanding.get(self._probe) if self._probe is not None else None
        if waiting is not None:
            room = self._credit is None or waiting.chunk.sequence < self._credit
            waiting.tries, waiting.due = 1, now if room else now + self.config.ack_timeout.seconds


class Receiver:
    """The end that wants the bytes.

    ``take`` a chunk and send the acknowledgement that it returns; ``read`` what is complete, in order, and send another
    ``acknowledgement`` then, for there is new room. Nothing that a peer sends raises; what makes the stream worthless is
    its ``failure``. `max_size`: bytes that a stream may have at most, None for any number.
    """

    def __init__(self, stream_id: str, config: StreamConfig | None = None, *, max_size: int | None = GIB) -> None:
        self.config = config or StreamConfig()
        self.failure: PyWattError | None = None
        self.metadata: StreamMetadata | None = None
        self.size = 0
        """Bytes that arrived in order."""
        self._id, self._max_size = stream_id, max_size
        self._early: dict[int, bytes] = {}
        self._ready: list[bytes] = []
        self._below = 0
        self._read = 0
        self._count = 0
        self._known_size: int | None = None

    # ── chunks in ───────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, chunk: StreamChunk) -> StreamAck:
        """What arrived; the acknowledgement of this very chunk. Without success and without an error it says that there is no room yet."""
        error = self._refusal(chunk) if self.failure is None else str(self.failure)
        return StreamAck(self._id, chunk.sequence, error is None and self._has(chunk.sequence), error, self._below, self.credit)

    def acknowledgement(self) -> StreamAck:
        """How far all chunks have arrived, and how far there is room: one for all that `take` said of chunks in order."""
        return StreamAck(self._id, max(0, self._below - 1), self._below > 0, None, self._below, self.credit)

    @property
    def credit(self) -> int:
        """The first chunk that there is no room for."""
        return self._read + self.config.window_size

    def _has(self, sequence: int) -> bool:
        return sequence < self._below or sequence in self._early

    def _refusal(self, chunk: StreamChunk) -> str | None:
        """Store it; or why the chunk has to be sent again. None also for one that is here already, or that there is no room for."""
        if chunk.stream_id != self._id:
            return "it is of another stream"
        if not is_intact(chunk):
            return "its checksum does not match its data"
        if self._has(chunk.sequence) or chunk.sequence >= self.credit:
            return None
        try:
            data = expanded(chunk, self.config.max_chunk_size)
        except ValueError as error:
            return str(error)
        if (problem := self._contradiction(chunk, len(data))) is not None:
            self._fail(f"chunk {chunk.sequence} {problem}")
            return str(self.failure)
        self._learn(chunk)
        self._early[chunk.sequence] = data
        while self._below in self._early:
            piece = self._early.pop(self._below)
            self._below += 1
            self.size += len(piece)
            self._ready.append(piece)
        self._check_size()
        return None if self.failure is None else str(self.failure)

    def _contradiction(self, chunk: StreamChunk, length: int) -> str | None:
        """What the chunk says that cannot be true together with what the others said."""
        count = chunk.total_chunks
        if count and self._count and count != self._count:
            return f"says that there are {count} chunks, another said {self._count}"
        count = count or self._count
        if count and chunk.sequence >= count:
            return f"is beyond the {count} chunks that there are"
        if count and count <= max(self._early, default=-1):
            return f"says that there are {count} chunks, and a later one is here already"
        if chunk.is_final and (not count or chunk.sequence != count - 1):
            return "says that it is the final one, and is not the last"
        if self._max_size is not None and self.size + sum(map(len, self._early.values())) + length > self._max_size:
            return self._too_large()
        if self._max_size is not None and chunk.stream_metadata is not None and chunk.stream_metadata.total_size > self._max_size:
            return self._too_large()
        return None

    def _too_large(self) -> str:
        return f"makes the stream larger than the {self._max_size} bytes that are taken here"

    def _learn(self, chunk: StreamChunk) -> None:
        self._count = self._count or chunk.total_chunks
        if chunk.sequence == 0:
            self.metadata = chunk.stream_metadata or StreamMetadata()
            if chunk.total_chunks and chunk.stream_metadata is not None:
                self._known_size = chunk.stream_metadata.total_size

    def _check_size(self) -> None:
        known = self._known_size
        if known is not None and (self.size > known or (self.arrived and self.size != known)):
            self._fail(f"the stream said that it has {known} bytes; {self.size} arrived")

    def _fail(self, text: str) -> None:
        self.failure = RemoteProtocolError(text)
        self._early.clear()

    # ── bytes out ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def arrived(self) -> bool:
        """Whether all chunks are here, read or not."""
        return self.failure is None and self._count > 0 and self._below == self._count

    @property
    def complete(self) -> bool:
        """Whether all chunks are here and have been read."""
        return self.arrived and not self._ready

    def read(self) -> Iterator[bytes]:
        """The pieces that are here in order, oldest first. Each makes room for one chunk more; empty ones are passed over."""
        while self._ready and self.failure is None:
            piece = self._ready.pop(0)
            self._read += 1
            if piece:
                yield piece
