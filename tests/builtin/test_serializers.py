"""JSON keeps the contract of a serializer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pywatt_core.builtin.serializers import JsonOptions, open_json
from pywatt_core.interfaces import Context
from pywatt_core.testing.contracts import SerializerContract

if TYPE_CHECKING:
    from pywatt_core.testing.contracts.serializer import Backend


class TestJson(SerializerContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return open_json(JsonOptions(), Context(module_id="test", section="serializers.json"))


async def test_more_values_than_are_read_are_not_written() -> None:
    async with open_json(JsonOptions(), Context(module_id="test", section="serializers.json")) as json:
        with pytest.raises(TypeError, match="JSON cannot hold this list: more than 500000 values"):
            json.encode([[]] * 2**20)
        assert json.decode(json.encode([0.5] * 1_000_000), list[float])[-1] == 0.5
