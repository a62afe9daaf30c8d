"""Tokens are checked: every algorithm, keys that are found by name or not at all, what is remembered, and how much work is done."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import AuthError, ConfigError, ExpiredToken, InvalidToken, Unavailable
from pywatt_core.http.bearer import MissingToken as CoreMissingToken
from pywatt_core.http.bearer import refusal_of
from pywatt_jwt import (
    ExpiredSignature,
    InvalidClaims,
    InvalidSignature,
    JwtAuthError,
    JwtConfig,
    JwtError,
    JwtValidator,
    MissingToken,
    ProxyError,
    SerializationError,
    create_token,
)
from pywatt_jwt.keys import Key

from .making import KINDS, NOW, SECRET, key_of, living, part, private_pem, public_jwk, public_pem, token_of

PUBLIC = sorted(set(KINDS) - {"HS256", "HS384", "HS512"})


def validator(**options: Any) -> JwtValidator:
    return JwtValidator(JwtConfig(**(options or {"secret_key": SECRET})), clock=lambda: NOW)


def for_algorithm(alg: str, number: int = 0, **more: Any) -> JwtValidator:
    key = {"secret_key": f"{SECRET}{number or ''}"} if KINDS[alg] == "oct" else {"public_key": public_pem(KINDS[alg], number)}
    return validator(**key, algorithms=[alg], **more)


def refused(checker: JwtValidator, token: Any) -> JwtAuthError:
    with pytest.raises(JwtAuthError) as caught:
        checker.validate(token)
    assert isinstance(caught.value, InvalidToken)
    return caught.value


# ── algorithms ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("alg", KINDS)
def test_every_algorithm_is_checked(alg: str) -> None:
    checker, token = for_algorithm(alg), token_of(living(), alg=alg)
    for _ in range(3):
        assert checker.validate(token) == living()
    assert isinstance(refused(checker, token_of(living(), alg=alg, number=1)), InvalidSignature)
    assert checker.validate(token) == living()


@pytest.mark.parametrize("alg", KINDS)
@pytest.mark.parametrize("other", ["HS256", "HS512", "RS256", "PS256", "ES256", "ES384", "EdDSA", "none", "HS999"])
def test_the_header_does_not_choose_the_algorithm(alg: str, other: str) -> None:
    if other == alg or {alg, other} == {"EdDSA", "Ed25519"}:
        return
    head, body, proof = token_of(living(), alg=alg).split(".")
    head = part({"alg": other, "typ": "JWT"})
    for token in (f"{head}.{body}.{proof}", f"{head}.{body}."):
        assert str(refusal_of(refused(for_algorithm(alg), token)).body) == str(b'{"error":"Unauthorized: InvalidToken"}')


@pytest.mark.parametrize("alg", PUBLIC)
@pytest.mark.parametrize("hmac", ["HS256", "HS384", "HS512"])
def test_what_is_public_signs_nothing(alg: str, hmac: str) -> None:
    """The classic: the public key, in every form that an attacker has it in, used as a key of HMAC."""
    from joserfc.jws import JWSRegistry

    class Raw:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def get_op_key(self, operation: str) -> bytes:
            return self.data

    pem = public_pem(KINDS[alg])
    forms = [pem, pem.strip(), pem + "\n", json.dumps(public_jwk(KINDS[alg])), "".join(pem.splitlines()[1:-1])]
    for checker in (for_algorithm(alg), validator(public_key=pem), validator(public_key=pem, secret_key=SECRET)):
        for form in forms:
            message = f"{part({'alg': hmac})}.{part(living(sub='mallory'))}"
            proof = JWSRegistry.algorithms[hmac].sign(message.encode(), Raw(form.encode()))
            refused(checker, f"{message}.{part(proof)}")


def test_an_algorithm_that_is_not_named_is_refused_though_the_key_could() -> None:
    checker = validator(public_key=public_pem("RSA"), algorithms=["PS256"])
    assert checker.validate(token_of(living(), alg="PS256"))
    refused(checker, token_of(living(), alg="RS256"))
    refused(validator(), token_of(living(), alg="HS512"))


# ── which key ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_named_key_is_the_one_that_counts() -> None:
    keys = [public_jwk("RSA", 0, kid="a"), public_jwk("RSA", 1, kid="b"), public_jwk("P-256", kid="c")]
    checker = validator(jwks=json.dumps({"keys": keys}))
    for kid, number, good in (("a", 0, True), ("b", 1, True), ("a", 1, False), ("b", 0, False), ("c", 0, False), ("x", 0, False)):
        token = token_of(living(), alg="RS256", header={"alg": "RS256", "kid": kid}, number=number)
        if good:
            assert checker.validate(token)
        else:
            refused(checker, token)
    assert checker.validate(token_of(living(), alg="RS256", number=1))  # it names none: each that could is tried


@pytest.mark.parametrize(
    "kid", ["../../etc/passwd", "/dev/null", "' OR 1=1", "a\x00b", "http://127.0.0.1/", "${SECRET}", "", "ü", "a" * 256]
)
def test_a_name_of_a_key_is_looked_up_and_nothing_else(kid: str) -> None:
    named = validator(jwks=json.dumps({"keys": [public_jwk("RSA", kid="a")]}))
    refused(named, token_of(living(), alg="RS256", header={"alg": "RS256", "kid": kid}))
    assert validator().validate(token_of(living(), header={"alg": "HS256", "kid": kid}))  # our key has no name: any may stand there


def test_a_key_in_the_header_is_not_a_key() -> None:
    stranger = key_of("RSA", 5)
    for more in (
        {"jwk": stranger.as_dict(private=False)},
        {"jwk": {"kty": "oct", "k": part("x" * 32)}},
        {"jku": "http://127.0.0.1:1/keys", "kid": "evil"},
        {"x5u": "http://127.0.0.1:1/cert"},
        {"x5c": ["AA=="]},
    ):
        refused(validator(public_key=public_pem("RSA")), token_of(living(), alg="RS256", header={"alg": "RS256", **more}, number=5))


def test_old_keys_still_check() -> None:
    checker = validator(secret_key=SECRET, previous_keys=[f"{SECRET}1", public_pem("P-256", 7)], audience="shop")
    for token in (
        token_of(living(aud="shop")),
        token_of(living(aud="shop"), number=1),
        token_of(living(aud="shop"), alg="ES256", number=7),
    ):
        assert checker.validate(token)
    refused(checker, token_of(living(aud="shop"), number=2))


@pytest.mark.parametrize(("before", "now"), [("one", "one"), ("one", "two"), ("", "one"), ("one", ""), ("", "")])
def test_old_keys_still_check_whatever_the_name_of_the_new_one(before: str, now: str) -> None:
    for old, new in ((SECRET, SECRET[::-1]), ("{" + SECRET, SECRET), (private_pem("P-256"), private_pem("P-256", 1))):
        of_old: dict[str, Any] = {"private_key" if "PRIVATE" in old else "secret_key": old}
        of_new: dict[str, Any] = dict.fromkeys(of_old, new)
        token = create_token({"sub": "ada"}, JwtConfig(kid=before, **of_old))
        checker = JwtValidator(JwtConfig(previous_keys=[old], kid=now, **of_new))
        assert checker.validate(token)["sub"] == "ada"
        assert checker.validate(create_token({"sub": "bob"}, checker.config))["sub"] == "bob"


def test_of_many_keys_without_names_only_some_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    verify = Key.verify

    def counting(key: Key, algorithm: str, message: bytes, signature: bytes) -> bool:
        tried.append(key)
        return verify(key, algorithm, message, signature)

    monkeypatch.setattr(Key, "verify", counting)
    keys = [public_jwk("P-256", 100 + number) for number in range(20)]
    checker = validator(jwks=json.dumps({"keys": keys}))
    refused(checker, token_of(living(), alg="ES256"))
    assert len(tried) == 8


def test_one_configuration_may_have_keys_of_several_kinds() -> None:
    checker = validator(
        secret_key=SECRET, public_key=public_pem("RSA"), key=public_pem("P-256"), jwks=json.dumps({"keys": [public_jwk("Ed25519")]})
    )
    for alg in ("HS256", "RS256", "PS512", "ES256", "EdDSA"):
        assert checker.validate(token_of(living(), alg=alg))


# ── what is refused before anything is done ─────────────────────────────────────────────────────────────────────────


def test_a_token_that_is_too_long_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    checker = validator()
    for name in ("json_object", "header_of", "unbase64"):
        monkeypatch.setattr(f"pywatt_jwt.validator.{name}", lambda *arguments: pytest.fail("it was read"))
    assert "longer than 16384" in str(refused(checker, "a" * 10_000_000))
    assert "longer than 16384" in str(refused(checker, token_of(living(x="y" * 16_384))))


def test_the_limit_is_the_operators() -> None:
    token = token_of(living(x="y" * 20_000))
    assert validator(secret_key=SECRET, max_token=30_000).validate(token)
    refused(validator(), token)


@pytest.mark.parametrize("token", [None, 5, b"a.b.c", [], {}, object()])
def test_what_is_not_text_is_refused(token: Any) -> None:
    with pytest.raises((JwtAuthError, TypeError)):
        validator().validate(token)


def test_no_token_is_a_missing_one() -> None:
    error = refused(validator(), "")
    assert isinstance(error, MissingToken)
    assert isinstance(error, CoreMissingToken)
    assert str(error) == "Missing JWT token"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "application/jwt", "at+jwt", "application/at+JWT", None])
def test_types_of_tokens_that_are_accepted(typ: str | None) -> None:
    header = {"alg": "HS256", **({"typ": typ} if typ else {})}
    assert validator().validate(token_of(living(), header=header))


@pytest.mark.parametrize("typ", ["dpop+jwt", "logout+jwt", "secevent+jwt", "JWE", "", "JOSE", "jwt ", "text/html"])
def test_types_of_tokens_that_are_for_something_else(typ: str) -> None:
    assert refused(validator(), token_of(living(), header={"alg": "HS256", "typ": typ})).reason == ""  # type: ignore[attr-defined]
    only = validator(secret_key=SECRET, token_types=["at+jwt"])
    refused(only, token_of(living()))
    refused(only, token_of(living(), header={"alg": "HS256"}))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "HS256", "crit": ["exp"], "exp": 1},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        {"alg": "HS256", "zip": "DEF"},
        {"alg": "dir", "enc": "A256GCM"},
        '{"alg":"HS256","alg":"none"}',
        '{"alg":"none","alg":"HS256"}',
        [],
        "text",
        5,
        None,
        b"\xff\xfe",
        "",
        "{",
        '{"alg":"HS256"}{}',
    ],
)
def test_headers_that_are_refused(header: Any) -> None:
    error = refused(validator(), token_of(living(), header="null" if header is None else header))
    assert isinstance(error, JwtError)
    assert refusal_of(error).body == b'{"error":"Unauthorized: InvalidToken"}'


@pytest.mark.parametrize(
    "payload", ["[]", "null", "5", '"text"', "", b"\xff", '{"exp":1e999}', '{"exp":NaN}', '{"exp":9e9,"exp":1}', "[" * 10_000]
)
def test_payloads_that_are_no_claims(payload: Any) -> None:
    refused(validator(), token_of(payload))


@pytest.mark.parametrize("alg", ["HS256", "RS256", "ES256", "EdDSA"])
def test_a_token_has_one_form(alg: str) -> None:
    checker, token = for_algorithm(alg), token_of(living(), alg=alg)
    head, body, proof = token.split(".")
    for other in (
        f"{head}.{body}.{proof}=",
        f"{head}.{body}.{proof}A",
        f"{head}=.{body}.{proof}",
        f"{head}.{body}",
        f"{head}.{body}.{proof}.",
        f".{body}.{proof}",
        f"{head}..{proof}",
        f"{head}.{body}.{proof}.{proof}.{proof}",
        f"{head}.{body}.{proof[:-1]}",
        json.dumps({"protected": head, "payload": body, "signature": proof}),
    ):
        refused(checker, other)


@given(st.binary(max_size=60), st.integers(0, 4))
def test_nothing_but_a_refusal_comes_of_any_bytes(data: bytes, dots: int) -> None:
    pieces = [data[number * len(data) // (dots + 1) : (number + 1) * len(data) // (dots + 1)] for number in range(dots + 1)]
    for token in (".".join(map(part, pieces)), data.decode("latin-1"), token_of(data), token_of(living(), header=data)):
        refused(CHECKER, token)


CHECKER = validator()

# ── what is said ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_errors_are_the_cores_kinds_too() -> None:
    kinds: dict[type[JwtAuthError], type[Exception]] = {
        MissingToken: InvalidToken, JwtError: InvalidToken, InvalidSignature: InvalidToken, InvalidClaims: InvalidToken,
        ExpiredSignature: ExpiredToken, SerializationError: InvalidToken, ProxyError: Unavailable,
    }  # fmt: skip
    for kind, core in kinds.items():
        assert issubclass(kind, core)
        assert issubclass(kind, AuthError)
    assert not issubclass(ProxyError, InvalidToken)
    assert refusal_of(ProxyError("x")).status == 503
    assert refusal_of(MissingToken("x")).body == b'{"error":"Missing Authorization header"}'


def test_the_signature_comes_first() -> None:
    for claims in (living(), {"exp": 1}, {}, living(aud="x", nbf=NOW * 2), living(exp="never")):
        assert isinstance(refused(validator(), token_of(claims, number=1)), InvalidSignature)
    assert isinstance(refused(validator(), token_of({"exp": 1})), ExpiredSignature)


@dataclass
class Member:
    sub: str
    roles: list[str]


def test_claims_come_as_what_was_asked_for() -> None:
    checker = validator(secret_key=SECRET, claims_type=Member)
    token = token_of(living(roles=["admin"]))
    assert checker.validate(token) == Member("ada", ["admin"])
    assert checker.validate(token, dict) == living(roles=["admin"])
    assert validator().validate(token, Member) == Member("ada", ["admin"])
    assert isinstance(refused(checker, token_of(living(roles="admin"))), SerializationError)


async def test_authenticate_gives_a_mapping_whatever_the_type() -> None:
    checker = validator(secret_key=SECRET, claims_type=Member)
    assert await checker.authenticate(token_of(living(roles=["admin"]))) == living(roles=["admin"])
    assert await checker.validate_async(token_of(living(roles=["admin"]))) == Member("ada", ["admin"])


def test_time_is_an_argument() -> None:
    checker, token = validator(), token_of(living())
    assert checker.validate(token, now=NOW + 600)
    with pytest.raises(ExpiredSignature):
        checker.validate(token, now=NOW + 661)
    assert checker.validate(token)


# ── what is remembered ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The algorithms of the signatures that were really checked."""
    found: list[str] = []
    verify = Key.verify

    def counting(key: Key, algorithm: str, message: bytes, signature: bytes) -> bool:
        found.append(algorithm)
        return verify(key, algorithm, message, signature)

    monkeypatch.setattr(Key, "verify", counting)
    return found


