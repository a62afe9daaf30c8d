"""TLS to a real server: what each mode accepts, and that the strict ones fail closed with an error that says why."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import asyncmy
import pytest

from pywatt_core.errors import ConfigError, StorageError
from pywatt_core.interfaces import Context
from pywatt_core.redaction import Secret
from pywatt_mysql import Options, open_mysql
from tools.running_servers import MariadbServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tools.certificates import Authority, Issued

USED = "SELECT VARIABLE_VALUE FROM information_schema.session_status WHERE VARIABLE_NAME = 'Ssl_version'"


class TlsServer(MariadbServer):
    """Speaks TLS with certificates that can be changed."""

    def show(self, issued: Issued, trusts: Path) -> None:
        """Have it show this certificate from now on."""
        self.stop()
        for file, name in ((issued.cert, "server.crt"), (issued.key, "server.key"), (trusts, "root.crt")):
            there = self.folder / name
            shutil.copy(file, there)
            there.chmod(0o600)
            if self._as:
                shutil.chown(there, "nobody", "nogroup")
        self.start()

    def command(self) -> list[str]:
        if not (self.folder / "server.crt").exists():
            return super().command()
        files = {"ssl-cert": "server.crt", "ssl-key": "server.key", "ssl-ca": "root.crt"}
        return [*super().command(), *[f"--{option}={self.folder / name}" for option, name in files.items()]]


@pytest.fixture(scope="module")
def tls_server(start_server: Callable[..., Any], authorities: Callable[[str], Authority]) -> Iterator[TlsServer]:
    with start_server(TlsServer) as server:
        server.show(authorities("ours").issue("mariadb"), authorities("ours").cert)
        asyncio.run(make_users(server.port))
        yield server


async def make_users(port: int) -> None:
    connection = await asyncmy.connect(host="127.0.0.1", port=port, user="pywatt", password="let-me-in", autocommit=True)
    async with connection.cursor() as cursor:
        for user, needs in (("over_tls", "SSL"), ("certain", "X509")):
            await cursor.execute(f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'let-me-in' REQUIRE {needs}")
            await cursor.execute(f"GRANT ALL ON test.* TO {user}@'127.0.0.1'")
    await connection.ensure_closed()


async def version(server: MariadbServer, **options: Any) -> str | None:
    """The version of TLS that a connection with these options speaks; None without TLS."""
    where = {"host": "localhost", "port": server.port, "user": "over_tls", "password": Secret("let-me-in"), "database": "test"}
    context = Context(module_id="test", section="databases.main")
    async with open_mysql(Options(**{**where, **options}), context) as database:
        found: str | None = await database.fetch_value(USED)
        return found or None


async def test_each_mode_connects_as_it_says(tls_server: TlsServer, authorities: Callable[[str], Authority]) -> None:
    ours = authorities("ours").cert
    assert await version(tls_server) == "TLSv1.3"
    assert await version(tls_server, ssl_mode="require") == "TLSv1.3"
    assert await version(tls_server, ca_cert=ours) == "TLSv1.3"
    assert await version(tls_server, sslmode="verify-ca", ca_cert=ours, host="127.0.0.1") == "TLSv1.3"
    assert await version(tls_server, ssl_mode="disable", user="pywatt") is None
    with pytest.raises(StorageError, match="does not let this user in"):
        await version(tls_server, ssl_mode="disable")


async def test_a_certificate_of_somebody_else_is_refused(tls_server: TlsServer, authorities: Callable[[str], Authority]) -> None:
    with pytest.raises(StorageError, match="certificate cannot be trusted"):
        await version(tls_server, ca_cert=authorities("theirs").cert)
    with pytest.raises(StorageError, match="certificate cannot be trusted"):
        await version(tls_server, ssl_mode="verify-ca", ca_cert=authorities("theirs").cert)
    with pytest.raises(StorageError, match="certificate cannot be trusted"):
        await version(tls_server, ssl_mode="verify-full")  # the system's authorities do not know it


async def test_a_certificate_for_another_name_is_refused_where_names_count(
    tls_server: TlsServer, authorities: Callable[[str], Authority]
) -> None:
    ours = authorities("ours")
    tls_server.show(ours.issue("elsewhere", names=("DNS:elsewhere.example",)), ours.cert)
    try:
        with pytest.raises(StorageError, match="cannot be trusted: Hostname mismatch"):
            await version(tls_server, ca_cert=ours.cert)
        assert await version(tls_server, ssl_mode="verify-ca", ca_cert=ours.cert) == "TLSv1.3"
    finally:
        tls_server.show(ours.issue("mariadb"), ours.cert)


async def test_an_expired_certificate_is_refused(tls_server: TlsServer, authorities: Callable[[str], Authority]) -> None:
    ours = authorities("ours")
    tls_server.show(ours.issue("old", expired=True), ours.cert)
    try:
        with pytest.raises(StorageError, match="expired"):
            await version(tls_server, ca_cert=ours.cert)
    finally:
        tls_server.show(ours.issue("mariadb"), ours.cert)


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


async def test_a_server_without_tls_is_refused_where_tls_is_asked_for(mariadb_server: MariadbServer) -> None:
    assert await version(mariadb_server, host="127.0.0.1", user="pywatt") is None
    for mode in ("require", "verify-full"):
        with pytest.raises(StorageError, match="speaks no TLS, and ssl_mode asks for it"):
            await version(mariadb_server, host="127.0.0.1", user="pywatt", ssl_mode=mode)


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
