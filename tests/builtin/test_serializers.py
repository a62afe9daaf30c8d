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