def test_a_signature_that_held_is_not_checked_again_and_everything_else_is(verified: list[str]) -> None:
    checker, token = for_algorithm("ES256"), token_of(living(), alg="ES256")
    first, again = checker.validate(token), checker.validate(token)
    assert first == again
    assert first is not again
    assert verified == ["ES256"]
    with pytest.raises(ExpiredSignature):
        checker.validate(token, now=NOW + 661)
    head, body, proof = token.split(".")
    refused(checker, f"{head}.{part(living(sub='mallory'))}.{proof}")
    refused(checker, f"{head}.{body}.{part(bytes(64))}")
    assert verified == ["ES256"] * 3


def test_a_signature_that_did_not_hold_is_checked_each_time(verified: list[str]) -> None:
    checker, token = for_algorithm("ES256"), token_of(living(), alg="ES256", number=1)
    for _ in range(3):
        refused(checker, token)
    assert len(verified) == 3


def test_hmac_is_checked_each_time(verified: list[str]) -> None:
    checker, token = validator(), token_of(living())
    for _ in range(3):
        checker.validate(token)
    assert len(verified) == 3


def test_as_many_are_remembered_as_the_operator_says(verified: list[str]) -> None:
    checker = for_algorithm("ES256", remembered=10)
    tokens = [token_of(living(n=number), alg="ES256") for number in range(30)]
    for token in tokens:
        checker.validate(token)
    verified.clear()
    for token in reversed(tokens):
        checker.validate(token)
    assert 20 <= len(verified) <= 25
    nothing = for_algorithm("ES256", remembered=0)
    verified.clear()
    for _ in range(3):
        nothing.validate(tokens[0])
    assert len(verified) == 3


