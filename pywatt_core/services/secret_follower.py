"""A module that runs alone follows its own secret sources (with ``rotate=True``): what an orchestrator would do for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from ..errors import SecretError
from .rotation import LIMIT, reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .secrets import SecretClient

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds until values that were refused are tried again; twice as long after each refusal."""


async def follow(client: SecretClient, changes: AsyncIterator[frozenset[str]], *, limit: float = LIMIT, pause: float = FIRST_PAUSE) -> None:
    """Use what changes, all of it or nothing, for as long as there are changes. One attempt may take `limit` seconds.

    What is refused is tried again, first after `pause` seconds and together with whatever changes meanwhile: a server may learn of a
    new password after the module did.
    """
    refused: set[str] = set()
    wait, said = pause, ""
    upcoming = asyncio.create_task(_next(changes), name="changes of secrets")
    try:
        while True:
            await asyncio.wait({upcoming}, timeout=wait if refused else None)
            if upcoming.done():
                names = upcoming.result()
                if names is None:
                    return
                refused.update(client.concerned(names))
                wait, said = pause, ""
                upcoming = asyncio.create_task(_next(changes), name="changes of secrets")
            try:
                await client.refresh(sorted(refused), limit=limit)
                refused.clear()
            except SecretError as error:
                text = reason(error)
                level = logging.DEBUG if text == said else logging.ERROR
                log.log(
                    level,
                    "changed secrets are not used yet: %s",
                    text,
                    extra={"names": sorted(refused), "again_in": wait, "rotation": "refused"},
                )
                wait, said = min(2 * wait, LONGEST_PAUSE), text
    finally:
        upcoming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({upcoming})
        close = getattr(changes, "aclose", None)
        if close is not None:
            await close()


async def _next(changes: AsyncIterator[frozenset[str]]) -> frozenset[str] | None:
    return await anext(changes, None)
