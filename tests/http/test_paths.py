"""Which route answers a path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.http.paths import PathTable


def table(*routes):
    paths = PathTable()
    for route in routes:
        method, path = route.split(" ", 1)
        paths.add(method, path, route)
    return paths


@pytest.mark.parametrize(
    ("method", "path", "handler"),
    [
        ("GET", "/users", "GET /users"),
        ("get", "/users", "GET /users"),
        ("POST", "/users", "post /users"),
        ("HEAD", "/users", "GET /users"),
        ("HEAD", "/own", "HEAD /own"),
        ("GET", "/users/me", "GET /users/me"),
        ("GET", "/users/7", "GET /users/{id}"),
        ("GET", "/users/a%2Fb", "GET /users/{id}"),
        ("GET", "/users/7/posts/9", "GET /users/{id}/posts/{post}"),
        ("GET", "/files/", "GET /files/{*path}"),
        ("GET", "/files/a/b\n", "GET /files/{*path}"),
        ("GET", "/users/", None),
        ("GET", "/Users", None),
        ("GET", "/user%73", None),
        ("PUT", "/users", None),
        ("GET", "/users/7/", None),
    ],
)
def test_exact_paths_come_first_then_parameters(method, path, handler):
    found = table(
        "GET /users/{id}", "GET /users", "post /users", "GET /users/me", "GET /own", "HEAD /own",
        "GET /users/{id}/posts/{post}", "GET /files/{*path}",
    ).find(method, path)  # fmt: skip
    assert (found.handler if found else None) == handler


def test_parameters_are_decoded():
    paths = table("GET /{a}/x/{*b}")
    assert paths.find("GET", "/%C3%A9%2F/x/p%20q/r").params == {"a": "é/", "b": "p q/r"}


def test_the_first_of_two_handlers_stands():
    paths = PathTable()
    paths.add("GET", "/a", "first")
    paths.add("GET", "/a", "second")
    paths.add("GET", "/{x}", "third")
    paths.add("GET", "/{y}", "fourth")
    assert paths.find("GET", "/a").handler == "first"
    assert paths.find("GET", "/b").handler == "third"


def test_what_is_allowed_is_what_any_route_answers():
    paths = table("GET /a", "POST /{x}", "DELETE /b")
    assert paths.allowed("/a") == ["GET", "HEAD", "POST"]
    assert paths.allowed("/b") == ["DELETE", "POST"]
    assert paths.allowed("/a/b") == []


@pytest.mark.parametrize(
    ("method", "path", "complaint"),
    [
        ("G T", "/", "no HTTP method"),
        ("GET", "a", "does not begin with a slash"),
        ("GET", "", "does not begin with a slash"),
        ("GET", "/{}", "needs a name of its own"),
        ("GET", "/{a}/{a}", "needs a name of its own"),
        ("GET", "/{a-b}", "needs a name of its own"),
        ("GET", "/x{a}", "stands for a whole segment"),
        ("GET", "/{a", "stands for a whole segment"),
        ("GET", "/{a}{b}", "stands for a whole segment"),
        ("GET", "/{*a}/b", "nothing can follow"),
    ],
)
def test_a_route_that_makes_no_sense_is_refused(method, path, complaint):
    with pytest.raises(ValueError, match=complaint):
        PathTable().add(method, path, None)


@given(st.text())
def test_any_path_is_found_or_not(path):
    found = table("GET /{a}/b", "GET /{*rest}").find("GET", path)
    assert (found is None) is not path.startswith("/")
