"""Who is attacked: configurations of every kind, genuine tokens for them, and signatures made without any code that is tested."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pywatt_jwt import JwtConfig

SECRET = "the secret of the victim: forty bytes and some more"
HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
CURVES: Mapping[str, Callable[[], ec.EllipticCurve]] = {"256": ec.SECP256R1, "384": ec.SECP384R1, "512": ec.SECP521R1}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def dumped(value: Any) -> bytes:
    """JSON, or bytes as they are."""
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


@cache
def key_of(kind: str, owner: str = "victim") -> Any:
    """A private key of `cryptography`; each owner has another one."""
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(CURVES[kind]())


def pem_of(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def jwk_of(key: Any, **more: str) -> dict[str, Any]:
    """The public half of a private key as a JWK."""
    public = key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public.public_bytes_raw()), **more}
    numbers = public.public_numbers()
    if isinstance(public, rsa.RSAPublicKey):
        return {"kty": "RSA", "n": base64url(numbers.n.to_bytes(256, "big")), "e": "AQAB", **more}
    length = (public.curve.key_size + 7) // 8
    x, y = (base64url(number.to_bytes(length, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": f"P-{public.curve.key_size}", "x": x, "y": y, **more}


def sign(algorithm: str, message: bytes, key: Any) -> bytes:
    """A signature by whoever has the key; bytes are a key of HMAC."""
    kind, size = algorithm[:2], algorithm[2:]
    if isinstance(key, bytes):
        return hmac.digest(key, message, getattr(hashlib, f"sha{size if size in HASHES else '256'}"))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    digest = HASHES.get(size, hashes.SHA256)()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
        length = (key.curve.key_size + 7) // 8
        return r.to_bytes(length, "big") + s.to_bytes(length, "big")
    if kind == "PS":
        signed: bytes = key.sign(message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    else:
        signed = key.sign(message, padding.PKCS1v15(), digest)
    return signed


class Victim(NamedTuple):
    """One configuration, and what a genuine token for it looks like."""

    name: str
    config: JwtConfig
    algorithm: str
    key: Any
    kid: str | None = None
    claims: Mapping[str, Any] = {}

    @property
    def header(self) -> dict[str, Any]:
        return {"alg": self.algorithm, "typ": "JWT", **({"kid": self.kid} if self.kid else {})}

    def said(self, **claims: Any) -> dict[str, Any]:
        now = int(time.time())
        return {"sub": "mallory", "roles": ["admin"], "iat": now, "exp": now + 3600, **self.claims, **claims}

    def token(self, claims: Any = None, header: Any = None, *, key: Any = None, algorithm: str = "") -> str:
        """A token that is signed, by the victim's own key unless another is given; header and claims may be anything."""
        message = (
            f"{base64url(dumped(self.header if header is None else header))}.{base64url(dumped(self.said() if claims is None else claims))}"
        )
        signature = sign(algorithm or self.algorithm, message.encode(), self.key if key is None else key)
        return f"{message}.{base64url(signature)}"


def _set(*keys: tuple[str, str, str]) -> str:
    return json.dumps({"keys": [jwk_of(key_of(kind), kid=kid, alg=alg, use="sig") for kind, kid, alg in keys]})


@cache
def victims() -> dict[str, Victim]:
    """All of them."""
    keys = _set(("rsa", "first", "RS256"), ("256", "second", "ES256"), ("ed", "third", "Ed25519"), ("384", "fourth", "ES384"))
    make: dict[str, Callable[[], Victim]] = {
        "hmac": lambda: Victim("hmac", JwtConfig(secret_key=SECRET), "HS256", SECRET.encode()),
        "rsa": lambda: Victim("rsa", JwtConfig(public_key=pem_of(key_of("rsa")).decode()), "RS256", key_of("rsa")),
        "pss": lambda: Victim("pss", JwtConfig(public_key=pem_of(key_of("rsa")).decode(), algorithms=["PS256"]), "PS256", key_of("rsa")),
        "ec": lambda: Victim("ec", JwtConfig(public_key=json.dumps(jwk_of(key_of("256")))), "ES256", key_of("256")),
        "p521": lambda: Victim("p521", JwtConfig(public_key=pem_of(key_of("512")).decode()), "ES512", key_of("512")),
        "ed": lambda: Victim("ed", JwtConfig(public_key=pem_of(key_of("ed")).decode()), "Ed25519", key_of("ed")),
        "set": lambda: Victim("set", JwtConfig(jwks=keys), "RS256", key_of("rsa"), kid="first"),
        "set by curve": lambda: Victim("set by curve", JwtConfig(jwks=keys), "ES256", key_of("256"), kid="second"),
        "strict": lambda: Victim(
            "strict",
            JwtConfig(secret_key=SECRET, issuer="https://id.example", audience="shop", required_claims=["exp", "sub", "jti"]),
            "HS256",
            SECRET.encode(),
            claims={"iss": "https://id.example", "aud": "shop", "jti": "1"},
        ),
    }
    return {name: made() for name, made in make.items()}
