"""Values of people's own types to plain ones and back: dataclasses, msgspec Structs, TypedDicts, named tuples, pydantic models.

pydantic is never imported here: its types bring everything along, and a module that uses none does not pay for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import msgspec

from ..errors import LocalProtocolError, ProtocolError
from .lenient import Unreadable, read_value, safe_text
from .values import ServiceType, with_article

T = TypeVar("T")
Reader: TypeAlias = Callable[[Any], Any]
"""Makes a value of what a format's decoder reads."""


def validator_of(kind: object) -> Any:
    """The compiled validator that pydantic models and pydantic dataclasses carry; None for every other type."""
    return getattr(kind, "__pydantic_validator__", None) if isinstance(kind, type) else None


def _pydantic_text(error: Exception, shape: str = "{why} - at `$.{where}`") -> str:
    """Which fields do not fit, and why; without the values, and without what a validator of the user's says about them."""
    places = getattr(error, "errors", None)
    if places is None:
        return "refused"
    shown = []
    for one in places(include_url=False, include_context=False, include_input=False):
        where = ".".join(map(str, one["loc"]))
        why = "refused" if one["type"] in ("value_error", "assertion_error") else one["msg"]
        shown.append(shape.format(why=why, where=where) if where else why)
    return "; ".join(shown)


def _dumped(value: object, mode: str) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode=mode)
    if isinstance(value, ServiceType):
        return value.wire
    if type(value).__module__.partition(".")[0] in ("pydantic", "pydantic_core"):  # its own kinds of value: URLs, and secrets as asterisks
        return str(value)
    raise TypeError(f"{with_article(type(value).__name__)} cannot be sent")


def dumped_for_json(value: object) -> Any:
    """msgspec's hook for JSON. Raises TypeError for what cannot be written."""
    return _dumped(value, "json")


def dumped_for_binary(value: object) -> Any:
    """msgspec's hook for formats that hold byte strings. Raises TypeError for what cannot be written."""
    return _dumped(value, "python")


def built(kind: type[Any], value: Any) -> Any:
    """msgspec's hook for types that it does not know. Raises ValueError, which msgspec completes with the path, or NotImplementedError."""
    validator = validator_of(kind)
    if validator is None:
        if kind is ServiceType:
            return read_value(kind, value)
        raise NotImplementedError(
            f"no way to read {with_article(kind.__name__)}: use a dataclass, a msgspec Struct, a TypedDict or a pydantic model"
        )
    try:
        return validator.validate_python(value)
    except ValueError as error:  # pydantic's ValidationError is one; msgspec completes ours with the path
        raise ValueError(_pydantic_text(error, "{where}: {why}")) from None


def plain(value: object) -> Any:
    """`value` in the plain types that every binary format holds; byte strings stay byte strings.

    Raises TypeError or ValueError for what has no such form.
    """
    return msgspec.to_builtins(value, builtin_types=(bytes, bytearray, memoryview), str_keys=True, enc_hook=dumped_for_binary)


def from_plain(value: Any, type: type[T] | Any) -> T:
    """What `plain` made of a value of `type`. Raises what msgspec and pydantic raise: see `guarded_reader`."""
    found: T = value
    if type is not Any:
        validator = validator_of(type)
        found = msgspec.convert(value, type, dec_hook=built, str_keys=True) if validator is None else validator.validate_python(value)
    return found


def guarded_reader(read: Reader) -> Reader:
    """`read`, which then raises nothing but `Unreadable`, and `LocalProtocolError` for a type that can never be read."""

    def read_guarded(data: Any) -> Any:
        try:
            return read(data)
        except ProtocolError:
            raise
        except NotImplementedError as error:  # nobody's data is wrong: the type is
            raise LocalProtocolError(str(error)) from None
        except Exception as error:  # a type's own checks may raise anything at all
            raise Unreadable(_pydantic_text(error) if type(error).__module__.startswith("pydantic") else safe_text(error)) from None

    return read_guarded