def test_many_threads_may_check_at_once() -> None:
    checkers = [for_algorithm(alg, remembered=8) for alg in ("HS256", "ES256", "EdDSA")]
    tokens = [[token_of(living(n=n), alg=alg) for n in range(20)] for alg in ("HS256", "ES256", "EdDSA")]
    wrong: list[Any] = []

    def work() -> None:
        for checker, some in zip(checkers, tokens, strict=True):
            for n, token in enumerate(some):
                try:
                    if checker.validate(token)["n"] != n:
                        wrong.append(n)
                    checker.validate(token[:-8] + "AAAAAAAA")
                    wrong.append(token)
                except InvalidToken:
                    pass
                except Exception as error:
                    wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_headers_are_remembered_within_bounds() -> None:
    checker = validator()
    for number in range(3000):
        checker.validate(token_of(living(), header={"alg": "HS256", "n": number}))
    assert len(checker._headers) + len(checker._older_headers) <= 1024


# ── configuration ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: JwtConfig(mode="local", public_key="x"), "public_key is neither PEM nor a JWK"),
        (lambda: JwtConfig(private_key=public_pem("RSA")), "private_key holds no private key"),
        (lambda: JwtConfig(public_key=private_pem("RSA")), "only public ones"),
        (lambda: JwtConfig(public_key=public_pem("RSA"), algorithms=["ES256"]), "algorithms names none of that"),
        (lambda: JwtConfig(secret_key=public_pem("RSA")), "use key, public_key or private_key"),
        (lambda: JwtConfig(jwks_file="nowhere.json"), "jwks_file cannot be read: No such file"),
        (lambda: JwtConfig(jwks='{"keys":[{"kty":"oct","k":"AAAA"}]}'), "only public ones"),
        (lambda: JwtConfig(secret_key=SECRET, previous_keys=["short"]), "previous_keys, entry 1, has 5 bytes"),
    ],
)
def test_keys_that_cannot_be_used_are_told_at_once(make: Callable[[], JwtConfig], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        JwtValidator(make())


async def test_without_a_key_and_without_a_module_it_says_so() -> None:
    checker = JwtValidator(JwtConfig())
    with pytest.raises(ProxyError, match="JWT proxy service not initialized"):
        checker.validate("a.b.c")
    with pytest.raises(ProxyError, match="no module runs"):
        await checker.authenticate("a.b.c")
