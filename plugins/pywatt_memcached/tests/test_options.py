"""The options, and every way to say where the server is."""

from __future__ import annotations

import msgspec
import pytest

from pywatt_memcached import Options


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ({}, ("127.0.0.1", 11211)),
        ({"host": "cache.internal", "port": 11212}, ("cache.internal", 11212)),
        ({"url": "memcached://cache.internal"}, ("cache.internal", 11211)),
        ({"url": "memcached://cache.internal:1/"}, ("cache.internal", 1)),
        ({"url": "memcached://[::1]:11212"}, ("::1", 11212)),
        ({"hosts": ["cache.internal"]}, ("cache.internal", 11211)),
        ({"hosts": ["cache.internal:11212"]}, ("cache.internal", 11212)),
    ],
)
def test_where_the_server_is(values: dict[str, object], address: tuple[str, int]) -> None:
    assert msgspec.convert(values, Options).address == address


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"url": "redis://cache"}, "url is not of the form memcached://host:port"),
        ({"url": "memcached://user:the-secret-value@cache"}, "url is not of the form"),
        ({"url": "memcached://cache:no"}, "url is not of the form"),
        ({"url": "memcached://"}, "url is not of the form"),
        ({"url": "memcached://a", "hosts": ["b"]}, "hosts is given beside url"),
        ({"hosts": ["a", "b"]}, "hosts names several servers"),
        ({"hosts": ["a/b"]}, "hosts is not of the form host:port"),
        ({"port": 0}, "port is 0"),
        ({"host": ""}, "host ''"),
        ({"namespace": "a b"}, "namespace has spaces"),
        ({"namespace": "a" * 101}, "namespace has"),
        ({"default_ttl": 0}, "default_ttl"),
        ({"max_value_bytes": 0}, "max_value_bytes"),
        ({"max_connections": 0}, "max_connections"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"operation_timeout": float("inf")}, "operation_timeout"),
        ({"acquire_timeout": -1}, "acquire_timeout"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint) as caught:
        msgspec.convert(values, Options)
    assert "the-secret-value" not in str(caught.value)
