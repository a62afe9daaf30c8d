"""Addresses from URLs and fields, in every spelling; TLS modes; and what makes no sense."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.config.sections import from_raw
from pywatt_core.errors import ConfigError
from pywatt_core.redaction import Secret
from pywatt_core.sql.options import Address, AddressedOptions, PoolOptions, ServerDatabaseOptions, address, tls_context

SCHEMES = ("postgres", "postgresql")


def options(**values: Any) -> ServerDatabaseOptions:
    """Options as a configuration file gives them."""
    return msgspec.convert(values, ServerDatabaseOptions, dec_hook=from_raw)


def located(**values: Any) -> Address:
    return address(options(**values), scheme="postgresql", schemes=SCHEMES, port=5432)


def parts(found: Address) -> tuple[object, ...]:
    password = found.password.expose_secret() if found.password else None
    return (found.hosts, found.user, password, found.database, found.tls, dict(found.parameters))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ((("localhost", 5432),), "", None, "", "prefer", {})),
        (
            {"host": "db", "port": 6000, "user": "me", "password": "word-4711", "database": "shop"},
            ((("db", 6000),), "me", "word-4711", "shop", "prefer", {}),
        ),
        ({"type": "postgres", "username": "me", "db": "shop"}, ((("localhost", 5432),), "me", None, "shop", "prefer", {})),
        (
            {"db_type": "PostgreSQL", "hosts": ["a", "b:6001", "[::1]:7"]},
            ((("a", 5432), ("b", 6001), ("::1", 7)), "", None, "", "prefer", {}),
        ),
        ({"url": "postgresql://me:word-4711@db:6000/shop"}, ((("db", 6000),), "me", "word-4711", "shop", "prefer", {})),
        ({"dsn": "POSTGRES://db/shop"}, ((("db", 5432),), "", None, "shop", "prefer", {})),
        ({"url": "postgres://a:1,b,[::1]:3/shop"}, ((("a", 1), ("b", 5432), ("::1", 3)), "", None, "shop", "prefer", {})),
        ({"url": "postgres:///shop?host=/run/pg&x=1"}, ((("/run/pg", 5432),), "", None, "shop", "prefer", {"x": "1"})),
        ({"url": "postgres://me@:9/shop?host=/run/pg"}, ((("/run/pg", 9),), "me", None, "shop", "prefer", {})),
        ({"url": "postgres://db/shop?sslmode=require"}, ((("db", 5432),), "", None, "shop", "require", {})),
        (
            {"url": "postgres://me@db", "database": "shop", "password": "word-4711"},
            ((("db", 5432),), "me", "word-4711", "shop", "prefer", {}),
        ),
        ({"host": "/run/pg", "ssl_mode": "disable"}, ((("/run/pg", 5432),), "", None, "", "disable", {})),
        ({"ca_cert": "ca.pem"}, ((("localhost", 5432),), "", None, "", "verify-full", {})),
        ({"client_cert": "me.pem"}, ((("localhost", 5432),), "", None, "", "require", {})),
        ({"sslmode": "verify-ca", "ca_cert": "ca.pem"}, ((("localhost", 5432),), "", None, "", "verify-ca", {})),
    ],
)
def test_every_spelling_comes_to_an_address(values: dict[str, Any], expected: tuple[object, ...]) -> None:
    assert parts(located(**values)) == expected


@pytest.mark.parametrize("begin", ["", "12", "5432"])
@pytest.mark.parametrize("separator", ["/", "?", "?a=", "/x?"])
def test_a_password_that_is_not_quoted_is_never_shown_as_something_else(begin: str, separator: str) -> None:
    with pytest.raises(ConfigError, match=r"^url cannot be read: in a user's name or a password, write / \? # @ and : as") as caught:
        located(url=f"postgresql://ada:{begin}{separator}secret@host/shop")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"url": "mysql://db/shop"}, "url has to begin with postgres:// or postgresql://"),
        ({"dsn": "db/shop"}, "dsn has to begin"),
        ({"url": "postgres://db/shop", "host": "other"}, "host is set, and url says it too"),
        ({"url": "postgres://me:word-4711@db/shop", "username": "you"}, "username is set, and url says it too"),
        ({"url": "postgres://me:word-4711@db/shop", "password": "other"}, "password is set, and url says it too"),
        ({"url": "postgres://db:1/shop", "port": 2}, "port is set"),
        ({"dsn": "postgres://db/shop?sslmode=require", "ssl_mode": "disable"}, "ssl_mode is set, and dsn says it too"),
        ({"url": "postgres://db/shop?sslmode=perhaps"}, "sslmode=perhaps; there are disable, prefer"),
        ({"url": "postgres://db/shop?sslmode=require", "ca_cert": "ca.pem"}, "ca_cert is not looked at"),
        ({"url": "postgres://db:port/shop"}, "neither host nor host:port"),
        ({"url": "postgres://db:99999/shop"}, "neither host nor host:port"),
        ({"url": "postgres://[::1/shop"}, "cannot be read"),
        ({"hosts": ["db:"]}, None),
        ({"hosts": [":5"]}, "hosts names a server"),
        ({"type": "mysql"}, "type is 'mysql', and this is postgresql"),
        ({"db_type": "oracle"}, "db_type is 'oracle'"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name_and_shows_no_password(values: dict[str, Any], complaint: str | None) -> None:
    if complaint is None:
        assert located(**values).hosts == (("db", 5432),)
        return
    with pytest.raises(ConfigError) as caught:
        located(**values)
    assert complaint in str(caught.value)
    assert "word-4711" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"url": "postgres://a", "dsn": "postgres://a"}, "dsn is the same as url"),
        ({"user": "a", "username": "a"}, "username is the same as user"),
        ({"database": "a", "db": "a"}, "db is the same as database"),
        ({"pool": {}, "pool_config": {}}, "pool_config is the same as pool"),
        ({"ssl_mode": "require", "sslmode": "require"}, "sslmode is the same as ssl_mode"),
        ({"host": "a", "hosts": ["b"]}, "hosts and host"),
        ({"port": 65536}, "port is 65536"),
        ({"cached_statements": -1}, "cached_statements is -1"),
        ({"connect_timeout": 0}, "connect_timeout is 0"),
        ({"statement_timeout": -1}, "statement_timeout is -1"),
        ({"close_timeout": float("inf")}, "close_timeout is inf"),
        ({"slow_statement": float("nan")}, "slow_statement is nan"),
        ({"client_key": "a.pem"}, "client_key needs client_cert"),
        ({"ca_cert": "a.pem", "ssl_mode": "require"}, "ca_cert is not looked at"),
        ({"client_cert": "a.pem", "ssl_mode": "prefer"}, "client_cert needs TLS for certain"),
        ({"pool": {"max_connections": 0}}, "max_connections is 0"),
        ({"pool": {"min_connections": 11}}, "min_connections is 11"),
        ({"pool_config": {"acquire_timeout": -1}}, "acquire_timeout is -1"),
        ({"pool": {"max_lifetime": float("nan")}}, "max_lifetime is nan"),
        ({"pool": {"size": 4}, "ssl_mode": "perhaps"}, "perhaps"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        options(**values)
    assert complaint in str(caught.value)


@dataclass(frozen=True, kw_only=True)
class Addressed(AddressedOptions):
    scheme = "mysql"
    schemes = ("mysql", "mariadb")
    usual_port = 3306
    parameters = frozenset({"charset"})

    zone: str = ""


def test_options_that_are_addressed_have_an_address_of_their_kind() -> None:
    found = msgspec.convert({"url": "mariadb://me@db/shop?charset=utf8&sslmode=require", "zone": "UTC"}, Addressed, dec_hook=from_raw)
    assert str(found.address) == "mysql://me@db:3306/shop"
    assert parts(found.address) == ((("db", 3306),), "me", None, "shop", "require", {"charset": "utf8"})
    assert {field.name for field in fields(Addressed)} - {field.name for field in fields(ServerDatabaseOptions)} == {"zone"}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (
            {},
            'no database is named: set url = "mysql://user:password@host/database", best as "secret:NAME", '
            "or host, user, password and database",
        ),
        ({"url": "mysql://me:word-4711@db/"}, "no database is named"),
        (
            {"url": "mysql://me:word-4711@db/shop?charset=utf8&x=1"},
            "url has the parameter 'x', which is unknown here: set it as an option of the section instead",
        ),
        ({"dsn": "mysql://me:word-4711@db/shop?b=1&a=2"}, "dsn has the parameter 'a', which is unknown here"),
        ({"url": "postgres://me:word-4711@db/shop"}, "url has to begin with mariadb:// or mysql://"),
        ({"url": "mysql://a", "dsn": "mysql://a"}, "dsn is the same as url"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_with_the_options(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(values, Addressed, dec_hook=from_raw)
    assert str(caught.value).startswith(complaint)
    assert "word-4711" not in str(caught.value)


def test_the_pool_has_two_names_and_defaults() -> None:
    assert options().pooling == PoolOptions()
    assert options(pool={"max_connections": 3}).pooling.max_connections == 3
    assert options(pool_config={"max_connections": 4}).pooling.max_connections == 4


def test_neither_options_nor_addresses_show_a_password() -> None:
    url = "postgresql://me:word-4711@db,[::1]:7/shop"
    assert "word-4711" not in repr(options(url=url))
    assert "word-4711" not in repr(options(password="word-4711", dsn=url))
    found = located(url=url)
    assert str(found) == "postgresql://me@db:5432,[::1]:7/shop"
    assert "word-4711" not in repr(found)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)


@given(user=TEXT, password=TEXT, database=TEXT)
def test_what_is_quoted_in_a_url_comes_back(user: str, password: str, database: str) -> None:
    found = located(url=f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@db/{quote(database, safe='')}")
    assert (found.user, found.password, found.database) == (user, Secret(password), database)


def test_the_modes_of_tls_ask_for_as_much_as_they_say(tmp_path: Path) -> None:
    assert tls_context(options(), "disable", tmp_path) is None
    loose = tls_context(options(), "require", tmp_path)
    assert loose is not None
    assert (loose.verify_mode, loose.check_hostname) == (ssl.CERT_NONE, False)
    signed = tls_context(options(), "verify-ca", tmp_path)
    assert signed is not None
    assert (signed.verify_mode, signed.check_hostname) == (ssl.CERT_REQUIRED, False)
    full = tls_context(options(), "verify-full", tmp_path)
    assert full is not None
    assert (full.verify_mode, full.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert full.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_file_that_cannot_be_used_is_named_with_its_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"ca_cert: {tmp_path}/ca.pem cannot be read"):
        tls_context(options(ca_cert="ca.pem"), "verify-full", tmp_path)
