"""Credit: a receiver grants bytes, a sender spends them, so that what waits for a slow reader is bounded. Pure arithmetic."""

from __future__ import annotations

from ..errors import RemoteProtocolError


class Allowance:
    """The sender's side: how many bytes may still be sent."""

    __slots__ = ("left",)

    def __init__(self, left: int = 0) -> None:
        self.left = left

    def grant(self, amount: int) -> None:
        """The receiver takes `amount` bytes more."""
        self.left += amount

    def spend(self, wanted: int) -> int:
        """How many of `wanted` bytes may be sent now; they are spent."""
        spent = min(wanted, self.left)
        self.left -= spent
        return spent


class Intake:
    """The receiver's side: `window` bytes may be granted and not yet consumed. Half a window is granted at a time."""

    __slots__ = ("_consumed", "_open", "window")

    def __init__(self, window: int, *, granted: int = 0) -> None:
        self.window = window
        self._open = granted
        """Bytes granted that have not arrived."""
        self._consumed = window - granted
        """Bytes that may be granted anew."""

    def received(self, amount: int) -> None:
        """`amount` bytes have arrived. Raises `RemoteProtocolError` where they were not granted."""
        if amount > self._open:
            raise RemoteProtocolError(f"{amount} bytes of a body arrived where {self._open} were granted")
        self._open -= amount

    def consumed(self, amount: int) -> int:
        """`amount` bytes have been read; how many to grant to the sender now, 0 while it is not worth a message."""
        self._consumed += amount
        if self._consumed < self.window // 2:
            return 0
        granted, self._consumed = self._consumed, 0
        self._open += granted
        return granted
