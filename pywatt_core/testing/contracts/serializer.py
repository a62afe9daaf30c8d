"""The contract of a serializer."""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict

import msgspec
import pytest

from pywatt_core.errors import RemoteProtocolError
from pywatt_core.interfaces import Serializer

Backend: TypeAlias = AbstractAsyncContextManager[Serializer]


@dataclass
class Inner:
    number: int
    names: list[str] = field(default_factory=list)


@dataclass
class Outer:
    inner: Inner
    ratio: float = 0.5
    note: str | None = None


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Address(TypedDict):
    street: str
    number: int


PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**53,
    -(2**63),
    2**63 - 1,
    0.1,
    -1e300,
    "",
    "Grüße 😀",
    'line\nline\x00\x1f"\\',
    "\u2028",
    [],
    {},
    [[[]]],
    {"a": {"b": [1, None, "x", 2.5]}},
    [1, "1", 1.5, None, True],
]
TYPED: list[tuple[Any, Any]] = [
    (Outer, Outer(Inner(5, ["a", "ü"]), 1.25, "x")),
    (Point, Point(3, -4)),
    (Address, {"street": "Broad", "number": 7}),
    (list[Point], [Point(1), Point(2)]),
    (dict[str, Inner], {"k": Inner(1)}),
    (tuple[int, str], (1, "a")),
    (set[int], {1, 2}),
    (int | None, None),
]
WRONG: list[tuple[Any, Any, str]] = [
    (Outer, {"inner": {"number": "five"}}, "number"),
    (Outer, {"inner": {}}, "number"),
    (Outer, {}, "inner"),
    (Point, {"x": 1, "y": None}, "y"),
    (Address, {"street": "Broad", "number": "7"}, "number"),
    (list[Point], [{"x": 1}, {"x": "1"}], "x"),
    (int, "5", ""),
    (str, 5, ""),
    (bool, 1, ""),
    (list[int], {"a": 1}, ""),
]


