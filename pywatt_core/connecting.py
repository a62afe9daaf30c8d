"""The channels of a module: which the init line offers, opened by the providers that their sections name (protocol 5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from .config import Section
from .errors import ChannelClosed, PyWattError
from .interfaces import ChannelContext, ChannelState
from .services.channels import Channels

if TYPE_CHECKING:
    from .config import Settings
    from .interfaces import Channel
    from .protocol.messages import Init, Message
    from .protocol.session import Problem
    from .registry import Registry
    from .services.routing_options import RoutingOptions
    from .transports.link import Link

log = logging.getLogger(__name__)

FIRST_CONNECT = 30.0
"""Seconds in all that the required channels have to connect; the module does not announce itself before."""
OPENING = 40.0
"""Seconds that a provider has to open one. Those that connect behind our back return at once."""

OFFERS = {"tcp": "tcp_channel", "unix": "ipc_channel"}
"""Our name of a channel, and the member of the init line that offers it."""


def sections_of(settings: Settings, init: Init) -> list[Section]:
    """The sections of the channels to open: those that the init line offers, and those of plugins."""
    configured = settings.sections("channels")
    offered = [
        configured.get(name) or Section(use=name, path=f"channels.{name}") for name, member in OFFERS.items() if getattr(init, member)
    ]
    return [*offered, *(section for name, section in configured.items() if name not in OFFERS)]


def is_required(name: str, init: Init) -> bool:
    """Whether the module may not live without this channel."""
    offer = getattr(init, OFFERS.get(name, ""), None)
    return offer is not None and bool(offer.required)


def routing_options(settings: Settings) -> RoutingOptions | None:
    """``[routing]``; None where the configuration has no such section. The plugins step has checked it."""
    table = settings.extra.get("routing")
    if table is None:
        return None
    from .config.problems import raise_problems
    from .config.sections import check_section
    from .services.routing_options import RoutingOptions

    options, problems = check_section(table, RoutingOptions, "routing", settings.origin)
    raise_problems(problems)
    return options


async def open_channels(
    stack: AsyncExitStack,
    settings: Settings,
    registry: Registry,
    link: Link,
    init: Init,
    *,
    on_message: Callable[[Message, Link], None],
    on_problem: Callable[[Problem], None],
    on_lost: Callable[[str], None],
) -> Channels:
    """Open every channel onto `stack`. All connect at once, and only the required ones are waited for, `FIRST_CONNECT` seconds in all.

    Raises `ChannelClosed` where a required one does not connect, or what its provider raises; an optional one that cannot be opened is
    a warning. `on_lost` is told when a required channel that was connected has given up.
    """
    channels = Channels(link, routing_options(settings), reference=init.pywatt is None)
    awaited: dict[str, asyncio.Future[None]] = {}
    opened: dict[str, Channel] = {}
    loop = asyncio.get_running_loop()

    def changed(name: str, state: ChannelState) -> None:
        log.debug("channel %s: %s", name, state.value)
        channels.changed(name)
        first = awaited.get(name)
        if first is None:
            return
        if state is ChannelState.CONNECTED and not first.done():
            first.set_result(None)
        elif state is ChannelState.FAILED and not first.done():
            first.set_exception(ChannelClosed(f"the required channel {name} has failed", executed="no"))
        elif state is ChannelState.FAILED:
            on_lost(name)

    for section in sections_of(settings, init):
        name, required = section.name, is_required(section.name, init)
        if required:
            awaited[name] = loop.create_future()
        context = ChannelContext(
            module_id=init.module_id,
            section=section.path,
            folder=settings.folder,
            init=init,
            facts=link.session.facts,
            on_message=on_message,
            on_problem=on_problem,
            on_state=partial(changed, name),
        )
        try:
            channel = await stack.enter_async_context(registry.open("channels", section, context, timeout=OPENING))
        except (PyWattError, OSError) as error:
            if required:
                raise
            log.warning("the channel %s is left out: %s", name, error)
        else:
            opened[name] = channel
            channels.add(channel)
    stack.callback(channels.close)
    await _required(opened, awaited)
    return channels


async def _required(opened: Mapping[str, Channel], awaited: Mapping[str, asyncio.Future[None]]) -> None:
    """Wait until every required channel is connected. Raises `ChannelClosed` that names the first that is not, and why."""
    if not awaited:
        return
    try:
        await asyncio.wait(awaited.values(), timeout=FIRST_CONNECT, return_when=asyncio.FIRST_EXCEPTION)
        failed = [name for name, first in awaited.items() if first.done() and first.exception() is not None]
        late = [name for name, first in awaited.items() if not first.done()]
        if failed or late:
            name = (failed or late)[0]
            reason = getattr(opened[name], "error", "")
            how = "failed" if failed else f"was not connected within {FIRST_CONNECT:g} s"
            raise ChannelClosed(f"the required channel {name} {how}{f': {reason}' if reason else ''}", executed="no")
    finally:
        for first in awaited.values():
            if not first.done():
                first.cancel()
