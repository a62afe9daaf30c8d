"""The table: mounts, what is open, what stays inside."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pywatt_core.errors import ConfigError
from pywatt_orchestrator.gateway import Instance, RouteTable
from pywatt_orchestrator.gateway.paths import BadPath
from pywatt_orchestrator.gateway.routing import Match


@pytest.fixture
def routes(stage: Any) -> Any:
    return stage.routes


def found(table: RouteTable, path: bytes) -> tuple[str, bytes, bool] | None:
    match = table.resolve(path)
    return (match.module.name, match.inner, match.methods is not None) if match is not None else None


def test_the_longest_mount_wins_and_is_stripped(routes: Any) -> None:
    table = RouteTable([routes("root", mount="/"), routes("a"), routes("deep", mount="/a/b/c"), routes("ab", mount="/a/b")])
    assert found(table, b"/x") == ("root", b"/x", True)
    assert found(table, b"/") == ("root", b"/", True)
    assert found(table, b"/a/x") == ("a", b"/x", True)
    assert found(table, b"/a/b/x") == ("ab", b"/x", True)
    assert found(table, b"/a/b/c/x") == ("deep", b"/x", True)
    assert found(table, b"/a/b/cd") == ("ab", b"/cd", True)
    assert found(table, b"/ab/x") == ("root", b"/ab/x", True)
    assert found(table, b"/a") == ("a", b"", False)


def test_a_closed_path_does_not_fall_through_to_a_shorter_mount(routes: Any) -> None:
    table = RouteTable([routes("root", "GET /a/x", mount="/"), routes("a", "GET /y")])
    assert found(table, b"/a/x") == ("a", b"/x", False)


def test_a_percent_encoded_path_is_matched_decoded_and_forwarded_encoded(routes: Any) -> None:
    table = RouteTable([routes("users", "GET /caf\u00e9/{name}", "GET /plain")])
    assert found(table, b"/users/caf%c3%a9/a%20b") == ("users", b"/caf%C3%A9/a%20b", True)
    assert found(table, b"/%75sers/%70lain") == ("users", b"/plain", True)
    with pytest.raises(BadPath):
        table.resolve(b"/users/x/..%2f/plain")


def test_the_reserved_corner_leads_nowhere(routes: Any) -> None:
    table = RouteTable([routes("root", mount="/")])
    for path in (b"/_pywatt", b"/_pywatt/", b"/_pywatt/x", b"/%5Fpywatt/x"):
        assert table.resolve(path) is None
    assert found(table, b"/_pywatts") == ("root", b"/_pywatts", True)


@pytest.mark.parametrize("mount", ["users", "/users/", "//", "/a//b", "/a b", "/a/..", "/.", "/{x}", "/é", "", "/a%20b"])
def test_a_malformed_mount_is_refused(routes: Any, mount: str) -> None:
    with pytest.raises(ConfigError, match="module users: the mount"):
        RouteTable([routes("users", mount=mount)])


@pytest.mark.parametrize("mount", ["/_pywatt", "/_pywatt/x"])
def test_a_reserved_mount_is_refused(routes: Any, mount: str) -> None:
    with pytest.raises(ConfigError, match="reserved for the orchestrator"):
        RouteTable([routes("users", mount=mount)])


def test_one_mount_for_two_modules_is_an_error_that_names_both(routes: Any) -> None:
    with pytest.raises(ConfigError, match=r"modules a and b are both mounted at /x; give one another mount"):
        RouteTable([routes("a", mount="/x"), routes("b", mount="/x")])


def test_health_and_metrics_stay_inside(routes: Any) -> None:
    table = RouteTable([routes("a", "GET /health", "GET /metrics", "GET /{*rest}")])
    assert found(table, b"/a/health") == ("a", b"/health", False)
    assert found(table, b"/a/%6Detrics") == ("a", b"/metrics", False)
    assert found(table, b"/a/health/x") == ("a", b"/health/x", True)


@pytest.mark.parametrize("name", ["health", "/up"])
def test_health_is_reachable_where_it_is_exposed(routes: Any, name: str) -> None:
    table = RouteTable([routes("a", "GET /up", "GET /metrics", health="/up", expose=(name,))])
    assert found(table, b"/a/up") == ("a", b"/up", True)
    assert found(table, b"/a/metrics") == ("a", b"/metrics", False)


def test_mount_all_opens_everything_but_what_stays_inside(routes: Any) -> None:
    table = RouteTable([routes("a", "GET /x", mount_all=True)])
    match = table.resolve(b"/a/never/announced")
    assert match is not None and match.methods is not None and b"PROPFIND" in match.methods
    assert found(table, b"/a/metrics") == ("a", b"/metrics", False)


def test_only_a_trusted_module_is_told_its_mount(routes: Any) -> None:
    def instance(trusted: bool) -> Instance:
        return Instance("a", ("127.0.0.1", 1), trusted=trusted)  # type: ignore[arg-type]

    def prefix(mount: str, trusted: bool) -> bytes:
        match = RouteTable([routes("a", mount=mount, instances=[instance(trusted)])]).resolve(mount.encode().rstrip(b"/") + b"/x")
        assert isinstance(match, Match)
        return match.prefix

    assert prefix("/a/b", True) == b"\r\nX-Forwarded-Prefix: /a/b"
    assert prefix("/a/b", False) == b""
    assert prefix("/", True) == b""


def test_an_announced_path_that_no_request_can_have_is_named(routes: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pywatt.gateway"):
        table = RouteTable([routes("a", "GET /x//y", "GET z", "GET /ok")])
    assert "module a announced the path '/x//y', which no request can have: the path has an empty segment" in caplog.text
    assert "module a announced the path 'z', which stays closed: it does not begin with /" in caplog.text
    assert found(table, b"/a/ok") == ("a", b"/ok", True)


def test_an_empty_table_leads_nowhere() -> None:
    assert RouteTable().resolve(b"/") is None


def test_the_listing_shows_what_is_open(routes: Any) -> None:
    module = routes("a", "POST,GET /x/{id}", "GET /health", "GET /metrics", expose=("metrics",), mount="/m")
    assert list(RouteTable([module]).open_paths(module)) == [("/m/x/{id}", ["GET", "POST"]), ("/m/metrics", ["GET"])]
