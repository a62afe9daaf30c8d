"""What all tests share: a word for what this machine lacks, and the servers that tests run against."""

from __future__ import annotations

import functools
import os
import signal
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from pywatt_core.redaction import Redactor, redactor
from tools import certificates, test_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tools.running_servers import MariadbServer, MemcachedServer, PostgresServer, RedisServer

# Properties hold however slow the machine is; in CI they are tried on the same inputs each time.
settings.register_profile("pywatt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") else "pywatt")

# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start inherits that: programs under test
# would be right to ignore it too.
for _signal in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.default_int_handler if _signal is signal.SIGINT else signal.SIG_DFL)


def pytest_report_header() -> str | None:
    return "PYWATT_TEST_REQUIRE=1: what this machine lacks is a failure" if test_servers.required() else None


@pytest.fixture(autouse=True)
def fresh_redactor() -> Iterator[Redactor]:
    """The process's own redactor, empty during the test and afterwards as it was before: no test hides words of the next."""
    before = dict(vars(redactor))
    vars(redactor).update(vars(Redactor()))
    yield redactor
    vars(redactor).update(before)


@pytest.fixture(scope="session")
def lacking() -> Callable[[str], NoReturn]:
    """Call it with what the machine lacks and the way out: skips the test, or fails it where PYWATT_TEST_REQUIRE=1."""

    def lack(reason: str) -> NoReturn:
        if test_servers.required():
            pytest.fail(f"{reason} (PYWATT_TEST_REQUIRE=1)", pytrace=False)
        pytest.skip(reason)

    return lack


@pytest.fixture(scope="session")
def server_binary(lacking: Callable[[str], NoReturn]) -> Callable[[str], Path]:
    """Call it with a server's name, such as ``"nginx"``: its binary, fetched where need be, or the test is skipped."""

    def binary(name: str) -> Path:
        try:
            return test_servers.obtain(name)
        except test_servers.Missing as error:
            lacking(str(error))

    return binary


@pytest.fixture(scope="session")
def start_server(lacking: Callable[[str], NoReturn]) -> Callable[..., Any]:
    """Call it with a class of `tools.running_servers` and its arguments: a server that the caller closes, or the test is skipped."""

    def start(kind: type[Any], *arguments: str) -> Any:
        try:
            return kind(*arguments)
        except test_servers.Missing as error:
            lacking(str(error))

    return start


@pytest.fixture(scope="session")
def postgres_server(start_server: Callable[..., Any]) -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests of this process: whoever makes something in it makes a database of its own."""
    from tools.running_servers import PostgresServer

    with start_server(PostgresServer) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server(start_server: Callable[..., Any]) -> Iterator[MariadbServer]:
    """One MariaDB, likewise."""
    from tools.running_servers import MariadbServer

    with start_server(MariadbServer) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(start_server: Callable[..., Any]) -> Iterator[RedisServer]:
    """One Redis, likewise: tests use databases or prefixes of their own."""
    from tools.running_servers import RedisServer

    with start_server(RedisServer) as server:
        yield server


@pytest.fixture(scope="session")
def memcached_server(start_server: Callable[..., Any]) -> Iterator[MemcachedServer]:
    """One Memcached, likewise."""
    from tools.running_servers import MemcachedServer

    with start_server(MemcachedServer) as server:
        yield server


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory, lacking: Callable[[str], NoReturn]) -> Callable[[str], certificates.Authority]:
    """Call it with a name: an authority that signs certificates, made once, or the test is skipped."""
    if certificates.OPENSSL is None:
        lacking("there is no openssl command to make certificates with: install openssl")
    folder = tmp_path_factory.mktemp("certificates")
    return functools.cache(lambda name: certificates.Authority(folder, name))
