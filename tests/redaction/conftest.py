"""Secrets that one test registers are not hidden in the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pywatt_core.redaction import Redactor, redactor

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def fresh_redactor() -> Iterator[Redactor]:
    """The process's own redactor, empty during the test and afterwards as it was before."""
    before = dict(vars(redactor))
    vars(redactor).update(vars(Redactor()))
    yield redactor
    vars(redactor).update(before)
