"""Values of the application's own types in a cache that keeps bytes."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.builtin.memory_cache import MemoryCache
from pywatt_core.builtin.memory_options import MemoryOptions
from pywatt_core.builtin.serializers import JsonSerializer
from pywatt_core.builtin.typed_cache import TypedCache
from pywatt_core.config import Section
from pywatt_core.errors import StorageError
from pywatt_core.registry import Registry

if TYPE_CHECKING:
    from pywatt_core.interfaces import Serializer


@dataclass
class Order:
    id: int
    items: list[str]
    data: bytes = b""


ORDER = Order(7, ["tea", "Grüße"], b"\x00\xff")


def typed(serializer: Serializer | None = None) -> TypedCache:
    return TypedCache(MemoryCache(MemoryOptions()), serializer or JsonSerializer())


@pytest.mark.parametrize("name", ["json", "msgpack", "cbor"])
async def test_values_come_back_with_each_serializer(name: str) -> None:
    async with Registry().open("serializers", Section(name, {}, f"serializers.{name}")) as serializer:
        cache = typed(serializer)
        await cache.set("order", ORDER)
        assert await cache.get("order", Order) == ORDER
        assert (await cache.get("order"))["items"] == ORDER.items
        assert await cache.cache.get("order") == serializer.encode(ORDER)


async def test_every_operation_on_values() -> None:
    cache = typed()
    assert await cache.get("nothing", Order) is None
    assert await cache.get_set("order", ORDER, Order) is None
    assert await cache.set_nx("order", Order(8, [])) is False
    assert await cache.set_nx("other", Order(8, []), ttl=60) is True
    assert 0 < (await cache.cache.ttl("other") or 0) <= 60
    assert await cache.get_many(["order", "other", "nothing"], Order) == {"order": ORDER, "other": Order(8, [])}
    assert await cache.get_set("order", Order(9, []), Order) == ORDER
    await cache.set_many({"a": 1, "b": [2]}, ttl=60)
    assert await cache.get_many(["a", "b"]) == {"a": 1, "b": [2]}
    assert 0 < (await cache.cache.ttl("b") or 0) <= 60


async def test_what_does_not_fit_is_an_error_that_names_key_and_field_and_never_the_value() -> None:
    cache = typed()
    await cache.set("order", {"id": "the-secret-value", "items": []})
    for reading in (cache.get("order", Order), cache.get_many(["order"], Order), cache.get_set("order", ORDER, Order)):
        with pytest.raises(StorageError, match=r"the value cached under 'order' cannot be read: .*id") as caught:
            await reading
        assert "the-secret-value" not in str(caught.value)
    await cache.cache.set("order", b"\xff no JSON")
    with pytest.raises(StorageError, match="'order' cannot be read"):
        await cache.get("order")


async def test_what_cannot_be_stored_is_refused_before_anything_is() -> None:
    cache = typed()
    with pytest.raises(StorageError, match="the value for 'b' cannot be cached"):
        await cache.set_many({"a": 1, "b": object()})
    assert await cache.get("a") is None


async def test_one_of_many_computes_a_value() -> None:
    cache = typed()
    calls = 0

    async def load() -> Order:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return ORDER

    assert await asyncio.gather(*[cache.get_or_set("order", load, Order, ttl=60) for _ in range(20)]) == [ORDER] * 20
    assert calls == 1
    assert 0 < (await cache.cache.ttl("order") or 0) <= 60

    def plain() -> dict[str, Any]:
        return {"thread": threading.get_ident()}

    assert (await cache.get_or_set("plain", plain))["thread"] != threading.get_ident()
    with pytest.raises(StorageError, match="'wrong' cannot be cached"):
        await cache.get_or_set("wrong", object)
