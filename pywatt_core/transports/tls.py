"""TLS on TCP channels: contexts that fail closed, and what went wrong in words. `ssl` is imported only where TLS is used.

TLS 1.2 is the oldest version that either end accepts. Files are read for each context that is made, so that a renewed
certificate counts from the next connection on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ConfigError

if TYPE_CHECKING:
    import ssl


class ClientTls(NamedTuple):
    """How a client proves its peer, and itself. Paths are absolute; messages call them by their options' names."""

    ca_cert: Path | None = None
    """The authorities that the peer's certificate may be signed by; None: those of the system."""
    client_cert: Path | None = None
    client_key: Path | None = None
    """None where `client_cert` holds the key too."""
    verify_server: bool = True
    """False takes any certificate: whoever sits between can then read and change everything."""
    server_name: str | None = None
    """The name that the certificate has to be for; None: the host that is connected to."""

    def context(self) -> ssl.SSLContext:
        """Raises `ConfigError` that names the file which cannot be used."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self.verify_server:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_cert is not None:
            _trust(context, self.ca_cert, "ca_cert")
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if self.client_cert is not None:
            _show(context, self.client_cert, self.client_key, "client_cert", "client_key")
        return context


def server_context(cert: Path, key: Path | None, client_ca: Path | None) -> ssl.SSLContext:
    """For the accepting end; with `client_ca` a client has to show a certificate signed by it. Raises `ConfigError` that names the file."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _show(context, cert, key, "tls_cert", "tls_key")
    if client_ca is not None:
        _trust(context, client_ca, "client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _trust(context: ssl.SSLContext, file: Path, option: str) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{option}: {file} {_why(error, 'holds no certificate in PEM form')}") from error


def _show(context: ssl.SSLContext, cert: Path, key: Path | None, cert_option: str, key_option: str) -> None:
    asked = []

    def password() -> str:  # without this, OpenSSL would ask on the terminal
        asked.append(True)
        return ""

    for file, option in ((cert, cert_option), (key, key_option)):
        if file is not None:
            try:
                file.open("rb").close()
            except OSError as error:
                raise ConfigError(f"{option}: {file} {_why(error, '')}") from error
    try:
        context.load_cert_chain(cert, key, password)
    except (OSError, ValueError) as error:
        if asked:
            raise ConfigError(
                f"{key_option if key else cert_option}: {key or cert} is encrypted; a key without a passphrase is needed"
            ) from error
        text = f"is no certificate in PEM form with the private key that belongs to it ({key_option}: {key or cert})"
        raise ConfigError(f"{cert_option}: {cert} {text}") from error


def _why(error: OSError, otherwise: str) -> str:
    import ssl

    if isinstance(error, ssl.SSLError):
        return otherwise
    return f"cannot be read: {error.strerror or error}"


# ── what went wrong, in words ───────────────────────────────────────────────────────────────────────────────────────

NAME_CODES = frozenset({62, 63, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH, _EMAIL_MISMATCH, _IP_ADDRESS_MISMATCH."""
NOT_YET, EXPIRED = 9, 10

PLAIN = "it does not seem to speak TLS"
NO_VERSION = "it speaks no TLS version that is safe: TLS 1.2 is the oldest that is accepted"
WANTS_CERTIFICATE = "it requires a client certificate: set client_cert and client_key to one that its authority signed"

_REASONS = {
    "WRONG_VERSION_NUMBER": PLAIN,
    "HTTP_REQUEST": PLAIN,
    "HTTPS_PROXY_REQUEST": PLAIN,
    "UNEXPECTED_EOF_WHILE_READING": PLAIN,
    "PACKET_LENGTH_TOO_LONG": PLAIN,
    "UNSUPPORTED_PROTOCOL": NO_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": NO_VERSION,
    "VERSION_TOO_LOW": NO_VERSION,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": WANTS_CERTIFICATE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": f"it refused the handshake; perhaps {WANTS_CERTIFICATE}",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the authority that signed this end's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refused this end's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refused this end's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it refused this end's certificate: it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it refused this end's certificate: it was revoked",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no client certificate, which is required here",
}

_FOR_A_PERSON = frozenset(_REASONS) - {"UNEXPECTED_EOF_WHILE_READING"}
"""Refusals that no further attempt mends."""


def explain(error: BaseException, peer: str, authorities: str = "ca_cert") -> str:
    """Why a TLS connection to or from `peer` failed or broke, for a person. Other errors by their own text.

    `authorities` is the option of this end that names those it trusts.
    """
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{peer}: {_certificate(error, authorities)}"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        text = _REASONS.get(reason) or f"TLS failed ({reason.replace('_', ' ').lower() or type(error).__name__})"
        return f"{peer}: {text}"
    if isinstance(error, ConnectionResetError) and not error.args:  # as asyncio says that a handshake was broken off
        return f"{peer}: it broke the TLS handshake off, perhaps because it does not trust this end's certificate: its own log says why"
    return f"{peer}: {getattr(error, 'strerror', None) or str(error) or type(error).__name__}"


def _certificate(error: ssl.SSLCertVerificationError, authorities: str) -> str:
    if error.verify_code in NAME_CODES:
        return f"its certificate is for another name ({error.verify_message.rstrip('.')}): set server_name to the name in it"
    if error.verify_code in (NOT_YET, EXPIRED):
        return "its certificate has expired" if error.verify_code == EXPIRED else "its certificate is not valid yet"
    return f"its certificate is not signed by an authority that is trusted here ({error.verify_message}): set {authorities}"


def is_for_a_person(error: BaseException) -> bool:
    """Whether a certificate or a setting has to change before an attempt can succeed."""
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError | ConfigError):
        return True
    return isinstance(error, ssl.SSLError) and error.reason in _FOR_A_PERSON
