"""What the configuration names is opened into the state: first the secrets, all of them at once, then what is opened with them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from .config.secret_references import references
from .errors import PyWattError, SecretError, SecretNotFound
from .held import Deferred, Held
from .interfaces import Authenticator, Cache, Context, Database, Orchestrator
from .replaceable import GetSecret, Replaceable
from .services.orchestrator_secrets import OrchestratorSecretProvider
from .services.rotation import LIMIT, reason
from .services.secrets import Fetch, SecretClient
from .state import AppState, make_current

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from .access import SecretSource
    from .config import Section, Settings
    from .definition import Definition
    from .protocol.messages import Init
    from .redaction import Secret
    from .registry import Registry
    from .services.channels import Channels

KINDS = (("databases", Database), ("caches", Cache), ("auth", Authenticator))
"""What is opened into the state, in this order."""


async def open_secrets(
    stack: AsyncExitStack,
    registry: Registry,
    settings: Settings,
    module_id: str,
    *,
    channels: Channels | None = None,
    init: Init | None = None,
    follow: bool = False,
) -> tuple[SecretClient, Sources]:
    """The module's one client for secrets, and where they come from: the orchestrator, stand-alone the module's own sources.

    Under an orchestrator that is not PyWatt's, a file that names ``[secrets.*]`` counts; ``use = "orchestrator"`` may be one of them.
    With `follow` the sources are watched from now on: what changes before `Sources.begin` is not missed.
    """
    module = settings.module
    source: SecretSource
    if init is not None and not (_is_foreign(init) and settings.merged.data.get("secrets")):
        assert channels is not None
        source = OrchestratorSecretProvider(channels.stdio, timeout=module.secret_timeout)
    else:
        from .services.secret_chain import SecretChain

        orchestrator = None if init is None or channels is None else Orchestrator(channels, init.pywatt)
        source = SecretChain(await registry.open_secret_sources(stack, settings, module_id, orchestrator), timeout=module.open_timeout)
    client = client_of(source, settings)
    sources = Sources(client, source, follow=follow, limit=module.open_timeout + LIMIT)
    stack.push_async_callback(sources.close)
    return client, sources


def client_of(source: SecretSource | Fetch, settings: Settings) -> SecretClient:
    """The client that ``[module]`` describes."""
    module = settings.module
    return SecretClient(source, ttl=module.secret_cache_ttl, stale=module.secret_cache_stale, size=module.secret_cache_size)


class Sources:
    """Where a module's secrets come from, and whether it follows their changes by itself."""

    def __init__(self, client: SecretClient, source: SecretSource, *, follow: bool, limit: float) -> None:
        from .access import WatchedSource

        self._client, self._limit = client, limit
        self._changes = source.changes() if follow and isinstance(source, WatchedSource) else None
        self._following: asyncio.Task[None] | None = None

    def begin(self, stack: AsyncExitStack) -> None:
        """Everything is open that can be opened anew: act on what has changed, and on what will, until `stack` is closed."""
        if self._changes is None:
            return
        from .services.secret_follower import follow

        self._following = asyncio.create_task(follow(self._client, self._changes, limit=self._limit), name="following secrets")
        stack.push_async_callback(self.close)

    async def close(self) -> None:
        """Follow no more. May be called twice."""
        changes, self._changes = self._changes, None
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        elif (close := getattr(changes, "aclose", None)) is not None:
            await close()


async def deliver(state: AppState[Any], definition: Definition) -> list[Secret]:
    """Have every secret delivered that the module declares or that a section refers to. The declared ones, in their order.

    With ``rotate=True`` these stay current: each gives the value that is in use when it is asked. Raises one `SecretNotFound`, or
    `SecretError`, that tells of every secret that cannot be had, who wants it, and what was said where it was looked for.
    """
    wanted: dict[str, list[str]] = {name: ["secrets=[…] of the module"] for name in definition.secrets}
    for kind, _interface in KINDS:
        for section in state.config.sections(kind).values():
            for path, name in references(section.options):
                wanted.setdefault(name, []).append(f"{section.path}.{path} ({section.origin(path)})")
    client = state.secrets
    client.keep(wanted)
    answers = await asyncio.gather(*(client.get(name) for name in wanted), return_exceptions=True)
    failed = {name: answer for name, answer in zip(wanted, answers, strict=True) if isinstance(answer, BaseException)}
    if failed:
        raise _undelivered(failed, wanted)
    return [client.current(name) if definition.rotate else client[name] for name in definition.secrets]


def _undelivered(failed: dict[str, BaseException], wanted: dict[str, list[str]]) -> BaseException:
    """One error for all of them; a fault in somebody's source is that fault."""
    for error in failed.values():
        if not isinstance(error, PyWattError):
            return error
    lines = [f"{name}, wanted by {' and '.join(wanted[name])}: {reason(error)}" for name, error in failed.items()]
    kind = SecretNotFound if all(isinstance(error, SecretNotFound) for error in failed.values()) else SecretError
    if len(lines) == 1:
        return kind(f"a secret is missing: {lines[0]}")
    return kind("\n  ".join([f"{len(lines)} secrets are missing:", *lines]))


async def open_resources(state: AppState[Any], registry: Registry) -> None:
    """Open every configured database, cache and authenticator into the state, in order; one that is only offered opens itself at first use.

    ``secret:`` references are resolved through ``state.secrets``; what has some can be replaced while it is used, and takes part in
    rotations. What fails to open raises the backend's own error, or `Unavailable` after ``module.open_timeout`` seconds; what was
    opened before is closed when the state is.
    """

    async def secret(name: str) -> str:
        return (await state.secrets.get(name)).expose_secret()

    make_current(state)
    orchestrator = Orchestrator(state.channels, state.init.pywatt if state.init is not None else None)
    places: tuple[dict[str, Any], ...] = (state.databases, state.caches, state.authenticators)
    for (kind, interface), opened in zip(KINDS, places, strict=True):
        for name, section in state.config.sections(kind).items():
            context = Context(module_id=state.module_id, section=f"{kind}.{name}", folder=state.config.folder, orchestrator=orchestrator)
            make = partial(_make, registry, kind, section, context, state.config.module.open_timeout)
            if any(references(section.options)):
                one: Replaceable[Any] = Replaceable(make, context.section, interface=interface, drain=state.config.module.rotation_drain)
                state._stack.push_async_callback(one.close)
                opened[name] = await one.open(secret)
                state.secrets.join(one)
                continue
            held: Held[Any] = Held(partial(make, secret), context.section)
            state._stack.push_async_callback(held.close)
            opened[name] = Deferred(held, interface) if section.offered else await held.value()


def _make(registry: Registry, kind: str, section: Section, context: Context, seconds: float, secret: GetSecret) -> Any:
    return registry.open(kind, section, context, secrets=secret, timeout=seconds)


def _is_foreign(init: Init) -> bool:
    """Whether the module reads its own configuration under this orchestrator."""
    return init.pywatt is None or init.pywatt.config is None
