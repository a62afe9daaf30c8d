"""What the configuration names is opened into the state, once its secrets are there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .held import Deferred, Held
from .interfaces import Authenticator, Cache, Context, Database, Orchestrator
from .state import AppState, make_current

if TYPE_CHECKING:
    from .registry import Registry


async def open_resources(state: AppState[Any], registry: Registry) -> None:
    """Open every configured database, cache and authenticator into the state, in order; one that is only offered opens itself at first use.

    ``secret:`` references are resolved through ``state.secrets``. What fails to open raises the backend's own error, or
    `Unavailable` after ``module.open_timeout`` seconds; what was opened before is closed when the state is.
    """

    async def secret(name: str) -> str:
        return (await state.secrets.get(name)).expose_secret()

    make_current(state)
    seconds = state.config.module.open_timeout
    orchestrator = Orchestrator(state.channels, state.init.pywatt if state.init is not None else None)
    opened: dict[str, Any]
    kinds = (("databases", Database, state.databases), ("caches", Cache, state.caches), ("auth", Authenticator, state.authenticators))
    for kind, interface, opened in kinds:
        for name, section in state.config.sections(kind).items():
            context = Context(module_id=state.module_id, section=f"{kind}.{name}", folder=state.config.folder, orchestrator=orchestrator)
            make = partial(registry.open, kind, section, context, secrets=secret, timeout=seconds)
            held: Held[Any] = Held(make, context.section)
            state._stack.push_async_callback(held.close)
            opened[name] = Deferred(held, interface) if section.offered else await held.value()
