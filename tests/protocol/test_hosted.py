"""Values of hosted services: what is tagged comes back as it was; what anybody may send never raises anything unforeseen."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import (
    AuthError,
    BootstrapError,
    ConfigError,
    Conflict,
    ExpiredToken,
    Forbidden,
    InvalidToken,
    NotFound,
    PyWattError,
    RemoteProtocolError,
    RequestTimeout,
    StorageError,
    Unavailable,
)
from pywatt_core.protocol.hosted import error_of, failure_of, from_base64, plain_parameter, plain_result, tagged, untagged

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | st.binary() | st.dates() | st.times() | st.timedeltas()
    | st.datetimes(timezones=st.none() | st.just(UTC)) | st.uuids() | st.decimals(allow_nan=False)
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$int", "$bytes", "$float", "$json", "$interval", "$uuid", "$date", "a"]), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(VALUES)
def test_what_is_tagged_comes_back_as_it_was_through_json(value: Any) -> None:
    there = json.loads(json.dumps(tagged(value), allow_nan=False))
    back = untagged(there)
    assert back == value
    assert type(back) is type(value)


def test_infinities_and_nan_come_back() -> None:
    assert untagged(tagged(math.inf)) == math.inf
    assert untagged(tagged(-math.inf)) == -math.inf
    assert math.isnan(untagged(tagged(math.nan)))


@given(JSON)
def test_whatever_is_sent_is_read_or_refused(value: Any) -> None:
    try:
        untagged(value)
    except RemoteProtocolError as error:
        assert len(str(error)) < 200


def test_kinds_of_known_types_travel_as_these() -> None:
    class Number(IntEnum):
        ONE = 1

    class Word(StrEnum):
        YES = "yes"

    class Day(date):
        pass

    class Moment(datetime):
        pass

    assert [tagged(Number.ONE), tagged(Word.YES)] == [1, "yes"]
    assert untagged(tagged(Day(2026, 1, 2))) == date(2026, 1, 2)
    assert untagged(tagged(Moment(2026, 1, 2, 3, tzinfo=UTC))) == datetime(2026, 1, 2, 3, tzinfo=UTC)
    assert untagged(tagged((1, b"x"))) == [1, b"x"]
    assert untagged(tagged(memoryview(b"x"))) == b"x"


@pytest.mark.parametrize("value", [object(), {1, 2}, "canary-9 \ud800", [object()], 1j])
def test_what_cannot_travel_is_refused_without_showing_it(value: Any) -> None:
    with pytest.raises(StorageError) as caught:
        tagged(value)
    assert "canary-9" not in str(caught.value)


def test_an_integer_of_a_million_digits_is_not_read() -> None:
    with pytest.raises(RemoteProtocolError):
        untagged({"$int": "9" * 1_000_000})


@given(SCALARS | st.lists(SCALARS))
def test_a_plain_parameter_is_what_json_has_or_is_refused(value: Any) -> None:
    try:
        json.dumps(plain_parameter(value), allow_nan=False)
    except StorageError:
        assert not isinstance(value, str | bytes | bool | None)


@given(VALUES)
def test_a_plain_result_is_always_json(value: Any) -> None:
    json.dumps(plain_result(value), allow_nan=False)


def test_plain_results_are_what_drivers_of_other_languages_give() -> None:
    values = [
        b"\x00\xff",
        datetime(2026, 1, 2, 3, 4, 5),
        Decimal("1.50"),
        UUID(int=1),
        math.nan,
        {"a": b"\x01"},
        time(1, 2),
        timedelta(1),
        2**70,
    ]
    assert plain_result(values) == [
        "AP8=", "2026-01-02T03:04:05", "1.50", "00000000-0000-0000-0000-000000000001", None, {"a": "AQ=="}, "01:02:00", "1 day, 0:00:00",
        str(2**70),
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", ["AP8", "AP8=\n", "ä", [256], [-1], [True], [1.5], 5, None, {}])
def test_bytes_are_base64_or_numbers(wrong: Any) -> None:
    assert from_base64("AP8=", "value") == from_base64([0, 255], "value") == b"\x00\xff"
    with pytest.raises(RemoteProtocolError, match="`value`"):
        from_base64(wrong, "value")


@pytest.mark.parametrize(
    "error",
    [
        Conflict("x", kind="unique"),
        NotFound("x"),
        Unavailable("x"),
        RequestTimeout("x"),
        Forbidden("x"),
        InvalidToken("x"),
        InvalidToken("x", reason="InvalidAudience"),
        ExpiredToken("x"),
        ExpiredToken("x", reason="ExpiredSignature"),
        AuthError("x"),
        ConfigError("x"),
        StorageError("x"),
    ],
)
def test_errors_keep_their_kind_and_text(error: PyWattError) -> None:
    back = error_of(str(error), json.loads(json.dumps(failure_of(error))))
    assert (type(back), str(back), vars(back)) == (type(error), "x", vars(error))


def test_an_error_of_a_kind_of_its_own_travels_as_what_it_is_a_kind_of() -> None:
    class Revoked(InvalidToken):
        pass

    back = error_of("x", failure_of(Revoked("x", reason="Revoked")))
    assert type(back) is InvalidToken and back.reason == "Revoked"


@pytest.mark.parametrize("reason", [5, None, ["x"], {"x": 1}])
def test_a_reason_that_is_no_text_is_none(reason: Any) -> None:
    back = error_of("x", {"kind": "invalid_token", "reason": reason})
    assert isinstance(back, InvalidToken) and back.reason == ""


def test_errors_of_other_kinds_are_storage_errors() -> None:
    assert type(error_of("x", failure_of(BootstrapError("x")))) is StorageError
    said: Any
    for said in (None, "x", {"kind": []}, {"kind": "conflict", "conflict": None}):
        assert isinstance(error_of("x", said), StorageError)
