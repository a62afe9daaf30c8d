"""Rows as the caller's own types."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import msgspec
import pytest

from pywatt_core.errors import StorageError
from pywatt_core.interfaces import Row
from pywatt_core.sql.rows import converted, refuse_twice, twice


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Item:
    id: int
    name: str
    sold: bool = False


class ItemStruct(msgspec.Struct):
    id: int
    colour: Colour | None = None


class ItemDict(TypedDict):
    id: int
    sold: NotRequired[bool]


def test_rows_become_dataclasses_structs_and_typed_dicts() -> None:
    rows = [Row(id=1, name="lamp", sold=True), Row(id=2, name="desk")]
    assert converted(rows, Item) == [Item(1, "lamp", True), Item(2, "desk")]
    assert converted([Row(id=1, colour="red")], ItemStruct) == [ItemStruct(1, Colour.RED)]
    assert converted([Row(id=1, sold=False)], ItemDict) == [{"id": 1, "sold": False}]
    assert converted([], Item) == []


def test_numbers_are_truth_values_only_where_the_database_has_no_others() -> None:
    assert converted([Row(id=1, name="a", sold=1)], Item, numeric_truth=True) == [Item(1, "a", True)]
    with pytest.raises(StorageError, match="column 'sold' of row 1"):
        converted([Row(id=1, name="a", sold=1)], Item)
    with pytest.raises(StorageError, match="column 'sold' of row 1"):
        converted([Row(id=1, name="a", sold=2)], Item, numeric_truth=True)


def test_what_does_not_fit_is_named_by_row_and_column() -> None:
    with pytest.raises(StorageError, match=r"does not fit Item: .* column 'name' of row 2"):
        converted([Row(id=1, name="a"), Row(id=2, name=3)], Item)
    with pytest.raises(StorageError, match=r"column 'name' is missing .* row 1"):
        converted([Row(id=1)], Item)


def test_a_value_is_never_shown() -> None:
    with pytest.raises(StorageError, match=r"a value that it does not list .* column 'colour' of row 1") as caught:
        converted([Row(id=1, colour="canary-5512 - at it again")], ItemStruct)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("into", [int, dict, list[int], "Item"])
def test_rows_become_only_types_with_fields(into: type) -> None:
    with pytest.raises(StorageError, match="a dataclass, a msgspec Struct or a TypedDict"):
        converted([Row(id=1)], into)


def test_two_columns_of_one_name_are_seen() -> None:
    assert twice(["a", "b", "a", "b"]) == "a"
    assert twice(["a", "b"]) is None
    refuse_twice([])
    with pytest.raises(StorageError, match="two columns are called 'b'.* AS"):
        refuse_twice(["a", "b", "b"])
