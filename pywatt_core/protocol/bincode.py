"""bincode, the reference's binary format, from Python types (protocol 4.5): the sender and the receiver have to have the same type.

==============================================  ==============================================================================
Python                                          Rust
==============================================  ==============================================================================
``U8`` to ``U128``, ``I8`` to ``I128``          ``u8`` to ``u128``, ``i8`` to ``i128``; ``usize`` is written like ``u64``
``int``, ``float``                              ``i64``, ``f64``; ``F32`` is ``f32``
``bool``, ``str``, ``Char``, ``bytes``          ``bool``, ``String``, ``char``, ``Vec<u8>``
``None``, ``T | None``                          ``()``, ``Option<T>``
``list[T]``, ``set[T]``, ``tuple[T, ...]``      ``Vec<T>``; ``Annotated[list[T], Length(4)]`` is ``[T; 4]``, and so with ``bytes``
``dict[K, V]``, ``tuple[A, B]``                 a map, a tuple
dataclass, Struct, named tuple, TypedDict,      a struct, its fields in the order of their definition
pydantic model
``enum.Enum``                                   an enum without fields, by the order of definition
``A | B | C`` of such classes                   an enum whose variants have fields: the order of the union counts
==============================================  ==============================================================================
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Final, NamedTuple, NotRequired, Required, TypeAlias, TypeVar, Union

import msgspec

from ..errors import LocalProtocolError
from . import bincode_shapes as shapes
from .bincode_shapes import Misfit, Record, Shape, Source
from .lenient import Unreadable
from .values import with_article

T = TypeVar("T")


class Width(NamedTuple):
    """Marks a number or a character with the Rust type that says how it is written."""

    name: str


class Length(NamedTuple):
    """Marks a list or bytes of a fixed length, which is not written."""

    size: int


U8: TypeAlias = Annotated[int, Width("u8")]
U16: TypeAlias = Annotated[int, Width("u16")]
U32: TypeAlias = Annotated[int, Width("u32")]
U64: TypeAlias = Annotated[int, Width("u64")]
U128: TypeAlias = Annotated[int, Width("u128")]
I8: TypeAlias = Annotated[int, Width("i8")]
I16: TypeAlias = Annotated[int, Width("i16")]
I32: TypeAlias = Annotated[int, Width("i32")]
I64: TypeAlias = Annotated[int, Width("i64")]
I128: TypeAlias = Annotated[int, Width("i128")]
F32: TypeAlias = Annotated[float, Width("f32")]
F64: TypeAlias = Annotated[float, Width("f64")]
Char: TypeAlias = Annotated[str, Width("char")]

_INTEGERS: Final = {
    f"{'i' if signed else 'u'}{bits}": shapes.Integer(bits, signed=signed) for signed in (False, True) for bits in (8, 16, 32, 64, 128)
}
_WIDTHS: Final[dict[str, Shape]] = {**_INTEGERS, "f32": shapes.Float(32), "f64": shapes.Float(64), "char": shapes.Char()}
_BY_BOUNDS: Final = {(shape.low, shape.high): shape for shape in _INTEGERS.values()}
_SCALARS: Final[dict[Any, Shape]] = {
    int: _WIDTHS["i64"],
    float: _WIDTHS["f64"],
    bool: shapes.Bool(),
    str: shapes.Text(),
    bytes: shapes.Bytes(),
    type(None): shapes.Unit(),
}
_ROWS: Final[dict[Any, tuple[Callable[[list[Any]], Any], tuple[type, ...]]]] = {
    list: (lambda items: items, (list, tuple)),
    Sequence: (lambda items: items, (list, tuple)),
    set: (set, (set, frozenset)),
    frozenset: (frozenset, (set, frozenset)),
    AbstractSet: (set, (set, frozenset)),
    tuple: (tuple, (tuple, list)),
}


# ── writing and reading ─────────────────────────────────────────────────────────────────────────────────────────────


def encode(value: object, type: Any = None) -> bytes:
    """`value` as a `type`, which is the value's own where it is not given.

    Raises `LocalProtocolError` that names the member that does not fit, TypeError for a type that has no form in bincode.
    """
    shape = shape_of(value.__class__ if type is None else type)
    out = bytearray()
    try:
        shape.write(out, value)
    except Misfit as error:
        raise LocalProtocolError(f"cannot be sent: {error.reason} - at `${error.path}`") from None
    except RecursionError:
        raise LocalProtocolError("cannot be sent: nested too deeply") from None
    return bytes(out)


def decode_from(data: bytes, type: type[T] | Any, position: int = 0) -> tuple[T, int]:
    """The value that begins at `position`, and where the rest begins. Raises `Unreadable` that names the member."""
    source = Source(data, position)
    return read(source, type), source.position


def decode(data: bytes, type: type[T] | Any) -> T:
    """The value at the beginning of `data`; what follows is ignored, as the reference does it. Raises what `decode_from` raises."""
    value: T = read(Source(data), type)
    return value


def read(source: Source, type: Any) -> Any:
    """Take the next value from `source`."""
    shape = shape_of(type)
    try:
        return shape.read(source)
    except Misfit as error:
        raise Unreadable(f"{error.reason} - at `${error.path}`") from None
    except RecursionError:
        raise Unreadable("nested too deeply") from None


# ── types to shapes ─────────────────────────────────────────────────────────────────────────────────────────────────


def shape_of(type: Any) -> Shape:
    """How a value of `type` is written. Raises TypeError where that cannot be told."""
    try:
        return _cached(type)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _compile(type, {})


@lru_cache(maxsize=512)
def _cached(type: Any) -> Shape:
    return _compile(type, {})


def _compile(type: Any, known: dict[Any, Record]) -> Shape:
    """`known` holds the records that are being made, so that a type may contain itself."""
    origin = typing.get_origin(type)
    if origin is Annotated:
        return _annotated(type, known)
    if origin in (Union, types.UnionType):
        return _union(typing.get_args(type), known)
    if origin is Required:
        return _compile(typing.get_args(type)[0], known)
    if (supertype := getattr(type, "__supertype__", None)) is not None:
        return _compile(supertype, known)
    if type is None:
        type = types.NoneType
    if (scalar := _SCALARS.get(type)) is not None:
        return scalar
    if origin is tuple and not (len(typing.get_args(type)) == 2 and typing.get_args(type)[1] is Ellipsis):
        return _tuple(typing.get_args(type), known)
    if origin in _ROWS:
        build, kinds = _ROWS[origin]
        return shapes.Items(_compile(typing.get_args(type)[0], known), build, kinds)
    if origin in (dict, Mapping):
        key, value = typing.get_args(type)
        return shapes.Map(_compile(key, known), _compile(value, known))
    if isinstance(type, enum.EnumMeta):
        return _enum(type)
    return _record(type, known)


def _annotated(type: Any, known: dict[Any, Record]) -> Shape:
    inner, *notes = typing.get_args(type)
    for note in notes:
        if isinstance(note, Width):
            return _WIDTHS[note.name]
        if isinstance(note, msgspec.Meta) and inner is int and (shape := _BY_BOUNDS.get((note.ge, note.le))):  # type: ignore[arg-type]
            return shape
        if isinstance(note, Length):
            if inner is bytes:
                return shapes.Bytes(note.size)
            items = _compile(inner, known)
            if isinstance(items, shapes.Items):
                return shapes.Items(items.element, items.build, items.kinds, note.size)
            raise TypeError(f"Length is for bytes and lists, not for {_name(inner)}")
    return _compile(inner, known)


def _union(arguments: Sequence[Any], known: dict[Any, Record]) -> Shape:
    chosen = [one for one in arguments if one is not types.NoneType]
    if len(chosen) == 1:
        inner = _compile(chosen[0], known)
    else:
        inner = shapes.Variants()
        inner.noun = " or ".join(map(_name, chosen))
        for one in chosen:
            if not isinstance(one, type) or typing.is_typeddict(one) or one in _SCALARS:
                raise TypeError(f"the variants of an enum are classes of their own, and {_name(one)} is none")
            inner.variants.append((_is_exactly(one), _compile(one, known)))
    return shapes.Option(inner) if len(chosen) < len(arguments) else inner


def _is_exactly(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


def _enum(kind: enum.EnumMeta) -> Shape:
    shape = shapes.Variants()
    shape.noun = with_article(kind.__name__)
    members: list[Any] = list(kind)
    for member in members:
        shape.variants.append((_is_member(member), shapes.Constant(member)))
    return shape


def _is_member(member: object) -> Callable[[Any], bool]:
    return lambda value: value is member


def _tuple(arguments: Sequence[Any], known: dict[Any, Record]) -> Shape:
    record = Record(tuple, lambda value: value, tuple)
    return _finished(record, [(f"[{place}]", one) for place, one in enumerate(arguments)], known)


def _record(kind: Any, known: dict[Any, Record]) -> Shape:
    if kind in known:
        return known[kind]
    names, get, build = _members(kind)
    hints = typing.get_type_hints(kind, include_extras=True)
    if any(typing.get_origin(one) is NotRequired for one in hints.values()) or getattr(kind, "__optional_keys__", None):
        raise TypeError(f"{kind.__name__} has members that may be missing, for which bincode has no form: give them `T | None`")
    record = known[kind] = Record(dict if typing.is_typeddict(kind) else kind, get, build)
    return _finished(record, [(f".{name}", hints[name]) for name in names], known)


def _finished(record: Record, members: list[tuple[str, Any]], known: dict[Any, Record]) -> Record:
    record.members = [(place, _compile(one, known)) for place, one in members]
    record.smallest = sum(shape.smallest for _, shape in record.members)
    return record


def _members(kind: Any) -> tuple[list[str], Callable[[Any], Sequence[Any]], Callable[[list[Any]], Any]]:
    """The names of a class's members, the function that takes them from a value, and the one that makes a value of their list."""
    if typing.is_typeddict(kind):
        names = list(kind.__annotations__)
        return names, lambda value: [value[name] for name in names], lambda items: dict(zip(names, items, strict=True))
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return list(kind._fields), lambda value: value, kind._make  # type: ignore[attr-defined]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        names = list(kind.__struct_fields__)
    elif isinstance(kind, type) and is_dataclass(kind):
        names = [one.name for one in fields(kind)]
        if any(not one.init for one in fields(kind)):
            raise TypeError(f"{kind.__name__} has members that its constructor does not take")
    elif validate := getattr(kind, "model_validate", None):
        names = list(kind.model_fields)
        return names, _getter(names), lambda items: validate(dict(zip(names, items, strict=True)))
    else:
        raise TypeError(f"bincode cannot write a {_name(kind)}: it needs a type whose members are all known")
    return names, _getter(names), lambda items: kind(**dict(zip(names, items, strict=True)))


def _getter(names: list[str]) -> Callable[[Any], Sequence[Any]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: [getattr(value, name) for name in names]


def _name(type: Any) -> str:
    return getattr(type, "__name__", None) or str(type)
