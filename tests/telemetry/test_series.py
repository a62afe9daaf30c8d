"""Metrics are counted exactly and written so that a strict reader understands them."""

from __future__ import annotations

import math
import re
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.redaction import register
from pywatt_core.telemetry import Metrics
from pywatt_core.telemetry import metrics as shared
from pywatt_core.telemetry.series import BUCKETS, OVERFLOW, SERIES_LIMIT

SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (NaN|[+-]Inf|-?[0-9.]+(?:e[+-]?[0-9]+)?)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> tuple[dict[str, str], dict[str, str], Samples]:
    """Types, help texts and samples of the Prometheus text format 0.0.4. Strict: anything unexpected fails."""
    assert text.endswith("\n")
    types: dict[str, str] = {}
    helps: dict[str, str] = {}
    samples: Samples = {}
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, help_text = line[7:].partition(" ")
            assert name not in helps and name not in types
            helps[name] = re.sub(r"\\[\\n]", lambda found: ESCAPES[found[0]], help_text)
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name not in types and kind in ("counter", "gauge", "histogram")
            types[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found is not None, line
            name, inside, value = found.groups()
            family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in types else name
            assert family in types, f"{name} comes before its type"
            key = (name, labels(inside or ""))
            assert key not in samples, f"{key} twice"
            samples[key] = float(value)
    return types, helps, samples


def labels(text: str) -> tuple[tuple[str, str], ...]:
    found = []
    while text:
        match = LABEL.match(text)
        assert match is not None, text
        found.append((match[1], re.sub(r'\\[\\n"]', lambda escape: ESCAPES[escape[0]], match[2])))
        assert match[3] != "," or match.end() < len(text)
        text = text[match.end() :]
    return tuple(found)


def test_counters_gauges_and_histograms_are_written() -> None:
    metrics = Metrics()
    requests = metrics.counter("requests_total", "Requests by method.", ["method", "status"])
    requests.labels("GET", 200).inc()
    requests.labels(status=200, method="GET").inc(2)
    requests.labels("POST", "500").inc()
    metrics.gauge("temperature", "Now.").set(-1.5)
    seconds = metrics.histogram("seconds", "Durations.", buckets=(0.1, 1))
    for value in (0.05, 0.1, 0.5, 7):
        seconds.observe(value)
    assert metrics.render(process=False) == (
        "# HELP requests_total Requests by method.\n# TYPE requests_total counter\n"
        'requests_total{method="GET",status="200"} 3\nrequests_total{method="POST",status="500"} 1\n'
        "# HELP seconds Durations.\n# TYPE seconds histogram\n"
        'seconds_bucket{le="0.1"} 2\nseconds_bucket{le="1"} 3\nseconds_bucket{le="+Inf"} 4\nseconds_sum 7.65\nseconds_count 4\n'
        "# HELP temperature Now.\n# TYPE temperature gauge\ntemperature -1.5\n"
    )


@given(
    st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20), st.floats(min_value=0, allow_infinity=False)), max_size=10), st.text()
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_labels_hold_a_strict_reader_reads_it_back(rows: list[tuple[str, str, float]], help_text: str) -> None:
    metrics = Metrics()
    counter = metrics.counter("things_total", help_text, ("a", "b"))
    histogram = metrics.histogram("sizes", help_text, ("a",))
    expected: dict[tuple[str, str], float] = {}
    for a, b, value in rows:
        counter.labels(a, b).inc(value)
        histogram.labels(a).observe(value)
        expected[a, b] = expected.get((a, b), 0.0) + value
    types, helps, samples = parse(metrics.render(process=False))
    assert types == {"things_total": "counter", "sizes": "histogram"} and helps["things_total"] == help_text
    for (a, b), value in expected.items():
        assert samples["things_total", (("a", a), ("b", b))] == value
    for a in {a for a, _, _ in rows}:
        buckets = [samples["sizes_bucket", (("a", a), ("le", le))] for le in [*(f"{b:g}" for b in BUCKETS), "+Inf"]]
        assert buckets == sorted(buckets) and buckets[-1] == samples["sizes_count", (("a", a),)]


def test_a_metric_is_created_once_and_must_keep_its_shape() -> None:
    metrics = Metrics()
    assert metrics.counter("a_total", "A.") is metrics.counter("a_total", "Another help.")
    with pytest.raises(ValueError, match=r"the metric a_total exists already as a counter with the labels \(\)"):
        metrics.counter("a_total", "A.", ["label"])
    with pytest.raises(ValueError, match="exists already as a counter"):
        metrics.gauge("a_total", "A.")


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "ä"])
def test_a_name_that_prometheus_refuses_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a metric name"):
        Metrics().counter(name, "Help.")


