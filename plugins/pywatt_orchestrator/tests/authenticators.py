"""An authenticator for tests, ``use = "words"``: a token says what becomes of it. Installed as a distribution of its own into a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CODE = '''
import asyncio
import datetime
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pywatt_core.errors import AuthError, ExpiredToken, Forbidden, InvalidToken, SecretError, Unavailable
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Provider
from pywatt_core.redaction import Secret


@dataclass(frozen=True, kw_only=True)
class WordsOptions:
    key: Secret | None = None
    issues: bool = False
    log: Path | None = None
    """A file that gets a line for each opening and each token."""


class Words:
    def __init__(self, options):
        self.options, self.together, self.all = options, 0, asyncio.Event()

    def note(self, text):
        if self.options.log is not None:
            with self.options.log.open("a") as file:
                file.write(text + "\\n")

    async def authenticate(self, token):
        self.note(token)
        key = self.options.key.expose_secret() if self.options.key else "no key"
        what, _, who = token.partition(".")
        if what == "good":
            return {"sub": who, "roles": ["user"]}
        if what == "expired":
            raise ExpiredToken("the token has expired", reason="ExpiredSignature")
        if what == "audience":
            raise InvalidToken("the token is for somebody else", reason="InvalidAudience")
        if what == "forbidden":
            raise Forbidden("the token may not do this")
        if what == "auth":
            raise AuthError("the token is odd")
        if what == "unavailable":
            raise Unavailable("the keys cannot be fetched")
        if what == "secret":
            raise SecretError(f"the key {key} is no key")
        if what == "bug":
            raise ValueError(f"{token} does not fit {key}")
        if what == "exit":
            raise SystemExit(7)
        if what == "cancelled":
            raise asyncio.CancelledError(f"{token} and {key}")
        if what == "nothing":
            return None
        if what == "odd":
            return {"huge": 2**70, "when": datetime.datetime(2026, 1, 2), "bytes": b"x", "nan": float("nan"), "deep": {"a": [{"b": 1}]}}
        if what == "waits":
            await asyncio.Event().wait()
        if what == "together":  # until so many are there at once
            self.together += 1
            if self.together >= int(who):
                self.all.set()
            await self.all.wait()
            return {"sub": who}
        raise InvalidToken("no word of it is known")


class Makes(Words):
    async def issue(self, claims):
        if "refuse" in claims:
            raise AuthError("these claims are not signed")
        return None if "nothing" in claims else "good." + str(claims.get("sub"))


@asynccontextmanager
async def open_words(options, context):
    if options.key is not None and options.key.expose_secret() == "out-of-reach":
        raise Unavailable("the server with the keys is away")
    words = (Makes if options.issues else Words)(options)
    words.note("opened")
    yield words


@hookimpl
def pywatt_register_authenticators():
    return [Provider("words", WordsOptions, open_words)]
'''


def install(folder: Path) -> Path:
    """The folder to put on a process's path."""
    metadata = folder / "pywatt_words-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "pywatt_words.py").write_text(CODE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pywatt-words\nVersion: 1.0\n")
    (metadata / "RECORD").write_text("")
    (metadata / "entry_points.txt").write_text("[pywatt]\nwords = pywatt_words\n")
    return folder
