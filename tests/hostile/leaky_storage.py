"""A module whose statements, parameters, keys and values hold its secret, and all of them fail."""

import logging
import traceback
from typing import Any

from fastapi import FastAPI

from pywatt_core import AppState, pywatt_module

log = logging.getLogger("leaky")


class Leaky:
    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Leaky({self.value!r})"


def statements(secret: str) -> list[tuple[str, Any]]:
    inside = secret.replace("\\", "\\\\").replace("'", "''")
    return [
        (f"SELECT * FROM missing WHERE p = '{inside}'", ()),
        ("INSERT INTO leaky_words (word) VALUES (?)", (secret,)),
        ("INSERT INTO leaky_words (word) VALUES (:word)", {"word": secret}),
        ("INSERT INTO leaky_words (word, number) VALUES (?, ?)", (secret + "!", secret)),
        ("INSERT INTO leaky_words (word) VALUES (?)", (secret * 40,)),
        ("INSERT INTO leaky_words (missing) VALUES (?)", (secret,)),
        ("SELECT CAST(? AS INTEGER) + no_such_function(?)", (secret, secret)),
        (f"SELEKT '{inside}'", ()),
        (f"SELECT '{inside}", ()),
        ("SELECT ?", (Leaky(secret),)),
        ("SELECT ?", ({"password": secret},)),
        ("SELECT ?, ?", (secret,)),
        ("SELECT :a", {"b": secret}),
        ("SELECT :a", (secret,)),
    ]


async def told(action: Any) -> str:
    """What is raised, logged and in a traceback with locals; empty where nothing is."""
    try:
        await action
    except Exception as error:
        log.exception("failed: %s", error, extra={"error": error})
        log.error("%s", "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))
        return type(error).__name__
    return ""


@pywatt_module(secrets=["CANARY"])
async def leaky_storage(state: AppState[Any]) -> FastAPI:
    secret = (await state.get_secret("CANARY")).expose_secret()
    app = FastAPI()

    @app.get("/database")
    async def database() -> list[str]:
        base = state.database
        await base.execute("DROP TABLE IF EXISTS leaky_words")
        await base.execute("CREATE TABLE leaky_words (word VARCHAR(100) PRIMARY KEY, number INTEGER)")
        await base.execute("INSERT INTO leaky_words (word) VALUES (?)", (secret,))
        return [await told(base.fetch_all(sql, params)) for sql, params in statements(secret)]

    @app.get("/cache")
    async def cache() -> list[str]:
        kept: Any = state.cache
        await kept.set(secret, secret.encode())
        wrong: list[Any] = [
            kept.increment(secret),
            kept.set(secret * 300, b"x" * 2_000_000),
            kept.set(secret, Leaky(secret)),
            kept.set(secret, {"password": secret}),
            kept.get(secret.encode()),
            kept.get("\0\n" + secret),
            kept.set(secret, b"", ttl=secret),
            kept.set_many({secret: Leaky(secret)}),
            kept.get_many([secret, Leaky(secret)]),
        ]
        return [await told(action) for action in wrong]

    @app.get("/raise")
    async def raising() -> None:
        await state.database.execute("INSERT INTO leaky_words (word) VALUES (?)", (secret,))

    return app
