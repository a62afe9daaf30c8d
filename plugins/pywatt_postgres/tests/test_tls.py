"""TLS to a real server: what each mode accepts, and that the strict ones fail closed with an error that says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg
import pytest

from pywatt_core.errors import ConfigError, StorageError
from pywatt_core.interfaces import Context
from pywatt_core.redaction import Secret
from pywatt_postgres import Options, open_postgres
from tools.running_servers import PostgresServer
from tools.server_databases.tls import ShowsCertificates, TlsSuite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tools.certificates import Authority
    from tools.running_servers import RunningServer

USED = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


class TlsServer(ShowsCertificates, PostgresServer):
    """The user ``pywatt`` may come in over TLS only, ``certain`` with a certificate."""

    def prepare(self) -> None:
        super().prepare()
        rules = (
            "hostssl all certain 127.0.0.1/32 cert clientcert=verify-full\n"
            "hostssl all pywatt 127.0.0.1/32 scram-sha-256\nhost all pywatt 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 trust\n"
        )
        (self.folder / "data" / "pg_hba.conf").write_text(rules, encoding="utf-8")

    @property
    def certificates(self) -> Path:
        return self.folder / "data"

    def command(self) -> list[str]:
        if not self.speaks_tls:
            return super().command()
        return [*super().command(), "-c", "ssl=on", "-c", "ssl_ca_file=root.crt"]


@pytest.fixture(scope="module")
def tls_server(start_server: Callable[..., Any], authorities: Callable[[str], Authority]) -> Iterator[TlsServer]:
    with start_server(TlsServer) as server:
        server.show(authorities("ours").issue("server"), authorities("ours").cert)
        yield server


async def version(server: RunningServer, **options: Any) -> str | None:
    """The version of TLS that a connection with these options speaks; None without TLS."""
    where = {"host": "localhost", "port": server.port, "user": "pywatt", "password": Secret("let-me-in"), "database": "postgres"}
    context = Context(module_id="test", section="databases.main")
    async with open_postgres(Options(**{**where, **options}), context) as database:
        found: str | None = await database.fetch_value(USED)
        return found


class TestTls(TlsSuite):
    in_the_clear: ClassVar = {"user": "postgres"}
    refused = "pg_hba.conf rejects connection"

    async def version(self, server: RunningServer, **options: Any) -> str | None:
        return await version(server, **options)


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