class SerializerContract:
    """Everything that `pywatt_core.interfaces.Serializer` promises. A plugin's test file holds::

        class TestMySerializer(SerializerContract):
            @pytest.fixture
            def backend(self):
                return open_mine(Options(…), Context(module_id="test", section="serializers.mine"))

    `backend` gives an async context manager that opens the serializer.
    """

    holds_bytes = False
    """Whether bytes come back as bytes inside a value of any type."""
    holds_nan = False
    """Whether infinities and not-a-number come back."""
    prefixes_are_invalid = True
    """Whether no value's bytes begin another value's bytes, so that whatever is cut off is noticed."""

    async def test_it_has_a_name_for_its_format(self, backend: Backend) -> None:
        async with backend as serializer:
            assert serializer.format.isidentifier()
            assert serializer.format == serializer.format.lower()

    @pytest.mark.parametrize("value", PLAIN, ids=repr)
    async def test_plain_values_come_back(self, backend: Backend, value: Any) -> None:
        async with backend as serializer:
            data = serializer.encode(value)
            assert isinstance(data, bytes)
            back = serializer.decode(data, Any)
        assert back == value
        assert type(back) is type(value)

    @pytest.mark.parametrize(("kind", "value"), TYPED, ids=lambda item: getattr(item, "__name__", None))
    async def test_typed_values_come_back_as_their_type(self, backend: Backend, kind: Any, value: Any) -> None:
        async with backend as serializer:
            back = serializer.decode(serializer.encode(value), kind)
        assert back == value
        assert type(back) is type(value)

    async def test_pydantic_models_come_back(self, backend: Backend) -> None:
        pydantic = pytest.importorskip("pydantic")
        model = pydantic.create_model("Model", number=(int, ...), names=(list[str], []))
        async with backend as serializer:
            assert serializer.decode(serializer.encode(model(number=5, names=["a"])), model) == model(number=5, names=["a"])
            with pytest.raises(RemoteProtocolError, match="number"):
                serializer.decode(serializer.encode({"number": "many"}), model)

    @pytest.mark.parametrize(("kind", "value", "named"), WRONG, ids=lambda item: getattr(item, "__name__", None))
    async def test_a_value_of_another_type_is_refused_and_the_field_named(
        self, backend: Backend, kind: Any, value: Any, named: str
    ) -> None:
        async with backend as serializer:
            data = serializer.encode(value)
            with pytest.raises(RemoteProtocolError, match=named or None):
                serializer.decode(data, kind)

    async def test_a_refusal_does_not_repeat_the_value(self, backend: Backend) -> None:
        async with backend as serializer:
            with pytest.raises(RemoteProtocolError) as caught:
                serializer.decode(serializer.encode({"x": "contract-canary"}), Point)
        assert "contract-canary" not in str(caught.value)

    async def test_unknown_members_are_ignored(self, backend: Backend) -> None:
        async with backend as serializer:
            assert serializer.decode(serializer.encode({"x": 1, "added later": [1]}), Point) == Point(1)

    async def test_what_cannot_be_written_is_a_type_error(self, backend: Backend) -> None:
        async with backend as serializer:
            for value in (object(), print, [object()]):
                with pytest.raises(TypeError):
                    serializer.encode(value)

    async def test_random_bytes_are_a_value_or_a_remote_protocol_error(self, backend: Backend) -> None:
        source = random.Random(7)
        async with backend as serializer:
            for _ in range(3000):
                data = source.randbytes(source.randrange(12))
                for kind in (Any, int, Outer, dict[str, Any]):
                    _value_or_refusal(serializer, data, kind)

    async def test_damaged_bytes_are_a_value_or_a_remote_protocol_error(self, backend: Backend) -> None:
        source = random.Random(8)
        async with backend as serializer:
            whole = serializer.encode(Outer(Inner(5, ["a", "b"]), 1.5, "note"))
            for _ in range(3000):
                data = bytearray(whole)
                data[source.randrange(len(data))] = source.randrange(256)
                _value_or_refusal(serializer, bytes(data), Outer)

    async def test_what_is_cut_off_is_refused(self, backend: Backend) -> None:
        async with backend as serializer:
            whole = serializer.encode(Outer(Inner(5, ["a", "b"])))
            for end in range(len(whole)):
                if self.prefixes_are_invalid:
                    with pytest.raises(RemoteProtocolError):
                        serializer.decode(whole[:end], Outer)
                _value_or_refusal(serializer, whole[:end], Any)

    async def test_what_follows_a_value_is_refused(self, backend: Backend) -> None:
        async with backend as serializer:
            with pytest.raises(RemoteProtocolError):
                serializer.decode(serializer.encode({"x": 1}) * 2, Point)

    async def test_deep_nesting_is_refused_or_read_and_ends_nothing(self, backend: Backend) -> None:
        value: Any = []
        for _ in range(200):
            value = [value]
        async with backend as serializer:
            _value_or_refusal(serializer, serializer.encode(value), Any)
            for opening in (b"[", b"\x91", b"\x81", b'{"a":'):
                _value_or_refusal(serializer, opening * 200_000, Any)

    async def test_ten_megabytes_come_back(self, backend: Backend) -> None:
        value = {"text": "x" * (10 * 1024 * 1024), "numbers": list(range(1000))}
        async with backend as serializer:
            assert serializer.decode(serializer.encode(value), dict[str, Any]) == value

    async def test_bytes_come_back_where_that_is_promised(self, backend: Backend) -> None:
        async with backend as serializer:
            value = {"data": bytes(range(256))}
            assert serializer.decode(serializer.encode(value), dict[str, bytes]) == value
            back: Any = serializer.decode(serializer.encode(value), Any) if self.holds_bytes else value
        assert back == value

    async def test_numbers_that_are_none_come_back_where_that_is_promised(self, backend: Backend) -> None:
        async with backend as serializer:
            data = serializer.encode([float("inf"), float("-inf"), float("nan")])
            back: Any = serializer.decode(data, Any)
        assert [repr(one) for one in back] == (["inf", "-inf", "nan"] if self.holds_nan else ["None"] * 3)


def _value_or_refusal(serializer: Serializer, data: bytes, kind: Any) -> None:
    try:
        serializer.decode(data, kind)
    except RemoteProtocolError:
        return
