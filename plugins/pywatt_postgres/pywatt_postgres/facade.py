"""The query facade of the library `databases`, over the pool that is there already. Nothing else imports that library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import databases

if TYPE_CHECKING:
    import asyncpg

    from pywatt_core.sql.options import Address


def over(pool: asyncpg.Pool, where: Address) -> databases.Database:
    """A `databases.Database` that takes its connections from `pool`. Closing it is not its business: the pool's owner does that."""
    facade = databases.Database(f"postgresql:///{where.database}")
    facade._backend._pool = pool  # where its own `connect` would put one
    facade.is_connected = True
    return facade
