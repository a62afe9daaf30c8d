"""P12: one log line of 200 bytes passes the redaction of 1,000 secrets: ours against an alternation of the `re` module.

Ours looks for every form of each secret (raw, escaped, base64, hexadecimal, numbers), about 17,000 texts; the peer is given the same
texts. The limit is the automaton alone, without Python around it: its C loop over the same line. Each figure is the least of
several rounds; the longer line holds a secret, the usual one does not.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import string
import timeit
from typing import TYPE_CHECKING, Any

import ahocorasick  # type: ignore[import-not-found]

from pywatt_core.redaction import Redactor
from pywatt_core.redaction.forms import forms_of

if TYPE_CHECKING:
    from collections.abc import Callable

SECRETS, LENGTH, ROUNDS = 1000, 32, 9
LINE = (
    '"fields":{"message":"GET /guestbook/entries?limit=20&after=0b9d 200 in 3.2 ms","client":"127.0.0.1:40122","bytes":2412},'
    '"target":"guestbook.access","module_id":"guestbook","request_id":"4b1f0d2c9a7e4f53"}'
)[:200]
TARGET = 5.0
"""Microseconds."""


def values() -> list[str]:
    source = random.Random(12)
    return ["".join(source.choices(string.ascii_letters + string.digits, k=LENGTH)) for _ in range(SECRETS)]


def least(action: Callable[[], object], number: int) -> float:
    """Microseconds of one call."""
    return min(timeit.repeat(action, number=number, repeat=ROUNDS)) / number * 1e6


def figure(what: str, line: str, secrets: list[str]) -> dict[str, Any]:
    """Ours, the peer's and the automaton's time for one line."""
    redactor = Redactor()
    for number, secret in enumerate(secrets):
        redactor.register(secret, name=str(number))
    texts = [form.text for secret in secrets for form in forms_of(secret)]
    alternation = re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))))
    automaton = ahocorasick.Automaton()
    for text in texts:
        automaton.add_word(text, None)
    automaton.make_automaton()
    if redactor.redact(line) != alternation.sub("[REDACTED]", line):
        raise SystemExit("ours and the peer disagree about the line")
    ours = least(lambda: redactor.redact(line), 4000)
    peer = least(lambda: alternation.sub("[REDACTED]", line), 40)
    limit = least(lambda: list(automaton.iter(line)), 4000)
    return {
        "claim": "P12",
        "what": what,
        "ours": round(ours, 2),
        "peer": round(peer, 1),
        "limit": round(limit, 2),
        "peer_name": "re alternation",
        "limit_name": "Aho-Corasick in C alone",
        "unit": "us",
        "ratio": round(ours / peer, 4),
        "target": f"<= {TARGET:.0f} us",
        "ok": ours <= TARGET,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    wanted = parser.parse_args()
    secrets = values()
    hit = LINE[:80] + secrets[500] + LINE[80 + LENGTH :]
    rows = [
        figure("a line of 200 bytes without a secret, 1,000 secrets", LINE, secrets),
        {**figure("the same with one secret in it", hit, secrets), "target": "", "ok": None},
    ]
    if wanted.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['claim']}  {row['what']}: {row['ours']} us; {row['peer_name']} {row['peer']} us (ratio {row['ratio']}); "
              f"{row['limit_name']} {row['limit']} us; target {row['target'] or 'none'}")  # fmt: skip


if __name__ == "__main__":
    main()
