"""Several hundred bad tokens for each victim, with names. None of them may ever be accepted by anybody.

`forged(victim)` are those whose signature does not hold, or that are no signed tokens at all: about these a client is told nothing but
``InvalidToken``. `unfit(victim)` are those that the victim's own key has signed and that are no good all the same.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from .victims import Victim, base64url, dumped, jwk_of, key_of, pem_of, sign

ALGORITHMS = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA",
    "Ed25519", "Ed448", "RSA1_5", "RSA-OAEP", "dir", "A128KW", "HS1", "RS1", "hs256", "rs256", "HS256 ", " HS256", "HS256\0", "HS-256", "",
]  # fmt: skip
NONES = [
    "none", "None", "NONE", "nOnE", "NonE", " none", "none ", "none\0", "n\u043ene", "\uff4eone", "null", "undefined", None, 0, False, True,
    [], ["none"], {}, {"alg": "none"}, ["HS256"], 256, 1.5,
]  # fmt: skip
KIDS = [
    "../../../../dev/null", "/dev/null", "/etc/passwd", "file:///dev/null", "..\\..\\windows\\win.ini", "http://localhost/key", "first\0",
    "FIRST", "first ", " first", "' OR '1'='1", "x' UNION SELECT 'key", "| sleep 10", "$(id)", "`id`", "${jndi:ldap://x}", "{{7*7}}",
    "%2e%2e%2fnull", "", "\u2026", "a" * 300, "a" * 5000, "0", "-1", "*", ".", "__proto__", "constructor", "None", "null",
]  # fmt: skip
NO_TEXT: list[Any] = [0, 1, True, [], ["first"], {}, {"kid": "first"}, 1e9]
ORDERS = {
    256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    521: int("1FF" + "F" * 63 + "A51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409", 16),
}
"""Of the curves: how many signatures there are."""
MEMBERS = ["jku", "x5u"]
PLACES = [
    "https://evil.example/keys",
    "http://127.0.0.1:1/keys",
    "file:///etc/passwd",
    "//evil.example",
    "https://id.example@evil.example/",
    "data:,x",
]


# ── the signature does not hold ─────────────────────────────────────────────────────────────────────────────────────


def forged(victim: Victim) -> Iterator[tuple[str, str]]:
    """(name, token) of each."""
    genuine = victim.token()
    yield from _without_signature(victim, genuine)
    yield from _with_public_keys(victim)
    yield from _with_foreign_keys(victim)
    yield from _changed(victim, genuine)
    yield from _spelt(genuine)
    yield from _shapes(victim, genuine)


def _without_signature(victim: Victim, genuine: str) -> Iterator[tuple[str, str]]:
    signature = genuine.rpartition(".")[2]
    body = base64url(dumped(victim.said(roles=["root"])))
    for alg in NONES:
        head = base64url(dumped({"alg": alg, "typ": "JWT"}))
        for what, said in (("no signature", ""), ("the signature of another", signature), ("any signature", base64url(b"x" * 32))):
            yield f"alg {alg!r} and {what}", f"{head}.{body}.{said}"
    for header in ({}, {"typ": "JWT"}, {"algorithm": "none"}, {"ALG": "none"}, {"Alg": victim.algorithm}):
        yield f"header {header}", f"{base64url(dumped(header))}.{body}.{signature}"
    for alg in ALGORITHMS:
        yield f"alg {alg!r} and no signature", f"{base64url(dumped({**victim.header, 'alg': alg}))}.{body}."
        yield f"alg {alg!r} and the signature of another", f"{base64url(dumped({**victim.header, 'alg': alg}))}.{body}.{signature}"


def _public_forms(victim: Victim) -> Iterator[tuple[str, bytes]]:
    """Everything that an attacker may take for a key of HMAC because a careless library does: what is public, and what is nothing."""
    for name, word in (
        ("nothing", b""),
        ("a zero", b"\0"),
        ("zeros", b"\0" * 32),
        ("secret", b"secret"),
        ("None", b"None"),
        ("null", b"null"),
    ):
        yield name, word
    for name, form in (("the kid", victim.kid or ""), ("the algorithm", victim.algorithm), ("the issuer", "https://id.example")):
        yield name, form.encode()
    if isinstance(victim.key, bytes):
        yield "the secret, cut", victim.key[:-1]
        yield "the secret and a line feed", victim.key + b"\n"
        yield "the secret in base64", base64.b64encode(victim.key)
        yield "the secret in upper case", victim.key.upper()
        return
    pem, jwk = pem_of(victim.key), jwk_of(victim.key)
    yield "the PEM", pem
    yield "the PEM without its end", pem.strip()
    yield "the PEM in another system's lines", pem.replace(b"\n", b"\r\n")
    yield "the PEM in one line", pem.replace(b"\n", b"")
    yield "the inside of the PEM", b"".join(pem.splitlines()[1:-1])
    public = victim.key.public_key()
    yield "the DER", public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    yield "the JWK", json.dumps(jwk).encode()
    yield "the JWK, close", json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()
    yield "the key of OpenSSH", public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    for member in ("n", "x", "y", "e"):
        if member in jwk:
            yield f"{member} of the JWK", jwk[member].encode()
            yield f"{member} of the JWK in bytes", base64.urlsafe_b64decode(jwk[member] + "==")


def _with_public_keys(victim: Victim) -> Iterator[tuple[str, str]]:
    for name, form in _public_forms(victim):
        for alg in ("HS256", "HS384", "HS512"):
            yield f"{alg} with {name} as the key", victim.token(header={**victim.header, "alg": alg}, key=form, algorithm=alg)
        yield f"{victim.algorithm} said, HMAC made with {name}", victim.token(key=form, algorithm="HS256")
        yield f"HS256 without a kid with {name} as the key", victim.token(header={"alg": "HS256"}, key=form, algorithm="HS256")


FOREIGN = [
    ("RS256", "rsa"),
    ("RS512", "rsa"),
    ("PS256", "rsa"),
    ("ES256", "256"),
    ("ES384", "384"),
    ("ES512", "512"),
    ("Ed25519", "ed"),
    ("EdDSA", "ed"),
]


def _with_foreign_keys(victim: Victim) -> Iterator[tuple[str, str]]:
    for alg, kind in FOREIGN:
        mine = key_of(kind, "attacker")
        said: dict[str, Any] = {"alg": alg, "typ": "JWT"}
        mine_public = jwk_of(mine)
        brought: list[tuple[str, dict[str, Any]]] = [
            ("alone", {}),
            ("with the victim's kid", {"kid": victim.kid or "first"}),
            ("in a jwk", {"jwk": mine_public}),
            ("in a jwk with the victim's kid", {"jwk": {**mine_public, "kid": victim.kid or "first"}, "kid": victim.kid or "first"}),
            ("as x5c", {"x5c": [base64.b64encode(pem_of(mine)).decode()]}),
            ("as x5t", {"x5t": "dGh1bWI", "x5t#S256": "dGh1bWI"}),
            *((f"at {place} by {member}", {member: place}) for member in MEMBERS for place in PLACES),
        ]
        for where, more in brought:
            yield f"{alg} with the attacker's key {where}", victim.token(header={**said, **more}, key=mine, algorithm=alg)
    mine = key_of("256", "attacker")
    for kid in (*KIDS, *NO_TEXT):
        yield f"kid {kid!r:.40} and the attacker's key", victim.token(header={"alg": "ES256", "kid": kid}, key=mine, algorithm="ES256")
        yield f"kid {kid!r:.40} and an empty key", victim.token(header={"alg": "HS256", "kid": kid}, key=b"", algorithm="HS256")


def _changed(victim: Victim, genuine: str) -> Iterator[tuple[str, str]]:
    """Genuine tokens with something changed after they were signed."""
    message, _, signature = genuine.rpartition(".")
    head, _, body = message.partition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    for position in range(0, len(raw), max(1, len(raw) // 24)):
        for bit in (1, 128):
            flipped = bytes(byte ^ (bit if number == position else 0) for number, byte in enumerate(raw))
            yield f"bit {bit} of byte {position} of the signature", f"{message}.{base64url(flipped)}"
    other = victim.said(roles=["root"], sub="root")
    yield "other claims", f"{head}.{base64url(dumped(other))}.{signature}"
    yield "other claims, same length", f"{head}.{base64url(dumped(victim.said(sub='MALLORY')))}.{signature}"
    yield "another header", f"{base64url(dumped({**victim.header, 'x': 1}))}.{body}.{signature}"
    yield "the same header in another order", f"{base64url(dumped(dict(reversed(victim.header.items()))))}.{body}.{signature}"
    yield "the signature of another token", f"{message}.{victim.token(other).rpartition('.')[2]}"
    yield "the signature of the claims alone", f"{message}.{base64url(sign(victim.algorithm, body.encode(), victim.key))}"
    yield "the signature of what is decoded", f"{message}.{base64url(sign(victim.algorithm, dumped(victim.said()), victim.key))}"
    for what, bad in {
        "cut": raw[:-1],
        "longer": raw + b"\0",
        "twice": raw + raw,
        "reversed": raw[::-1],
        "halves swapped": raw[len(raw) // 2 :] + raw[: len(raw) // 2],
        "zeros": bytes(len(raw)),
        "ones": b"\xff" * len(raw),
        "one": b"\0" * (len(raw) - 1) + b"\1",
        "a byte": b"\0",
        "half": raw[: len(raw) // 2],
        "a zero before": b"\0" + raw,
        "text": b"signature",
    }.items():
        yield f"a signature that is {what}", f"{message}.{base64url(bad)}"
    if isinstance(victim.key, ec.EllipticCurvePrivateKey):
        yield from _curves(victim, message, raw)


def _curves(victim: Victim, message: str, raw: bytes) -> Iterator[tuple[str, str]]:
    half = len(raw) // 2
    r, s = int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    order = ORDERS[victim.key.curve.key_size]
    yield "a signature in DER", f"{message}.{base64url(encode_dss_signature(r, s))}"
    for what, numbers in {
        "r of zero": (0, s),
        "s of zero": (r, 0),
        "both zero": (0, 0),
        "r and s of one": (1, 1),
        "r of the order": (order, s),
        "s of the order": (r, order),
        "r beyond the order": (r + order, s) if r + order < 1 << (8 * half) else (order, order),
    }.items():
        yield what, f"{message}.{base64url(b''.join(number.to_bytes(half, 'big') for number in numbers))}"


def _spelt(genuine: str) -> Iterator[tuple[str, str]]:
    """The same bytes, or nearly, in another spelling: a token has one."""
    head, body, signature = genuine.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for number, name in enumerate(("header", "claims", "signature")):
        for what, change in {
            "padded": lambda part: part + "=" * (-len(part) % 4 or 4),
            "padded by one": lambda part: part + "=",
            "with a line feed": lambda part: part[:5] + "\n" + part[5:],
            "with a blank": lambda part: part[:5] + " " + part[5:],
            "with a blank before": lambda part: " " + part,
            "with a NUL": lambda part: part + "\0",
            "with a star": lambda part: part[:5] + "*" + part[5:],
            "percent-encoded": lambda part: f"%{ord(part[0]):02X}" + part[1:],
            "wide": lambda part: chr(ord(part[0]) + 0xFEE0) + part[1:],
            "with a byte more": lambda part: part + "A",
            "cut": lambda part: part[:-1],
            "in lower case": str.lower,
        }.items():
            parts = [head, body, signature]
            parts[number] = change(parts[number])
            if parts != [head, body, signature]:
                yield f"{name} {what}", ".".join(parts)
        part = [head, body, signature][number]
        if len(part) % 4:  # the last character has bits that say nothing: another one decodes to the same bytes
            parts = [head, body, signature]
            parts[number] = part[:-1] + alphabet[alphabet.index(part[-1]) ^ 1]
            yield f"{name} with another last character", ".".join(parts)


def _shapes(victim: Victim, genuine: str) -> Iterator[tuple[str, str]]:
    head, body, signature = genuine.split(".")
    shapes: dict[str, str] = {
        "nothing": "",
        "a dot": ".",
        "two dots": "..",
        "three dots": "...",
        "dots": "." * 100,
        "one part": head,
        "two parts": f"{head}.{body}",
        "no header": f".{body}.{signature}",
        "no claims": f"{head}..{signature}",
        "no signature": f"{head}.{body}.",
        "four parts": f"{genuine}.x",
        "four parts, the last empty": f"{genuine}.",
        "a dot before": f".{genuine}",
        "twice": f"{genuine}.{genuine}",
        "two": f"{genuine} {genuine}",
        "with its scheme": f"Bearer {genuine}",
        "a blank after": f"{genuine} ",
        "a line feed after": f"{genuine}\n",
        "a NUL after": f"{genuine}\0",
        "quoted": f'"{genuine}"',
        "another dot": genuine.replace(".", "\u2024"),
        "turned round": f"{body}.{head}.{signature}",
        "the claims as a header": f"{body}.{body}.{signature}",
        "JSON": json.dumps({"payload": body, "protected": head, "signature": signature}),
        "JSON of several": json.dumps({"payload": body, "signatures": [{"protected": head, "signature": signature}]}),
        "an encrypted one": ".".join(
            [base64url(dumped({"alg": "dir", "enc": "A128GCM"})), "", base64url(b"iv"), base64url(b"text"), base64url(b"tag")]
        ),
        "an encrypted one of RSA": ".".join([base64url(dumped({"alg": "RSA-OAEP", "enc": "A256GCM"})), body, body, body, signature]),
        "a word": "undefined",
        "null": "null",
        "a number": "1",
        "a star": "*",
        "a cookie": "session=admin",
        "beyond ASCII": "\u0435yJ.e30.x",
        "surrogates": "\ud800.\udfff.x",
        "ten million characters": "a" * 10_000_000,
        "ten million dots": "." * 10_000_000,
        "long claims": f"{head}.{'A' * 20_000}.{signature}",
        "a long header": f"{'A' * 20_000}.{body}.{signature}",
        "a long signature": f"{genuine}{'A' * 20_000}",
    }
    yield from shapes.items()
    for what, data in HEADERS.items():
        yield f"a header that is {what}", f"{base64url(data)}.{body}.{signature}"


HEADERS: dict[str, bytes] = {
    "a list": b"[]",
    "text": b'"HS256"',
    "a number": b"1",
    "null": b"null",
    "nothing": b"",
    "a blank": b" ",
    "half": b'{"alg":"HS256"',
    "open": b'{"alg":',
    "said twice": b'{"alg":"none","alg":"HS256"}',
    "said twice, the other way": b'{"alg":"HS256","alg":"none"}',
    "followed": b'{"alg":"HS256"}{}',
    "followed by text": b'{"alg":"HS256"}x',
    "with a comment": b'{"alg":"HS256"/**/}',
    "with a comma": b'{"alg":"HS256",}',
    "in single quotes": b"{'alg':'HS256'}",
    "with a mark": b'\xef\xbb\xbf{"alg":"HS256"}',
    "in UTF-16": '{"alg":"HS256"}'.encode("utf-16"),
    "no UTF-8": b'{"alg":"HS256\xff"}',
    "not a number": b'{"alg":"HS256","x":NaN}',
    "endless": b'{"alg":"HS256","x":Infinity}',
    "huge": b'{"alg":"HS256","x":1e99999}',
    "deep": b'{"alg":"HS256","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "deep and open": b"[" * 10_000,
    "deep in objects": b'{"a":' * 5000,
    "null bytes": b"\0" * 40,
    "escaped": b'{"\\u0061lg":"none"}',
    "pickled": b"\x80\x04N.",
    "compressed": b"\x1f\x8b\x08\x00\x00",
}


# ── the signature holds ─────────────────────────────────────────────────────────────────────────────────────────────


def unfit(victim: Victim) -> Iterator[tuple[str, str]]:
    """(name, token) of each that the victim's own key has signed, and that is no good all the same."""
    now = int(time.time())
    for name, claims in _claims(now).items():
        yield name, victim.token({**victim.said(), **claims} if isinstance(claims, dict) else claims)
    for gone in ("exp", *victim.config.required_claims, *(["iss", "aud"] if victim.config.issuer else [])):
        said = victim.said()
        said.pop(gone, None)
        yield f"no {gone}", victim.token(said)
    if victim.config.issuer:
        for value in ("https://evil.example", "https://id.example/", "HTTPS://ID.EXAMPLE", "https://id.exampl", "", " https://id.example"):
            yield f"iss {value!r}", victim.token(victim.said(iss=value))
        for audience in (
            "Shop",
            "shop ",
            "sho",
            "shops",
            "",
            ["other"],
            [],
            [["shop"]],
            {"shop": 1},
            5,
            None,
            True,
            "other shop",
            ["shop", 5],
        ):
            yield f"aud {audience!r}", victim.token(victim.said(aud=audience))
    else:
        for audience in ("somebody", ["somebody"], ["a", "b"], 5, {"a": 1}, True):
            yield f"aud {audience!r}, which nobody here is", victim.token(victim.said(aud=audience))
    for name, header in _headers(victim).items():
        yield name, victim.token(header=header)


