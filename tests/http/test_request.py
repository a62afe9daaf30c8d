"""A request as handlers see it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.http.failures import InvalidRequest
from pywatt_core.http.request import RouterRequest


class User(msgspec.Struct):
    name: str


def test_the_uri_is_parted_and_only_the_query_is_decoded():
    request = RouterRequest("get", "/a%20b?c=d%26e&c=f+g&empty=&alone#part", {"X-A": "1"}, b"\xc3\xa9")
    assert (request.method, request.path, request.headers) == ("GET", "/a%20b", {"x-a": "1"})
    assert request.query == {"c": "f g", "empty": "", "alone": ""}
    assert request.query_list[:2] == [("c", "d&e"), ("c", "f g")]
    assert request.text() == "é"
    assert RouterRequest("GET", "/").text() == ""


def test_what_cannot_be_read_is_an_invalid_request():
    with pytest.raises(InvalidRequest, match="Request body is required"):
        RouterRequest("POST", "/").json()
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        RouterRequest("POST", "/", body=b"\xff").text()
    with pytest.raises(InvalidRequest, match=r"\$\.name"):
        RouterRequest("POST", "/", body=b'{"name":5}').json(User)
    assert RouterRequest("POST", "/", body=b'{"name":"Ann"}').json(User) == User("Ann")


@given(st.binary(max_size=300))
def test_hostile_bodies_raise_nothing_but_invalid_request(body):
    for kind in (User, dict[str, int], list):
        try:
            RouterRequest("POST", "/", body=body).json(kind)
        except InvalidRequest as error:
            assert len(str(error)) < 600


def test_a_body_does_not_show():
    assert "canary" not in repr(RouterRequest("POST", "/a?b=canary", {"authorization": "canary"}, b"canary"))
