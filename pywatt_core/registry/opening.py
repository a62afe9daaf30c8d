"""From a section to an open resource: secrets in, options checked, provider entered within a deadline, contract looked at."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from ..config import Section, Settings, check_section, raise_problems, resolve
from ..errors import ConfigError, PluginError, SecretNotFound, Unavailable
from ..interfaces import Context, SecretSource
from .budget import said
from .kinds import KINDS, described, missing_methods

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..interfaces import Orchestrator
    from .plugins import Plugin
    from .registry import GetSecret, Registry


@asynccontextmanager
async def open_provider(
    registry: Registry, kind: str, section: Section, context: Context | None, secrets: GetSecret | None, seconds: float
) -> AsyncIterator[Any]:
    """What `Registry.open` promises."""
    plugin, provider, expected = registry.claim(kind, section.use)
    if secrets is not None:
        section = await resolve(section, secrets)
    options, problems = check_section(section.options, expected, section.path, section.origin_of)
    raise_problems(problems)
    if options is None:
        raise ConfigError(f"{section.path}: its secrets have to be resolved before it is opened")
    where = context or Context(module_id="", section=section.path)
    async with AsyncExitStack() as stack:
        entrance = _entrance(plugin, registry.opener_of(plugin, provider), options, where)
        try:
            async with asyncio.timeout(seconds) as limit:
                value = await stack.enter_async_context(entrance)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Unavailable(
                f"{section.path}: the provider {section.use!r} of {plugin.distribution} did not open within {seconds:g} s"
            ) from error
        except ModuleNotFoundError as error:
            raise PluginError(
                f"{plugin.label} cannot open {section.path}: {said(error)}. Its dependencies are not all installed"
            ) from error
        lacking = missing_methods(value, KINDS[kind].interface)
        if lacking:
            raise PluginError(f"{plugin.label} opened {described(value)} for {section.path} that lacks {', '.join(lacking)}")
        yield value


def _entrance(plugin: Plugin, open_: Any, options: object, context: Context) -> AbstractAsyncContextManager[Any]:
    entrance = open_(options, context)
    if hasattr(type(entrance), "__aenter__") and hasattr(type(entrance), "__aexit__"):
        return cast("AbstractAsyncContextManager[Any]", entrance)
    close = getattr(entrance, "close", None)
    if asyncio.iscoroutine(entrance) and close is not None:
        close()  # a coroutine that nobody awaits would warn, long after the message that explains it
    raise PluginError(
        f"{plugin.label}: open for {context.section} returned {described(entrance)}; decorate it with contextlib.asynccontextmanager"
    )


async def open_secret_sources(
    registry: Registry, stack: AsyncExitStack, settings: Settings, module_id: str, orchestrator: Orchestrator | None
) -> list[tuple[str, SecretSource]]:
    """What `Registry.open_secret_sources` promises."""
    from ..services.secret_chain import SecretChain

    chain: list[tuple[str, SecretSource]] = []
    for name, section in settings.secrets.items():
        context = Context(module_id=module_id, section=section.path, folder=settings.folder, orchestrator=orchestrator)
        before = SecretChain(chain, timeout=settings.module.open_timeout)
        try:
            opened = registry.open("secrets", section, context, secrets=before.get, timeout=settings.module.open_timeout)
            source = await stack.enter_async_context(opened)
        except SecretNotFound as error:
            labels = ", ".join(label for label, _ in chain) or "none"
            raise SecretNotFound(f"{error} (sources before it: {labels})") from error
        chain.append((name, source))
    return chain