def _claims(now: int) -> dict[str, Any]:
    odd: list[Any] = ["1", str(now + 3600), "", None, True, False, [now + 3600], {"at": now + 3600}, "NaN", "9" * 30]
    found: dict[str, Any] = {f"exp {value!r:.30}": {"exp": value} for value in odd}
    found |= {f"nbf {value!r:.30}": {"nbf": value} for value in odd if value is not None}
    found |= {f"iat {value!r:.30}": {"iat": value} for value in odd if value is not None}
    found |= {f"{name} {value!r}": {name: value} for name in ("iss", "sub", "jti") for value in (5, True, [], ["a"], {}, {"a": 1}, 1.5)}
    found |= {f"exp {seconds} s ago": {"exp": now - seconds} for seconds in (120, 3600, 10**8)}
    found |= {f"exp {value}": {"exp": value} for value in (0, -1, -(10**18), 1.5, -0.0)}
    found |= {f"{name} in {seconds} s": {name: now + seconds} for name in ("nbf", "iat") for seconds in (300, 10**6, 10**11)}
    raw = b'{"sub":"mallory","exp":%s}'
    for value in (
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"+99999999999",
        b"0x7fffffff",
        b"09999999999",
        b"99999999999.",
        b".9e11",
        b"1_0",
    ):
        found[f"exp {value.decode()} in the text"] = raw % value
    later = b"%d" % (now + 3600)
    found |= {
        "exp said twice": b'{"exp":1,"exp":%s}' % later,
        "exp said twice, the other way": b'{"exp":%s,"exp":1}' % later,
        "sub said twice": b'{"sub":"ada","sub":"root","exp":%s}' % later,
        "said twice inside": b'{"exp":%s,"a":{"b":1,"b":2}}' % later,
        "said twice, once escaped": b'{"exp":%s,"\\u0065xp":1}' % later,
        "a list": b"[]",
        "a list of claims": b'[{"exp":%s}]' % later,
        "text": b'"admin"',
        "a number": b"1",
        "null": b"null",
        "true": b"true",
        "nothing": b"",
        "a blank": b" ",
        "half": b'{"exp":%s' % later,
        "followed": b'{"exp":%s}{}' % later,
        "with a comment": b'{"exp":%s/**/}' % later,
        "with a comma": b'{"exp":%s,}' % later,
        "with a mark": b'\xef\xbb\xbf{"exp":%s}' % later,
        "no UTF-8": b'{"exp":%s,"a":"\xff"}' % later,
        "in UTF-16": (b'{"exp":%s}' % later).decode().encode("utf-16"),
        "no names": b"{%s:1}" % later,
        "deep": b'{"exp":%s,"a":' % later + b"[" * 2000 + b"]" * 2000 + b"}",
        "deep in objects": b'{"exp":%s,"a":' % later + b'{"a":' * 100 + b"1" + b"}" * 101,
    }
    return found


