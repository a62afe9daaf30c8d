"""What is kept of a request that has been answered: one log record, a counter, a histogram. Nothing of it on the way."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from pywatt_core.telemetry import context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pywatt_core.telemetry import Metrics
    from pywatt_core.telemetry.series import Counter, Histogram

    from .client import ClientConnection
    from .upstream import Instance

logger = logging.getLogger("pywatt.access")

WRITE_EVERY = 0.1
"""Seconds between two rounds of writing records."""
KEPT = 10_000
"""Records that wait to be written; more are counted and left out."""


class Recorder:
    """Takes facts while requests are being answered, and turns them into records and metrics in rounds."""

    def __init__(
        self, on_access: Callable[[Mapping[str, Any]], None] | None, metrics: Metrics | None, open_connections: Callable[[], float]
    ) -> None:
        self._on_access = on_access
        self._waiting: list[tuple[Any, ...]] = []
        self._left_out = 0
        self._round: asyncio.TimerHandle | None = None
        self._metrics = metrics
        self._bound: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        if metrics is not None:
            self._requests = metrics.counter("pywatt_gateway_requests_total", "Requests answered.", ("module", "status"))
            self._seconds = metrics.histogram(
                "pywatt_gateway_request_seconds", "From the head of a request to the end of its response.", ("module",)
            )
            metrics.gauge("pywatt_gateway_connections", "Client connections that are open.").set_function(open_connections)

    def add(self, client: ClientConnection, status: int, seconds: float, instance: Instance | None) -> None:
        """A request has been answered, or its client has gone (status 499)."""
        if self._on_access is None:  # counting alone costs less than keeping what it was
            route = client.request.route
            self._count(route.module.name if route is not None else client.module, status, seconds)
            return
        if len(self._waiting) >= KEPT:
            self._left_out += 1
            return
        request = client.request
        facts = (
            client.peer,
            request.method,
            request.path,
            status,
            client.sent,
            seconds,
            request.route.module.name if request.route is not None else client.module,
            instance.id if instance is not None else "",
            client.request_id,
            client.trace_id,
        )
        self._waiting.append(facts)
        if self._round is None:
            self._round = asyncio.get_running_loop().call_later(WRITE_EVERY, self.write)

    def _count(self, module: str, status: int, seconds: float) -> None:
        bound = self._bound.get((module, status))
        if bound is None:
            bound = self._bound[module, status] = self._requests.labels(module, status), self._seconds.labels(module)
        bound[0].inc()
        bound[1].observe(seconds)

    def write(self) -> None:
        """Write what waits."""
        if self._round is not None:
            self._round.cancel()
            self._round = None
        waiting, self._waiting = self._waiting, []
        for peer, method, path, status, sent, seconds, module, instance, request_id, trace_id in waiting:
            if self._metrics is not None:
                self._count(module, status, seconds)
            if self._on_access is not None:
                self._on_access(
                    {
                        "client": peer,
                        "method": method.decode("latin-1"),
                        "path": path.decode("latin-1"),
                        "status": status,
                        "bytes": sent,
                        "duration_ms": round(seconds * 1000, 3),
                        "module_name": module,
                        "instance": instance,
                        "request_id": request_id.decode(),
                        "trace_id": trace_id.decode(),
                    }
                )
        if self._left_out:
            logger.warning("%d requests were left out of the access log: it could not keep up", self._left_out)
            self._left_out = 0


def log_access(record: Mapping[str, Any]) -> None:
    """The access log: one event on the logger ``pywatt.access``, with the record's fields and in its request's context."""
    fields = dict(record)
    with context(request_id=fields.pop("request_id"), trace_id=fields.pop("trace_id")):
        logger.info("%s %s %s", fields["method"], fields["path"], fields["status"], extra=fields)
