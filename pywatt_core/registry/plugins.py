"""One installed plugin: loaded by itself, registered with pluggy, and known as broken rather than ever raised over."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from .. import hookspecs
from ..errors import PluginError
from ..interfaces import Command, Provider, TopSection
from .budget import within_budget
from .kinds import described

if TYPE_CHECKING:
    from .discovery import EntryPoint

T = TypeVar("T")

MOST = 1000
"""More answers from one hook than anybody can mean: a generator without an end."""

ONE = (str, bytes, Mapping, Provider, Command, TopSection)
"""Answers that could be looped over, and are no list of answers all the same."""


ASYNC = "is a coroutine function: hooks are plain functions, which return at once"


class Plugin:
    """A plugin and what is known of it. Its identity is distribution and entry point."""

    def __init__(self, name: str, distribution: str, version: str, value: str = "", location: str = "", *, builtin: bool = False) -> None:
        self.name = name
        self.distribution = distribution
        self.version = version
        self.value = value
        """What the entry point names: ``package.module`` or ``package.module:attribute``."""
        self.location = location
        self.builtin = builtin
        self.disabled = ""
        """Why it is not loaded, where the configuration says so."""
        self.failure = ""
        """Why it could not be loaded; nothing of it can be used then."""
        self.faults: dict[str, str] = {}
        """What went wrong in single hooks, by hook; what the others provide works."""
        self.hooks: tuple[str, ...] = ()
        self.object: Any = None

    def __repr__(self) -> str:
        return f"Plugin({self.identity!r})"

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"the plugin {self.name!r} of {self.distribution} {self.version}".rstrip()

    @property
    def identity(self) -> str:
        return f"{self.distribution}:{self.name}"

    @property
    def broken(self) -> str:
        """Everything that is wrong with it; empty where nothing is."""
        return "; ".join(filter(None, (self.failure, *self.faults.values())))


def plugin_of(entry: EntryPoint) -> Plugin:
    return Plugin(entry.name, entry.distribution, entry.version, entry.value, entry.location)


class Loader:
    """Brings plugins into one pluggy manager; a plugin that cannot be brought in is marked broken, nothing is raised."""

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.specs = frozenset(name for name in dir(hookspecs) if name.startswith("pywatt_"))

    def load(self, plugin: Plugin) -> None:
        """Import what the entry point names, on the budget, and register it."""
        if not plugin.value:
            plugin.failure = f"names nothing to load: its line in entry_points.txt has to be {plugin.name} = package.module"
            return
        try:
            loaded = within_budget(plugin.label, "at import", lambda: _import(plugin.value), self.budget)
        except PluginError as error:
            plugin.failure = _reason(plugin, error)
            return
        self.register(plugin, loaded)

    def fetch(self, plugin: Plugin, target: str) -> object:
        """What ``package.module:name`` names, imported on the budget of `plugin`. Raises `PluginError` that names it."""
        return within_budget(plugin.label, f"while {target} was imported", lambda: _import(target), self.budget)

    def register(self, plugin: Plugin, loaded: object) -> None:
        """Register an object that has been imported already: the same door for built-ins and everybody else."""
        try:
            within_budget(plugin.label, "while it was registered", lambda: self.manager.register(loaded, name=plugin.identity), self.budget)
        except PluginError as error:
            plugin.failure = self._registration_fault(plugin, loaded, error)
            self._unregister(plugin)
            return
        plugin.failure = self._pending(plugin, loaded)
        if plugin.failure:
            self._unregister(plugin)
            return
        plugin.object = loaded
        callers = self.manager.get_hookcallers(loaded) or []
        plugin.hooks = tuple(sorted(caller.name for caller in callers))

    def call(self, plugin: Plugin, hook: str, **arguments: Any) -> Any:
        """One plugin's own answer to one hook. Raises `PluginError` that names it."""
        implementation = self._implementation(plugin, hook)
        values = [arguments[name] for name in implementation.argnames]
        returned = within_budget(plugin.label, f"in {hook}", lambda: implementation.function(*values), self.budget)
        if isinstance(returned, CoroutineType):
            returned.close()
            raise PluginError(f"{plugin.label}: {hook} {ASYNC}")
        return returned

    def collect(self, plugin: Plugin, hook: str, check: Callable[[Any], str], **arguments: Any) -> list[Any]:
        """One plugin's answers to a collecting hook; `check` says what is wrong with one of them, or nothing.

        An answer that is no list, or holds something wrong, is a fault of the plugin; the whole answer counts for nothing.
        """
        implementation = self._implementation(plugin, hook)
        values = [arguments[name] for name in implementation.argnames]

        def answers() -> list[Any]:
            returned = implementation.function(*values)
            if isinstance(returned, CoroutineType):
                returned.close()
                raise PluginError(ASYNC)
            if not isinstance(returned, Iterable) or isinstance(returned, ONE):
                raise PluginError(f"returned {described(returned)}, not a list")
            return list(islice(returned, MOST + 1))

        try:
            found = within_budget(plugin.label, f"in {hook}", answers, self.budget)
        except PluginError as error:
            own = error.__cause__ if isinstance(error.__cause__, PluginError) else None
            plugin.faults[hook] = f"{hook} {own}" if own is not None else _reason(plugin, error)
            return []
        wrong = f"returns more than {MOST} answers" if len(found) > MOST else next(filter(None, map(check, found)), "")
        if wrong:
            plugin.faults[hook] = f"{hook} {wrong}"
            return []
        return found

    def _implementation(self, plugin: Plugin, hook: str) -> pluggy.HookImpl:
        caller: pluggy.HookCaller = getattr(self.manager.hook, hook)
        return next(one for one in caller.get_hookimpls() if one.plugin_name == plugin.identity)

    def _pending(self, plugin: Plugin, loaded: object) -> str:
        """What `check_pending` would say of this plugin: hooks that nobody specified, and implementations nobody can call."""
        callers = self.manager.get_hookcallers(loaded) or []
        unmarked = [
            name for name in self.specs if callable(getattr(loaded, name, None)) and name not in {caller.name for caller in callers}
        ]
        for caller in callers:
            if not caller.has_spec():
                from ..config.problems import suggestion

                return f"implements the unknown hook {caller.name!r}. {suggestion(caller.name, self.specs, 'hooks')}"
            for implementation in caller.get_hookimpls():
                if implementation.plugin_name == plugin.identity and (implementation.hookwrapper or implementation.wrapper):
                    return f"wraps the hook {caller.name!r}: hooks of PyWatt describe, they are not wrapped"
        if unmarked:
            return f"has {sorted(unmarked)[0]!r}, but not as a hook: decorate it with pywatt_core.hookspecs.hookimpl"
        if not callers:
            return "implements no hook: decorate its functions with pywatt_core.hookspecs.hookimpl"
        return ""

    def _registration_fault(self, plugin: Plugin, loaded: object, error: PluginError) -> str:
        if isinstance(error.__cause__, pluggy.PluginValidationError):
            return " ".join(str(error.__cause__).split())
        holder = self.manager.get_name(loaded) if isinstance(error.__cause__, ValueError) else None
        return f"loads the very object that {holder} has loaded" if holder else _reason(plugin, error)

    def _unregister(self, plugin: Plugin) -> None:
        if self.manager.has_plugin(plugin.identity):
            self.manager.unregister(name=plugin.identity)


def _import(value: str) -> object:
    module, _, attributes = value.partition(":")
    loaded: object = importlib.import_module(module)
    for attribute in filter(None, attributes.strip().split(".")):
        loaded = getattr(loaded, attribute)
    return loaded


def _reason(plugin: Plugin, error: PluginError) -> str:
    """The error's text without the plugin's own name in front: tables show that beside it."""
    return str(error).removeprefix(plugin.label).strip()
