"""Structured logs, the ids of the present request, and metrics.

Logging is the standard library's: ``logging.getLogger(__name__)`` anywhere, `configure` once, at the start of the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily
from .context import (
    Ids,
    Received,
    TraceParent,
    context,
    current,
    new_request_id,
    new_traceparent,
    next_traceparent,
    parse_traceparent,
    valid_request_id,
)
from .logs import Configured, configure, handle_loop_exception, parse_level
from .stray import guard_streams, release_streams

if TYPE_CHECKING:
    from .events import JsonFormatter, TextFormatter
    from .series import CONTENT_TYPE, Metrics, metrics

__all__ = [
    "CONTENT_TYPE",
    "Configured",
    "Ids",
    "JsonFormatter",
    "Metrics",
    "Received",
    "TextFormatter",
    "TraceParent",
    "configure",
    "context",
    "current",
    "guard_streams",
    "handle_loop_exception",
    "metrics",
    "new_request_id",
    "new_traceparent",
    "next_traceparent",
    "parse_level",
    "parse_traceparent",
    "release_streams",
    "valid_request_id",
]

__getattr__ = lazily(__name__, {"events": "JsonFormatter TextFormatter", "series": "CONTENT_TYPE Metrics metrics"})
