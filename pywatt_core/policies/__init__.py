"""Waiting, giving up for a while, choosing a way. Pure: the clock and chance are arguments, so every decision can be replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .batching import Batch
    from .breaker import BreakerState, CircuitBreaker
    from .channels import ChannelCapabilities, ChannelPreferences, ChannelType, TargetLocation, recommend
    from .health import Health
    from .matrix import (
        ChannelPreference,
        Characteristics,
        Condition,
        MessagePriority,
        MessageType,
        RoutingMatrix,
        characteristics,
    )
    from .rates import RateWindow
    from .reconnecting import ExponentialBackoff, FixedInterval, NoReconnect, Reconnecting, ReconnectPolicy
    from .retry import Retry
    from .router import ChannelRouter, Route, RoutingDecision
    from .waiting import Backoff, Intensity, Restarts

__all__ = [
    "Backoff",
    "Batch",
    "BreakerState",
    "ChannelCapabilities",
    "ChannelPreference",
    "ChannelPreferences",
    "ChannelRouter",
    "ChannelType",
    "Characteristics",
    "CircuitBreaker",
    "Condition",
    "ExponentialBackoff",
    "FixedInterval",
    "Health",
    "Intensity",
    "MessagePriority",
    "MessageType",
    "NoReconnect",
    "RateWindow",
    "ReconnectPolicy",
    "Reconnecting",
    "Restarts",
    "Retry",
    "Route",
    "RoutingDecision",
    "RoutingMatrix",
    "TargetLocation",
    "characteristics",
    "recommend",
]

__getattr__ = lazily(
    __name__,
    {
        "batching": "Batch",
        "breaker": "BreakerState CircuitBreaker",
        "channels": "ChannelCapabilities ChannelPreferences ChannelType TargetLocation recommend",
        "health": "Health",
        "matrix": "Characteristics ChannelPreference Condition MessagePriority MessageType RoutingMatrix characteristics",
        "rates": "RateWindow",
        "reconnecting": "ExponentialBackoff FixedInterval NoReconnect ReconnectPolicy Reconnecting",
        "retry": "Retry",
        "router": "ChannelRouter Route RoutingDecision",
        "waiting": "Backoff Intensity Restarts",
    },
)
