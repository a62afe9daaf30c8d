"""One process is told that secrets have other values."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from pywatt_core.errors import ChannelClosed, LocalProtocolError, PyWattError, RequestTimeout
from pywatt_core.protocol.messages import Heartbeat, Rotated, RotationAck

if TYPE_CHECKING:
    from collections.abc import Callable

    from pywatt_core.transports.link import Link

LAST_WORDS = 1.0
"""Seconds after its streams have closed within which a process is known to have ended."""


async def tell(
    link: Link, exited: asyncio.Future[Any], message: Rotated, *, ends: Callable[[], bool], pad: bool, timeout: float
) -> RotationAck | None:
    """Send `message` and wait for the acknowledgement; None where the process has ended, or `ends` says that it is about to.

    `exited` resolves when the process is gone. `pad`: it is a Rust module, which takes the line after this one for a part of
    it (protocol 9.3). Raises `RequestTimeout`, or `ChannelClosed` where it lives and neither hears nor says anything any more.
    """
    if ends():
        return None
    answering = asyncio.ensure_future(_request(link, message, pad=pad, timeout=timeout))
    try:
        await asyncio.wait({answering, exited}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            return None
        return answering.result()
    except (ChannelClosed, LocalProtocolError):
        await asyncio.wait({exited}, timeout=LAST_WORDS)
        if ends():
            return None
        raise ChannelClosed("its standard input or output is closed") from None
    finally:
        answering.cancel()


async def _request(link: Link, message: Rotated, *, pad: bool, timeout: float) -> RotationAck:
    if not pad:
        answer = await link.request(message, timeout=timeout)
    else:
        try:
            async with asyncio.timeout(timeout):
                await link.caught_up()
        except TimeoutError:
            raise RequestTimeout("it does not read its standard input") from None
        # Two tasks in a row: both lines are written before anybody else can write one.
        loop = asyncio.get_running_loop()
        asking = loop.create_task(link.request(message, timeout=timeout))
        padding = loop.create_task(_pad(link))
        try:
            answer = await asking
        finally:
            asking.cancel()
            padding.cancel()
    assert isinstance(answer, RotationAck)
    return answer


async def _pad(link: Link) -> None:
    with contextlib.suppress(PyWattError):
        await link.send(Heartbeat())
