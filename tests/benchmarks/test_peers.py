"""The ends that are compared: each answers with the bytes of the request, or says why it is not there."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from benchmarks import peers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="pw") as folder:
        yield Path(folder)


def bytes_of(kind: str, answer: Any) -> bytes:
    found: bytes = answer.payload.data if kind == "link" else answer.data if kind == "nats" else answer
    return found


@pytest.mark.parametrize(
    ("kind", "transport"), [*((kind, transport) for kind in ("link", "raw", "grpc") for transport in ("unix", "tcp")), ("nats", "tcp")]
)
def test_each_end_answers_with_the_bytes_of_the_request(
    kind: str, transport: str, short_folder: Path, lacking: Callable[[str], NoReturn]
) -> None:
    if why := peers.missing(kind, transport):
        lacking(why)
    server = peers.Server(kind, transport, str(short_folder), None, broker=None)

    async def ask() -> list[bytes]:
        call, close = await peers.connect(kind, server.address, 1024)
        try:
            first = await call()
            return [bytes_of(kind, one) for one in [first, *await asyncio.gather(*(call() for _ in range(3)))]]
        finally:
            await close()

    try:
        answers = peers.run(ask())
        assert len(answers[0]) == 1024
        assert answers == [answers[0]] * 4, "a client asks with the same bytes each time"
        assert server.cpu_seconds() > 0
    finally:
        server.stop()
    assert not server.process.is_alive()


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_blocking_sockets_answer_too(transport: str, short_folder: Path) -> None:
    server = peers.Server("blocking", transport, str(short_folder), None, broker=None)
    try:
        calls = peers.blocking_calls(server.address, 100)
        assert [next(calls) for _ in range(3)] == [None] * 3
        calls.close()
    finally:
        server.stop()


def test_nats_has_no_unix_sockets() -> None:
    assert peers.missing("nats", "unix") == "nats-py speaks TCP only"
