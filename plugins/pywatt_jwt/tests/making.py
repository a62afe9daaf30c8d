"""Keys of every kind, made once, and tokens of any shape, put together without what is tested here."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

SECRET = "a key of HMAC for tests, 64 bytes long so that HS512 takes it..!"
NOW = 1_800_000_000.0
"""A moment for tests that need one: the clock is an argument."""


def key_of(kind: str, number: int = 0) -> Any:
    """A private key of joserfc: ``RSA``, ``P-256``, ``P-384``, ``P-521``, ``Ed25519``, ``oct``. Each `number` is another one."""
    return _made(kind, number)


@cache
def _made(kind: str, number: int) -> Any:
    if kind == "RSA":
        return RSAKey.generate_key(2048)
    if kind == "oct":
        return OctKey.import_key(f"{SECRET}{number or ''}")
    if kind == "Ed25519":
        return OKPKey.generate_key("Ed25519")
    return ECKey.generate_key(kind)


KINDS = {
    "HS256": "oct", "HS384": "oct", "HS512": "oct", "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA",
    "PS512": "RSA", "ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519", "Ed25519": "Ed25519",
}  # fmt: skip
"""Every algorithm, and the kind of key that it needs."""


def part(value: Any) -> str:
    """One part of a token: bytes and text as they are, everything else as JSON."""
    data = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token_of(claims: Any, *, alg: str = "HS256", header: Any = None, key: Any = None, number: int = 0) -> str:
    """A token whose signature is right, whatever it says: made by joserfc's algorithms from parts that are put together here."""
    message = f"{part({'alg': alg, 'typ': 'JWT'} if header is None else header)}.{part(claims)}".encode()
    model = JWSRegistry.algorithms["Ed25519" if alg == "EdDSA" else alg]
    return f"{message.decode()}.{part(model.sign(message, key or key_of(KINDS[alg], number)))}"


def private_pem(kind: str, number: int = 0) -> str:
    return str(key_of(kind, number).as_pem(private=True).decode())


def public_pem(kind: str, number: int = 0) -> str:
    return str(key_of(kind, number).as_pem().decode())


def public_jwk(kind: str, number: int = 0, **more: Any) -> dict[str, Any]:
    return dict(key_of(kind, number).as_dict(private=False, **more))


def living(**claims: Any) -> dict[str, Any]:
    """Claims that are good at `NOW`."""
    return {"sub": "ada", "exp": int(NOW) + 600, **claims}


class Time:
    """A clock that a test moves."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
