"""Raw tables against the options that a dataclass declares: one way for the core's sections and everybody else's.

msgspec checks and builds on the fast path. Only where it refuses, or where a value is text from the environment that it
cannot read, pydantic is imported: it reports every fault of a section at once.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union

from ..errors import PluginError
from .merging import Text
from .problems import Problem, suggestion
from .secret_references import PREFIX, references

T = TypeVar("T")

Origin = Callable[[str], str]
"""Says for a dotted path where its value comes from."""


def check_section(
    mapping: Mapping[str, Any], options: type[T], path: str, origin: Origin = lambda path: "", *, ignore: Collection[str] = ()
) -> tuple[T | None, list[Problem]]:
    """Check a raw table against a dataclass of options; return the instance, or None and every problem found.

    `path` is the table's dotted place, `origin` gives the source of a dotted path (`Settings.origin`), `ignore` names
    keys that belong to somebody else. A table whose values still hold ``secret:NAME`` references is checked as far as it
    can be: no instance, and no problem if the rest is right. Raises `PluginError` where the dataclass itself is unusable.

    What ``__post_init__`` refuses with a `ValueError` is told as the problem of the option whose name the text begins with.
    """
    declared = option_fields(options)
    problems = [_unknown(key, declared, path, origin) for key in mapping if key not in declared and key not in ignore]
    values, pending = {}, set()
    for name in declared.keys() & mapping.keys():
        values[name] = read_text(mapping[name], declared[name][1])
        problems += _unknown_inside(mapping[name], declared[name][1], f"{path}.{name}", origin)
        for where, secret in references(mapping[name], f"{path}.{name}"):
            pending.add(name)
            if not secret:
                problems.append(Problem(where, "refers to a secret without a name", origin(f"{path}.{name}"), f'Write "{PREFIX}NAME"'))
    missing = [name for name, (one, _) in declared.items() if name not in mapping and _is_required(one)]
    problems += [Problem(path, f"the option {name!r} is missing", origin(path), f"Add {name} = … to [{path}]") for name in missing]
    if not problems and not pending:
        instance = _instance(values, options)
        if not isinstance(instance, str):
            return instance, []
    found, wrong = _each(values, pending, declared, path, origin)
    sound = {name: value for name, value in values.items() if name not in wrong}
    if not pending and not any(_is_required(one) for name, (one, _) in declared.items() if name not in sound):
        found += _refused(sound, wrong, options, declared, path, origin)
    return None, problems + found


_fields_of: dict[type[Any], dict[str, tuple[Field[Any], Any]]] = {}


def option_fields(options: type[Any]) -> dict[str, tuple[Field[Any], Any]]:
    """Name to (field, resolved type) of a dataclass of options, private and computed fields left out.

    Raises `PluginError` where it is no dataclass, or names a type that cannot be found.
    """
    known = _fields_of.get(options)
    if known is not None:
        return known
    if not (isinstance(options, type) and is_dataclass(options)):
        raise PluginError(f"options have to be a dataclass, not {options!r}")
    try:
        hints = typing.get_type_hints(options, include_extras=True)
    except Exception as error:
        raise PluginError(f"the types of {options.__module__}.{options.__qualname__} cannot be read: {error}") from error
    found = {one.name: (one, hints[one.name]) for one in fields(options) if one.init and not one.name.startswith("_")}
    _fields_of[options] = found
    return found


def _unknown(key: str, declared: Mapping[str, Any], path: str, origin: Origin) -> Problem:
    return Problem(f"{path}.{key}", "unknown option", origin(f"{path}.{key}"), suggestion(key, declared, "options"))


def _unknown_inside(value: Any, wanted: Any, path: str, origin: Origin) -> Iterator[Problem]:
    """Keys of nested tables that their options do not have."""
    if isinstance(value, Mapping):
        kinds = [one for one in members(wanted) if isinstance(one, type) and is_dataclass(one)]
        declared = option_fields(kinds[0]) if len(kinds) == 1 else value
        for key, inner in value.items():
            if key not in declared:
                yield _unknown(key, declared, path, origin)
            yield from _unknown_inside(inner, _inner(wanted, key), f"{path}.{key}", origin)
    elif isinstance(value, list):
        for inner in value:
            yield from _unknown_inside(inner, _inner(wanted, None), path, origin)


def _instance(values: Mapping[str, Any], options: type[T]) -> T | str:
    """The options, or msgspec's word on why not."""
    import msgspec

    try:
        return msgspec.convert(values, options, dec_hook=from_raw)
    except msgspec.ValidationError as error:
        return str(error)


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _each(
    values: Mapping[str, Any], pending: Collection[str], declared: Mapping[str, tuple[Field[Any], Any]], path: str, origin: Origin
) -> tuple[list[Problem], AbstractSet[str]]:
    """Check field by field, so that one fault does not hide the next, and name the wrong; what waits for a secret is left out."""
    import msgspec

    wrong = {}
    for name, value in values.items():
        if name in pending:
            continue
        try:
            msgspec.convert(value, declared[name][1], dec_hook=from_raw)
        except msgspec.ValidationError as error:
            wrong[name] = str(error)
    if not wrong:
        return [], set()
    from .reports import full_report

    problems = []
    for name, text in wrong.items():
        here = f"{path}.{name}"
        problems += full_report(values[name], declared[name][1], here, origin) or [_problem(text, here, origin)]
    return problems, wrong.keys()


