"""TLS to a real server: what each mode accepts, and that the strict ones fail closed with an error that says why."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import asyncmy
import pytest

from pywatt_core.errors import ConfigError, StorageError
from pywatt_core.interfaces import Context
from pywatt_core.redaction import Secret
from pywatt_mysql import Options, open_mysql
from tools.running_servers import MariadbServer
from tools.server_databases.tls import ShowsCertificates, TlsSuite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.certificates import Authority
    from tools.running_servers import RunningServer

USED = "SELECT VARIABLE_VALUE FROM information_schema.session_status WHERE VARIABLE_NAME = 'Ssl_version'"


class TlsServer(ShowsCertificates, MariadbServer):
    def command(self) -> list[str]:
        if not self.speaks_tls:
            return super().command()
        files = {"ssl-cert": "server.crt", "ssl-key": "server.key", "ssl-ca": "root.crt"}
        return [*super().command(), *[f"--{option}={self.certificates / name}" for option, name in files.items()]]


@pytest.fixture(scope="module")
def tls_server(start_server: Callable[..., Any], authorities: Callable[[str], Authority]) -> Iterator[TlsServer]:
    with start_server(TlsServer) as server:
        server.show(authorities("ours").issue("server"), authorities("ours").cert)
        asyncio.run(make_users(server.port))
        yield server


async def make_users(port: int) -> None:
    connection = await asyncmy.connect(host="127.0.0.1", port=port, user="pywatt", password="let-me-in", autocommit=True)
    async with connection.cursor() as cursor:
        for user, needs in (("over_tls", "SSL"), ("certain", "X509")):
            await cursor.execute(f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'let-me-in' REQUIRE {needs}")
            await cursor.execute(f"GRANT ALL ON test.* TO {user}@'127.0.0.1'")
    await connection.ensure_closed()


async def version(server: RunningServer, **options: Any) -> str | None:
    """The version of TLS that a connection with these options speaks; None without TLS."""
    where = {"host": "localhost", "port": server.port, "user": "over_tls", "password": Secret("let-me-in"), "database": "test"}
    context = Context(module_id="test", section="databases.main")
    async with open_mysql(Options(**{**where, **options}), context) as database:
        found: str | None = await database.fetch_value(USED)
        return found or None


class TestTls(TlsSuite):
    in_the_clear: ClassVar = {"user": "pywatt"}
    refused = "does not let this user in"

    async def version(self, server: RunningServer, **options: Any) -> str | None:
        return await version(server, **options)


async def test_a_client_certificate_lets_in_whom_the_server_wants_to_see(
    tls_server: TlsServer, authorities: Callable[[str], Authority]
) -> None:
    ours = authorities("ours")
    shown = ours.issue("certain")
    assert await version(tls_server, user="certain", ca_cert=ours.cert, client_cert=shown.cert, client_key=shown.key) == "TLSv1.3"
    with pytest.raises(StorageError, match="does not let this user in"):
        await version(tls_server, user="certain", ca_cert=ours.cert)
    with pytest.raises(ConfigError, match=r"client_cert: .* cannot be read"):
        await version(tls_server, client_cert=shown.cert.with_name("nowhere.pem"))


async def test_a_cancelled_statement_is_ended_over_tls_too(
    tls_server: TlsServer, authorities: Callable[[str], Authority], endless: str, how_many_endless: str
) -> None:
    options = Options(
        host="127.0.0.1",
        port=tls_server.port,
        user="pywatt",
        password=Secret("let-me-in"),
        database="test",
        ca_cert=authorities("ours").cert,
        ssl_mode="verify-ca",
    )
    async with open_mysql(options, Context(module_id="test", section="databases.main")) as database:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await database.fetch_value(endless)
        async with asyncio.timeout(30):
            while await database.fetch_value(how_many_endless):
                await asyncio.sleep(0.01)
        assert len(await database.fetch_value("SELECT REPEAT('x', 1000000)")) == 1_000_000


async def test_a_password_is_not_sent_in_the_clear_to_whoever_asks() -> None:
    heard: list[bytes] = []
    greeting = (
        b"\x0a5.5.5-10.11.0-MariaDB\0"
        + b"\x01\0\0\0"
        + b"saltsalt\0"
        + b"\xff\xf7"
        + b"\x2d"
        + b"\x02\0"
        + b"\xff\x81"
        + b"\x15"
        + b"\0" * 10
    )
    greeting += b"saltsaltsalt\0mysql_native_password\0"
    switch = b"\xfemysql_clear_password\0"

    async def ask_for_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
        heard.append(await reader.read(1000))
        writer.write(len(switch).to_bytes(3, "little") + b"\x02" + switch)
        heard.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(ask_for_it, "127.0.0.1", 0)
    async with server:
        options = Options(
            host="127.0.0.1",
            port=server.sockets[0].getsockname()[1],
            user="me",
            password=Secret("wrong-word-7731"),
            database="shop",
            ssl_mode="disable",
        )
        with pytest.raises(
            StorageError, match=r"asks for the password in the clear \(mysql_clear_password\), and the connection has no TLS"
        ):
            async with open_mysql(options, Context(module_id="test", section="databases.main")):
                pass
    assert heard[0]
    assert b"wrong-word-7731" not in b"".join(heard)
