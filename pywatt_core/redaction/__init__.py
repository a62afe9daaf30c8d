"""Secrets never show: values that were registered are found in text, in every usual form, and hidden.

`register` and `redact` work on one `Redactor` that the whole process shares. `Secret` holds a value and registers it.
"""

from __future__ import annotations

from .framed import hide_broken, redact_framed
from .redactor import REPLACEMENT, Redactor, redact, redactor, register
from .secret import Secret, TypedSecret
from .stream import RedactedStream
from .urls import url_password

__all__ = [
    "REPLACEMENT",
    "RedactedStream",
    "Redactor",
    "Secret",
    "TypedSecret",
    "hide_broken",
    "redact",
    "redact_framed",
    "redactor",
    "register",
    "url_password",
]
