"""Requests that a module built on the Rust SDK can take, no more at once than it can hold."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pywatt_core.errors import RequestTimeout
from pywatt_core.protocol.messages import HttpRequest, HttpResponse
from pywatt_orchestrator.rust_http import AT_ONCE, RustHttp, harmless, rust_turns


def request(uri: str = "/", **headers: str) -> HttpRequest:
    return HttpRequest(request_id="r", method="GET", uri=uri, headers=headers)


def test_what_is_harmless_stays_as_it_is() -> None:
    plain = request('/a{b}"c"|~?x=[1]`&y=%C3%AB', a="visible, with a tab\t", b="")
    assert harmless(plain).headers == plain.headers
    ordinary = request("/a/b?x=1&y=%20", a="x")
    assert harmless(ordinary) is ordinary


def test_header_values_that_it_cannot_read_are_left_out_and_uris_are_escaped() -> None:
    changed = harmless(request("/Zoë<x>#y z", name="Zo\xeb", other="a\x01b", good="x"))
    assert changed.headers == {"good": "x"}
    assert changed.uri == "/Zo%C3%AB%3Cx%3E%23y%20z"


class SlowLink:
    """Counts how many requests are under way, and answers when it is told to."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.gate = asyncio.Event()

    async def request(self, request: HttpRequest, *, timeout: float) -> Any:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        return HttpResponse(request_id=request.request_id, status_code=200, headers={})


async def test_a_hundred_are_under_way_and_the_others_wait() -> None:
    link, turns = SlowLink(), rust_turns()
    tasks = [asyncio.create_task(RustHttp(link, turns).request(request(), timeout=60)) for _ in range(250)]  # type: ignore[arg-type]
    while link.running < AT_ONCE:
        await asyncio.sleep(0)
    with pytest.raises(RequestTimeout, match="100 requests before it"):
        await RustHttp(link, turns).request(request(), timeout=0.01)  # type: ignore[arg-type]
    link.gate.set()
    assert len(await asyncio.gather(*tasks)) == 250
    assert link.most == AT_ONCE
