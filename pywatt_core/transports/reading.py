"""Whether a link reads: not while its owner is behind, and with a rest after each heap of rubbish, so that others get their turn."""

from __future__ import annotations

import asyncio
from typing import Final

TOLERATED: Final = 200
"""Messages of one tick that may be refused before the sender has to wait."""
REST: Final = 40e-6
"""Seconds for each one that was refused: a few times what it took to refuse it."""
LONGEST_REST: Final = 1.0
"""Seconds."""

KEPT: Final = 2 * 1024 * 1024
"""Bytes that the process keeps of what it frees, see below."""

bytearray(KEPT)  # glibc keeps up to twice the largest block that it ever returned to the system. Until it has met a large one, it
# returns what a batch of messages frees and asks for the same again with the next one: page faults for half of the time.


class Reading:
    """The incoming half of a link."""

    def __init__(self) -> None:
        self._reader: asyncio.ReadTransport | None = None
        self._held = False
        self._rubbish = 0
        self._rest: asyncio.TimerHandle | None = None

    def pause_reading(self) -> None:
        """Stop reading: the peer's writes fill the pipe and then wait."""
        self._held = True
        self._apply()

    def resume_reading(self) -> None:
        """Go on reading after `pause_reading`."""
        self._held = False
        self._apply()

    @property
    def paused(self) -> bool:
        """True while this end does not read."""
        return self._reader is not None and not self._reader.is_reading()

    def _apply(self) -> None:
        reader = self._reader
        if reader is None or reader.is_closing():
            return
        if self._held or self._rest is not None:
            reader.pause_reading()
        else:
            reader.resume_reading()

    def _count_rubbish(self, loop: asyncio.AbstractEventLoop) -> None:
        """A message was refused. Refusing is quick, but a peer that sends nothing else would take all the time there is."""
        self._rubbish += 1
        if self._rubbish == 1:
            loop.call_soon(self._weigh, loop)

    def _weigh(self, loop: asyncio.AbstractEventLoop) -> None:
        count, self._rubbish = self._rubbish, 0
        if count > TOLERATED and self._rest is None:
            self._rest = loop.call_later(min(count * REST, LONGEST_REST), self._rested)
            self._apply()

    def _rested(self) -> None:
        self._rest = None
        self._apply()
