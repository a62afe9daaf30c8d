"""Check a token: ours against raw joserfc and PyJWT, and against the bare signature check, in one run.

Raw joserfc is ``jwt.decode`` and a ``JWTClaimsRegistry`` that checks what ours does (exp, nbf, iat, iss, aud); PyJWT is
``jwt.decode`` with the same. Ours is `JwtValidator.validate`, which reads more strictly. Each algorithm is measured with tokens that
come for the first time, where every signature is checked, and ours also with tokens that come again, whose signatures are remembered.
The limit is the signature check alone: `hmac` of the standard library, and ``verify`` of `cryptography`. All take turns over the
same tokens.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from pywatt_jwt import JwtConfig, JwtValidator, create_token

ROUNDS, TOKENS = 11, 300
ISSUER, AUDIENCE = "https://id.example.com/", "https://api.example.com"
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "scope": "read write", "roles": ["admin", "member"], "email": "ada@example.com"}
REQUIRED = {"exp": {"essential": True}, "iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": AUDIENCE}}
SECRET = "a key of HMAC for the benchmark, 32 bytes or more"

Check = Callable[[str], object]


def key_of(algorithm: str) -> Any:
    if algorithm.startswith("HS"):
        return OctKey.import_key(SECRET)
    if algorithm.startswith("RS"):
        return RSAKey.generate_key(2048)
    return ECKey.generate_key("P-256") if algorithm == "ES256" else OKPKey.generate_key("Ed25519")


def bare(algorithm: str, key: Any) -> Callable[[bytes, bytes], object]:
    """The signature check and nothing else."""
    public = key.public_key
    if algorithm == "HS256":
        return lambda message, proof: hmac.compare_digest(hmac.new(public, message, hashlib.sha256).digest(), proof)
    if algorithm == "RS256":
        scheme, digest = padding.PKCS1v15(), hashes.SHA256()
        return lambda message, proof: public.verify(proof, message, scheme, digest)
    if algorithm == "ES256":
        way = ec.ECDSA(hashes.SHA256())
        return lambda message, proof: public.verify(
            encode_dss_signature(int.from_bytes(proof[:32], "big"), int.from_bytes(proof[32:], "big")), message, way
        )
    return lambda message, proof: public.verify(proof, message)


def pyjwt(algorithm: str, key: Any) -> Check | None:
    """PyJWT's check, None where it is not installed."""
    try:
        import jwt as library
    except ImportError:
        return None
    named: Any = ["EdDSA" if algorithm == "Ed25519" else algorithm]
    public: Any = key.public_key
    wanted: Any = {"require": ["exp", "iss", "aud"]}
    return lambda token: library.decode(token, public, algorithms=named, issuer=ISSUER, audience=AUDIENCE, leeway=60, options=wanted)


def per_second(check: Callable[[Any], object], items: Sequence[Any]) -> float:
    begun = time.perf_counter()
    for item in items:
        check(item)
    return len(items) / (time.perf_counter() - begun)


def measure(algorithm: str) -> dict[str, list[float]]:
    key = key_of(algorithm)
    material = {"secret_key": SECRET} if algorithm == "HS256" else {"private_key": key.as_pem(private=True).decode()}
    shared: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": [algorithm], **material}
    config = JwtConfig(remembered=0, **shared)
    # PyJWT knows the older name of Ed25519 alone, raw joserfc wants the newer one
    names = ("Ed25519", "EdDSA") if algorithm == "Ed25519" else (algorithm,)
    made = {
        name: [create_token({**CLAIMS, "sub": f"user {number}"}, JwtConfig(**{**shared, "algorithms": [name]})) for number in range(TOKENS)]
        for name in names
    }
    tokens, others = made[names[0]], made[names[-1]]
    registry = jwt.JWTClaimsRegistry(leeway=60, **REQUIRED)  # type: ignore[arg-type]
    allowed = [algorithm]
    parts = [
        (message.encode(), base64.urlsafe_b64decode(proof + "===")) for message, _, proof in (token.rpartition(".") for token in tokens)
    ]
    check = bare(algorithm, key)
    remembering = JwtValidator(JwtConfig(remembered=2 * TOKENS, **shared))
    for token in tokens:
        remembering.validate(token)
    turns: dict[str, tuple[Callable[[Any], object], Sequence[Any]]] = {
        "ours": (JwtValidator(config).validate, tokens),
        "again": (remembering.validate, tokens),
        "peer": (lambda token: registry.validate(jwt.decode(token, key, algorithms=allowed).claims), tokens),
        "limit": (lambda pair: check(*pair), parts),
    }
    other = pyjwt(algorithm, key)
    if other is not None:
        turns["pyjwt"] = (other, others)
    figures: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(ROUNDS + 1):
        for name, (work, items) in turns.items():
            rate = per_second(work, items)
            if number:  # the first round warms up
                figures[name].append(rate)
    return figures


def results(algorithm: str, figures: dict[str, list[float]]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    ways = [("ours", f"check a token, {algorithm}, the first time")]
    if algorithm != "HS256":  # of HMAC nothing is remembered
        ways.append(("again", f"check a token, {algorithm}, again"))
    for way, what in ways:
        ratio = statistics.median(a / b for a, b in zip(figures[way], figures["peer"], strict=True))
        found.append(
            {
                "claim": "jwt",
                "what": what,
                "ours": round(statistics.median(figures[way])),
                "peer": round(statistics.median(figures["peer"])),
                "peer_name": "raw joserfc",
                "pyjwt": round(statistics.median(figures["pyjwt"])) if "pyjwt" in figures else None,
                "limit": round(statistics.median(figures["limit"])),
                "limit_name": "the bare signature check",
                "unit": "1/s",
                "ratio": round(ratio, 3),
                "target": ">= 1 x raw joserfc",
                "ok": ratio >= 1,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = [one for algorithm in ("HS256", "RS256", "ES256", "Ed25519") for one in results(algorithm, measure(algorithm))]
    if arguments.json:
        print(json.dumps(found))
        return
    for one in found:
        print(f"{one['what']}: ours {one['ours']}/s, raw joserfc {one['peer']}/s, PyJWT {one['pyjwt'] or '-'}/s, bare {one['limit']}/s")
        print(f"  ratio {one['ratio']} to raw joserfc (target {one['target']})")


if __name__ == "__main__":
    main()