def _headers(victim: Victim) -> dict[str, Any]:
    """Headers that would change what the token means; the signature over them holds."""
    more: dict[str, Any] = {
        "crit of what is unknown": {"crit": ["admin"], "admin": True},
        "crit of what is not there": {"crit": ["exp"]},
        "an empty crit": {"crit": []},
        "crit that is text": {"crit": "exp"},
        "crit of alg": {"crit": ["alg"]},
        "crit that is null": {"crit": None},
        "crit of b64": {"crit": ["b64"], "b64": True},
        "claims that are not encoded": {"crit": ["b64"], "b64": False},
        "claims that are not encoded, without crit": {"b64": False},
        "compressed": {"zip": "DEF"},
        "compressed in another way": {"zip": "GZIP"},
        "encrypted": {"enc": "A128GCM"},
        "kid that is a number": {"kid": 5},
        "kid that is a list": {"kid": ["first"]},
        "kid that is an object": {"kid": {}},
        "kid that is true": {"kid": True},
        "a long kid": {"kid": "a" * 300},
        "typ that is a number": {"typ": 5},
        "typ that is a list": {"typ": ["JWT"]},
        "typ of something else": {"typ": "JWE"},
        "typ of a logout": {"typ": "logout+jwt"},
        "typ of a proof": {"typ": "dpop+jwt"},
        "typ of an event": {"typ": "secevent+jwt"},
        "typ of nothing": {"typ": ""},
    }
    found: dict[str, Any] = {name: {**victim.header, **header} for name, header in more.items()}
    found |= {
        f"alg {alg!r} said, {victim.algorithm} made": {**victim.header, "alg": alg}
        for alg in ALGORITHMS
        if alg != victim.algorithm and not _same(alg, victim)
    }
    if victim.kid is not None:
        found |= {f"kid {kid!r:.40}, which no key has": {**victim.header, "kid": kid} for kid in KIDS}
        found |= {
            f"kid {kid!r} of another key": {**victim.header, "kid": kid}
            for kid in ("first", "second", "third", "fourth")
            if kid != victim.kid
        }
    wrong = json.dumps(victim.header, separators=(",", ":")).encode()
    found["a member said twice"] = wrong[:-1] + b',"typ":"JWT"}'
    found["alg said twice"] = b'{"alg":"none",' + wrong[1:]
    found["not a number in the header"] = wrong[:-1] + b',"x":NaN}'
    found["a header that is followed"] = wrong + b"{}"
    found["a header with a mark"] = b"\xef\xbb\xbf" + wrong
    return found


def _same(alg: str, victim: Victim) -> bool:
    return {alg, victim.algorithm} <= {"EdDSA", "Ed25519"}
