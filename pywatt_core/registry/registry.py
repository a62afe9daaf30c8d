"""The registry: who is installed, what each provides, and the one thing that a name in the configuration stands for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..config.selection import PluginSelection
from ..errors import PluginError
from ..hookspecs import PROJECT
from ..interfaces import Authenticator, Cache, Channel, Command, Context, Database, Handler, Provider, SecretSource, Serializer, TopSection
from . import explaining
from .budget import BUDGET
from .discovery import scan
from .kinds import KINDS, described, missing_methods, wrong_instance, wrong_open, wrong_options, wrong_provider
from .plugins import Loader, Plugin, plugin_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AsyncExitStack

    from ..config import Problem, Section, Settings
    from ..interfaces import Orchestrator, Server, ServerOptions
    from ..protocol.messages import Message
    from .status import PluginStatus

OPEN_TIMEOUT = 30.0

GetSecret = Callable[[str], Awaitable[str | None]]


class Claim(NamedTuple):
    """What a name in the configuration stands for."""

    plugin: Plugin
    provider: Provider[Any]
    options: type[Any]


class Registry:
    """Plugins by what they provide. The only caller of pluggy's hooks.

    Discovery happens on construction and imports the plugins, none of their backends; each hook is asked when its answers
    are first wanted. A broken plugin is never raised over here: `plugins` shows it, and asking for what it alone would
    provide is a `PluginError` that names it.
    """

    def __init__(
        self,
        selection: PluginSelection | None = None,
        *,
        discover: bool = True,
        budget: float = BUDGET,
        path: Sequence[str] | None = None,
    ) -> None:
        """`selection` is ``settings.plugins``; `path` replaces ``sys.path``; `budget` is seconds for each import and each hook."""
        self._selection = selection or PluginSelection()
        self._loader = Loader(budget)
        self._collected: dict[str, list[tuple[Plugin, Any]]] = {}
        self.plugins: list[Plugin] = []
        self.open_timeout = OPEN_TIMEOUT
        """Seconds that one provider may take to open where `open` is not told otherwise."""
        self.warnings: list[str] = []
        from .. import builtin

        self.add(builtin, name="builtin", distribution="pywatt-core", version="", builtin=True)
        if discover:
            self._discover(path)

    @classmethod
    def discover(cls, settings: Settings, *, budget: float = BUDGET) -> Registry:
        """The installed plugins that `settings` selects, and every section checked: warnings are logged.

        Raises one `ConfigError` with every problem, those that ``load(defer=True)`` kept included, or `PluginError`.
        """
        import logging

        registry = cls(settings.plugins, budget=budget)
        registry.open_timeout = settings.module.open_timeout
        for warning in registry.check(settings):
            logging.getLogger(__name__).warning(warning)
        return registry

    def add(self, plugin: object, *, name: str, distribution: str = "", version: str = "", builtin: bool = False) -> Plugin:
        """Register an object with hook implementations, through the same door as installed plugins. Never raises: see `Plugin.broken`."""
        entry = Plugin(name, distribution or name, version, builtin=builtin)
        self._loader.register(entry, plugin)
        self.plugins.append(entry)
        self._collected.clear()
        return entry

    # ── what is provided, a typed method per hook ───────────────────────────────────────────────────────────────────

    def databases(self) -> dict[str, Provider[Database]]:
        return self.providers("databases")

    def caches(self) -> dict[str, Provider[Cache]]:
        return self.providers("caches")

    def secret_sources(self) -> dict[str, Provider[SecretSource]]:
        return self.providers("secrets")

    def serializers(self) -> dict[str, Provider[Serializer]]:
        return self.providers("serializers")

    def channels(self) -> dict[str, Provider[Channel]]:
        return self.providers("channels")

    def authenticators(self) -> dict[str, Provider[Authenticator]]:
        return self.providers("auth")

    def providers(self, kind: str) -> dict[str, Provider[Any]]:
        """The providers of one of `KINDS` by name. A name that two plugins claim is left out: `claim` says so."""
        claimed = self._claimed(kind)
        return {name: claims[0][1] for name, claims in claimed.items() if len(claims) == 1}

    def claim(self, kind: str, name: str) -> Claim:
        """The provider that `name` stands for, where it comes from, and the class of its options, imported by now.

        Raises `PluginError` that names who has to act.
        """
        claims = self._claimed(kind).get(name, [])
        if len(claims) == 1:
            return Claim(*claims[0], self.options_of(*claims[0]))
        raise PluginError(explaining.two_claim(kind, name, claims) if claims else explaining.nobody_provides(self, kind, name))

    def options_of(self, plugin: Plugin, provider: Provider[Any]) -> type[Any]:
        """The class of a provider's options. Raises `PluginError` that names the plugin, where it cannot be imported or is none."""
        if not isinstance(provider.options, str):
            return provider.options
        options: Any = self._loader.fetch(plugin, provider.options)
        if wrong := wrong_options(provider.name, options):
            raise PluginError(f"{plugin.label} {wrong}")
        return cast("type[Any]", options)

    def opener_of(self, plugin: Plugin, provider: Provider[Any]) -> Callable[[Any, Any], Any]:
        """The function that opens a provider. Raises `PluginError` as `options_of` does."""
        if not isinstance(provider.open, str):
            return provider.open
        open_: Any = self._loader.fetch(plugin, provider.open)
        if wrong := wrong_open(provider.name, open_):
            raise PluginError(f"{plugin.label} {wrong}")
        return cast("Callable[[Any, Any], Any]", open_)

    def commands(self) -> dict[str, Command]:
        """Sub-commands of ``pywatt`` by name; of two with one name, the first installed counts and a warning is kept."""
        return self._by_name("pywatt_register_commands", Command)

    def sections(self) -> dict[str, TopSection]:
        """Top-level tables of the configuration file that belong to plugins, by name."""
        return self._by_name("pywatt_register_sections", TopSection)

    def section_options(self, top: TopSection) -> type[Any]:
        """The options of a plugin's own section, imported now. Raises `PluginError` that names the plugin."""
        plugin = next(plugin for plugin, one in self.answers("pywatt_register_sections") if one is top)
        options: Any = self._loader.fetch(plugin, top.options)
        return cast("type[Any]", options)

    def handlers(self, state: Any) -> dict[type[Message], Handler]:
        """Handlers for the orchestrator's messages. Raises `PluginError` where a plugin fails, or two handle one message."""
        found: dict[type[Message], Handler] = {}
        owners: dict[type[Message], Plugin] = {}
        for plugin in self.implementing("pywatt_register_handlers"):
            mapping = self._loader.call(plugin, "pywatt_register_handlers", state=state)
            if not isinstance(mapping, Mapping):
                raise PluginError(f"{plugin.label} returned {described(mapping)} from pywatt_register_handlers, not a mapping")
            for message, handler in mapping.items():
                if not isinstance(message, type) or not callable(handler):
                    raise PluginError(
                        f"{plugin.label}: pywatt_register_handlers maps message types to functions, not {message!r} to {handler!r}"
                    )
                if message in found:
                    first = owners[message]
                    raise PluginError(
                        f"{first.label} and {plugin.label} both handle {message.__name__}; {explaining.disable_one(first, plugin)}"
                    )
                found[message], owners[message] = handler, plugin
        return found

    def lifespans(self, state: Any) -> list[AbstractAsyncContextManager[None]]:
        """Async context managers to hold while the module serves, in the order to enter. Raises `PluginError` where a plugin fails."""
        found = []
        for plugin in self.implementing("pywatt_lifespan"):
            lifespan = self._loader.call(plugin, "pywatt_lifespan", state=state)
            if lifespan is None:
                continue
            if not hasattr(lifespan, "__aenter__") or not hasattr(lifespan, "__aexit__"):
                raise PluginError(
                    f"{plugin.label} returned {described(lifespan)} from pywatt_lifespan, not an async context manager or None"
                )
            found.append(cast("AbstractAsyncContextManager[None]", lifespan))
        return found

    def make_server(self, app: object, options: ServerOptions, *, framework: str | None = None) -> Server:
        """The server of the plugin that recognises `app`; `framework` asks the plugin of that name alone.

        Raises `PluginError`: nobody recognises the application (what is installed, what to install), several do, or the
        one that does failed.
        """
        from ..interfaces import Server as ServerInterface

        asked = self.implementing("pywatt_make_server")
        if framework is not None:
            asked = [plugin for plugin in asked if framework in (plugin.name, plugin.distribution)]
            if not asked:
                raise PluginError(explaining.no_such_framework(self, framework))
        servers, failures = [], []
        for plugin in asked:
            try:
                server = self._loader.call(plugin, "pywatt_make_server", app=app, options=options)
            except PluginError as error:
                failures.append(error)
                continue
            if server is not None:
                lacking = missing_methods(server, ServerInterface)
                if lacking:
                    raise PluginError(f"{plugin.label} returned {described(server)} that lacks {', '.join(lacking)}")
                servers.append((plugin, cast("Server", server)))
        if len(servers) == 1:
            return servers[0][1]
        if servers:
            raise PluginError(explaining.two_serve(app, servers[0][0], servers[1][0]))
        if failures:
            raise PluginError("; ".join(str(error) for error in failures)) from failures[0]
        raise PluginError(explaining.nobody_serves(self, app))

    # ── opening and checking ────────────────────────────────────────────────────────────────────────────────────────

    def open(
        self, kind: str, section: Section, context: Context | None = None, *, secrets: GetSecret | None = None, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Any]:
        """Enter the provider that `section` names, its options checked; leaving closes it.

        References are resolved with `secrets` where it is given, and have to be resolved before where it is not. Entering
        raises `ConfigError` for wrong options, `SecretNotFound`, `PluginError` for a provider that is missing or breaks
        its contract, `Unavailable` after `timeout` seconds (`open_timeout`), and otherwise what the backend raises.
        """
        from .opening import open_provider

        return open_provider(self, kind, section, context, secrets, self.open_timeout if timeout is None else timeout)

    async def open_secret_sources(
        self, stack: AsyncExitStack, settings: Settings, module_id: str = "", orchestrator: Orchestrator | None = None
    ) -> list[tuple[str, SecretSource]]:
        """Open the chain of secret sources on `stack`, in order: (section's name, source).

        The options of one may refer to secrets of those before it. `orchestrator` is asked by ``use = "orchestrator"``. Raises as
        `open` does.
        """
        from .opening import open_secret_sources

        return await open_secret_sources(self, stack, settings, module_id, orchestrator)

    def check(self, settings: Settings) -> list[str]:
        """Check every section that a module uses against its provider's options; return warnings.

        Raises one `ConfigError` with every problem found, those that `load` deferred included, or `PluginError` where
        only plugins are at fault. What an orchestrator reads (``[modules.*]``, ``[gateway]``) is its own to check.
        """
        from .checking import check

        return check(self, settings)

    def problems(self, settings: Settings) -> tuple[list[Problem], list[str]]:
        """All problems and warnings of the whole configuration, the faults of plugins that it needs included; raises nothing."""
        from .checking import examine

        found = examine(self, settings, whole=True)
        return [*found.problems, *found.faults], found.warnings

    def secret_paths(self, settings: Settings) -> dict[str, bool]:
        """For each option whose type is known: whether its value is secret. For `Settings.redacted`."""
        from .checking import secret_paths

        return secret_paths(self, settings)

    def status(self, raw: Mapping[str, Any]) -> list[PluginStatus]:
        """Every plugin with what it provides and whether the raw tables of a configuration use it."""
        from .status import status

        return status(self, raw)

    def answers(self, hook: str) -> list[tuple[Plugin, Any]]:
        """What was collected for one of the hooks that register something, each with its plugin."""
        return self._collected.get(hook, [])

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def provided(self, kind: str) -> list[tuple[Plugin, Provider[Any]]]:
        """Every provider of a kind with its plugin, conflicts included."""
        return self._collect(KINDS[kind].hook, wrong_provider)

    def _discover(self, path: Sequence[str] | None) -> None:
        entries, versions = scan(path)
        self.plugins[0].version = versions.get("pywatt-core", "")
        ours = {(entry.distribution, entry.name) for entry in entries if entry.group == PROJECT}
        for entry in entries:
            plugin = plugin_of(entry)
            if entry.group != PROJECT:
                if (entry.distribution, entry.name) in ours:
                    continue
                plugin.failure = (
                    f"is written for the plugin API {entry.group!r}, and this core reads {PROJECT!r}: install versions of both that fit"
                )
            elif reason := self._deselected(entry.name):
                plugin.disabled = reason
            else:
                self._loader.load(plugin)
            self.plugins.append(plugin)
        if self._selection != PluginSelection():
            self._warn_of_unknown_names()

    def _deselected(self, name: str) -> str:
        if name in self._selection.disable:
            return "named under [plugins] disable"
        if self._selection.allow is not None and name not in self._selection.allow:
            return "not in [plugins] allow"
        return ""

    def _warn_of_unknown_names(self) -> None:
        from ..config.problems import nearest

        installed = [plugin.name for plugin in self.plugins]
        for key, names in (("allow", self._selection.allow or ()), ("disable", self._selection.disable)):
            for name in names:
                if name not in installed:
                    guess = nearest(name, installed)
                    self.warnings.append(
                        f"[plugins] {key} names {name!r}, which is not installed" + (f"; did you mean {guess!r}?" if guess else "")
                    )

    def implementing(self, hook: str) -> list[Plugin]:
        return [plugin for plugin in self.plugins if hook in plugin.hooks]

    def _collect(self, hook: str, check: Callable[[Any], str]) -> list[tuple[Plugin, Any]]:
        if hook not in self._collected:
            self._collected[hook] = [
                (plugin, one) for plugin in self.implementing(hook) for one in self._loader.collect(plugin, hook, check)
            ]
        return self._collected[hook]

    def _claimed(self, kind: str) -> dict[str, list[tuple[Plugin, Provider[Any]]]]:
        claimed: dict[str, list[tuple[Plugin, Provider[Any]]]] = {}
        for plugin, provider in self.provided(kind):
            claimed.setdefault(provider.name, []).append((plugin, provider))
        return claimed

    def _by_name(self, hook: str, kind: type) -> dict[str, Any]:
        found: dict[str, tuple[Plugin, Any]] = {}
        for plugin, one in self._collect(hook, wrong_instance(kind)):
            if one.name in found:
                warning = f"{found[one.name][0].label} and {plugin.label} both register {one.name!r} in {hook}; the first counts"
                if warning not in self.warnings:
                    self.warnings.append(warning)
            else:
                found[one.name] = (plugin, one)
        return {name: one for name, (_, one) in found.items()}
