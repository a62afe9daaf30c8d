"""Templates: which methods a path admits."""

from __future__ import annotations

import pytest

from pywatt_orchestrator.gateway.templates import ANY_METHOD, PathTree


def tree(*templates: str) -> PathTree:
    paths = PathTree()
    for template in templates:
        methods, path = template.split(" ", 1)
        paths.add(path, methods.split(","))
    return paths


@pytest.mark.parametrize(
    ("template", "path", "matches"),
    [
        ("/", "/", True),
        ("/a", "/a", True),
        ("/a", "/a/", False),
        ("/a/", "/a", False),
        ("/a", "/A", False),
        ("/a b", "/a b", True),
        ("/é", "/é", True),
        ("/items/{id}", "/items/1", True),
        ("/items/{id}", "/items/", False),
        ("/items/{id}", "/items", False),
        ("/items/{id}", "/items/1/2", False),
        ("/items/{id:int}", "/items/1", True),
        ("/items/:id", "/items/1", True),
        ("/items/:id/more", "/items/1/more", True),
        ("/items/:id", "/items/1/2", False),
        ("/v1/models:run", "/v1/models:run", True),
        ("/v1/models:run", "/v1/models1", False),
        ("/{a}/x/{b}", "/1/x/2", True),
        ("/{a}/x/{b}", "/1/y/2", False),
        ("/static/{*rest}", "/static/", True),
        ("/static/{*rest}", "/static/a/b/c", True),
        ("/static/{*rest}", "/static", False),
        ("/static/{rest:path}", "/static/a/b", True),
        ("/static/*rest", "/static/a/b", True),
        ("/{*rest}", "/", True),
        ("/{*rest}", "/a", True),
        ("/{name}.json", "/a.json", True),
        ("/{name}.json", "/.json", False),
        ("/{name}.json", "/a/b.json", False),
        ("/v{major}-{minor}/x", "/v1-2/x", True),
        ("/files/{*path}/meta", "/files/a/b/meta", True),
        ("/files/{*path}/meta", "/files/a/b", False),
        ("/a.b", "/axb", False),
        ("/{a}.b", "/axb", False),
    ],
)
def test_a_template_matches(template: str, path: str, matches: bool) -> None:
    assert (tree(f"GET {template}").find(path.encode()) is not None) is matches


def test_get_opens_head_and_every_path_options() -> None:
    paths = tree("GET /a", "post /b")
    assert paths.find(b"/a") == frozenset({b"GET", b"HEAD", b"OPTIONS"})
    assert paths.find(b"/b") == frozenset({b"POST", b"OPTIONS"})


def test_a_path_admits_what_any_of_its_templates_admits() -> None:
    paths = tree("GET /items/new", "DELETE /items/{id}", "PUT /{*rest}", "PATCH /items/n{rest}")
    assert paths.find(b"/items/new") == frozenset({b"GET", b"HEAD", b"DELETE", b"PUT", b"PATCH", b"OPTIONS"})
    assert paths.find(b"/items/1") == frozenset({b"DELETE", b"PUT", b"OPTIONS"})
    assert paths.find(b"/other") == frozenset({b"PUT", b"OPTIONS"})


@pytest.mark.parametrize("wildcard", ["*", "ANY", "any"])
def test_a_wildcard_admits_every_method(wildcard: str) -> None:
    found = tree(f"{wildcard} /a", "GET /{b}").find(b"/a")
    assert found is ANY_METHOD and b"PROPFIND" in found


def test_all_methods_by_name_are_not_every_method() -> None:
    names = "GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS"
    for template in ("* /a", f"{names} /a"):
        found = tree(template, "GET /{b}").find(b"/a")
        assert found is not None and (b"PROPFIND" in found) is (template == "* /a")


@pytest.mark.parametrize("template", ["a", "", "/{*a}/{*b}"])
def test_a_template_that_makes_no_sense_is_an_error(template: str) -> None:
    with pytest.raises(ValueError, match=r"begin with /|more than one remainder"):
        tree(f"GET {template}")


def test_a_thousand_templates_are_told_apart() -> None:
    paths = tree(*(f"GET /r{n}/{{id}}/x" for n in range(1000)), *(f"POST /r{n}/fixed/x" for n in range(1000)))
    assert paths.find(b"/r777/1/x") == frozenset({b"GET", b"HEAD", b"OPTIONS"})
    assert paths.find(b"/r777/fixed/x") == frozenset({b"GET", b"HEAD", b"POST", b"OPTIONS"})
    assert paths.find(b"/r1000/1/x") is None
