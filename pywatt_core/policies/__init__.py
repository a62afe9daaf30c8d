"""Waiting, giving up for a while, choosing a way. Pure: the clock and chance are arguments, so every decision can be replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .breaker import BreakerState, CircuitBreaker
    from .reconnecting import ExponentialBackoff, FixedInterval, NoReconnect, Reconnecting, ReconnectPolicy
    from .waiting import Backoff, Intensity, Restarts

__all__ = [
    "Backoff",
    "BreakerState",
    "CircuitBreaker",
    "ExponentialBackoff",
    "FixedInterval",
    "Intensity",
    "NoReconnect",
    "ReconnectPolicy",
    "Reconnecting",
    "Restarts",
]

__getattr__ = lazily(
    __name__,
    {
        "breaker": "BreakerState CircuitBreaker",
        "reconnecting": "ExponentialBackoff FixedInterval NoReconnect ReconnectPolicy Reconnecting",
        "waiting": "Backoff Intensity Restarts",
    },
)
