"""What the tests of this plugin share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .key_server import KeyServer, serving
from .making import Time


@pytest.fixture
def monotonic() -> Time:
    """A clock that only goes forward, and only when the test says so."""
    return Time(1000.0)


@pytest.fixture
def wall() -> Time:
    """The time of day, which stands still."""
    return Time(time.time())


@pytest.fixture
def server() -> Iterator[KeyServer]:
    """A server that publishes keys on this machine."""
    with serving() as running:
        yield running
