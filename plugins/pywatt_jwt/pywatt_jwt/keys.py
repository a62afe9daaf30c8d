"""Keys, from everything that operators and servers have them in. The key decides which algorithms it is for, never a token.

What is wrong with a key is an `UnusableKey`, a `ValueError` that names where it stands and what to do, and shows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from pywatt_core import redaction

from .options import HMAC_BYTES, check_hmac
from .tokens import LONGEST_NAME, canonical, json_object, unbase64

MOST_KEYS: Final = 100
"""Keys in one set."""

RSA_BITS: Final = (2048, 8192)
"""Fewer are too weak; more would let a set of keys slow everybody down."""

CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
PRIVATE_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")

_MODELS: Final = {name: JWSRegistry.algorithms[name] for name in (*HMAC_BYTES, *RSA_ALGORITHMS, *CURVES.values(), "Ed25519")}
"""joserfc's algorithms: what does the work. HMAC is compared with `hmac.compare_digest` there, all else by OpenSSL."""


class UnusableKey(ValueError):
    """A key that cannot be read, or may not be used."""


class Key:
    """One key. Which algorithms it checks and signs with was decided when it was read."""

    __slots__ = ("_private", "_public", "algorithms", "kid")

    def __init__(self, public: Any, private: Any, algorithms: tuple[str, ...], kid: str | None) -> None:
        self._public, self._private = public, private
        self.algorithms = algorithms
        """Nothing else is accepted from this key, whatever a token's header says."""
        self.kid = kid

    @property
    def signs(self) -> bool:
        """Whether it can make tokens."""
        return self._private is not None

    def checking(self, kid: str | None = None) -> Key:
        """The same key, which does not sign, under its own name or `kid`."""
        return Key(self._public, None, self.algorithms, self.kid if kid is None else kid)

    @property
    def is_shared(self) -> bool:
        """Whether whoever checks with it can sign with it too."""
        return isinstance(self._public, OctKey)

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is one of `message`; false for every algorithm that the key is not for."""
        return algorithm in self.algorithms and _MODELS[algorithm].verify(message, signature, self._public)

    def sign(self, algorithm: str, message: bytes) -> bytes:
        """The signature. Raises `ValueError` where the key cannot."""
        if self._private is None or algorithm not in self.algorithms:
            raise ValueError(f"the key does not sign with {algorithm}")
        return _MODELS[algorithm].sign(message, self._private)

    def __repr__(self) -> str:
        return f"Key({'/'.join(self.algorithms)}{', signs' if self.signs else ''})"


# ── what a key is for ───────────────────────────────────────────────────────────────────────────────────────────────


def hmac_key(key: bytes, where: str, allowed: tuple[str, ...], *, kid: str | None = None, alg: str = "") -> Key:
    """A key of HMAC. `allowed` as `JwtOptions.algorithms`, `alg` as the member of a JWK."""
    if alg and (alg not in HMAC_BYTES or (allowed and alg not in allowed)):
        raise UnusableKey(f"{where} is a key of HMAC for {alg}, which {'algorithms does not name' if alg in HMAC_BYTES else 'is not HMAC'}")
    try:
        check_hmac(key, (alg,) if alg else allowed, where)
    except ValueError as error:
        raise UnusableKey(str(error)) from None
    try:
        material = None if is_structured(key) else OctKey.import_key(key)  # which refuses public keys of other forms
    except ValueError:
        material = None
    if material is None:
        raise UnusableKey(f"{where} is a key of HMAC and holds PEM or another form of key: use key, public_key or private_key for that")
    names = (alg,) if alg else tuple(name for name in allowed or ("HS256",) if name in HMAC_BYTES)
    return Key(material, material, names, kid)


def is_structured(text: bytes) -> bool:
    """Whether this is PEM or JSON, as a JWK is, and no random bytes; those may begin with a brace too."""
    if b"-----BEGIN " in text:
        return True
    try:
        json_object(text.strip())
    except ValueError:
        return False
    return True


def native_key(native: Any, where: str, allowed: tuple[str, ...], *, kid: str | None = None, alg: str = "") -> Key:
    """A key of `cryptography`, private or public."""
    private = native if isinstance(native, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) else None
    public = native if private is None else private.public_key()
    wrapped: Any
    names: tuple[str, ...]
    if isinstance(public, rsa.RSAPublicKey):
        if not RSA_BITS[0] <= public.key_size <= RSA_BITS[1]:
            raise UnusableKey(f"{where} is an RSA key of {public.key_size} bits: from {RSA_BITS[0]} to {RSA_BITS[1]} are needed")
        if public.public_numbers().e >= 1 << 32:
            raise UnusableKey(f"{where} is an RSA key with an exponent of more than 32 bits")
        wrapped, names = RSAKey, RSA_ALGORITHMS
    elif isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in CURVES:
        wrapped, names = ECKey, (CURVES[public.curve.name],)
    elif isinstance(public, ed25519.Ed25519PublicKey):
        wrapped, names = OKPKey, ("Ed25519",)
    else:
        raise UnusableKey(f"{where} is of a kind that is not supported: use RSA, EC on P-256, P-384 or P-521, or Ed25519")
    if alg and alg not in names:
        raise UnusableKey(f"{where} says that it is for {alg}, and a key of its kind is not")
    chosen = _allowed((alg,) if alg else names, allowed)
    if not chosen:
        raise UnusableKey(f"{where} is for {', '.join((alg,) if alg else names)}, and algorithms names none of that")
    return Key(wrapped.import_key(public), wrapped.import_key(private) if private is not None else None, chosen, kid)


def _allowed(names: Iterable[str], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` that `allowed` has, in its order; all where it is empty."""
    names = tuple(map(canonical, names))
    return tuple(dict.fromkeys(name for name in map(canonical, allowed) if name in names)) if allowed else names


