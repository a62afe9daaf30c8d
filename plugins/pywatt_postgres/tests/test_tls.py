"""TLS to a real server: what each mode accepts, and that the strict ones fail closed with an error that says why."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pywatt_core.errors import ConfigError, StorageError
from pywatt_core.interfaces import Context
from pywatt_core.redaction import Secret
from pywatt_postgres import Options, open_postgres
from tools.running_servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tools.certificates import Authority, Issued

USED = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


class TlsServer(PostgresServer):
    """Speaks TLS with certificates that can be changed; the user ``pywatt`` may come in over TLS only, ``certain`` with a certificate."""

    def prepare(self) -> None:
        super().prepare()
        rules = (
            "hostssl all certain 127.0.0.1/32 cert clientcert=verify-full\n"
            "hostssl all pywatt 127.0.0.1/32 scram-sha-256\nhost all pywatt 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 trust\n"
        )
        (self.folder / "data" / "pg_hba.conf").write_text(rules, encoding="utf-8")

    def show(self, issued: Issued, trusts: Path) -> None:
        """Have it show this certificate from now on."""
        self.stop()
        for file, name in ((issued.cert, "server.crt"), (issued.key, "server.key"), (trusts, "root.crt")):
            there = self.folder / "data" / name
            shutil.copy(file, there)
            there.chmod(0o600)
            if self._as:
                shutil.chown(there, "nobody", "nogroup")
        self.start()

    def command(self) -> list[str]:
        if not (self.folder / "data" / "server.crt").exists():
            return super().command()
        return [*super().command(), "-c", "ssl=on", "-c", "ssl_ca_file=root.crt"]


@pytest.fixture(scope="module")
def tls_server(start_server: Callable[..., Any], authorities: Callable[[str], Authority]) -> Iterator[TlsServer]:
    with start_server(TlsServer) as server:
        server.show(authorities("ours").issue("postgres"), authorities("ours").cert)
        yield server


async def version(server: PostgresServer, **options: Any) -> str | None:
    """The version of TLS that a connection with these options speaks; None without TLS."""
    where = {"host": "localhost", "port": server.port, "user": "pywatt", "password": Secret("let-me-in"), "database": "postgres"}
    context = Context(module_id="test", section="databases.main")
    async with open_postgres(Options(**{**where, **options}), context) as database:
        found: str | None = await database.fetch_value(USED)
        return found


async def test_each_mode_connects_as_it_says(tls_server: TlsServer, authorities: Callable[[str], Authority]) -> None:
    ours = authorities("ours").cert
    assert await version(tls_server) == "TLSv1.3"
    assert await version(tls_server, ssl_mode="require") == "TLSv1.3"
    assert await version(tls_server, ca_cert=ours) == "TLSv1.3"
    assert await version(tls_server, sslmode="verify-ca", ca_cert=ours, host="127.0.0.1") == "TLSv1.3"
    assert await version(tls_server, ssl_mode="disable", user="postgres") is None
    with pytest.raises(StorageError, match="pg_hba.conf rejects connection"):
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
        tls_server.show(ours.issue("postgres"), ours.cert)


async def test_an_expired_certificate_is_refused(tls_server: TlsServer, authorities: Callable[[str], Authority]) -> None:
    ours = authorities("ours")
    tls_server.show(ours.issue("old", expired=True), ours.cert)
    try:
        with pytest.raises(StorageError, match="expired"):
            await version(tls_server, ca_cert=ours.cert)
    finally:
        tls_server.show(ours.issue("postgres"), ours.cert)


async def test_a_client_certificate_lets_in_whom_the_server_wants_to_see(
    tls_server: TlsServer, authorities: Callable[[str], Authority]
) -> None:
    ours = authorities("ours")
    connection = await asyncpg.connect(host="127.0.0.1", port=tls_server.port, user="postgres", database="postgres", ssl=False)
    await connection.execute("CREATE ROLE certain LOGIN")
    await connection.close()
    shown = ours.issue("certain")
    assert (
        await version(tls_server, user="certain", password=None, ca_cert=ours.cert, client_cert=shown.cert, client_key=shown.key)
        == "TLSv1.3"
    )
    with pytest.raises(StorageError, match="requires a valid client certificate"):
        await version(tls_server, user="certain", password=None, ca_cert=ours.cert)
    with pytest.raises(ConfigError, match=r"client_cert: .* cannot be read"):
        await version(tls_server, client_cert=shown.cert.with_name("nowhere.pem"))


async def test_a_server_without_tls_is_refused_where_tls_is_asked_for(postgres_server: PostgresServer) -> None:
    assert await version(postgres_server, host="127.0.0.1") is None
    for mode in ("require", "verify-full"):
        with pytest.raises(StorageError, match="speaks no TLS, and ssl_mode asks for it"):
            await version(postgres_server, host="127.0.0.1", ssl_mode=mode)
