"""What `pywatt plugins` shows: every plugin, what it provides, and whether the configuration uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.names import DEFAULT_SECRETS, implied_use
from .kinds import KINDS

if TYPE_CHECKING:
    from .plugins import Plugin
    from .registry import Registry

NAMELESS = {
    "pywatt_make_server": "servers",
    "pywatt_register_handlers": "handlers",
    "pywatt_lifespan": "lifespan",
    "pywatt_register_commands": "commands",
    "pywatt_register_sections": "sections",
}
"""Hooks that serve without being named in the configuration."""

HOSTED = {"databases": "database", "caches": "cache", "auth": "auth"}
"""What an orchestrator may host, and the table of ``[services.NAME]`` that says by what."""


class PluginStatus(NamedTuple):
    """One row. `status` is ``active``, ``inactive``, ``disabled`` or ``broken``, and `reason` says why."""

    name: str
    distribution: str
    version: str
    status: str
    reason: str
    provides: dict[str, list[str]]
    """Kind to names; a kind without names, such as ``servers``, is provided as a whole."""
    location: str
    entry_point: str
    builtin: bool


def status(registry: Registry, raw: Mapping[str, Any]) -> list[PluginStatus]:
    """The rows, built-ins first, then by name. `raw` holds the tables of the configuration as they are written."""
    used = _used(raw)
    provided: dict[str, dict[str, list[str]]] = {}
    conflicts: dict[str, list[str]] = {}
    for kind, known in KINDS.items():
        claims: dict[str, list[Plugin]] = {}
        for plugin, provider in registry.provided(kind):
            provided.setdefault(plugin.identity, {}).setdefault(kind, []).append(provider.name)
            claims.setdefault(provider.name, []).append(plugin)
        for name, plugins in claims.items():
            for plugin in plugins if len(plugins) > 1 else ():
                others = ", ".join(other.identity for other in plugins if other is not plugin)
                conflicts.setdefault(plugin.identity, []).append(f"the {known.noun} {name!r} is also provided by {others}")
    for hook, key, names in (("commands", "commands", registry.commands()), ("sections", "sections", registry.sections())):
        for plugin, one in registry.answers(f"pywatt_register_{hook}"):
            if one.name in names:
                provided.setdefault(plugin.identity, {}).setdefault(key, []).append(one.name)
    rows = [_row(plugin, provided.get(plugin.identity, {}), conflicts.get(plugin.identity, []), used) for plugin in registry.plugins]
    return sorted(rows, key=lambda row: (not row.builtin, row.name, row.distribution))


def _row(plugin: Plugin, provides: dict[str, list[str]], conflicts: list[str], used: Mapping[str, Mapping[str, list[str]]]) -> PluginStatus:
    for hook in plugin.hooks:
        if hook in NAMELESS and NAMELESS[hook] not in provides and hook not in plugin.faults:
            provides[NAMELESS[hook]] = []
    state, reason = _state(plugin, provides, conflicts, used)
    return PluginStatus(
        name=plugin.name,
        distribution=plugin.distribution,
        version=plugin.version,
        status=state,
        reason=reason,
        provides=provides,
        location=plugin.location,
        entry_point=plugin.value,
        builtin=plugin.builtin,
    )


def _state(
    plugin: Plugin, provides: Mapping[str, list[str]], conflicts: list[str], used: Mapping[str, Mapping[str, list[str]]]
) -> tuple[str, str]:
    if plugin.disabled:
        return "disabled", plugin.disabled
    if plugin.broken or conflicts:
        return "broken", "; ".join(filter(None, (plugin.broken, *conflicts)))
    for kind, names in provides.items():
        for name in names:
            sections = used.get(kind, {}).get(name)
            if sections:
                return "active", f"used by [{'], ['.join(sections)}]"
    nameless = [NAMELESS[hook] for hook in plugin.hooks if hook in NAMELESS]
    if nameless:
        return "active", f"provides {', '.join(sorted(nameless))}, which need no name in the configuration"
    offered = ", ".join(name for names in provides.values() for name in names)
    return "inactive", f"no section of the configuration uses {offered}" if offered else "it provides nothing"


def _used(raw: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Kind to provider to the sections that use it, overlays of single modules and what an orchestrator hosts included."""
    used: dict[str, dict[str, list[str]]] = {}
    _gather(used, raw, "")
    modules = raw.get("modules")
    for name, entry in modules.items() if isinstance(modules, Mapping) else ():
        if isinstance(entry, Mapping):
            _gather(used, {key: value for key, value in entry.items() if key != "secrets"}, f"modules.{name}.")
    services = raw.get("services")
    for name, entry in services.items() if isinstance(services, Mapping) else ():
        for kind, inside in HOSTED.items() if isinstance(entry, Mapping) else ():
            use = table.get("use") if isinstance(table := entry.get(inside), Mapping) else None
            if isinstance(use, str):
                used.setdefault(kind, {}).setdefault(use, []).append(f"services.{name}.{inside}")
    if not raw.get("secrets"):
        for name in DEFAULT_SECRETS:
            used.setdefault("secrets", {}).setdefault(name, []).append(f"secrets.{name}")
    return used


def _gather(used: dict[str, dict[str, list[str]]], tables: Mapping[str, Any], prefix: str) -> None:
    for kind, known in KINDS.items():
        named = tables.get(known.section)
        for name, table in named.items() if isinstance(named, Mapping) else ():
            use = table.get("use", implied_use(kind, name)) if isinstance(table, Mapping) else None
            if isinstance(use, str):
                used.setdefault(kind, {}).setdefault(use, []).append(f"{prefix}{known.section}.{name}")
