"""How bincode writes and reads each shape of value: bincode 2, standard configuration (protocol 4.5).

Little endian, integers of varying length, no tags and no names: without the type nothing can be read. `bincode` makes shapes of types.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final

ZERO_SIZED: Final = 4096
"""Elements of a list whose elements take no bytes at all: nothing else would bound a length that a peer made up."""


class Misfit(Exception):
    """A value or bytes that do not have the shape. `path` grows while it rises: ``.items[3].name``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason, self.path = reason, ""

    def within(self, place: str) -> Misfit:
        """The same, seen from one level higher."""
        self.path = place + self.path
        return self


class Source:
    """Bytes being read, and how far."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data, self.position, self.end = data, position, len(data)

    def take(self, count: int) -> bytes:
        start = self.position
        if count > self.end - start:
            raise Misfit(f"the data ends {count - (self.end - start)} bytes early")
        self.position = start + count
        return self.data[start : self.position]

    def byte(self) -> int:
        if self.position >= self.end:
            raise Misfit("the data ends 1 bytes early")
        value = self.data[self.position]
        self.position += 1
        return value

    def unsigned(self, bits: int) -> int:
        """A number of varying length that may take up to `bits` bits."""
        tag = self.byte()
        if tag < 251:
            return tag
        size = _SIZES.get(tag)
        if size is None:
            raise Misfit(f"the byte {tag:#04x} begins no number")
        if size * 8 > bits:
            raise Misfit(f"a number of {size * 8} bits where one of {bits} belongs")
        return int.from_bytes(self.take(size), "little")


_SIZES: Final = {251: 2, 252: 4, 253: 8, 254: 16}


def put_unsigned(out: bytearray, value: int) -> None:
    """Append a number of varying length."""
    if value < 251:
        out.append(value)
    elif value <= 0xFFFF:
        out += b"\xfb" + value.to_bytes(2, "little")
    elif value <= 0xFFFFFFFF:
        out += b"\xfc" + value.to_bytes(4, "little")
    elif value < 1 << 64:
        out += b"\xfd" + value.to_bytes(8, "little")
    else:
        out += b"\xfe" + value.to_bytes(16, "little")


def expect(value: object, kind: type | tuple[type, ...], noun: str) -> None:
    """Raise `Misfit` where `value` is no `kind`."""
    if not isinstance(value, kind):
        raise Misfit(f"expected {noun}, got {type(value).__name__}")


class Shape(ABC):
    """One shape. `smallest` is the least number of bytes that a value takes. Both methods raise `Misfit`."""

    smallest = 1

    @abstractmethod
    def write(self, out: bytearray, value: Any) -> None: ...

    @abstractmethod
    def read(self, source: Source) -> Any: ...


class Integer(Shape):
    def __init__(self, bits: int, *, signed: bool) -> None:
        self.bits, self.signed = bits, signed
        self.low, self.high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)

    def write(self, out: bytearray, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Misfit(f"expected a whole number, got {type(value).__name__}")
        if not self.low <= value <= self.high:
            raise Misfit(f"expected a whole number from {self.low} to {self.high}")
        if self.bits == 8:
            out.append(value & 0xFF)
        elif self.signed:
            put_unsigned(out, value << 1 if value >= 0 else -value * 2 - 1)
        else:
            put_unsigned(out, value)

    def read(self, source: Source) -> int:
        if self.bits == 8:
            value = source.byte()
            return value - 256 if self.signed and value > 127 else value
        value = source.unsigned(self.bits)
        return (value >> 1) ^ -(value & 1) if self.signed else value


class Float(Shape):
    def __init__(self, bits: int) -> None:
        self._layout = struct.Struct("<f" if bits == 32 else "<d")
        self.smallest = bits // 8

    def write(self, out: bytearray, value: Any) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Misfit(f"expected a number, got {type(value).__name__}")
        try:
            out += self._layout.pack(value)
        except (OverflowError, struct.error):
            raise Misfit(f"expected a number that fits into {self.smallest * 8} bits") from None

    def read(self, source: Source) -> float:
        value: float = self._layout.unpack(source.take(self.smallest))[0]
        return value


class Bool(Shape):
    def write(self, out: bytearray, value: Any) -> None:
        expect(value, bool, "a bool")
        out.append(value)

    def read(self, source: Source) -> bool:
        value = source.byte()
        if value > 1:
            raise Misfit(f"the byte {value:#04x} is no bool")
        return value == 1


class Text(Shape):
    def write(self, out: bytearray, value: Any) -> None:
        expect(value, str, "text")
        try:
            data = value.encode()
        except UnicodeEncodeError:
            raise Misfit("text with a lone surrogate") from None
        put_unsigned(out, len(data))
        out += data

    def read(self, source: Source) -> str:
        return _utf8(source.take(source.unsigned(64)))


class Char(Shape):
    def write(self, out: bytearray, value: Any) -> None:
        expect(value, str, "a character")
        if len(value) != 1 or "\ud800" <= value <= "\udfff":
            raise Misfit("expected exactly one character")
        out += value.encode()

    def read(self, source: Source) -> str:
        first = source.byte()
        source.position -= 1
        return _utf8(source.take(1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4))


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Misfit("text that is not UTF-8") from None


class Bytes(Shape):
    """``Vec<u8>``, or with a size ``[u8; N]``."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self.smallest = 1 if size is None else size

    def write(self, out: bytearray, value: Any) -> None:
        expect(value, (bytes, bytearray, memoryview), "bytes")
        data = bytes(value)
        if self.size is None:
            put_unsigned(out, len(data))
        elif len(data) != self.size:
            raise Misfit(f"expected {self.size} bytes, got {len(data)}")
        out += data

    def read(self, source: Source) -> bytes:
        return source.take(source.unsigned(64) if self.size is None else self.size)