@pytest.mark.parametrize("names", [["le"], ["__x"], ["a-b"], ["a", "a"], [""]])
def test_a_label_that_prometheus_refuses_is_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="is not a label of x_total"):
        Metrics().counter("x_total", "Help.", names)


@pytest.mark.parametrize("buckets", [(), (1, 1), (2, 1), (1, math.inf), (math.nan,)])
def test_buckets_must_ascend(buckets: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="buckets of x must be finite numbers in ascending order"):
        Metrics().histogram("x", "Help.", buckets=buckets)


def test_labels_must_all_be_given() -> None:
    counter = Metrics().counter("x_total", "Help.", ["a", "b"])
    with pytest.raises(ValueError, match=r"2 labels are needed \(a, b\), 1 were given"):
        counter.labels("only one")
    with pytest.raises(ValueError, match="the labels are a, b: give all of them, in order or by name"):
        counter.labels(a=1, c=2)


def test_a_counter_only_grows() -> None:
    with pytest.raises(ValueError, match="a counter only grows: use a gauge for what can fall"):
        Metrics().counter("x_total", "Help.").inc(-1)


def test_gauges_rise_fall_and_ask() -> None:
    gauge = Metrics().gauge("x", "Help.")
    gauge.inc(5)
    gauge.dec()
    assert gauge.value == 4
    gauge.set_function(lambda: 7)
    assert gauge.value == 7
    gauge.set_function(lambda: 1 // 0)
    assert math.isnan(gauge.value)


def test_the_number_of_series_is_bounded() -> None:
    metrics = Metrics()
    counter = metrics.counter("x_total", "Help.", ["user"])
    for number in range(SERIES_LIMIT + 50):
        counter.labels(f"user {number}").inc()
    counter.labels("user 0").inc()
    _, _, samples = parse(metrics.render(process=False))
    assert len(samples) == SERIES_LIMIT + 1
    assert samples["x_total", (("user", OVERFLOW),)] == 50 and samples["x_total", (("user", "user 0"),)] == 2


def test_no_secret_is_in_a_label_or_a_help_text() -> None:
    register("metric-secret", name="TEST_METRIC")
    metrics = Metrics()
    metrics.counter("x_total", "Help about metric-secret.", ["who"]).labels("it is metric-secret, " + "x" * 500).inc()
    text = metrics.render(process=False)
    assert "metric-secret" not in text and text.count("[REDACTED]") == 2 and len(text) < 400


def test_a_label_that_turns_out_to_be_a_secret_is_hidden_when_it_is_written() -> None:
    metrics = Metrics()
    metrics.counter("x_total", "Help.", ["who"]).labels("later-a-secret").inc()
    register("later-a-secret", name="TEST_METRIC")
    assert metrics.render(process=False).endswith('x_total{who="[REDACTED]"} 1\n')


def test_counting_in_threads_loses_nothing() -> None:
    metrics = Metrics()
    counter = metrics.counter("x_total", "Help.")
    histogram = metrics.histogram("seconds", "Help.", buckets=(1,))

    def count() -> None:
        for _ in range(50_000):
            counter.inc()
            histogram.observe(0.5)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    finally:
        sys.setswitchinterval(interval)
    assert counter.value == 200_000
    assert [value for _, _, value in histogram.samples()] == [200_000, 200_000, 100_000, 200_000]


def test_a_collector_adds_lines_when_metrics_are_written() -> None:
    metrics = Metrics()

    def lines() -> tuple[str, str]:
        return "# TYPE extra gauge", "extra 1"

    metrics.collector(lines)
    metrics.collector(lines)
    assert metrics.render(process=False) == "# TYPE extra gauge\nextra 1\n"


def test_the_process_describes_itself() -> None:
    import os
    import time

    types, _, samples = parse(shared.render())
    by_name: dict[str, Any] = {name: value for (name, _), value in samples.items()}
    assert types["process_cpu_seconds_total"] == "counter" and by_name["process_cpu_seconds_total"] > 0
    assert time.time() - 24 * 3600 < by_name["process_start_time_seconds"] <= time.time() + 1
    assert 1e6 < by_name["process_resident_memory_bytes"] < by_name["process_virtual_memory_bytes"]
    assert 3 <= by_name["process_open_fds"] <= by_name["process_max_fds"]
    assert ("python_info", (("implementation", "CPython"), ("version", ".".join(map(str, sys.version_info[:3]))))) in samples
    before = by_name["process_open_fds"]
    reading, writing = os.pipe()
    try:
        assert parse(shared.render())[2]["process_open_fds", ()] == before + 2
    finally:
        os.close(reading)
        os.close(writing)
