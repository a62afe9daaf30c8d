"""OpenID Connect Discovery: an issuer says where its keys are, and nobody else does."""

from __future__ import annotations

import http.server
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from pywatt_jwt import JwtAuthError, JwtConfig, JwtValidator, ProxyError

from .key_server import KeyServer, serving
from .making import NOW, Time, living, public_jwk, token_of
from .test_keys import certificate_of, pem_of

WELL_KNOWN = "/.well-known/openid-configuration"


def token(issuer: str) -> str:
    return token_of(living(iss=issuer), alg="RS256", header={"alg": "RS256", "kid": "first"})


def validator(issuer: str, monotonic: Time, **more: Any) -> JwtValidator:
    return JwtValidator(JwtConfig(openid_issuer=issuer, **more), clock=lambda: NOW, monotonic=monotonic)


@pytest.mark.parametrize("path", ["", "/realms/shop", "/realms/shop/"])
def test_an_issuer_says_where_its_keys_are(server: KeyServer, monotonic: Time, path: str) -> None:
    issuer = server.url + path
    place = path.rstrip("/") + WELL_KNOWN
    server.pages[place] = {"issuer": issuer, "jwks_uri": f"{server.url}/keys", "more": ["is", "passed over"]}
    checker = validator(issuer, monotonic)
    assert checker.validate(token(issuer))["iss"] == issuer
    assert server.asked == [place, "/keys"]
    for wrong in ("https://evil.example", issuer + "x", server.url + "/other"):
        with pytest.raises(JwtAuthError, match="another issuer"):
            checker.validate(token(wrong))


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"issuer": "{url}/", "jwks_uri": "{url}/keys"}, "the configuration of another issuer"),
        ({"issuer": "https://evil.example", "jwks_uri": "{url}/keys"}, "the configuration of another issuer"),
        ({"jwks_uri": "{url}/keys"}, "the configuration of another issuer"),
        ({"issuer": ["{url}"], "jwks_uri": "{url}/keys"}, "the configuration of another issuer"),
        ({"issuer": "{url}"}, "jwks_uri is missing"),
        ({"issuer": "{url}", "jwks_uri": 5}, "jwks_uri is missing"),
        ({"issuer": "{url}", "jwks_uri": "http://evil.example/keys"}, "jwks_uri has to begin with https://"),
        ({"issuer": "{url}", "jwks_uri": "file:///etc/passwd"}, "jwks_uri is not a URL"),
        ({"issuer": "{url}", "jwks_uri": "/keys"}, "jwks_uri is not a URL"),
        ([], "did not answer with a JSON object"),
        ("<html>", "did not answer with a JSON object"),
        ('{"issuer":"a","issuer":"{url}"}', "did not answer with a JSON object"),
        (None, "answered 404"),
    ],
)
def test_an_issuer_that_does_not_say_it_rightly_is_not_believed(server: KeyServer, monotonic: Time, said: Any, complaint: str) -> None:
    if isinstance(said, dict):
        said = {
            name: value.replace("{url}", server.url) if isinstance(value, str) else [server.url] if isinstance(value, list) else value
            for name, value in said.items()
        }
    server.pages[WELL_KNOWN] = said
    with pytest.raises(ProxyError, match=complaint):
        validator(server.url, monotonic).validate(token(server.url))
    assert "/keys" not in server.asked


def test_the_place_of_the_keys_may_change(server: KeyServer, monotonic: Time) -> None:
    server.pages[WELL_KNOWN] = {"issuer": server.url, "jwks_uri": f"{server.url}/keys"}
    checker = validator(server.url, monotonic)
    assert checker.validate(token(server.url))
    with serving() as other:
        other.publish(public_jwk("RSA", 1, kid="second"))
        server.pages[WELL_KNOWN] = {"issuer": server.url, "jwks_uri": f"{other.url}/keys"}
        monotonic.now += 31
        second = token_of(living(iss=server.url), alg="RS256", header={"alg": "RS256", "kid": "second"}, number=1)
        assert checker.validate(second)


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def https(folder: Path, pages: dict[str, str]) -> http.server.ThreadingHTTPServer:
    """A server with a certificate of its own for ``localhost``."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    (folder / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_text(pem_of(key))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = pages[self.path].encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def test_a_server_has_to_show_a_certificate_that_is_trusted(tmp_path: Path, monotonic: Time) -> None:
    import json

    pages: dict[str, str] = {}
    server = https(tmp_path, pages)
    issuer = f"https://127.0.0.1:{server.server_address[1]}"
    pages[WELL_KNOWN] = json.dumps({"issuer": issuer, "jwks_uri": f"{issuer}/keys"})
    pages["/keys"] = json.dumps({"keys": [public_jwk("RSA", kid="first")]})
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        config = JwtConfig(openid_issuer=issuer, ca_cert="ca.pem")
        checker = JwtValidator(config, clock=lambda: NOW, monotonic=monotonic, folder=tmp_path)
        assert checker.validate(token(issuer))["iss"] == issuer
        with pytest.raises(ProxyError, match="CERTIFICATE_VERIFY_FAILED"):
            validator(issuer, monotonic).validate(token(issuer))
        with serving() as plain:  # an issuer that is asked over TLS does not send us to keys without it
            plain.publish(public_jwk("RSA", kid="first"))
            pages[WELL_KNOWN] = json.dumps({"issuer": issuer, "jwks_uri": f"{plain.url}/keys"})
            again = JwtValidator(config, clock=lambda: NOW, monotonic=monotonic, folder=tmp_path)
            with pytest.raises(ProxyError, match="https"):
                again.validate(token(issuer))
            assert plain.asked == []
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_a_certificate_may_stand_for_a_key(monotonic: Time) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    native = rsa.generate_private_key(65537, 2048)
    checker = JwtValidator(JwtConfig(public_key=certificate_of(native)), clock=lambda: NOW, monotonic=monotonic)
    from joserfc.jwk import RSAKey

    assert checker.validate(token_of(living(), alg="RS256", key=RSAKey.import_key(native)))
