"""Certificates for tests, made where they are needed with the ``openssl`` command; nothing of them is kept."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OPENSSL = shutil.which("openssl")
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
LOCAL = ("DNS:localhost", "IP:127.0.0.1", "IP:::1")


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, as PEM files."""

    cert: Path
    key: Path


class Authority:
    """One that signs. `cert` is what those who trust it are given."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self.cert, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _run("req", "-x509", *NEW_KEY, "-days", "2", "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.cert)

    def issue(self, name: str, *, names: tuple[str, ...] = LOCAL, expired: bool = False) -> Issued:
        """A certificate for `names`; an expired one was good until yesterday."""
        issued = Issued(self._folder / f"{self._name}-{name}.pem", self._folder / f"{self._name}-{name}.key")
        request = issued.cert.with_suffix(".csr")
        subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={','.join(names)}")
        _run("req", *NEW_KEY, *subject, "-keyout", issued.key, "-out", request)
        signer = ("-CA", self.cert, "-CAkey", self._key, "-CAcreateserial", "-copy_extensions", "copyall")
        _run("x509", "-req", "-in", request, *signer, "-days", "-1" if expired else "2", "-out", issued.cert)
        return issued


def encrypted(issued: Issued, passphrase: str) -> Path:
    """The private key once more, under a passphrase."""
    file = issued.key.with_suffix(".encrypted")
    _run("pkey", "-in", issued.key, "-aes256", "-passout", f"pass:{passphrase}", "-out", file)
    return file


def _run(*arguments: str | Path) -> None:
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *arguments], check=True, capture_output=True, timeout=60)
