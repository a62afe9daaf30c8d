"""What the headers say, what a request is called, what is counted; prefixes; extra routes."""

from __future__ import annotations

import logging

import pytest

from pywatt_core import telemetry
from pywatt_core.http.arrival import Arrival, ExtraRoutes, Figures, arrival, below, clean_prefix, literal_path, named, under


@pytest.mark.parametrize(
    ("prefix", "path", "rest"),
    [
        ("", "/a", "/a"),
        ("/v1", "/v1/a", "/a"),
        ("/v1", "/v1", "/"),
        ("/v1", "/v1/", "/"),
        ("/v1", "/v1x/a", None),
        ("/v1", "/a/v1", None),
        ("/v1", "/", None),
    ],
)
def test_what_is_below_a_prefix(prefix: str, path: str, rest: str | None) -> None:
    assert below(prefix, path) == rest


@pytest.mark.parametrize(("given", "clean"), [("", ""), ("/", ""), ("v1", "/v1"), ("/v1", "/v1"), ("/v1/", "/v1"), ("a/b", "/a/b")])
def test_a_prefix_has_one_form(given: str, clean: str) -> None:
    assert clean_prefix(given) == clean


def test_paths_stand_under_a_prefix() -> None:
    assert (under("", "/a"), under("/v1", "/a"), under("/v1", "a"), under("/v1", "/")) == ("/a", "/v1/a", "/v1/a", "/v1/")
    assert (literal_path("/a/"), literal_path("/a"), literal_path("/")) == ("/a", "/a", "/")


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, Arrival()),
        ({"prefix": "/shop"}, Arrival(prefix="/shop")),
        ({"prefix": "/a/b/"}, Arrival(prefix="/a/b")),
        ({"prefix": "/"}, Arrival()),
        ({"prefix": "shop"}, Arrival()),
        ({"prefix": "/a b"}, Arrival()),
        ({"prefix": "//evil.example"}, Arrival()),
        ({"prefix": "/a\r\nx: y"}, Arrival()),
        ({"client": "203.0.113.9"}, Arrival(client="203.0.113.9")),
        ({"client": "10.0.0.1, 203.0.113.9"}, Arrival(client="203.0.113.9")),
        ({"client": "[2001:db8::1]"}, Arrival(client="2001:db8::1")),
        ({"client": "<script>"}, Arrival()),
        ({"scheme": "HTTPS"}, Arrival(scheme="https")),
        ({"scheme": "javascript"}, Arrival()),
        ({"host": "shop.example:8443"}, Arrival(host="shop.example:8443")),
        ({"host": "[2001:db8::1]:80"}, Arrival(host="[2001:db8::1]:80")),
        ({"host": "a/b"}, Arrival()),
    ],
)
def test_what_the_gateway_says(headers: dict[str, str], said: Arrival) -> None:
    assert arrival(**headers) == said


def test_a_request_is_known_by_the_name_that_it_brings() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with named("abc-1", f"00-{trace}-b7ad6b7169203331-01"):
        assert (telemetry.current().request_id, telemetry.current().trace_id) == ("abc-1", trace)
    assert telemetry.current().request_id == ""


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "a\nb", "é"])
def test_a_request_without_a_proper_name_gets_one(given: str | None) -> None:
    with named(given, "nonsense"):
        assert len(telemetry.current().request_id) == 32
        assert telemetry.current().trace_id == ""


def test_figures_count_by_method_and_status_and_clients_cannot_invent_series() -> None:
    before = samples()
    figures = Figures()
    for method in ("GET", "GET", "BREW", "STEAM"):
        figures.count(method, 299, 0.002)
    grown = {name: value - before.get(name, 0.0) for name, value in samples().items()}
    assert grown['pywatt_http_requests_total{method="GET",status="299"}'] == 2
    assert grown['pywatt_http_requests_total{method="OTHER",status="299"}'] == 2
    assert grown['pywatt_http_request_duration_seconds_count{method="GET"}'] == 2
    assert grown['pywatt_http_request_duration_seconds_bucket{method="GET",le="0.001"}'] == 0
    assert not any("BREW" in name for name in grown)


def samples() -> dict[str, float]:
    lines = telemetry.metrics.render(process=False).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line and line[0] != "#")}


def test_an_extra_route_answers_get_and_head_alone() -> None:
    extra = ExtraRoutes()
    extra.add("/health", lambda: (200, "text/plain", b"fine"))
    assert "/health" in extra
    assert "/health/" not in extra
    headers = [("content-type", "text/plain"), ("content-length", "4")]
    assert extra.answer("/health", "GET") == (200, headers, b"fine")
    assert extra.answer("/health", "HEAD") == (200, headers, b"")
    assert extra.answer("/health", "POST") == (405, [("allow", "GET, HEAD"), ("content-length", "0")], b"")


def test_an_extra_route_that_raises_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    extra = ExtraRoutes()

    def broken() -> tuple[int, str, bytes]:
        raise LookupError("why")

    extra.add("/health", broken)
    with caplog.at_level(logging.ERROR):
        status, _, body = extra.answer("/health", "GET")
    assert (status, body) == (500, b"Internal Server Error")
    assert "the handler of /health failed" in caplog.text
