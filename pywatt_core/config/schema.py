"""JSON Schema of the whole file, every installed provider's options included, for editors; and the options as documentation."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import MISSING
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .names import KINDS, OWN_OPTIONS, implied_use
from .reports import pydantic_type
from .secret_references import PREFIX
from .sections import accepts_text, is_secret_type, option_fields
from .selection import PluginSelection
from .settings import ModuleOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..interfaces import TopSection

NAME_PATTERN = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"


def json_schema(providers: Mapping[str, Mapping[str, type[Any]]], tops: Iterable[tuple[TopSection, type[Any]]] = ()) -> dict[str, Any]:
    """JSON Schema (2020-12) of ``pywatt.toml``.

    `providers` maps a kind to provider names to their options; `tops` are plugins' own sections with theirs.
    """
    definitions: dict[str, Any] = {}
    properties = {
        "module": _table(ModuleOptions, "module", definitions, "One module's own settings. Times are in seconds."),
        "plugins": _table(PluginSelection, "plugins", definitions, "Which plugins are loaded."),
    }
    for kind in KINDS:
        properties[kind] = _kind(kind, providers.get(kind, {}), definitions)
    overlays = dict(properties)
    for top, options in tops:
        table = _table(options, top.name, definitions, inspect.getdoc(options) or "")
        if top.overlays:
            table["properties"] = {**{name: schema for name, schema in overlays.items() if name != "secrets"}, **table["properties"]}
        properties[top.name] = {"type": "object", "additionalProperties": table} if top.named else table
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pywatt.toml",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _kind(kind: str, providers: Mapping[str, type[Any]], definitions: dict[str, Any]) -> dict[str, Any]:
    """Entries of one kind: what an entry may hold depends on its ``use``."""
    sections = []
    for name, options in sorted(providers.items()):
        section = _table(options, f"{kind}.{name}", definitions, inspect.getdoc(options) or "", references=True)
        own = {key: {"type": "string", "description": meaning} for key, meaning in OWN_OPTIONS.get(kind, {}).items()}
        section["properties"] = {"use": {"const": name, "description": f"The provider {name!r}."}, **own, **section["properties"]}
        if implied_use(kind, name) is None:
            section["required"] = ["use", *section.get("required", [])]
        sections.append(section)
    entry = {"anyOf": sections} if sections else {"type": "object", "required": ["use"]}
    return {"type": "object", "propertyNames": {"pattern": NAME_PATTERN}, "additionalProperties": entry}


def _table(options: type[Any], prefix: str, definitions: dict[str, Any], description: str, *, references: bool = False) -> dict[str, Any]:
    documented = option_docs(options)
    properties, required = {}, []
    for name, (field, wanted) in option_fields(options).items():
        schema = _value(wanted, prefix, definitions)
        if references and not accepts_text(wanted):
            schema = {"anyOf": [schema, {"type": "string", "pattern": f"^{PREFIX}."}]}
        if name in documented:
            schema["description"] = documented[name]
        if field.default is not MISSING and _plain(field.default) is not MISSING and not is_secret_type(wanted):
            schema["default"] = _plain(field.default)
        if field.default is MISSING and field.default_factory is MISSING:
            required.append(name)
        properties[name] = schema
    table: dict[str, Any] = {"type": "object", "description": description, "properties": properties, "additionalProperties": False}
    return {**table, "required": required} if required else table


def _value(wanted: Any, prefix: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of one type; anything where pydantic knows none for it."""
    from pydantic import TypeAdapter

    try:
        schema: dict[str, Any] = TypeAdapter(pydantic_type(wanted)).json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    except Exception:  # a type of the plugin's own that only its own code can read
        return {}
    for name, definition in schema.pop("$defs", {}).items():
        definitions[f"{prefix}.{name}"] = definition
    return schema


def _plain(value: Any) -> Any:
    """A default as JSON, `MISSING` where JSON cannot hold it."""
    import msgspec

    try:
        return msgspec.to_builtins(value, enc_hook=str)
    except (TypeError, ValueError):
        return MISSING


def option_docs(options: type[Any]) -> Mapping[str, str]:
    """Field to the docstring that stands below it in the source; nothing where there is no source."""
    found: dict[str, str] = {}
    for kind in reversed(options.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = tree.body[0].body if tree.body and isinstance(tree.body[0], ast.ClassDef) else []
        for field, below in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found[field.target.id] = inspect.cleandoc(below.value.value)
    return found


def option_table(options: type[Any]) -> list[dict[str, Any]]:
    """The options as rows for people: name, type, default (None where required), required, description."""
    documented = option_docs(options)
    rows = []
    for name, (field, wanted) in option_fields(options).items():
        required = field.default is MISSING and field.default_factory is MISSING
        default = (
            field.default if field.default is not MISSING else field.default_factory() if field.default_factory is not MISSING else None
        )
        rows.append(
            {
                "name": name,
                "type": type_name(wanted),
                "required": required,
                "default": None if is_secret_type(wanted) else _shown(default),
                "description": documented.get(name, ""),
            }
        )
    return rows


def _shown(default: Any) -> Any:
    plain = _plain(default)
    return str(default) if plain is MISSING else plain


def type_name(wanted: Any) -> str:
    """A type as a reader of documentation wants it: ``int``, ``str | None``, ``"wal" | "off"``."""
    text = wanted.__name__ if isinstance(wanted, type) and not getattr(wanted, "__args__", None) else str(wanted)
    for noise in ("typing.", "collections.abc.", "pathlib.", "pywatt_core.redaction.secret.", "pywatt_core.redaction."):
        text = text.replace(noise, "")
    if text.startswith("Literal["):
        return " | ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in wanted.__args__)
    return text