# ── where keys are read from ────────────────────────────────────────────────────────────────────────────────────────


def read_keys(
    text: str, where: str, allowed: tuple[str, ...], *, password: str | None = None, public_only: bool = False, kid: str | None = None
) -> list[Key]:
    """The keys in a text: PEM (several may follow each other), a JWK, or a JWK Set. Raises `ValueError`."""
    stripped = text.strip()
    if stripped.startswith("{"):
        try:
            said = json_object(stripped.encode("utf-8", "surrogatepass"))
        except ValueError:
            raise UnusableKey(f"{where} is not a JWK or a JWK Set: its JSON cannot be read, or says a member twice") from None
        if "keys" in said:
            return read_set(said, where, allowed, public_only=public_only)
        return [read_jwk(said, where, allowed, public_only=public_only, kid=kid)]
    if "-----BEGIN " in stripped:
        blocks = ["-----BEGIN " + one for one in stripped.split("-----BEGIN ")[1:]]
        if len(blocks) > MOST_KEYS:
            raise UnusableKey(f"{where} has more than {MOST_KEYS} keys")
        found = [_read_pem(block, where, allowed, password, public_only, kid) for block in blocks if "EC PARAMETERS" not in block[:40]]
        if found:
            return found
    raise UnusableKey(f"{where} is neither PEM nor a JWK")


def _read_pem(text: str, where: str, allowed: tuple[str, ...], password: str | None, public_only: bool, kid: str | None) -> Key:
    label, data = text.partition("\n")[0], text.encode("utf-8", "replace")
    try:
        if "CERTIFICATE" in label:
            native: Any = load_pem_x509_certificate(data).public_key()
        elif "PUBLIC" in label:
            native = load_pem_public_key(data)
        elif public_only:
            raise UnusableKey(f"{where} has a private key: only public ones may stand there")
        else:
            redaction.register("".join(line for line in text.splitlines() if line and "-----" not in line), name=f"{where}, without lines")
            native = load_pem_private_key(data, password.encode() if password is not None else None)
    except TypeError:
        which = "is not encrypted, and a password is given" if password is not None else "is encrypted: set private_key_password"
        raise UnusableKey(f"{where} {which}") from None
    except UnusableKey:
        raise
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKey(f"{where} is PEM that cannot be read{', or its password is another' if password is not None else ''}") from None
    return native_key(native, where, allowed, kid=kid)


