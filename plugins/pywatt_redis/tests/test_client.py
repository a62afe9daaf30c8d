"""Connections of every kind: passwords, users, databases, Unix sockets, TLS that fails closed, sentinels that name the primary."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from plugins.pywatt_redis.tests.servers import SentinelServer, Shown, TlsServer, ask, until
from pywatt_core.errors import ConfigError, Unavailable
from pywatt_core.interfaces import Context
from pywatt_core.redaction import Secret
from pywatt_redis import Options, open_redis
from tools.running_servers import RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from pywatt_redis.cache import RedisCache
    from tools.certificates import Authority


AT_ONCE = ("--repl-diskless-sync-delay", "0", "--shutdown-timeout", "0")
"""A primary waits neither for more replicas before it sends its data, nor for those that lag before it ends."""


def opening(**options: Any) -> Any:
    return open_redis(Options(**{"host": "127.0.0.1", **options}), Context(module_id="test", section="caches.main"))


@asynccontextmanager
async def works(**options: Any) -> AsyncIterator[RedisCache]:
    async with opening(**options) as cache:
        await cache.set("key", b"value", ttl=60)
        assert await cache.get("key") == b"value"
        yield cache


# ── logging in ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def guarded(start_server: Callable[..., RedisServer]) -> Iterator[RedisServer]:
    """A server that wants the password ``let-me-in``, with a user ``ada`` who may touch only keys that begin with ``ada:``."""
    with start_server(RedisServer, "--requirepass", "let-me-in", "--unixsocket", "redis.sock", "--unixsocketperm", "777") as server:
        ask(server.port, "ACL", "SETUSER", "ada", "on", ">lovelace", "~ada:*", "+@all", password="let-me-in")
        yield server


async def test_passwords_and_users(guarded: RedisServer) -> None:
    async with works(port=guarded.port, password=Secret("let-me-in")):
        pass
    async with works(host="", url=f"redis://ada:lovelace@127.0.0.1:{guarded.port}", namespace="ada") as cache:
        assert "name=pywatt:test" in str(await cache._commands.execute("CLIENT", "LIST"))
        await cache.set("key", b"1")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "set password"),
        ({"password": Secret("canary")}, "check username and password"),
        ({"password": Secret("canary"), "username": "ada"}, "check username and password"),
    ],
)
async def test_a_refused_login_says_so_and_shows_no_password(guarded: RedisServer, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Unavailable, match=complaint) as caught:
        async with opening(port=guarded.port, **options):
            pytest.fail("logged in")
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "canary" not in f"{chain} {chain!r}"
        chain = chain.__cause__ or chain.__context__


async def test_databases_are_kept_apart_and_one_that_is_not_there_is_unavailable(guarded: RedisServer) -> None:
    async with (
        works(port=guarded.port, password=Secret("let-me-in"), db=3) as third,
        works(port=guarded.port, password=Secret("let-me-in"), db=4) as fourth,
    ):
        await third.set("here", b"1")
        assert await fourth.get("here") is None
    with pytest.raises(Unavailable, match="no database of this number"):
        async with opening(port=guarded.port, password=Secret("let-me-in"), db=400):
            pytest.fail("opened what is not there")


async def test_a_unix_socket(guarded: RedisServer) -> None:
    async with works(host=str(guarded.folder / "redis.sock"), password=Secret("let-me-in")):
        pass
    async with works(host="", url=f"unix://{guarded.folder}/redis.sock?db=2", password=Secret("let-me-in")):
        pass
    with pytest.raises(Unavailable, match=r"Redis at /nowhere/redis.sock cannot be reached: No such file"):
        async with opening(host="/nowhere/redis.sock"):
            pytest.fail("opened nothing")


async def test_a_name_that_nobody_has_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"Redis at nobody\.invalid:6379 cannot be reached"):
        async with opening(host="nobody.invalid"):
            pytest.fail("opened nothing")


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def tls(start_server: Callable[..., TlsServer], authorities: Callable[[str], Authority]) -> Iterator[Callable[..., int]]:
    """Call it with the name of a certificate: the port of a server that shows it; with ``clients=True`` it wants one of clients."""
    running: list[TlsServer] = []

    def start(name: str, *, names: tuple[str, ...] = ("IP:127.0.0.1",), expired: bool = False, clients: bool = False) -> int:
        issued = authorities("redis").issue(name, names=names, expired=expired)
        running.append(start_server(TlsServer, Shown(issued, authorities("redis").cert, clients)))
        return running[-1].tls_port

    yield start
    for server in running:
        server.close()


async def test_a_certificate_that_is_signed_and_for_this_server_is_accepted(tls: Callable[..., int], authorities: Any) -> None:
    async with works(port=tls("good"), tls=True, ca_cert=authorities("redis").cert):
        pass


async def test_both_ends_can_show_certificates(tls: Callable[..., int], authorities: Any) -> None:
    port, ours = tls("both", clients=True), authorities("redis").issue("client")
    async with works(port=port, tls=True, ca_cert=authorities("redis").cert, client_cert=ours.cert, client_key=ours.key):
        pass
    theirs = authorities("other").issue("client")
    for shown in ({}, {"client_cert": theirs.cert, "client_key": theirs.key}):
        with pytest.raises(Unavailable):
            async with opening(port=port, tls=True, ca_cert=authorities("redis").cert, **shown):
                pytest.fail("the server did not look at certificates")


@pytest.mark.parametrize(
    ("issued", "options", "complaint"),
    [
        ({}, {"ca_cert": "other"}, "certificate is not accepted: .*(unable to get|self.signed)"),
        ({}, {}, "certificate is not accepted: .*(unable to get|self.signed)"),
        ({"names": ("DNS:elsewhere.test",)}, {"ca_cert": "redis"}, "certificate is not accepted: IP address mismatch"),
        ({"expired": True}, {"ca_cert": "redis"}, "certificate is not accepted: certificate has expired"),
        ({}, {"ca_cert": "redis", "server_name": "elsewhere.test"}, "certificate is not accepted: Hostname mismatch"),
    ],
)
async def test_tls_fails_closed_and_says_why(
    tls: Callable[..., int], authorities: Any, issued: dict[str, Any], options: dict[str, Any], complaint: str
) -> None:
    port = tls("bad", **issued)
    if "ca_cert" in options:
        options = {**options, "ca_cert": authorities(options["ca_cert"]).cert}
    with pytest.raises(Unavailable, match=complaint):
        async with opening(port=port, tls=True, **options):
            pytest.fail("a wrong certificate was accepted")


async def test_another_name_and_any_certificate_can_be_accepted(tls: Callable[..., int], authorities: Any) -> None:
    port = tls("elsewhere", names=("DNS:elsewhere.test",))
    async with works(port=port, tls=True, ca_cert=authorities("redis").cert, server_name="elsewhere.test"):
        pass
    async with works(port=port, tls=True, verify_server=False):
        pass


async def test_tls_where_the_server_speaks_none_and_the_other_way_round(
    redis_server: RedisServer, tls: Callable[..., int], authorities: Any
) -> None:
    with pytest.raises(Unavailable):
        async with opening(port=redis_server.port, tls=True, ca_cert=authorities("redis").cert, connect_timeout=2):
            pytest.fail("TLS with a server that speaks none")
    with pytest.raises(Unavailable):
        async with opening(port=tls("plain"), connect_timeout=2):
            pytest.fail("no TLS with a server that speaks only that")


async def test_sentinels_and_the_primary_speak_tls(tls: Callable[..., int], authorities: Any) -> None:
    port = tls("primary")
    issued = authorities("redis").issue("sentinel", names=("IP:127.0.0.1",))
    with SentinelServer("tls-replication yes", primary=port, shown=Shown(issued, authorities("redis").cert)) as sentinel:
        where = {"port": sentinel.tls_port, "sentinel": "main", "tls": True}
        async with works(**where, ca_cert=authorities("redis").cert):
            pass
        with pytest.raises(Unavailable):
            async with opening(**where, ca_cert=authorities("other").cert):
                pytest.fail("a wrong certificate was accepted")


async def test_a_file_that_cannot_be_used_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca_cert: .*nothing.pem"):
        async with opening(tls=True, ca_cert=tmp_path / "nothing.pem"):
            pytest.fail("opened")


# ── sentinels ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_sentinels_name_the_primary_and_its_successor(start_server: Callable[..., Any]) -> None:
    with start_server(RedisServer, *AT_ONCE) as first, start_server(RedisServer, "--replicaof", f"127.0.0.1 {first.port}") as second:
        until(lambda: "master_link_status:up" in ask(second.port, "INFO", "replication"), "the replica follows")
        with SentinelServer(primary=first.port) as sentinel:
            until(lambda: knows(sentinel, second), "the replica is known")
            hosts = (f"127.0.0.1:{free_port()}", f"127.0.0.1:{sentinel.port}")
            async with works(host="", hosts=hosts, sentinel="main", timeout=2, connect_timeout=2) as cache:
                assert await cache.increment("counter") == 1
                until(lambda: ask(second.port, "GET", "counter").startswith("$1\r\n1"), "the replica has counted too")
                first.kill()
                async with asyncio.timeout(60):
                    while True:
                        try:
                            counted = await cache.increment("counter")
                            break
                        except Unavailable as error:
                            assert "Redis service 'main'" in str(error)
                            await asyncio.sleep(0.05)
                assert counted >= 2
                assert "role:master" in ask(second.port, "INFO", "replication")
                assert f"$1\r\n{counted}" in ask(second.port, "GET", "counter")


def knows(sentinel: SentinelServer, replica: RedisServer) -> bool:
    return f"127.0.0.1:{replica.port}" in ask(sentinel.port, "SENTINEL", "REPLICAS", "main")


async def test_a_service_that_the_sentinels_do_not_know_is_unavailable(start_server: Callable[..., Any], redis_server: RedisServer) -> None:
    with SentinelServer("requirepass let-me-in", primary=redis_server.port) as sentinel:
        where = {"port": sentinel.port, "sentinel_password": Secret("let-me-in")}
        async with works(**where, sentinel="main", namespace="sentinels"):
            pass
        with pytest.raises(Unavailable, match="Redis service 'other' cannot be reached: the sentinels know no primary"):
            async with opening(**where, sentinel="other"):
                pytest.fail("opened what nobody knows")
        with pytest.raises(Unavailable, match="Redis service 'main' cannot be reached"):
            async with opening(port=sentinel.port, sentinel="main"):
                pytest.fail("the sentinel wanted no password")


async def test_a_primary_that_became_a_replica_is_left(start_server: Callable[..., Any]) -> None:
    with (
        start_server(RedisServer, *AT_ONCE) as first,
        start_server(RedisServer, *AT_ONCE) as second,
        SentinelServer(primary=first.port) as sentinel,
    ):
        async with works(port=sentinel.port, sentinel="main") as cache:
            ask(sentinel.port, "SENTINEL", "REMOVE", "main")
            ask(sentinel.port, "SENTINEL", "MONITOR", "main", "127.0.0.1", str(second.port), "1")
            ask(first.port, "REPLICAOF", "127.0.0.1", str(second.port))
            with pytest.raises(Unavailable):
                await cache.set("key", b"early")
            await cache.set("key", b"late")
            assert "late" in ask(second.port, "GET", "key")
