"""HTTP over standard input for a module built on the Rust SDK, which ends with the first request that it cannot take (protocol 6.3).

It answers one request after the other; more than a hundred that wait end it, and so does a header value that is not visible ASCII.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pywatt_core.errors import RequestTimeout

if TYPE_CHECKING:
    from pywatt_core.protocol.messages import HttpRequest, Message
    from pywatt_core.transports.link import Link

AT_ONCE = 100
"""Requests that it is given before it has answered any."""

_TAKEN = re.compile(r"[\t -~]*")
_NOT_TAKEN_IN_URI = re.compile(r"[^!\"$-;=?-_a-~]")


def rust_turns() -> asyncio.Semaphore:
    """For all requests to one process."""
    return asyncio.Semaphore(AT_ONCE)


class RustHttp:
    """The requests to one process, over its standard input."""

    def __init__(self, link: Link, turns: asyncio.Semaphore) -> None:
        self._link, self._turns = link, turns

    async def request(self, request: HttpRequest, *, timeout: float) -> Message:
        """Ask when it is its turn; `timeout` is in seconds and covers the wait. Raises what `Link.request` raises."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + timeout
        try:
            async with asyncio.timeout_at(ends):
                await self._turns.acquire()
        except TimeoutError:
            raise RequestTimeout(f"{AT_ONCE} requests before it were not answered within {timeout:g} s") from None
        try:
            return await self._link.request(harmless(request), timeout=max(0.0, ends - loop.time()))
        finally:
            self._turns.release()


def harmless(request: HttpRequest) -> HttpRequest:
    """The request without header values that it cannot read, and with a URI that it can."""
    headers = {name: value for name, value in request.headers.items() if _TAKEN.fullmatch(value)}
    uri = _NOT_TAKEN_IN_URI.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), request.uri)
    return request if len(headers) == len(request.headers) and uri == request.uri else replace(request, headers=headers, uri=uri)
