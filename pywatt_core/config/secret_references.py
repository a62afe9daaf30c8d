"""``secret:NAME`` in place of a value: found, counted, and replaced by the value just before it is needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import SecretNotFound
from .merging import Text

if TYPE_CHECKING:
    from .settings import Section, Settings

PREFIX = "secret:"


def reference(value: object) -> str | None:
    """The secret's name where `value` is a reference, else None."""
    return value[len(PREFIX) :].strip() if isinstance(value, str) and value.startswith(PREFIX) else None


def references(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every reference inside a value: its dotted path and the secret's name."""
    name = reference(value)
    if name is not None:
        yield path, name
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from references(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from references(inner, f"{path}[{index}]")


def settings_references(settings: Settings) -> dict[str, str]:
    """All references of a configuration, by path."""
    return dict(references(settings.merged.data))


async def resolve(section: Section, get: Callable[[str], Awaitable[str | None]]) -> Section:
    """The section with every reference replaced by what `get` answers; each value is registered for redaction first.

    `get` answers None, or raises `SecretNotFound`, where there is no such secret. Raises `SecretNotFound` that names
    every secret nobody knows and where it is wanted; other errors of `get` pass.
    """
    from ..redaction import register

    values: dict[str, str] = {}
    missing: dict[str, str] = {}
    for path, name in references(section.options):
        if name in values or name in missing:
            continue
        try:
            value = await get(name)
            reason = f"no secret source knows {name!r}"
        except SecretNotFound as error:
            value, reason = None, str(error)
        if value is None:
            missing[name] = f"{section.path}.{path} ({section.origin(path)}): {reason}"
        else:
            register(value, name=name)
            values[name] = value
    if missing:
        raise SecretNotFound("; ".join(missing.values()))
    from msgspec.structs import replace

    return replace(section, options=_filled(section.options, values)) if values else section


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    name = reference(value)
    if name is not None:
        return Text(values[name])
    if isinstance(value, Mapping):
        return {key: _filled(inner, values) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(inner, values) for inner in value]
    return value