def _refused(
    sound: Mapping[str, Any],
    wrong: AbstractSet[str],
    options: type[Any],
    declared: Mapping[str, tuple[Field[Any], Any]],
    path: str,
    origin: Origin,
) -> list[Problem]:
    """What ``__post_init__`` says, which tells one fault at a time: the option that it names is left out to hear of the next.

    A text that speaks of an option in `wrong` says nothing new: the default stands in for it.
    Nor does one about the section as a whole once an option is left out: what it misses may be that one.
    """
    left = dict(sound)
    problems: list[Problem] = []
    while isinstance(text := _instance(left, options), str):
        name = text.partition(" ")[0]
        if not wrong.isdisjoint(re.findall(r"\w+", text)):
            break
        if name not in left or " - at `$" in text:  # of the section as a whole, or of a table inside it
            if not problems:
                problems.append(_problem(text, path, origin))
            break
        problems.append(_problem(text, f"{path}.{name}", origin))
        if _is_required(declared[name][0]):
            break
        del left[name]
    return problems


def _problem(text: str, path: str, origin: Origin) -> Problem:
    """A problem from what msgspec says, its ``- at `$.a[0]` `` moved into the path."""
    from ..redaction import redact

    message, separator, place = text.partition(" - at `$")
    path += place.rstrip("`") if separator else ""
    return Problem(path, redact(message[:1].lower() + message[1:]), origin(path))


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def from_raw(wanted: type[Any], value: object) -> Any:
    """Types that options use and configuration files do not have: paths and secrets."""
    from ..redaction import Secret

    kind = typing.get_origin(wanted) or wanted
    if kind is Secret:
        if not isinstance(value, str):
            raise TypeError(f"Expected text, got `{type(value).__name__}`")
        return Secret(str(value))
    if isinstance(kind, type) and issubclass(kind, Path):
        if not isinstance(value, str):
            raise TypeError(f"Expected a path, got `{type(value).__name__}`")
        return Path(value)
    raise NotImplementedError(f"options cannot be of type {wanted!r}")


def read_text(value: Any, wanted: Any) -> Any:
    """A `Text` as the type that its option has; everything else, and what cannot be read, stays as it is."""
    if isinstance(value, Mapping):
        return {key: read_text(inner, _inner(wanted, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [read_text(inner, _inner(wanted, None)) for inner in value]
    if not isinstance(value, Text) or accepts_text(wanted):
        return str(value) if isinstance(value, Text) else value
    import msgspec

    try:
        # The outcome is discarded where it is an object: what is built from raw values is built in one place.
        read = msgspec.convert(str(value), wanted, strict=False, dec_hook=from_raw)
        return read if isinstance(read, bool | int | float | type(None)) else str(value)
    except (msgspec.ValidationError, NotImplementedError, TypeError):
        from .reports import read_loosely

        return read_loosely(str(value), wanted)


def accepts_text(wanted: Any) -> bool:
    """Whether an option of this type takes text as it stands, so that ``"5"`` is not to be read as a number."""
    from ..redaction import Secret

    if wanted is Any:
        return False
    return any(member is str or member is Secret or _is_path(member) for member in members(wanted))


def members(wanted: Any) -> list[Any]:
    """The members of a union, aliases and `Annotated` unwrapped; a type that is no union is its only member."""
    if typing.get_origin(wanted) is typing.Annotated:
        return members(typing.get_args(wanted)[0])
    if typing.get_origin(wanted) in (Union, types.UnionType):
        return [member for one in typing.get_args(wanted) for member in members(one)]
    return [typing.get_origin(wanted) or wanted if not typing.get_args(wanted) else wanted]


def is_secret_type(wanted: Any) -> bool:
    """Whether values of this type are secret whatever their source; a list of secrets is secret."""
    from ..redaction import Secret

    return Secret in inner_types(wanted)


def inner_types(wanted: Any) -> list[Any]:
    """Every type that a type is made of: ``list[Secret] | None`` is made of Secret and None."""
    arguments = [one for one in typing.get_args(wanted) if one is not Ellipsis]
    if typing.get_origin(wanted) is typing.Annotated:
        arguments = arguments[:1]
    return [inner for one in arguments for inner in inner_types(one)] if arguments else [wanted]


def secret_options(options: type[Any], path: str) -> dict[str, bool]:
    """For every option of a dataclass, those of nested tables included: its dotted path and whether its value is secret."""
    paths: dict[str, bool] = {}
    for name, (_, wanted) in option_fields(options).items():
        here = f"{path}.{name}"
        paths[here] = is_secret_type(wanted)
        for inner in inner_types(wanted):
            if isinstance(inner, type) and is_dataclass(inner) and inner is not options:
                paths.update(secret_options(inner, here))
    return paths


def known_secret(paths: Mapping[str, bool], here: str) -> bool | None:
    """What `secret_options` tells of the value at a path, None where it does not know; in a table of secrets everything is secret."""
    if here in paths:
        return paths[here]
    table = here.rpartition(".")[0]
    return True if table and known_secret(paths, table) else None


def _is_path(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, Path)


def _inner(wanted: Any, key: str | None) -> Any:
    """The type of what stands inside a table or list of type `wanted`."""
    for member in members(wanted):
        if isinstance(member, type) and is_dataclass(member):
            declared = option_fields(member)
            return declared[key][1] if key in declared else Any
        arguments = typing.get_args(member)
        if arguments:
            return arguments[-1] if key is not None or arguments[-1] is not Ellipsis else arguments[0]
    return Any
