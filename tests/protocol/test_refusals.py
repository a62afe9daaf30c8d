"""Malformed requests are refused where they say whom the refusal is for."""

from __future__ import annotations

from typing import Any

import pytest

from pywatt_core.protocol.lenient import Unreadable
from pywatt_core.protocol.messages import (
    HttpResponse,
    HttpResponseStart,
    Message,
    PortResponse,
    ServiceOperationResult,
    ServiceResponse,
    ServiceType,
)
from pywatt_core.protocol.refusals import refusal_of

WHY = "Expected `str`"


@pytest.mark.parametrize(
    ("op", "members", "refusal"),
    [
        (
            "http_request",
            {"request_id": "r"},
            HttpResponse("r", 400, {"content-type": "text/plain; charset=utf-8"}, b"unreadable request: Expected `str`"),
        ),
        (
            "http_stream_request",
            {"request_id": "r", "headers": 5},
            HttpResponseStart("r", 400, [("content-type", "text/plain; charset=utf-8")], b"unreadable request: Expected `str`"),
        ),
        ("port_request", {"request_id": "r", "specific_port": -1}, PortResponse("r", False, 0, WHY)),
        ("service_request", {"id": "r", "service_type": "cache"}, ServiceResponse("r", ServiceType.CACHE, False, WHY)),
        (
            "service_operation",
            {"connection_id": "c", "request_id": "1", "operation": 5},
            ServiceOperationResult(
                False,
                None,
                WHY,
                {"connection_id": "c", "service_type": None, "operation": 5, "params": None},
                connection_id="c",
                request_id="1",
            ),
        ),
        ("http_request", {}, None),
        ("http_request", {"request_id": 5}, None),
        ("service_request", {"id": "r", "service_type": "zz"}, None),
        ("service_operation", {"request_id": "1"}, None),
        ("get_secret", {"name": 5}, None),
        ("", {}, None),
    ],
)
def test_a_malformed_request_is_refused_where_it_says_who_asks(op: str, members: dict[str, Any], refusal: Message | None) -> None:
    assert refusal_of(Unreadable(WHY, op=op, members=members)) == refusal


def test_an_unknown_request_is_not_refused() -> None:
    assert refusal_of(Unreadable(WHY, kind="unknown", op="http_request", members={"request_id": "r"})) is None
