"""A transaction and its savepoints: who may use the connection, in which order what goes to the server, and what is refused."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import StorageError
from pywatt_core.sql.transactions import NestableTransaction, isolation_level

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger("pywatt.test")


class Written(NestableTransaction):
    """Sends what would go to a server to a list."""

    def __init__(self, sent: list[str], outer: Written | None = None) -> None:
        super().__init__(outer, 30.0)
        self._sent = sent

    def _inside(self) -> Written:
        return Written(self._sent, self)

    async def begin(self, statement: str, /) -> None:
        self._sent.append(statement)

    async def end(self, statement: str) -> None:
        async with self._turn:
            self.check()
            self._left = True
            self._sent.append(statement)

    async def undo(self) -> None:
        self._left = True
        self._sent.append(f"undo {self._savepoint}")

    async def close_cursor(self, close: Callable[[], Awaitable[None]]) -> None:
        await self._close_cursor(close, (OSError,), log)


class WithWord(Written):
    _release = "RELEASE SAVEPOINT"

    def _inside(self) -> WithWord:
        return WithWord(self._sent, self)


@pytest.mark.parametrize(("kind", "release"), [(Written, "RELEASE"), (WithWord, "RELEASE SAVEPOINT")])
async def test_savepoints_have_names_of_their_own_and_are_released_from_the_inside(kind: type[Written], release: str) -> None:
    sent: list[str] = []
    async with kind(sent).transaction() as inner, inner.transaction() as innermost:
        assert type(innermost) is kind
        innermost.check()
    assert sent == [
        "SAVEPOINT pywatt_in",
        "SAVEPOINT pywatt_in_in",
        f"{release} pywatt_in_in",
        f"{release} pywatt_in",
    ]


async def test_an_error_undoes_its_savepoint_and_goes_on() -> None:
    sent: list[str] = []
    outer = Written(sent)
    with pytest.raises(ZeroDivisionError):
        async with outer.transaction():
            raise ZeroDivisionError
    assert sent == ["SAVEPOINT pywatt_in", "undo pywatt_in"]
    assert not outer.over
    async with outer.transaction():
        pass


async def test_one_that_is_over_takes_what_is_inside_with_it() -> None:
    sent: list[str] = []
    outer = Written(sent)
    async with outer.transaction() as left:
        async with left.transaction() as inner:
            assert (outer.over, left.over, inner.over) == (False, False, False)
        assert (left.over, inner.over) == (False, True)
    assert (outer.over, left.over) == (False, True)
    inside = outer._inside()
    await outer.end("COMMIT")
    for one in (outer, inside):
        with pytest.raises(StorageError, match="^the transaction is over: its block has been left$"):
            one.check()
        with pytest.raises(StorageError, match="its block has been left"):
            async with one.transaction():
                pass
    assert sent[-1] == "COMMIT"


async def test_while_a_savepoint_is_open_the_outer_one_is_not_for_the_same_task() -> None:
    outer = Written([])
    async with outer.transaction():
        with pytest.raises(StorageError, match="use the object that it gave you"):
            async with outer.transaction():
                pass


async def test_a_savepoint_takes_isolation_and_read_only_from_outside() -> None:
    sent: list[str] = []
    outer = Written(sent)
    for options in ({"isolation": "serializable"}, {"read_only": True}):
        with pytest.raises(StorageError, match="takes its isolation and read_only from that one"):
            async with outer.transaction(**options):
                pass
    assert sent == []


async def test_a_cursor_is_closed_in_its_turn_and_not_once_the_transaction_is_over(caplog: pytest.LogCaptureFixture) -> None:
    outer, closed = Written([]), []

    async def close() -> None:
        closed.append("cursor")

    async with outer.transaction():
        waiting = asyncio.create_task(outer.close_cursor(close))
        await asyncio.sleep(0)
        assert closed == []
    await waiting
    assert closed == ["cursor"]

    async def fail(error: Exception) -> None:
        raise error

    with caplog.at_level(logging.DEBUG, "pywatt.test"):
        await outer.close_cursor(lambda: fail(OSError("word-4711")))
        await outer.close_cursor(lambda: fail(StorageError("word-4711")))
    assert [record.getMessage() for record in caplog.records] == [
        "a cursor could not be closed: OSError",
        "a cursor could not be closed: StorageError",
    ]
    with pytest.raises(ValueError, match="mistake"):
        await outer.close_cursor(lambda: fail(ValueError("mistake")))
    await outer.end("COMMIT")
    await outer.close_cursor(close)
    assert closed == ["cursor"]


def test_an_isolation_is_a_name_and_never_a_statement() -> None:
    assert isolation_level("Serializable", "SomeSQL") == "SERIALIZABLE"
    assert isolation_level("repeatable_read", "SomeSQL") == "REPEATABLE READ"
    wrongs: list[Any] = ["serializable; DROP TABLE items", "", 4]
    for wrong in wrongs:
        with pytest.raises(StorageError, match="is not one of SomeSQL's: read uncommitted, read committed, repeatable read, serializable"):
            isolation_level(wrong, "SomeSQL")
