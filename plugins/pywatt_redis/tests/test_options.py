"""The options and the hook: what configuration may say, which servers that means, and that saying it imports no backend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pywatt_core.errors import ConfigError
from pywatt_core.interfaces import Provider
from pywatt_core.redaction import Secret
from pywatt_core.registry import Registry
from pywatt_redis import Options, pywatt_register_caches
from pywatt_redis.options import Server, servers


def test_the_hook_describes_one_provider() -> None:
    (provider,) = pywatt_register_caches()
    assert isinstance(provider, Provider)
    assert provider.name == "redis"
    assert Registry().claim("caches", "redis").options is Options


def test_looking_at_the_plugin_imports_neither_redis_nor_aiocache() -> None:
    code = (
        "import sys, pywatt_redis; pywatt_redis.pywatt_register_caches();"
        " print(sorted({'redis', 'aiocache', 'hiredis', 'asyncio'} & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert seen.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"url": "redis://a", "dsn": "redis://b"}, "dsn is the same as url"),
        ({"user": "a", "username": "b"}, "user is the same as username"),
        ({"db": 1, "database": 2}, "db is the same as database"),
        ({"tls": True, "tls_enabled": True}, "tls_enabled is the same as tls"),
        ({"host": "a", "hosts": ["b"]}, "hosts and host"),
        ({"port": 0}, "port is 0"),
        ({"port": "many"}, "port"),
        ({"database": -1}, "database is -1"),
        ({"db": -1}, "db is -1"),
        ({"cluster": True, "sentinel": "main"}, "cluster and sentinel"),
        ({"default_ttl": 0}, "default_ttl"),
        ({"default_ttl": float("inf")}, "default_ttl"),
        ({"connections": 0}, "connections is 0"),
        ({"pending": 0}, "pending is 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"connect_timeout": float("nan")}, "connect_timeout is nan"),
        ({"close_timeout": -1}, "close_timeout is -1"),
        ({"client_key": "key.pem"}, "client_key needs client_cert"),
        ({"verify_server": False, "ca_cert": "ca.pem"}, "ca_cert is not looked at"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(values, Options, dec_hook=lambda kind, value: kind(value))


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        ({}, [Server("localhost", 6379)]),
        ({"host": "cache", "port": 7000, "db": 3}, [Server("cache", 7000, database=3)]),
        ({"host": "/run/redis.sock"}, [Server("/run/redis.sock", 6379)]),
        ({"url": "redis://cache"}, [Server("cache", 6379)]),
        ({"dsn": "redis://cache:7000/2"}, [Server("cache", 7000, database=2)]),
        ({"url": "redis://cache?db=4", "port": 7001}, [Server("cache", 7001, database=4)]),
        ({"url": "rediss://[::1]:7000", "user": "ada"}, [Server("::1", 7000, "ada", tls=True)]),
        ({"url": "redis://cache", "tls_enabled": True}, [Server("cache", 6379, tls=True)]),
        ({"url": "unix:///run/redis.sock?db=1"}, [Server("/run/redis.sock", 6379, database=1)]),
        ({"hosts": ["a", "b:7000"], "sentinel": "main"}, [Server("a", 26379), Server("b", 7000)]),
        ({"url": "redis://a,b:7000", "service": "main"}, [Server("a", 26379), Server("b", 7000)]),
        ({"hosts": ["a", "b:7000"], "cluster": True}, [Server("a", 6379), Server("b", 7000)]),
    ],
)
def test_the_servers_that_are_meant(values: dict[str, Any], meant: list[Server]) -> None:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    assert list(servers(Options(**values))) == meant


def test_who_logs_in_stands_in_the_url_or_beside_it() -> None:
    (server,) = servers(Options(url="redis://ada:p%40ss%2Fword@cache"))
    assert (server.username, server.password) == ("ada", Secret("p@ss/word"))
    (server,) = servers(Options(url="redis://:canary@cache"))
    assert (server.username, server.password) == ("", Secret("canary"))
    (server,) = servers(Options(url="redis://cache", password=Secret("canary"), username="ada"))
    assert (server.username, server.password) == ("ada", Secret("canary"))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"url": "redis://a", "host": "b"}, "host is set, and url says it too"),
        ({"url": "redis://a:1", "port": 2}, "port is set, and url says it too"),
        ({"dsn": "redis://u:canary@a", "password": Secret("canary")}, "password is set, and dsn says it too"),
        ({"url": "redis://u:canary@a", "user": "u"}, "user is set, and url says it too"),
        ({"url": "redis://a/1", "database": 1}, "database is set, and url says it too"),
        ({"url": "postgres://u:canary@a"}, "url has to begin with redis://, rediss:// or unix://"),
        ({"url": "canary"}, "url has to begin with"),
        ({"url": "redis://u:canary@a:port"}, "neither host nor host:port"),
        ({"url": "redis://[u:canary"}, "cannot be read"),
        ({"url": "redis://a/canary"}, "not a number"),
        ({"url": "redis://a?ssl_cert_reqs=none"}, "ssl_cert_reqs"),
        ({"hosts": ("a", "b")}, "several hosts"),
        ({"hosts": ("a:b",), "cluster": True}, "hosts names a server"),
        ({"cluster": True, "db": 1}, "a cluster has only number 0"),
        ({"cluster": True, "host": "/run/redis.sock"}, "Unix socket"),
        ({"ca_cert": Path("ca.pem")}, "ca_cert is set without tls"),
    ],
)
def test_a_contradiction_is_refused_by_its_option_and_shows_no_password(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        servers(Options(**values))
    assert "canary" not in str(caught.value)


def test_passwords_do_not_show() -> None:
    options = Options(url="redis://u:canary@a", password=Secret("canary"), sentinel_password=Secret("canary"))
    assert "canary" not in repr(options)
    (server,) = servers(Options(url="redis://u:canary@a"))
    assert "canary" not in f"{server} {server!r}"
    assert str(server) == "Redis at a:6379"
    assert str(Server("::1", 1)) == "Redis at [::1]:1"
    assert str(Server("/run/redis.sock", 1)) == "Redis at /run/redis.sock"
