"""The laws of laying sources over each other, for arbitrary sources."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.config.merging import Layer, Merged, at, merge, split
from pywatt_core.config.names import KINDS

NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.one_of(st.integers(), st.booleans(), st.text(max_size=3), st.lists(st.integers(), max_size=2))
TABLES = st.recursive(
    st.dictionaries(NAMES, SCALARS, max_size=3), lambda inner: st.dictionaries(NAMES, st.one_of(SCALARS, inner), max_size=3), max_leaves=8
)
SECTIONS = st.fixed_dictionaries({}, optional={"use": st.sampled_from(["x", "y"]), "a": SCALARS, "b": SCALARS})
KIND_TABLES = st.dictionaries(st.sampled_from(["databases", "caches", "other"]), st.dictionaries(NAMES, SECTIONS, max_size=2), max_size=3)


def layered(tables: list[dict[str, Any]]) -> Merged:
    return merge(Layer(f"source {number}", table) for number, table in enumerate(tables))


def leaves(table: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found.update(leaves(value, (*path, key)))
        else:
            found[*path, key] = value
    return found


@given(TABLES)
def test_one_source_is_taken_as_it_is(table: dict[str, Any]) -> None:
    assert layered([table]).data == table


@given(st.lists(TABLES, max_size=4))
def test_the_highest_source_that_has_a_value_wins(tables: list[dict[str, Any]]) -> None:
    merged = layered(tables)
    if tables:
        for path, value in leaves(tables[-1]).items():
            assert at(merged.data, path) == value
            assert merged.origin(path) == f"source {len(tables) - 1}"


@given(st.lists(st.one_of(TABLES, KIND_TABLES), max_size=4))
def test_every_value_names_a_source_that_really_has_it(tables: list[dict[str, Any]]) -> None:
    merged = layered(tables)
    for path, value in leaves(merged.data).items():
        number = int(merged.origin(path).removeprefix("source "))
        assert at(tables[number], path) == value
        for above in tables[number + 1 :]:
            assert at(above, path) is None


@given(st.lists(TABLES, max_size=4))
def test_nothing_is_invented_and_sources_stay_as_they_were(tables: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(tables)
    merged = layered(tables)
    assert tables == before
    known = {path for table in tables for path in leaves(table)}
    assert leaves(merged.data).keys() <= known


@given(TABLES, TABLES, TABLES)
def test_a_source_that_says_nothing_changes_nothing(first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]) -> None:
    assert layered([first, {}, second, {}, third]).data == layered([first, second, third]).data
    assert layered([first, first]).data == layered([first]).data


@given(KIND_TABLES, KIND_TABLES)
def test_another_provider_leaves_nothing_of_the_options_below(below: dict[str, Any], above: dict[str, Any]) -> None:
    merged = layered([below, above]).data
    for kind in set(below) & set(above) & set(KINDS):
        for name in set(below[kind]) & set(above[kind]):
            lower, upper = below[kind][name], above[kind][name]
            if "use" in lower and "use" in upper and lower["use"] != upper["use"]:
                assert merged[kind][name] == upper
            else:
                assert merged[kind][name] == {**lower, **upper}


def test_a_section_named_after_its_provider_starts_afresh_when_another_is_used() -> None:
    merged = layered([{"channels": {"tcp": {"reconnect": "fixed"}}}, {"channels": {"tcp": {"use": "other"}}}])
    assert merged.data == {"channels": {"tcp": {"use": "other"}}}
    assert merged.origin(("channels", "tcp", "reconnect")) == "default"


def test_what_no_source_gives_is_a_default_and_elements_stand_where_their_list_stands() -> None:
    merged = layered([{"module": {"names": ["a", "b"]}}])
    assert merged.origin(("module", "names", "[1]")) == "source 0"
    assert merged.origin(split("module.names[1]")) == "source 0"
    assert merged.origin(("module", "drain")) == "default"
    assert merged.origin(("nowhere",)) == "default"


def test_a_table_replaces_a_value_and_a_value_a_table() -> None:
    assert layered([{"a": 1}, {"a": {"b": 2}}]).data == {"a": {"b": 2}}
    replaced = layered([{"a": {"b": 2}}, {"a": 1}])
    assert replaced.data == {"a": 1}
    assert ("a", "b") not in replaced.sources