def read_jwk(said: dict[str, Any], where: str, allowed: tuple[str, ...], *, public_only: bool = False, kid: str | None = None) -> Key:
    """The key in a JWK. Raises `ValueError` where it is not one that may check tokens."""
    if public_only and said.get("kty") == "oct":
        raise UnusableKey(f"{where} has a symmetric key: only public ones may stand there")
    if public_only and any(name in said for name in PRIVATE_MEMBERS):
        raise UnusableKey(f"{where} has a private key: only public ones may stand there")
    for name in PRIVATE_MEMBERS:
        if isinstance(value := said.get(name), str):
            redaction.register(value, name=f"{where}, member {name}")
    own, alg = said.get("kid"), said.get("alg", "")
    if not (own is None or (isinstance(own, str) and len(own) <= LONGEST_NAME)) or not isinstance(alg, str):
        raise UnusableKey(f"{where} has a JWK whose kid or alg is not a text of bounded length")
    operations = said.get("key_ops", ["verify", "sign"])
    wanted = {"verify", "sign"} if "d" in said else {"verify"}  # of a private key the public half checks, whatever the key itself is for
    if said.get("use", "sig") != "sig" or not (isinstance(operations, list) and any(one in operations for one in wanted)):
        raise UnusableKey(f"{where} has a JWK that is not for signatures")
    if alg and canonical(alg) not in _MODELS:
        raise UnusableKey(f"{where} has a JWK for an algorithm that is not supported")
    key = _material(said, where, allowed, kid or own, canonical(alg))
    return key if "sign" in operations else key.checking()


def _material(said: dict[str, Any], where: str, allowed: tuple[str, ...], kid: str | None, alg: str) -> Key:
    plain: dict[str, Any] = {name: said[name] for name in ("kty", "crv", "x", "y", "n", "e", *PRIVATE_MEMBERS) if name in said}
    try:
        if plain["kty"] == "oct":
            return hmac_key(unbase64(plain["k"].encode()), where, allowed, kid=kid, alg=alg)
        if plain["kty"] == "RSA" and not RSA_BITS[0] <= int.from_bytes(unbase64(plain["n"].encode())).bit_length() <= RSA_BITS[1]:
            raise UnusableKey(f"{where} is an RSA key of a length that is not from {RSA_BITS[0]} to {RSA_BITS[1]} bits")
        native = JWKRegistry.import_key(plain).raw_value
    except UnusableKey:
        raise
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm, OverflowError):
        raise UnusableKey(f"{where} has a JWK that cannot be read") from None
    return native_key(native, where, allowed, kid=kid, alg=alg)


def read_set(
    said: dict[str, Any], where: str, allowed: tuple[str, ...], *, public_only: bool = False, skipped: Callable[[str], None] | None = None
) -> list[Key]:
    """The keys of a JWK Set. With `skipped`, what is wrong with a key is told to it and the key passed over (RFC 7517 5)."""
    entries = said.get("keys")
    if not isinstance(entries, list) or len(entries) > MOST_KEYS:
        raise UnusableKey(f"{where} is not a JWK Set with at most {MOST_KEYS} keys")
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            if not isinstance(entry, dict):
                raise UnusableKey(f"{where}, key {number}, is not a JSON object")
            found.append(read_jwk(entry, f"{where}, key {number},", allowed, public_only=public_only))
        except UnusableKey as error:
            if skipped is None:
                raise
            skipped(str(error))
    return found


def set_of_text(text: str, where: str, allowed: tuple[str, ...], skipped: Callable[[str], None]) -> list[Key]:
    """The public keys of a JWK Set that somebody else publishes. Raises `ValueError` where it is none."""
    try:
        said = json_object(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        raise UnusableKey(f"{where} did not give a JWK Set: its JSON cannot be read, or says a member twice") from None
    return read_set(said, where, allowed, public_only=True, skipped=skipped)
