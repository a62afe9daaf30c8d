"""Which paths an announced endpoint stands for, seen from the safe side."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.http.guarded_paths import PARAMETER, GuardedPath, PathIndex, is_itself, readings


def may_be(template: str, path: str, raw: str | None = None) -> bool:
    return GuardedPath(template).may_be(readings(path, raw))


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/admin", "/admin"),
        ("/admin", "/admin/"),
        ("/admin", "//admin//"),
        ("/admin", "/ADMIN"),
        ("/admin", "/admin\n"),
        ("/admin", "/adm\x00in"),
        ("/admin", "/%61dmin"),
        ("/admin", "/%2561dmin"),
        ("/admin", "/x/../admin"),
        ("/admin", "/./admin/."),
        ("/admin", "/../../admin"),
        ("/admin", "\\admin"),
        ("/admin", "admin"),
        ("/admin/", "/admin"),
        ("admin", "/admin"),
        ("/", "/"),
        ("/", ""),
        ("/", "//"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a b"),
        ("/100%25", "/100%"),
        ("/Straße", "/STRASSE"),
        ("/users/{id}", "/users/7"),
        ("/users/{id}", "/users/7/photo"),
        ("/users/{id}", "/users/"),
        ("/users/{id:int}", "/users/7"),
        ("/users/<int:id>", "/users/7"),
        ("/users/<id>", "/users/7"),
        ("/users/:id", "/users/7"),
        ("/users/{id}/photo", "/users/a/b/photo"),
        ("/users/{id}/photo", "/users//photo"),
        ("/{name}.json", "/a.json"),
        ("/{name}.json", "/a/b.JSON"),
        ("/{a}-{b}", "/1-2"),
        ("/{*rest}", "/"),
        ("/{*rest}", "/a/b"),
        ("/{*rest}", "*"),
        ("/files/{*rest}", "/files"),
        ("/files/{*rest}", "/files/"),
        ("/files/{rest:path}", "/files/a/b"),
        ("/files/<path:rest>", "/files/a"),
        ("/files/*rest", "/files/a/b"),
        ("/{*path}/meta", "/a/b/meta"),
        ("/{lang}/files/{*rest}", "/en/files"),
        ("/{lang}/files/{*rest}", "/en/files/a"),
        ("/x/{a}/x//2/{b}", "/x//x//2/"),
        ("/x//y/{a}", "/x/y/1"),
        ("//x", "/x"),
        ("/v/{version:regex([0-9]{3})}/x", "/v/123/x"),
    ],
)
def test_a_path_that_some_router_may_take_for_it_is_it(template: str, path: str) -> None:
    assert may_be(template, path)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/admin", "/administrator"),
        ("/admin", "/a/admin"),
        ("/admin", "/admin/x"),
        ("/", "/a"),
        ("/users/{id}", "/users"),
        ("/users/{id}", "/other/7"),
        ("/users/{id}/photo", "/users/photo"),
        ("/files/{*rest}", "/filesystem"),
        ("/{name}.json", "/a.xml"),
        ("/a/{x}/b", "/a/b"),
    ],
)
def test_another_path_is_not(template: str, path: str) -> None:
    assert not may_be(template, path)


def test_what_came_counts_as_well_as_what_was_decoded() -> None:
    assert may_be("/x/{y}", "/x//", "/x/%2F"), "PyWatt's own routers look at the path as it came"
    assert may_be("/100%25", "/100%", "/100%25")
    assert len(readings("/a/b")) == 1, "the usual path costs one look"
    assert readings("/a/b", "/a%2Fb") != readings("/a/b")


@pytest.mark.parametrize("path", ["/", "/login", "/a/b.c/d-e_f~g", "/a/", "/.well-known/x", "/a:b@c;d=1", "/café", "/a b"])
def test_an_ordinary_path_is_itself(path: str) -> None:
    assert is_itself(path)
    assert is_itself(path, path)


@pytest.mark.parametrize(
    "path", ["//", "/a//b", "/./a", "/a/..", "/a%41", "/a\\b", "/a\n", "/a\x00", "a", "", "/a?b", "/é/../b", "/a%", "/é%2e"]
)
def test_one_that_a_router_may_change_is_not(path: str) -> None:
    assert not is_itself(path)


def test_one_that_was_written_in_another_way_than_the_usual_is_not() -> None:
    assert is_itself("/café", "/caf%C3%A9")
    assert is_itself("/a b", "/a%20b")
    assert not is_itself("/login", "/%6Cogin")
    assert not is_itself("/café", "/caf%c3%a9"), "nobody has to write it like this"
    assert not is_itself("/a/b", "/a%2Fb")


@pytest.mark.parametrize(
    ("wide", "narrow", "both"),
    [
        ("/{*rest}", "/login", False),
        ("/{*rest}", "/public/{*rest}", False),
        ("/{*rest}", "/{page}", False),
        ("/{*rest}", "/", False),
        ("/users/{id}", "/users/me", False),
        ("/users/{id}", "/users/{name}", True),
        ("/users/{id}", "/users/{id:int}", True),
        ("/files/{*rest}", "/files", False),
        ("/{a}/{b}", "/users/{id}", False),
        ("/login", "/login", True),
    ],
)
def test_one_endpoint_lies_within_another(wide: str, narrow: str, both: bool) -> None:
    assert GuardedPath(wide).includes(GuardedPath(narrow))
    assert GuardedPath(narrow).includes(GuardedPath(wide)) is both


@pytest.mark.parametrize(("one", "other"), [("/u/{b}", "/{a}/x"), ("/users/{id}", "/{*rest}"), ("/a", "/b"), ("/a/{x}/b", "/a/{x}")])
def test_what_only_overlaps_does_not(one: str, other: str) -> None:
    assert not GuardedPath(one).includes(GuardedPath(other))


@pytest.mark.parametrize(
    ("template", "path", "exact"),
    [
        ("/users/{id}", "/users/7", True),
        ("/users/{id}", "/users/7/", False),
        ("/users/{id}", "/users/", False),
        ("/users/{id}", "/users/7/8", False),
        ("/users/{id}", "/Users/7", False),
        ("/files/{*rest}", "/files/a/b", True),
        ("/files/{*rest}", "/files", False),
        ("/login/", "/login", False),
    ],
)
def test_beyond_doubt_is_exact(template: str, path: str, exact: bool) -> None:
    assert GuardedPath(template).is_exactly(path) is exact


WORDS = ("a", "b", "api", "A", "%2F", "a%2fb", "\\", "é", "ß", "..", ".", "", " ", "\n")
PARAMETERS = ("{x}", "{*r}", "{r:path}", "<int:n>", "*s", ":y", "v{x}", "{x}.js", "a{x}b", "{x}-{y}", "a%2Fb{x}")
PIECES = st.sampled_from(WORDS + PARAMETERS)
TEMPLATES = st.lists(PIECES, max_size=5).map(lambda pieces: "/" + "/".join(pieces))
VALUES = st.one_of(st.sampled_from(WORDS), st.text(alphabet="ab/.-%2Fvjs\\é", max_size=4))


@given(
    st.lists(TEMPLATES, max_size=8), st.lists(st.one_of(PIECES, VALUES), max_size=6).map("/".join), st.lists(VALUES, min_size=1), st.data()
)
def test_an_index_finds_what_a_look_at_each_finds_in_their_order(
    templates: list[str], other: str, values: list[str], data: st.DataObject
) -> None:
    filling = cycle(values)
    filled = [PARAMETER.sub(lambda _: next(filling), template) for template in templates]
    path, raw = data.draw(st.sampled_from([other, *filled])), data.draw(st.sampled_from([None, other, *filled]))
    paths, found = [GuardedPath(template) for template in templates], readings(path, raw)
    assert PathIndex(paths).may_be(found) == [number for number, one in enumerate(paths) if one.may_be(found)]


@given(st.lists(TEMPLATES, min_size=1, max_size=3), st.lists(st.text(alphabet="ab.-1é ", min_size=1, max_size=3), min_size=8, max_size=8))
def test_what_a_path_is_exactly_it_may_be(templates: list[str], values: list[str]) -> None:
    filling = iter(values)
    path = PARAMETER.sub(lambda _: next(filling, "a"), templates[0])
    for number, one in enumerate(map(GuardedPath, templates)):
        if is_itself(path) and one.is_exactly(path):
            assert number in PathIndex(map(GuardedPath, templates)).may_be(readings(path))


def test_an_index_looks_at_few_of_many() -> None:
    looked: list[str] = []

    class Watched(GuardedPath):
        def may_be(self, found: Iterable[str]) -> bool:
            looked.append(self.path)
            return super().may_be(found)

    shapes = [
        "/api/v1/thing{n}",
        "/api/v1/thing{n}/{{id}}",
        "/{{tenant}}/thing{n}/{{id}}",
        "/api/{{*path}}/of{n}",
        "/part{n}-{{id}}",
        "/{{x}}.{n}",
    ]
    index = PathIndex(Watched(shape.format(n=n)) for n in range(200) for shape in shapes)
    for path in ("/api/v1/thing7", "/api/v1/thing7/8", "/me/thing7/x", "/api/x/y/of7", "/part7-12", "/x.7", "/api/v1/other", "/nothing"):
        looked.clear()
        index.may_be(readings(path))
        assert len(looked) <= 4, (path, looked)


SEGMENTS = st.text(alphabet="aB7.%2eF\\;\n\x00 é/", max_size=6)


@given(st.lists(SEGMENTS, max_size=5), st.lists(SEGMENTS, max_size=4))
def test_whatever_stands_for_a_parameter_is_found(values: list[str], literals: list[str]) -> None:
    pairs = list(zip(values, literals, strict=False))
    template = "".join(f"/x{literal}/{{name}}" for _, literal in pairs) or "/"
    filled = "".join(f"/x{literal}/{value}" for value, literal in pairs) or "/"
    assert may_be(template, filled)


@given(st.text(max_size=80), st.text(max_size=80) | st.none())
def test_any_text_has_readings(path: str, raw: str | None) -> None:
    found = readings(path, raw)
    assert found
    assert GuardedPath("/{*rest}").may_be(found)
    assert not (is_itself(path, raw) and "%" in path)


def test_a_long_path_of_traps_is_read_in_a_moment() -> None:
    template = GuardedPath("/a/{x}/b/{y}/c/{z}/d")
    assert not template.may_be(readings("/a" + "/b/c" * 20_000 + "/e"))
    assert template.may_be(readings("/a" + "/x/b/c" * 20_000 + "/d"))
    assert readings("/" + "%25" * 20_000)
