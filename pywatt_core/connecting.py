"""The channels of a module: which the init line offers, opened by the providers that their sections name (protocol 5)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from .config import Section
from .interfaces import ChannelContext, ChannelState
from .services.channels import Channels

if TYPE_CHECKING:
    from .config import Settings
    from .protocol.messages import Init, Message
    from .protocol.session import Problem
    from .registry import Registry
    from .transports.link import Link

log = logging.getLogger(__name__)

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
    """Open every channel onto `stack`. An optional one connects behind our back; a required one is connected when this returns.

    Raises what the provider of a required channel raises. `on_lost` is told when a required channel has given up.
    """
    channels = Channels(link)
    for section in sections_of(settings, init):
        name = section.name

        def changed(state: ChannelState, name: str = name) -> None:
            log.log(logging.WARNING if state is ChannelState.FAILED else logging.DEBUG, "channel %s: %s", name, state.value)
            if state is ChannelState.FAILED and is_required(name, init):
                on_lost(name)

        context = ChannelContext(
            module_id=init.module_id,
            section=section.path,
            folder=settings.folder,
            init=init,
            facts=link.session.facts,
            on_message=on_message,
            on_problem=on_problem,
            on_state=changed,
        )
        channel = await stack.enter_async_context(registry.open("channels", section, context))
        channels.add(channel)
    return channels