class Unit(Shape):
    smallest = 0

    def write(self, out: bytearray, value: Any) -> None:
        expect(value, type(None), "None")

    def read(self, source: Source) -> None:
        return None


class Option(Shape):
    def __init__(self, inner: Shape) -> None:
        self.inner = inner

    def write(self, out: bytearray, value: Any) -> None:
        out.append(value is not None)
        if value is not None:
            self.inner.write(out, value)

    def read(self, source: Source) -> Any:
        tag = source.byte()
        if tag > 1:
            raise Misfit(f"the byte {tag:#04x} says neither that there is a value nor that there is none")
        return self.inner.read(source) if tag else None


class Items(Shape):
    """A list, set or tuple of one element type; with a size ``[T; N]``."""

    def __init__(self, element: Shape, build: Callable[[list[Any]], Any], kinds: tuple[type, ...], size: int | None = None) -> None:
        self.element, self.build, self.kinds, self.size = element, build, kinds, size
        self.smallest = 1 if size is None else size * element.smallest

    def write(self, out: bytearray, value: Any) -> None:
        expect(value, self.kinds, " or ".join(kind.__name__ for kind in self.kinds))
        if self.size is None:
            put_unsigned(out, len(value))
        elif len(value) != self.size:
            raise Misfit(f"expected {self.size} elements, got {len(value)}")
        for place, one in enumerate(value):
            try:
                self.element.write(out, one)
            except Misfit as error:
                raise error.within(f"[{place}]") from None

    def read(self, source: Source) -> Any:
        count = source.unsigned(64) if self.size is None else self.size
        check_count(count, self.element.smallest, source)
        found: list[Any] = []
        try:
            for _ in range(count):
                found.append(self.element.read(source))  # its length says where a misfit is
        except Misfit as error:
            raise error.within(f"[{len(found)}]") from None
        return built(self.build, found)


def check_count(count: int, smallest: int, source: Source) -> None:
    """Refuse a length that the rest of the data cannot hold, before anything is made of it."""
    if count * smallest > source.end - source.position:
        raise Misfit("a length over what the data holds")
    if not smallest and count > ZERO_SIZED:
        raise Misfit(f"more than {ZERO_SIZED} elements that take no bytes")


def built(build: Callable[..., Any], *arguments: Any, **members: Any) -> Any:
    """The value that a type makes; what it says against it becomes a `Misfit`, without what it quotes."""
    try:
        return build(*arguments, **members)
    except Exception as error:
        raise Misfit(f"refused ({type(error).__name__})") from error


class Map(Shape):
    def __init__(self, key: Shape, value: Shape) -> None:
        self.key, self.value = key, value

    def write(self, out: bytearray, value: Any) -> None:
        expect(value, dict, "a dict")
        put_unsigned(out, len(value))
        for place, (key, one) in enumerate(value.items()):
            try:
                self.key.write(out, key)
                self.value.write(out, one)
            except Misfit as error:
                raise error.within(f"[{place}]") from None

    def read(self, source: Source) -> dict[Any, Any]:
        count = source.unsigned(64)
        check_count(count, self.key.smallest + self.value.smallest, source)
        found: dict[Any, Any] = {}
        for place in range(count):
            try:
                key = self.key.read(source)
                found[key] = self.value.read(source)
            except Misfit as error:
                raise error.within(f"[{place}]") from None
            except TypeError:
                raise Misfit("a key that can be none").within(f"[{place}]") from None
        return found


class Record(Shape):
    """Members in order, without a length: a struct, a tuple, a fixed row of anything.

    `get` takes the members from a value; `build` makes the value of their list.
    """

    def __init__(self, kind: type, get: Callable[[Any], Sequence[Any]], build: Callable[[list[Any]], Any]) -> None:
        self.kind, self.get, self.build = kind, get, build
        self.members: list[tuple[str, Shape]] = []
        self.smallest = 0

    def write(self, out: bytearray, value: Any) -> None:
        expect(value, self.kind, self.kind.__name__)
        try:
            values = self.get(value)
        except (KeyError, AttributeError) as error:
            raise Misfit(f"the member {error.args[0] if isinstance(error, KeyError) else error.name!r} is missing") from None
        if len(values) != len(self.members):
            raise Misfit(f"expected {len(self.members)} elements, got {len(values)}")
        for (place, shape), one in zip(self.members, values, strict=True):
            try:
                shape.write(out, one)
            except Misfit as error:
                raise error.within(place) from None

    def read(self, source: Source) -> Any:
        found: list[Any] = []
        for place, shape in self.members:
            try:
                found.append(shape.read(source))
            except Misfit as error:
                raise error.within(place) from None
        return built(self.build, found)


class Variants(Shape):
    """An enum: the number of the variant, then what it holds."""

    def __init__(self) -> None:
        self.variants: list[tuple[Callable[[Any], bool], Shape]] = []
        self.noun = "a variant"

    def write(self, out: bytearray, value: Any) -> None:
        for number, (matches, shape) in enumerate(self.variants):
            if matches(value):
                put_unsigned(out, number)
                shape.write(out, value)
                return
        raise Misfit(f"expected {self.noun}, got {type(value).__name__}")

    def read(self, source: Source) -> Any:
        number = source.unsigned(32)
        if number >= len(self.variants):
            raise Misfit(f"there is no variant {number}, only {len(self.variants)} of them")
        return self.variants[number][1].read(source)


class Constant(Shape):
    """A value that takes no bytes: a member of an `enum.Enum`, whose number says all."""

    smallest = 0

    def __init__(self, value: object) -> None:
        self.value = value

    def write(self, out: bytearray, value: Any) -> None:
        return None

    def read(self, source: Source) -> Any:
        return self.value
