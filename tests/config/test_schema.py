"""The JSON Schema of the file accepts what `load` and the providers accept, and refuses what they refuse."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any, Literal

from pywatt_core.config.schema import json_schema, option_docs, option_table
from pywatt_core.interfaces import TopSection
from pywatt_core.redaction import Secret


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class Pool:
    size: int = 5
    """How many."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """A database."""

    dsn: str
    """Where it is,
    as a URL."""
    password: Secret | None = None
    readers: int = 4
    mode: Literal["wal", "delete"] = "wal"
    colour: Colour = Colour.RED
    folder: Path = Path("data")
    pool: Pool = field(default_factory=Pool)
    more: list[Pool] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Gateway:
    port: int = 8000


@dataclass(frozen=True, kw_only=True)
class Strange:
    thing: complex = 0j


def schema() -> dict[str, Any]:
    tops = [(TopSection("gateway", "x:Gateway"), Gateway), (TopSection("modules", "x:Gateway", named=True, overlays=True), Gateway)]
    return json_schema({"databases": {"x": Options}, "secrets": {"env": Gateway}}, tops)


def test_a_provider_is_chosen_by_use_and_brings_its_options() -> None:
    (entry,) = schema()["properties"]["databases"]["additionalProperties"]["anyOf"]
    assert entry["description"] == "A database."
    assert entry["required"] == ["use", "dsn"]
    assert entry["additionalProperties"] is False
    properties = entry["properties"]
    assert properties["use"]["const"] == "x"
    assert properties["dsn"] == {"type": "string", "description": "Where it is,\nas a URL."}
    assert properties["password"]["anyOf"][0] == {"type": "string", "format": "password", "writeOnly": True}
    assert "default" not in properties["password"]
    assert properties["readers"]["anyOf"] == [{"type": "integer"}, {"type": "string", "pattern": "^secret:."}]
    assert properties["readers"]["default"] == 4
    assert properties["folder"]["default"] == "data"


def test_a_source_that_is_named_after_its_provider_needs_no_use() -> None:
    (entry,) = schema()["properties"]["secrets"]["additionalProperties"]["anyOf"]
    assert "required" not in entry


def test_options_that_the_core_reads_itself_belong_to_every_provider() -> None:
    (entry,) = json_schema({"caches": {"x": Gateway}})["properties"]["caches"]["additionalProperties"]["anyOf"]
    assert entry["properties"].keys() == {"use", "serializer", "port"}


def test_sections_of_plugins_are_described_with_the_tables_that_they_overlay() -> None:
    properties = schema()["properties"]
    assert properties["gateway"]["properties"]["port"]["type"] == "integer"
    module = properties["modules"]["additionalProperties"]["properties"]
    assert {"port", "databases", "caches", "module"} <= module.keys()
    assert "secrets" not in module


def test_nested_tables_are_defined_once_and_referred_to() -> None:
    whole = schema()
    definition = whole["$defs"]["databases.x.Pool"]
    assert definition["properties"]["size"]["type"] == "integer"
    (entry,) = whole["properties"]["databases"]["additionalProperties"]["anyOf"]
    assert entry["properties"]["more"]["anyOf"][0]["items"] == {"$ref": "#/$defs/databases.x.Pool"}
    assert entry["properties"]["pool"]["anyOf"][0]["properties"].keys() == {"size"}


def test_a_type_that_nobody_else_knows_may_be_anything() -> None:
    (entry,) = json_schema({"databases": {"x": Strange}})["properties"]["databases"]["additionalProperties"]["anyOf"]
    assert "thing" in entry["properties"]


def test_options_are_rows_for_people() -> None:
    rows = {row["name"]: row for row in option_table(Options)}
    assert rows["dsn"] == {"name": "dsn", "type": "str", "required": True, "default": None, "description": "Where it is,\nas a URL."}
    assert (rows["mode"]["type"], rows["mode"]["default"]) == ('"wal" | "delete"', "wal")
    assert (rows["password"]["type"], rows["password"]["default"]) == ("Secret | None", None)
    assert (rows["folder"]["type"], rows["folder"]["default"]) == ("Path", "data")
    assert rows["pool"]["default"] == {"size": 5}


def test_what_has_no_source_has_no_documentation() -> None:
    made: Any = make_dataclass("Made", [("a", int, 1)], frozen=True, kw_only=True)
    assert option_docs(made) == {}
