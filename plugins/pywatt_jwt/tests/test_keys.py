"""Keys are read from everything that people have them in, and a key says which algorithms it is for."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.x509.oid import NameOID
from joserfc.jwk import RSAKey

from pywatt_core import redaction
from pywatt_jwt.keys import MOST_KEYS, UnusableKey, hmac_key, read_jwk, read_keys, set_of_text

from .making import KINDS, SECRET, key_of, part, private_pem, public_jwk, public_pem

RSA_NAMES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
OF_KIND = {"RSA": RSA_NAMES, "P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("Ed25519",)}
OCT = {"kty": "oct", "k": part(SECRET)}


def pem_of(native: Any, *, public: bool = False) -> str:
    if public:
        data = native.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    else:
        data = native.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return str(data.decode())


def certificate_of(native: Any) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "id.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(native.public_key()).serial_number(5)
    signed = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1)).sign(native, hashes.SHA256())
    return str(signed.public_bytes(serialization.Encoding.PEM).decode())


# ── forms ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", OF_KIND)
def test_pem_and_jwk_private_and_public_are_read(kind: str) -> None:
    native = key_of(kind)
    forms = [(private_pem(kind), True), (public_pem(kind), False), (json.dumps(native.as_dict(private=True)), True)]
    for text, signs in [*forms, (json.dumps(public_jwk(kind)), False)]:
        (key,) = read_keys(f"\n {text}\n", "key", ())
        assert (key.algorithms, key.signs, key.kid, key.is_shared) == (OF_KIND[kind], signs, None, False)
        for name in OF_KIND[kind]:
            signature = read_keys(private_pem(kind), "key", ())[0].sign(name, b"message")
            assert key.verify(name, b"message", signature)
            assert not key.verify(name, b"massage", signature)


def test_traditional_and_encrypted_pem_is_read() -> None:
    native = ec.generate_private_key(ec.SECP256R1())
    best = serialization.BestAvailableEncryption(b"a password")
    encrypted = native.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, best).decode()
    old = native.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()
    openssl = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + old
    for text, password in ((encrypted, "a password"), (old, None), (openssl, None), (certificate_of(native), None)):
        (key,) = read_keys(text, "private_key", (), password=password)
        assert key.algorithms == ("ES256",)
    with pytest.raises(UnusableKey, match="private_key is encrypted: set private_key_password"):
        read_keys(encrypted, "private_key", ())
    with pytest.raises(UnusableKey, match="or its password is another"):
        read_keys(encrypted, "private_key", (), password="wrong")
    with pytest.raises(UnusableKey, match="is not encrypted, and a password is given"):
        read_keys(old, "private_key", (), password="a password")


def test_several_pem_blocks_and_sets_are_read_in_order() -> None:
    found = read_keys(public_pem("RSA") + "\n" + public_pem("P-256") + certificate_of(ec.generate_private_key(ec.SECP384R1())), "key", ())
    assert [key.algorithms[0] for key in found] == ["RS256", "ES256", "ES384"]
    text = json.dumps({"keys": [public_jwk("RSA", kid="a"), public_jwk("P-256", kid="b", alg="ES256", use="sig")]})
    assert [key.kid for key in read_keys(text, "jwks", ())] == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{", "{}", '{"kty":"RSA","kty":"RSA"}', '{"keys":{}}', '{"keys":[5]}', "-----BEGIN PUBLIC KEY-----"]
)
def test_what_is_no_key_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(UnusableKey, match="^public_key"):
        read_keys(text, "public_key", ())


def test_a_public_place_takes_no_private_key_and_no_shared_one() -> None:
    for text in (private_pem("RSA"), json.dumps(key_of("P-256").as_dict(private=True)), json.dumps(OCT), json.dumps({"keys": [OCT]})):
        with pytest.raises(UnusableKey, match="only public ones"):
            read_keys(text, "public_key", (), public_only=True)


# ── strength ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rsa_below_2048_bits_is_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.raises(UnusableKey, match="1024 bits"):
        read_keys(pem_of(weak), "private_key", ())
    with pytest.raises(UnusableKey, match="2048 to 8192 bits"):
        read_keys(
            json.dumps(RSAKey.import_key(rsa.generate_private_key(65537, 2048).public_key()).as_dict() | {"n": part(b"\x81" * 128)}),
            "key",
            (),
        )


@pytest.mark.parametrize(("member", "value"), [("n", part(b"\x81" * 4096)), ("e", "AQ"), ("e", "Ag"), ("e", part(b"\xff" * 9)), ("e", "")])
def test_rsa_with_numbers_that_make_no_sense_is_refused(member: str, value: str) -> None:
    with pytest.raises(UnusableKey):
        read_jwk({**public_jwk("RSA"), member: value}, "key", ())


@pytest.mark.parametrize(
    "native",
    [ec.generate_private_key(ec.SECP256K1()), ec.generate_private_key(ec.SECP224R1()), ed448.Ed448PrivateKey.generate(),
     x25519.X25519PrivateKey.generate(), dsa.generate_private_key(2048)],
    ids=lambda native: type(native).__name__,
)  # fmt: skip
def test_kinds_that_are_not_supported_are_refused(native: Any) -> None:
    for public in (True, False):
        with pytest.raises(UnusableKey, match="of a kind that is not supported"):
            read_keys(pem_of(native, public=public), "key", ())


@pytest.mark.parametrize(("name", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_key_of_hmac_has_as_many_bytes_as_its_hash(name: str, least: int) -> None:
    assert hmac_key(b"x" * least, "key", (name,)).algorithms == (name,)
    with pytest.raises(UnusableKey, match=f"{name} needs at least {least}"):
        hmac_key(b"x" * (least - 1), "key", (name,))
    with pytest.raises(UnusableKey, match=f"{name} needs at least {least}"):
        read_jwk({"kty": "oct", "k": part(b"x" * (least - 1)), "alg": name}, "key", ())


@pytest.mark.parametrize("kind", ["RSA", "P-256", "Ed25519"])
def test_what_is_public_is_no_secret(kind: str) -> None:
    ssh = key_of(kind).public_key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    der = key_of(kind).public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    for text in (
        public_pem(kind).encode(),
        ssh,
        der,
        b"  " + public_pem(kind).encode(),
        private_pem(kind).encode(),
        public_pem(kind)[:60].encode(),
        json.dumps(public_jwk(kind)).encode(),
        json.dumps({"keys": [public_jwk(kind)]}, indent=1).encode(),
        b" " + json.dumps({"kty": "oct", "k": part(b"x" * 64)}).encode(),
    ):
        with pytest.raises(UnusableKey, match="holds PEM or another form of key"):
            hmac_key(text, "secret_key", ())
        with pytest.raises(UnusableKey):
            read_jwk({"kty": "oct", "k": part(text)}, "key", ())


# ── what a key is for ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("alg", KINDS)
def test_a_jwk_with_an_algorithm_is_for_that_alone(alg: str) -> None:
    kind = KINDS[alg]
    said = {**OCT, "alg": alg} if kind == "oct" else public_jwk(kind, alg=alg)
    expected = "Ed25519" if alg == "EdDSA" else alg
    assert read_jwk(said, "key", ()).algorithms == (expected,)
    assert read_jwk(said, "key", (alg,)).algorithms == (expected,)
    with pytest.raises(UnusableKey):
        read_jwk(said, "key", ("ES384" if alg != "ES384" else "RS256",))


@pytest.mark.parametrize("alg", ["RS256", "HS256", "none", "RSA-OAEP", "ES256K", "", "x" * 300, 5, None, ["ES384"]])
def test_a_jwk_that_says_another_algorithm_than_its_kind_is_refused(alg: Any) -> None:
    if alg == "":
        return
    with pytest.raises(UnusableKey):
        read_jwk({**public_jwk("P-384"), "alg": alg}, "key", ())


def test_of_hmac_keys_without_a_word_hs256_alone_is_accepted() -> None:
    assert hmac_key(SECRET.encode(), "key", ()).algorithms == ("HS256",)
    assert hmac_key(SECRET.encode(), "key", ("HS512", "RS256", "HS256")).algorithms == ("HS512", "HS256")


def test_both_names_of_ed25519_mean_the_same() -> None:
    for named in ((), ("EdDSA",), ("Ed25519",), ("EdDSA", "Ed25519")):
        assert read_keys(public_pem("Ed25519"), "key", named)[0].algorithms == ("Ed25519",)


@pytest.mark.parametrize(
    ("members", "signs", "checks"),
    [
        ({}, True, True), ({"use": "sig"}, True, True), ({"use": "enc"}, False, False), ({"use": 5}, False, False),
        ({"key_ops": ["sign", "verify"]}, True, True), ({"key_ops": ["verify"]}, False, True), ({"key_ops": ["sign"]}, True, True),
        ({"key_ops": ["encrypt"]}, False, False), ({"key_ops": []}, False, False), ({"key_ops": "verify"}, False, False),
        ({"key_ops": {"verify": 1}}, False, False),
    ],
)  # fmt: skip
def test_what_a_private_jwk_may_be_used_for_is_honoured(members: dict[str, Any], signs: bool, checks: bool) -> None:
    said = {**key_of("P-256").as_dict(private=True), **members}
    if not checks:
        with pytest.raises(UnusableKey, match="not for signatures"):
            read_jwk(said, "key", ())
        return
    assert read_jwk(said, "key", ()).signs == signs


def test_a_public_jwk_that_is_only_for_signing_checks_nothing() -> None:
    with pytest.raises(UnusableKey, match="not for signatures"):
        read_jwk({**public_jwk("P-256"), "key_ops": ["sign"]}, "key", ())


@pytest.mark.parametrize("member", ["kty", "crv", "x", "y"])
@pytest.mark.parametrize("value", [None, 5, "", "!!", [], {}, "P-521", part(b"\x01" * 32), "x" * 100_000])
def test_a_jwk_with_anything_inside_is_a_key_or_unusable(member: str, value: Any) -> None:
    for kind in ("P-256", "Ed25519"):
        with pytest.raises(UnusableKey):
            read_jwk({**public_jwk(kind), member: value}, "key", ())
            raise UnusableKey("another key of the same form is a key")
    with pytest.raises(UnusableKey):
        read_jwk({name: one for name, one in public_jwk("P-256").items() if name != member}, "key", ())


def test_a_key_does_only_what_it_is_for() -> None:
    rsa_key, hmac = read_keys(private_pem("RSA"), "key", ("RS256",))[0], hmac_key(SECRET.encode(), "key", ())
    signature = rsa_key.sign("RS256", b"message")
    assert not rsa_key.verify("PS256", b"message", signature)
    assert not rsa_key.verify("HS256", b"message", signature)
    assert not rsa_key.verify("none", b"message", b"")
    assert not hmac.verify("HS512", b"message", key_of("oct").raw_value)
    for name in ("PS256", "HS256", "none"):
        with pytest.raises(ValueError, match="does not sign"):
            rsa_key.sign(name, b"message")
    with pytest.raises(ValueError, match="does not sign"):
        rsa_key.checking().sign("RS256", b"message")
    assert rsa_key.checking().verify("RS256", b"message", signature)


@pytest.mark.parametrize("alg", sorted(set(KINDS) - {"EdDSA"}))
def test_a_signature_that_is_no_signature_does_not_hold(alg: str) -> None:
    key = read_keys(json.dumps(OCT) if KINDS[alg] == "oct" else private_pem(KINDS[alg]), "key", (alg,))[0]
    signature = key.sign(alg, b"message")
    wrong = [
        b"",
        b"\x00",
        signature[:-1],
        signature + b"\x00",
        signature * 2,
        bytes(len(signature)),
        b"\xff" * len(signature),
        bytes(10_000),
    ]
    assert key.verify(alg, b"message", signature)
    assert not any(key.verify(alg, b"message", one) for one in wrong)


# ── sets that somebody publishes ────────────────────────────────────────────────────────────────────────────────────


def test_a_published_set_gives_what_is_of_use_and_tells_of_the_rest() -> None:
    entries = [
        public_jwk("RSA", kid="a"), OCT, key_of("P-256").as_dict(private=True), {"kty": "AKP", "alg": "ML-DSA-44"}, 5, None, {},
        public_jwk("P-256", kid="enc", use="enc"), public_jwk("P-256", kid="b"), {**public_jwk("RSA"), "e": "AQ"},
    ]  # fmt: skip
    skipped: list[str] = []
    found = set_of_text(json.dumps({"keys": entries, "more": 1}), "jwks_url", (), skipped.append)
    assert [key.kid for key in found] == ["a", "b"]
    assert len(skipped) == 8
    assert all(text.startswith("jwks_url, key ") for text in skipped)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"keys": 5}', '{"keys": [], "keys": []}', "<html>", json.dumps({"keys": [{}] * (MOST_KEYS + 1)}), "\ud800"]
)
def test_what_is_no_set_is_refused(text: str) -> None:
    with pytest.raises(UnusableKey, match="^jwks_url"):
        set_of_text(text, "jwks_url", (), lambda _: None)


# ── nothing shows ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_private_in_a_key_is_redacted_from_then_on() -> None:
    native = RSAKey.generate_key(2048)
    said: Any = native.as_dict(private=True)
    read_keys(json.dumps(said), "key", ())
    body = "".join(native.as_pem(private=True).decode().splitlines()[1:-1])
    read_keys(native.as_pem(private=True).decode(), "key", ())
    for text in (said["d"], said["p"], body):
        assert redaction.redact(f"<{text}>") == "<[REDACTED]>"
    assert redaction.redact(said["n"]) == said["n"]


def test_no_refusal_shows_a_key() -> None:
    canary = "canary-of-a-key-0123456789abcdefghij"
    texts = [
        canary,
        f"-----BEGIN PRIVATE KEY-----\n{canary}\n-----END PRIVATE KEY-----",
        json.dumps({"kty": "oct", "k": canary, "use": "enc"}),
        json.dumps({"kty": canary, "k": canary}),
        json.dumps({**public_jwk("P-256"), "d": canary}),
        f'{{"a":1,"a":"{canary}"',
    ]
    for text in texts:
        with pytest.raises(UnusableKey) as caught:
            read_keys(text, "key", ())
        assert canary not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert SECRET not in repr(hmac_key(SECRET.encode(), "key", ()))
