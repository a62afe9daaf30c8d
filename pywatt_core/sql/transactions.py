"""What a transaction is wherever there are savepoints: its connection is its caller's until its block has been left, and a
transaction inside another is a savepoint. What begins, ends and undoes one is the database's own affair."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from ..errors import StorageError
from .turns import Turn

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Self

ISOLATIONS = ("read uncommitted", "read committed", "repeatable read", "serializable")
"""The levels of standard SQL."""


class NestableTransaction(ABC):
    """The base of a database's transaction, which gives it `check` and `transaction`. Subclasses say what goes to the server.

    `_turn` is for whatever uses the connection: ``async with self._turn: self.check(); …``. `undo` has to set `_left`, and so has
    `end` as soon as it has the turn.
    """

    _release: ClassVar[str] = "RELEASE"
    """What lets go of a savepoint, its name behind it."""

    def __init__(self, outer: Self | None, timeout: float) -> None:
        self._outer = outer
        self._timeout = timeout
        self._savepoint: str = "pywatt" if outer is None else f"{outer._savepoint}_in"
        self._turn = Turn(timeout)
        self._left = False

    @property
    def over(self) -> bool:
        """True once its block, or that of a transaction around it, has been left: its connection is somebody else's."""
        return self._left or (self._outer is not None and self._outer.over)

    def check(self) -> None:
        """Raise `StorageError` where the transaction is over."""
        if self.over:
            raise StorageError("the transaction is over: its block has been left")

    @abstractmethod
    def _inside(self) -> Self:
        """One on the same connection whose outer one this is; it has not begun."""

    @abstractmethod
    async def begin(self, statement: str, /) -> None:
        """Begin, or set the savepoint."""

    @abstractmethod
    async def end(self, statement: str) -> None:
        """Commit, or release the savepoint: to its end, whatever happens to the caller meanwhile."""

    @abstractmethod
    async def undo(self) -> None:
        """Roll back, or back to the savepoint. Raises nothing but a cancellation."""

    @asynccontextmanager
    async def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AsyncIterator[Self]:
        """A savepoint. It takes the isolation of the transaction that it is in."""
        if isolation is not None or read_only:
            raise StorageError("a transaction inside another takes its isolation and read_only from that one")
        async with self._turn:
            self.check()
            inner = self._inside()
            try:
                await inner.begin(f"SAVEPOINT {inner._savepoint}")
                yield inner
                await inner.end(f"{self._release} {inner._savepoint}")
            except BaseException:
                await inner.undo()
                raise

    async def _close_cursor(
        self, close: Callable[[], Awaitable[None]], failures: tuple[type[BaseException], ...], log: logging.Logger
    ) -> None:
        """Close a cursor in its turn, unless it went with the transaction. One of `failures` is logged: the transaction goes on
        without, or tells by itself what is wrong."""
        logged: tuple[type[BaseException], ...] = (*failures, StorageError)
        try:
            async with self._turn:
                if not self.over:
                    await close()
        except logged as error:
            log.debug("a cursor could not be closed: %s", type(error).__name__)


def isolation_level(isolation: str, database: str) -> str:
    """What a statement calls the isolation. Raises `StorageError` that names the database for one that standard SQL does not have."""
    chosen = str(isolation).lower().replace("_", " ")
    if chosen not in ISOLATIONS:
        raise StorageError(f"isolation {isolation!r} is not one of {database}'s: {', '.join(ISOLATIONS)}")
    return chosen.upper()
