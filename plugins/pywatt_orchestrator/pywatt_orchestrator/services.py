"""``[services.NAME]``: databases, caches and authenticators that the orchestrator hosts, opened when somebody first asks for one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pywatt_core.config import Problem, Section, check_section, raise_problems, references, suggestion
from pywatt_core.errors import PluginError
from pywatt_core.held import Held
from pywatt_core.interfaces import Authenticator, Cache, Context, Database
from pywatt_core.protocol.values import with_article
from pywatt_core.redaction import Secret
from pywatt_core.registry import Registry
from pywatt_core.replaceable import Replaceable

from .logs import OURSELVES
from .parties import Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from pywatt_core.config import Settings
    from pywatt_core.replaceable import GetSecret, Replacement

    from .ledger import Holder

EVERYBODY: Final = "*"
"""In `ServiceSettings.modules`: every module."""

KINDS: Final = {"database": "databases", "cache": "caches", "auth": "auth"}
"""The table inside ``[services.NAME]``, and the kind of provider that it names."""

NOUNS: Final = {"database": "database", "cache": "cache", "auth": "authenticator"}
"""What people call them."""

INTERFACES: Final[Mapping[str, type]] = {"database": Database, "cache": Cache, "auth": Authenticator}

_NEITHER: Final = "is neither a database, nor a cache, nor an authenticator"

LAST: Final = 10.0
"""Seconds for giving back what modules had open, when the orchestrator ends."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What the orchestrator opens, and who may use it. Limits are for each process of a module; times are in seconds.

    What it is stands in a table of its own: ``[services.NAME.database]``, ``[services.NAME.cache]`` or ``[services.NAME.auth]``, with the
    same options as ``[databases.NAME]``, ``[caches.NAME]`` or ``[auth.NAME]`` of a module.
    """

    modules: tuple[str, ...]
    """The modules that may use it; ``["*"]`` for all of them, ``[]`` for what only the gateway uses."""
    database: dict[str, Any] | None = None
    """The provider (``use``) and its options."""
    cache: dict[str, Any] | None = None
    """Likewise; a service is one of the three."""
    auth: dict[str, Any] | None = None
    """Likewise: it checks tokens, and its keys stay with the orchestrator."""
    issue: tuple[str, ...] = ()
    """The modules that may have it make tokens, with whatever claims they like: nobody by default."""
    operations: int = 200
    """Operations that a process may have under way at once; more are refused."""
    operation_timeout: float = 300.0
    """How long one of them may take."""
    transactions: int = 32
    """Transactions, and cursors, that a process may have open at once; more are refused."""
    idle_transaction: float = 60.0
    """After how long without an operation a transaction is rolled back, or a cursor closed."""
    rows: int = 50_000
    """Rows of one answer; `iterate` takes any number."""

    def __post_init__(self) -> None:
        for name in ("operations", "transactions", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: at least 1 is needed")
        for name in ("operation_timeout", "idle_transaction"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}: more than 0 seconds are needed, and an end")


class Hosted(Service):
    """One service: its settings, and the database, cache or authenticator once it is open.

    Where `make` asks for secrets, what is open is exchanged when they are rotated: everybody holds the face of a `Replaceable`.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        settings: ServiceSettings,
        make: Callable[[GetSecret], AbstractAsyncContextManager[Any]],
        secrets: Callable[[Holder, str], Awaitable[str]],
        *,
        drain: float | None = None,
    ) -> None:
        """`secrets` is told who asks. `drain`: seconds for what is under way after an exchange; None where nothing is ever exchanged."""
        self.name, self.kind, self.settings = name, kind, settings
        """`kind` is one of `KINDS`."""
        self.module_id = f"[services.{name}]"
        self._make, self._get, self._drain = make, partial(secrets, self), drain
        self._held: Held[Any] = Held(self._enter, self.module_id)
        self._opening = False
        self._open: Replaceable[Any] | None = None
        self._prepared: Replacement[Any] | None = None

    @asynccontextmanager
    async def _enter(self) -> AsyncIterator[Any]:
        if self._drain is None:
            async with self._make(self._get) as opened:
                yield opened
            return
        one: Replaceable[Any] = Replaceable(self._make, self.module_id, interface=INTERFACES[self.kind], drain=self._drain)
        self._opening = True
        try:
            face = await one.open(self._get)
        finally:
            self._opening = False
        self._open = one
        try:
            yield face
        finally:
            self._open = None
            await one.close()

    async def prepare(self, values: Mapping[str, str]) -> None:
        if self._opening:
            with suppress(Exception):  # whoever wants it open is told
                await self._held.value()
        if self._open is not None:
            self._prepared = await self._open.prepare({name: Secret(value, name=name) for name, value in values.items()})

    def commit(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared.commit()

    def discard(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared.abandon()

    def admits(self, module: str) -> bool:
        """Whether a module may use it."""
        return module in self.settings.modules or EVERYBODY in self.settings.modules

    @property
    def noun(self) -> str:
        """What people call its kind."""
        return NOUNS[self.kind]

    def issues_for(self, module: str) -> bool:
        """Whether a module may have it make tokens."""
        return self.admits(module) and (module in self.settings.issue or EVERYBODY in self.settings.issue)

    async def open(self) -> Any:
        """What it is, opened now where it is not open yet. Raises what opening it raises; the next one tries again."""
        return await self._held.value()

    async def close(self) -> None:
        """Close it."""
        await self._held.close()


class Services:
    """Everything that one orchestrator hosts; nothing by default."""

    def __init__(self, hosted: Mapping[str, Hosted] | None = None) -> None:
        self.hosted: dict[str, Hosted] = dict(hosted or {})
        self._leaving: set[asyncio.Task[None]] = set()

    def clean_up(self, work: Coroutine[Any, Any, None]) -> None:
        """Give back what a process had open; `close` waits for that."""
        task = asyncio.get_running_loop().create_task(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Close every service, once what modules had open has been given back, or 10 seconds later."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=LAST)
        for one in reversed(list(self.hosted.values())):
            await one.close()


def read_services(settings: Settings, registry: Registry, secrets: Callable[[Holder, str], Awaitable[str]]) -> Services:
    """The services of a configuration that `service_problems` has found nothing wrong with; `secrets` resolves references."""
    hosted = {}
    for name, table in _tables(settings):
        options, problems = _checked(settings, name, table)
        raise_problems(problems)
        assert options is not None
        kind = next(kind for kind in KINDS if getattr(options, kind) is not None)
        section = _section(settings, name, kind, table[kind])
        context = Context(module_id=OURSELVES, section=section.path, folder=settings.folder)
        make = partial(_make, registry, kind, section, context, settings.module.open_timeout)
        drain = settings.module.rotation_drain if any(references(section.options)) else None
        hosted[name] = Hosted(name, kind, options, make, secrets, drain=drain)
    return Services(hosted)


def _make(registry: Registry, kind: str, section: Section, context: Context, seconds: float, secret: GetSecret) -> Any:
    return registry.open(KINDS[kind], section, context, secrets=secret, timeout=seconds)


def check_services(settings: Settings) -> None:
    """For ``pywatt check``. Raises `ConfigError` with every problem of `service_problems`."""
    modules = settings.extra.get("modules")
    raise_problems(list(service_problems(settings, Registry(settings.plugins), modules if isinstance(modules, Mapping) else {})))


def check_gateway(settings: Settings) -> None:
    """For ``pywatt check``. Raises `ConfigError` where ``[gateway]`` wants what the orchestrator does not host."""
    raise_problems(list(_gateway_problems(settings)))


def service_problems(settings: Settings, registry: Registry, modules: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with ``[services.*]``, beyond what the options' own types say: kinds, providers, and modules that there are not."""
    yield from _gateway_problems(settings)
    for name, table in _tables(settings):
        path = f"services.{name}"
        options, problems = _checked(settings, name, table)
        yield from problems
        named = [kind for kind in KINDS if isinstance(table.get(kind), Mapping)]
        if len(named) != 1:
            what = f"is {' and '.join(map(with_article, (NOUNS[kind] for kind in named)))} at once" if named else _NEITHER
            remedy = f'Add one table: [{path}.database], with use = "sqlite" for example'
            yield Problem(path, what, settings.origin(path), "Give each a service of its own" if named else remedy)
            continue
        if options is not None:
            yield from _module_problems(settings, path, named[0], options, modules)
        yield from _provider_problems(settings, registry, _section(settings, name, named[0], table[named[0]]), KINDS[named[0]])


def _gateway_problems(settings: Settings) -> Iterator[Problem]:
    """Whether what ``[gateway] authenticate`` names is there, and checks tokens."""
    table = settings.extra.get("gateway")
    name = table.get("authenticate") if isinstance(table, Mapping) else None
    if not isinstance(name, str) or not name:
        return  # the check of the section's own options says the rest
    tables, here = dict(_tables(settings)), "gateway.authenticate"
    ours = [name for name, table in tables.items() if "auth" in table]
    if name in ours:
        return
    known = f"{suggestion(name, ours, 'authenticators of the orchestrator')}. " if ours else ""
    wrong = f"[services.{name}] is no authenticator" if name in tables else f"there is no [services.{name}]"
    added = f"Add [services.{name}] with modules = [] and [services.{name}.auth]"
    remedy = known + (added if name not in tables else "Name one that has a table [services.NAME.auth]")
    yield Problem(here, wrong, settings.origin(here), remedy)


def _module_problems(settings: Settings, path: str, kind: str, options: ServiceSettings, modules: Mapping[str, Any]) -> Iterator[Problem]:
    for name, listed in (("modules", options.modules), ("issue", options.issue)):
        here = f"{path}.{name}"
        for module in listed:
            if module != EVERYBODY and module not in modules:
                yield Problem(here, f"there is no module {module!r}", settings.origin(here), suggestion(module, modules, "modules"))
            elif name == "issue" and module not in options.modules and EVERYBODY not in options.modules:
                wrong = f"{'every module' if module == EVERYBODY else repr(module)} may make tokens, but not use the service"
                yield Problem(here, wrong, settings.origin(here), "Name the same modules in modules")
    if options.issue and kind != "auth":
        here = f"{path}.issue"
        yield Problem(here, f"{with_article(NOUNS[kind])} makes no tokens", settings.origin(here), "Remove issue")


def _provider_problems(settings: Settings, registry: Registry, section: Section, kind: str) -> Iterator[Problem]:
    here = f"{section.path}.use"
    if not section.use:
        yield Problem(section.path, "does not say what to open", settings.origin(section.path), 'Add use = "…"')
    elif section.use == "orchestrator":
        yield Problem(here, "the orchestrator cannot be its own service", settings.origin(here), "Name what it shall open")
    else:
        try:
            options = registry.claim(kind, section.use).options
            yield from check_section(section.options, options, section.path, settings.origin)[1]
        except PluginError as error:
            yield Problem(here, str(error), settings.origin(here))


def unmet(settings: Settings, module: str, config: Mapping[str, Any]) -> Iterator[Problem]:
    """What a module's configuration wants of us, and would not get; `config` is what it is sent."""
    offered = dict(_tables(settings))
    for kind, sections in KINDS.items():
        tables = config.get(sections)
        for name, table in tables.items() if isinstance(tables, Mapping) else ():
            if not isinstance(table, Mapping) or not _wants_ours(table):
                continue
            wanted = table.get("service") or name
            reason = _why_not(offered, kind, wanted, module) if isinstance(wanted, str) else None
            if reason is not None:
                option = next(option for option in ("service", "mode", "use") if option in table)
                own = f"modules.{module}.{sections}.{name}.{option}"
                here = own if settings.origin(own) != "default" else f"{sections}.{name}.{option}"
                yield Problem(here, reason[0], settings.origin(here), reason[1])


def _wants_ours(table: Mapping[str, Any]) -> bool:
    """Whether a section of a module is one of our services: by its name, or as the inherited protocol has it for tokens."""
    return table.get("use") == "orchestrator" or (table.get("use") == "jwt" and table.get("mode") == "proxy")


def _why_not(offered: Mapping[str, Mapping[str, Any]], kind: str, wanted: str, module: str) -> tuple[str, str] | None:
    """Why a module does not get a service, and the way out; None where it does, or where the service's own section is at fault."""
    ours = [name for name, table in offered.items() if kind in table]
    if wanted not in ours:
        remedy = f"{suggestion(wanted, ours, f'{NOUNS[kind]}s of the orchestrator')}. " if ours else ""
        return (
            f"the orchestrator hosts no {NOUNS[kind]} {wanted!r}, which the module {module!r} wants",
            f'{remedy}Add [services.{wanted}] with modules = ["{module}"] and [services.{wanted}.{kind}]',
        )
    admitted = offered[wanted].get("modules")
    if not isinstance(admitted, list | tuple) or module in admitted or EVERYBODY in admitted:
        return None
    return f"the module {module!r} may not use the {NOUNS[kind]} {wanted!r}", f'Add "{module}" to modules in [services.{wanted}]'


def _tables(settings: Settings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    table = settings.extra.get("services")
    for name, entry in (table if isinstance(table, Mapping) else {}).items():
        if isinstance(entry, Mapping):  # else the check of all sections has said so
            yield name, entry


def _checked(settings: Settings, name: str, table: Mapping[str, Any]) -> tuple[ServiceSettings | None, list[Problem]]:
    """The options; the tables of the provider, which may refer to secrets, are left as they are."""
    plain = {key: value if key not in KINDS else {} for key, value in table.items()}
    return check_section(plain, ServiceSettings, f"services.{name}", settings.origin)


def _section(settings: Settings, name: str, kind: str, table: Mapping[str, Any]) -> Section:
    use = table.get("use")
    options = {key: value for key, value in table.items() if key != "use"}
    return Section(use if isinstance(use, str) else "", options, f"services.{name}.{kind}", merged=settings.merged)
