from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pywatt_orchestrator.ongoing import is_part, other_end
from pywatt_orchestrator.sides import Pending, Side

ID = "11111111-2222-4333-8444-555555555555"


@pytest.mark.parametrize(
    ("endpoint", "is_one"),
    [(f"__stream__/{ID}", True), (f"__stream_ack__/{ID}", True), ("__stream_open__", False), ("upload", False), (f"upload/{ID}", False)],
)
def test_parts_of_streams_name_their_request(endpoint: str, is_one: bool) -> None:
    assert is_part(endpoint) is is_one


def test_each_end_of_a_request_reaches_the_other_and_nobody_else_reaches_either() -> None:
    nobody: Any = SimpleNamespace(rust=False)
    asking, serving, other = Side(nobody), Side(nobody), Side(nobody)
    asking.asked[ID] = serving.serving[ID] = Pending(ID, asking, serving, nobody, True)
    assert other_end(asking, f"__stream__/{ID}") is serving
    assert other_end(serving, f"__stream_ack__/{ID}") is asking
    assert other_end(other, f"__stream__/{ID}") is None
    del serving.serving[ID]
    assert other_end(serving, f"__stream_ack__/{ID}") is None, "it has answered"


def test_a_module_that_streams_to_itself_is_both_ends() -> None:
    nobody: Any = SimpleNamespace(rust=False)
    both = Side(nobody)
    both.asked[ID] = both.serving[ID] = Pending(ID, both, both, nobody, True)
    assert other_end(both, f"__stream__/{ID}") is both
