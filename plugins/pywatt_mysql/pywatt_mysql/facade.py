"""The query facade of the library `databases`, over the pool that is there already. Nothing else imports that library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import databases

if TYPE_CHECKING:
    from pywatt_core.sql.options import Address

    from .pool import Pool
    from .session import Session


class LendingPool:
    """The two methods of asyncmy's pool that `databases` calls, answered by ours."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def acquire(self) -> Session:
        """A connection; it is put in order when it comes back, whatever has been done with it."""
        session = await self._pool.acquire()
        session.touched = True
        return session

    async def release(self, session: Session) -> None:
        """Give it back. asyncmy has closed it where its user was cancelled, and its statement may still run."""
        session.under_way = not session.connected
        await self._pool.release(session)


def over(pool: Pool, where: Address) -> databases.Database:
    """A `databases.Database` that takes its connections from `pool`. Closing it is not its business: the pool's owner does that."""
    facade = databases.Database(f"mysql+asyncmy:///{where.database}")
    facade._backend._pool = LendingPool(pool)  # where its own `connect` would put one
    facade.is_connected = True
    return facade
