"""Metrics: counters, gauges and histograms with labels, written in the text format that Prometheus reads.

Bind a child once (``requests.labels("GET", "200")``) and keep it: counting then takes a twentieth of a microsecond. It
needs no lock, because reading, adding and storing a number has no point at which the interpreter changes threads; on an
interpreter without that promise (free-threaded builds) a lock is taken.
"""

from __future__ import annotations

import itertools
import math
import re
import sys
import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from ..redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of a histogram in seconds, where none are given."""

SERIES_LIMIT = 1000
"""Children of one metric; further combinations of labels are counted together, with every label ``_overflow``."""

LABEL_LIMIT = 200
"""Characters of a label's value that are kept."""

OVERFLOW = "_overflow"

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_lock = threading.RLock()
_FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()

Sample = tuple[str, str, float]
"""What a child adds to its metric's name, its own label (``le="0.1"`` or nothing), its value."""


class Counter:
    """A sum that only grows."""

    kind: ClassVar[str] = "counter"
    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add; a negative amount is a ValueError."""
        if amount < 0:
            raise ValueError("a counter only grows: use a gauge for what can fall")
        if _FREE_THREADED:
            with _lock:
                self._value += amount
        else:
            self._value += amount

    @property
    def value(self) -> float:
        """The sum so far."""
        return self._value

    def samples(self) -> Iterable[Sample]:
        """What is written."""
        return (("", "", self._value),)


class Gauge:
    """A value that rises and falls."""

    kind: ClassVar[str] = "gauge"
    __slots__ = ("_function", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._function: Callable[[], float] | None = None

    def set(self, value: float) -> None:
        """Replace the value."""
        self._value = float(value)

    def inc(self, amount: float = 1.0) -> None:
        """Add, or with a negative amount subtract."""
        if _FREE_THREADED:
            with _lock:
                self._value += amount
        else:
            self._value += amount

    def dec(self, amount: float = 1.0) -> None:
        """Subtract."""
        self.inc(-amount)

    def set_function(self, function: Callable[[], float]) -> None:
        """Ask `function` whenever metrics are written; where it raises, the value is written as NaN."""
        self._function = function

    @property
    def value(self) -> float:
        """The value now."""
        if self._function is None:
            return self._value
        try:
            return float(self._function())
        except Exception:
            return math.nan

    def samples(self) -> Iterable[Sample]:
        """What is written."""
        return (("", "", self.value),)


class Histogram:
    """How often a value fell into which range."""

    kind: ClassVar[str] = "histogram"
    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float] = BUCKETS) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        at = bisect_left(self._bounds, value)
        if _FREE_THREADED:
            with _lock:
                self._counts[at] += 1
                self._sum += value
        else:
            self._counts[at] += 1
            self._sum += value

    def samples(self) -> Iterable[Sample]:
        """Cumulative buckets, sum and count."""
        total = 0
        for bound, count in zip((*self._bounds, math.inf), self._counts[:], strict=True):
            total += count
            yield "_bucket", f'le="{number(bound)}"', total
        yield "_sum", "", self._sum
        yield "_count", "", total


M = TypeVar("M", Counter, Gauge, Histogram)


class Labelled(Generic[M]):
    """A metric with labels: `labels` gives the child that belongs to their values."""

    __slots__ = ("_children", "_make", "names")

    def __init__(self, names: tuple[str, ...], make: Callable[[], M]) -> None:
        self.names = names
        self._make: Callable[[], M] = make
        self._children: dict[tuple[str, ...], M] = {}

    def labels(self, *values: object, **named: object) -> M:
        """The child for these values, given in order or by name; created at the first call. Values are redacted and bounded."""
        if named:
            if values or set(named) != set(self.names):
                raise ValueError(f"the labels are {', '.join(self.names)}: give all of them, in order or by name")
            values = tuple(named[name] for name in self.names)
        elif len(values) != len(self.names):
            raise ValueError(f"{len(self.names)} labels are needed ({', '.join(self.names)}), {len(values)} were given")
        key = tuple(map(str, values))
        child = self._children.get(key)
        if child is None:
            key = tuple(redact(value)[:LABEL_LIMIT] for value in key)
            with _lock:
                if len(self._children) >= SERIES_LIMIT and key not in self._children:
                    key = (OVERFLOW,) * len(self.names)
                child = self._children.setdefault(key, self._make())
        return child

    def children(self) -> list[tuple[tuple[str, ...], M]]:
        """Label values and child, in the order of creation."""
        return list(self._children.items())


class Metrics:
    """All metrics of one process; `render` writes them."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, str, tuple[Any, ...], Any]] = {}
        self._collectors: list[Callable[[], Iterable[str]]] = []

    @overload
    def counter(self, name: str, help: str) -> Counter: ...
    @overload
    def counter(self, name: str, help: str, labels: Sequence[str]) -> Labelled[Counter]: ...
    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Any:
        """The counter of this name, created at the first call; by convention the name ends in ``_total``."""
        return self._family(name, help, "counter", labels, (), Counter)

    @overload
    def gauge(self, name: str, help: str) -> Gauge: ...
    @overload
    def gauge(self, name: str, help: str, labels: Sequence[str]) -> Labelled[Gauge]: ...
    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Any:
        """The gauge of this name, created at the first call."""
        return self._family(name, help, "gauge", labels, (), Gauge)

    @overload
    def histogram(self, name: str, help: str, *, buckets: Sequence[float] = BUCKETS) -> Histogram: ...
    @overload
    def histogram(self, name: str, help: str, labels: Sequence[str], *, buckets: Sequence[float] = BUCKETS) -> Labelled[Histogram]: ...
    def histogram(self, name: str, help: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = BUCKETS) -> Any:
        """The histogram of this name, created at the first call; `buckets` are ascending upper bounds, without infinity."""
        bounds = tuple(float(bound) for bound in buckets)
        if not bounds or any(not math.isfinite(bound) for bound in bounds) or any(a >= b for a, b in itertools.pairwise(bounds)):
            raise ValueError(f"the buckets of {name} must be finite numbers in ascending order")
        return self._family(name, help, "histogram", labels, bounds, lambda: Histogram(bounds))

    def collector(self, lines: Callable[[], Iterable[str]]) -> None:
        """Add lines of the text format that are made whenever metrics are written; the same function twice is there once."""
        if lines not in self._collectors:
            self._collectors.append(lines)

    def _family(self, name: str, help: str, kind: str, labels: Sequence[str], extra: tuple[float, ...], make: Callable[[], Any]) -> Any:
        names = tuple(labels)
        shape = (kind, names, extra)
        known = self._families.get(name)
        if known is not None:
            if known[2] != shape:
                raise ValueError(f"the metric {name} exists already as a {known[1]} with the labels ({', '.join(known[2][1])})")
            return known[3]
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is not a metric name: letters, digits, _ and :, not beginning with a digit")
        for label in names:
            if _LABEL.fullmatch(label) is None or label == "le" or names.count(label) > 1:
                raise ValueError(f"{label!r} is not a label of {name}: letters, digits and _, each once, not 'le', not beginning with __")
        with _lock:
            metric = Labelled(names, make) if names else make()
            return self._families.setdefault(name, (help, kind, shape, metric))[3]

    def render(self, *, process: bool = True) -> str:
        """Everything in the Prometheus text format 0.0.4, with the process's own metrics unless told otherwise."""
        lines: list[str] = []
        for name, (help, kind, shape, metric) in sorted(self._families.items()):
            lines += (f"# HELP {name} {escape_help(redact(help))}", f"# TYPE {name} {kind}")
            children = metric.children() if shape[1] else [((), metric)]
            for values, child in children:
                own = [f'{label}="{escape_label(redact(value))}"' for label, value in zip(shape[1], values, strict=True)]
                for suffix, label, value in child.samples():
                    inside = ",".join([*own, label] if label else own)
                    lines.append(f"{name}{suffix}{{{inside}}} {number(value)}" if inside else f"{name}{suffix} {number(value)}")
        for collector in self._collectors:
            lines += collector()
        if process:
            from .process import process_lines

            lines += process_lines()
        return "\n".join([*lines, ""])


def number(value: float) -> str:
    """A value as the text format writes it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def escape_help(text: str) -> str:
    """Backslashes and line ends escaped."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def escape_label(text: str) -> str:
    """Backslashes, line ends and quotes escaped."""
    return escape_help(text).replace('"', '\\"')


metrics = Metrics()
"""The one that the process shares, served as ``/metrics``."""
