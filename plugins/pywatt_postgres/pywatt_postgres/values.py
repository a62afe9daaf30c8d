"""Values that PostgreSQL has and Python writes differently: JSON. Everything else is asyncpg's."""

from __future__ import annotations

from typing import Any

import msgspec

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


async def prepare(connection: Any) -> None:
    """Have a new connection give and take ``json`` and ``jsonb`` as Python's values."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=to_json, decoder=decode, format="text")


def to_json(value: object) -> str:
    """JSON from a Python value; text is taken as JSON that is written already."""
    return value if isinstance(value, str) else encode(value).decode()
