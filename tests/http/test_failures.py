"""How requests fail: texts, statuses, and what PyWatt's own errors become."""

import pytest

from pywatt_core import errors
from pywatt_core.http.failures import HttpError, HttpIpcError, HttpTcpError, as_http

KINDS = {
    "InvalidRequest": ("Invalid request", 400),
    "NotFound": ("Not found", 404),
    "Unauthorized": ("Unauthorized", 401),
    "Forbidden": ("Forbidden", 403),
    "Timeout": ("Timeout", 408),
    "IpcCommunication": ("IPC communication error", 502),
    "Internal": ("Internal error", 500),
    "Sdk": ("SDK error", 500),
    "Json": ("JSON error", 500),
    "Io": ("I/O error", 500),
    "Other": ("Other error", 500),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_says_what_it_is(kind):
    prefix, status = KINDS[kind]
    failure = getattr(HttpError, kind)("why")
    assert (str(failure), failure.status, failure.message) == (f"{prefix}: why", status, "why")


def test_a_number_is_taken_for_seconds():
    assert str(HttpError.Timeout(5)) == "Timeout after 5s"


def test_the_names_of_the_reference_are_the_same_class():
    assert HttpIpcError is HttpTcpError is HttpError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (HttpError.NotFound("x"), HttpError.NotFound),
        (errors.Forbidden("x"), HttpError.Forbidden),
        (errors.ExpiredToken("x"), HttpError.Unauthorized),
        (errors.RequestTimeout("x"), HttpError.Timeout),
        (TimeoutError(), HttpError.Timeout),
        (errors.ChannelClosed("x"), HttpError.IpcCommunication),
        (errors.StorageError("x"), HttpError.Sdk),
        (ValueError(), HttpError.Other),
    ],
)
def test_pywatts_own_errors_keep_their_meaning(error, kind):
    assert type(as_http(error)) is kind
