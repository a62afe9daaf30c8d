"""TLS to a real server: what each mode accepts, and that the strict ones fail closed with an error that says why."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pywatt_core.errors import StorageError
from tools.certificates import Authority, Issued
from tools.running_servers import RunningServer

Authorities = Callable[[str], Authority]


class ShowsCertificates(RunningServer):
    """Speaks TLS with certificates that can be changed, once it has some."""

    @property
    def certificates(self) -> Path:
        """The folder of ``server.crt``, ``server.key`` and ``root.crt``."""
        return self.folder

    @property
    def speaks_tls(self) -> bool:
        return (self.certificates / "server.crt").exists()

    def show(self, issued: Issued, trusts: Path) -> None:
        """Have it show this certificate from now on."""
        self.stop()
        for file, name in ((issued.cert, "server.crt"), (issued.key, "server.key"), (trusts, "root.crt")):
            there = self.certificates / name
            shutil.copy(file, there)
            there.chmod(0o600)
            if self._as:
                shutil.chown(there, "nobody", "nogroup")
        self.start()


class TlsSuite(ABC):
    """The fixtures are `tls_server`, whose certificate for ``localhost`` the authority ``ours`` has signed, and `server`, without TLS."""

    in_the_clear: ClassVar[dict[str, Any]]
    """Options of somebody whom both servers let in without TLS; who is meant otherwise has to have it."""
    refused: ClassVar[str]
    """What is said to who has to have TLS and comes without."""

    @abstractmethod
    async def version(self, server: RunningServer, **options: Any) -> str | None:
        """The version of TLS that a connection with these options speaks; None without TLS."""

    async def test_each_mode_connects_as_it_says(self, tls_server: ShowsCertificates, authorities: Authorities) -> None:
        ours = authorities("ours").cert
        assert await self.version(tls_server) == "TLSv1.3"
        assert await self.version(tls_server, ssl_mode="require") == "TLSv1.3"
        assert await self.version(tls_server, ca_cert=ours) == "TLSv1.3"
        assert await self.version(tls_server, sslmode="verify-ca", ca_cert=ours, host="127.0.0.1") == "TLSv1.3"
        assert await self.version(tls_server, ssl_mode="disable", **self.in_the_clear) is None
        with pytest.raises(StorageError, match=self.refused):
            await self.version(tls_server, ssl_mode="disable")

    async def test_a_certificate_of_somebody_else_is_refused(self, tls_server: ShowsCertificates, authorities: Authorities) -> None:
        theirs = authorities("theirs").cert
        with pytest.raises(StorageError, match="certificate cannot be trusted"):
            await self.version(tls_server, ca_cert=theirs)
        with pytest.raises(StorageError, match="certificate cannot be trusted"):
            await self.version(tls_server, ssl_mode="verify-ca", ca_cert=theirs)
        with pytest.raises(StorageError, match="certificate cannot be trusted"):
            await self.version(tls_server, ssl_mode="verify-full")  # the system's authorities do not know it

    async def test_a_certificate_for_another_name_is_refused_where_names_count(
        self, tls_server: ShowsCertificates, authorities: Authorities
    ) -> None:
        ours = authorities("ours")
        tls_server.show(ours.issue("elsewhere", names=("DNS:elsewhere.example",)), ours.cert)
        try:
            with pytest.raises(StorageError, match="cannot be trusted: Hostname mismatch"):
                await self.version(tls_server, ca_cert=ours.cert)
            assert await self.version(tls_server, ssl_mode="verify-ca", ca_cert=ours.cert) == "TLSv1.3"
        finally:
            tls_server.show(ours.issue("server"), ours.cert)

    async def test_an_expired_certificate_is_refused(self, tls_server: ShowsCertificates, authorities: Authorities) -> None:
        ours = authorities("ours")
        tls_server.show(ours.issue("old", expired=True), ours.cert)
        try:
            with pytest.raises(StorageError, match="expired"):
                await self.version(tls_server, ca_cert=ours.cert)
        finally:
            tls_server.show(ours.issue("server"), ours.cert)

    async def test_a_server_without_tls_is_refused_where_tls_is_asked_for(self, server: RunningServer) -> None:
        there = {"host": "127.0.0.1", **self.in_the_clear}
        assert await self.version(server, **there) is None
        for mode in ("require", "verify-full"):
            with pytest.raises(StorageError, match="speaks no TLS, and ssl_mode asks for it"):
                await self.version(server, ssl_mode=mode, **there)
