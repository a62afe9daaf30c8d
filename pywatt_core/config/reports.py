"""The only file that imports pydantic for checking: every fault of a value at once, and text read the lenient way."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Union

from .problems import Problem
from .sections import Origin, members


def full_report(value: object, wanted: Any, path: str, origin: Origin) -> list[Problem]:
    """Everything that is wrong with `value` as a `wanted`; empty where pydantic finds nothing, or does not know the type.

    Messages say what is expected and never repeat the value, which may be a secret.
    """
    import msgspec
    from pydantic import ValidationError

    adapter = _adapter(wanted)
    if adapter is None:
        return []
    try:
        # As JSON, because then "strict" refuses 5 as text and still takes a table for a dataclass and a list for a tuple.
        adapter.validate_json(msgspec.json.encode(value, enc_hook=str), strict=True)
    except ValidationError as error:
        problems: dict[str, Problem] = {}
        for one in error.errors(include_input=False, include_url=False, include_context=False):
            here = path + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in one["loc"] if _is_key(part))
            message = one["msg"][:1].lower() + one["msg"][1:]
            problems.setdefault(here, Problem(here, message.replace("input should", "the value should"), origin(here)))
        return list(problems.values())
    except Exception:  # a type that pydantic cannot judge: the caller has msgspec's word
        return []
    return []


def read_loosely(text: str, wanted: Any) -> Any:
    """Text from the environment as pydantic reads it (``yes``, ``1.5``, JSON for tables and lists); unreadable text stays text."""
    from pydantic import ValidationError

    try:
        decoded = json.loads(text)
    except ValueError:
        decoded = text
    if isinstance(decoded, dict | list) or wanted is Any:
        return decoded
    adapter = _adapter(wanted)
    if adapter is None:
        return text
    try:
        read = adapter.validate_strings(text)
    except ValidationError:
        return text
    return read if isinstance(read, bool | int | float | type(None)) else text


def pydantic_type(wanted: Any) -> Any:
    """`wanted` with paths as what a configuration file holds for them: text. Secrets know pydantic themselves."""
    from pydantic import Field, StringConstraints

    if isinstance(wanted, type) and issubclass(wanted, Path):
        return Annotated[str, StringConstraints(strict=True), Field(json_schema_extra={"format": "path"})]
    if len(members(wanted)) > 1:
        return Union[tuple(pydantic_type(member) for member in members(wanted))]  # noqa: UP007 - built from a tuple
    return wanted


@lru_cache(maxsize=256)
def _adapter(wanted: Any) -> Any:
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(pydantic_type(wanted))
    except Exception:  # plugins may declare types that pydantic has no schema for; msgspec judges those
        return None


def _is_key(part: object) -> bool:
    """False for the names that pydantic puts between keys, such as the member of a union that it tried."""
    return isinstance(part, int) or (isinstance(part, str) and part.isidentifier() and part not in {"str", "int", "float", "bool", "none"})
