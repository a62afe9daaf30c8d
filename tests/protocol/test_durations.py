from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.protocol.durations import Duration


def test_a_duration_is_written_in_whole_seconds_and_nanoseconds() -> None:
    assert msgspec.json.encode(Duration.of(1.5)) == b'{"secs":1,"nanos":500000000}'
    assert Duration.of(0.9999999999) == Duration(1, 0)
    assert Duration(2, 250_000_000).seconds == 2.25


@given(st.floats(0, 1e6))
def test_seconds_come_back_to_the_nanosecond(seconds: float) -> None:
    assert abs(Duration.of(seconds).seconds - seconds) <= 1e-9


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_what_is_no_length_of_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="a duration is 0 seconds or more"):
        Duration.of(seconds)


@pytest.mark.parametrize("text", [b'{"secs":-1,"nanos":0}', b'{"secs":1,"nanos":1000000000}', b'{"nanos":0}', b"1.5"])
def test_other_spellings_are_refused(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Duration)
