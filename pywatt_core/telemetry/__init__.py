"""Structured logs, the ids of the present request, and metrics.

Logging is the standard library's: ``logging.getLogger(__name__)`` anywhere, `configure` once, at the start of the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .context import Ids, TraceParent, context, current, new_request_id, new_traceparent, parse_traceparent, valid_request_id
from .logs import Configured, configure, handle_loop_exception, parse_level

if TYPE_CHECKING:
    from .events import JsonFormatter, TextFormatter
    from .series import CONTENT_TYPE, Metrics, metrics

__all__ = [
    "CONTENT_TYPE",
    "Configured",
    "Ids",
    "JsonFormatter",
    "Metrics",
    "TextFormatter",
    "TraceParent",
    "configure",
    "context",
    "current",
    "handle_loop_exception",
    "metrics",
    "new_request_id",
    "new_traceparent",
    "parse_level",
    "parse_traceparent",
    "valid_request_id",
]

_LATER = {"metrics": "series", "Metrics": "series", "CONTENT_TYPE": "series", "JsonFormatter": "events", "TextFormatter": "events"}


def __getattr__(name: str) -> Any:
    """Metrics are loaded when they are first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = value
    return value
