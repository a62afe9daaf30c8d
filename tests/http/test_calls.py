"""Requests over links that run: what each answers when it is done, cut, or not waited for any more."""

from __future__ import annotations

import asyncio

import pytest

from pywatt_core.http import Calls, plain, unavailable
from pywatt_core.protocol.messages import HttpRequest, HttpResponse

GET = HttpRequest(request_id="r", method="GET", uri="/")


class Work:
    """Runs until it is let go, and knows how it ended."""

    def __init__(self) -> None:
        self.begun, self.go, self.cancelled = asyncio.Event(), asyncio.Event(), False

    async def run(self) -> HttpResponse:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return plain(GET, 200)


async def test_the_work_answers_and_is_forgotten() -> None:
    calls, work = Calls(), Work()
    answering = asyncio.create_task(calls.answer(GET, work.run()))
    await work.begun.wait()
    assert len(calls.running) == 1
    work.go.set()
    assert (await answering).status_code == 200
    assert not calls.running


async def test_what_is_cut_answers_that_nobody_serves_now() -> None:
    calls, work = Calls(), Work()
    answering = asyncio.create_task(calls.answer(GET, work.run()))
    await work.begun.wait()
    calls.cut()
    assert await answering == unavailable(GET)
    assert (unavailable(GET).status_code, unavailable(GET).headers["retry-after"]) == (503, "1")
    assert work.cancelled
    assert not calls.running


async def test_a_caller_that_is_cancelled_takes_its_work_along() -> None:
    calls, work = Calls(), Work()
    answering = asyncio.create_task(calls.answer(GET, work.run()))
    await work.begun.wait()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert work.cancelled
    assert not calls.running


async def test_a_failure_of_the_work_is_the_callers() -> None:
    async def failing() -> HttpResponse:
        raise LookupError("why")

    calls = Calls()
    with pytest.raises(LookupError, match="why"):
        await calls.answer(GET, failing())
    assert not calls.running
