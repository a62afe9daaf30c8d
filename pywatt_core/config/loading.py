"""Find the sources, lay them over each other, check what belongs to the core: `load` is the configuration step of a module's life."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .environment import DELIMITER, ENVIRONMENT, PREFIX, environment_layer, misspelt
from .files import file_layer, find_file
from .merging import Layer, Merged, Text, at, merge
from .names import CORE, DEFAULT_SECRETS, INHERITED_SECRETS, KINDS, OWN_OPTIONS, implied_use
from .problems import Problem, raise_problems
from .sections import check_section
from .selection import PluginSelection
from .settings import ModuleOptions, Section, Settings

NAME = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"
"""Names that can also be written in an environment variable."""


DELIVERED = "init.pywatt.config"
"""The source that an orchestrator is."""


def load(
    *,
    file: str | os.PathLike[str] | None = None,
    start: str | os.PathLike[str] | None = None,
    decorator: Mapping[str, Any] | None = None,
    init: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    defer: bool = False,
) -> Settings:
    """The effective configuration, lowest source first: `decorator`, the file, `init`, `environ`, `overrides`.

    `file` names the file; without it, it is searched from `start` (the current directory) upwards, and having none is
    fine. `init` is ``init.pywatt.config``, which `for_module` made: where it is given, neither file nor environment is
    read, and secrets come over the link instead of from sources. `environ` is the process's own by default. `overrides`
    are nested tables from the command line.

    Raises one `ConfigError` that lists every problem of the core's sections. With ``defer=True`` they are kept in
    `Settings.problems` instead, so that `Registry.check` can report them together with those of the providers' sections.
    """
    problems: list[Problem] = []
    warnings: list[str] = []
    layers = [Layer("decorator config=", dict(decorator))] if decorator else []
    found: Path | None = None
    offers: Mapping[str, Any] = {}
    variables: Mapping[str, str] = os.environ if environ is None else environ
    if init is not None:
        tables = dict(init)
        folder = Path(tables.pop("folder", None) or os.curdir).absolute()
        offers = tables.pop("offers", None) or {}
        layers.append(Layer(DELIVERED, tables))
    else:
        found = Path(file).absolute() if file is not None else find_file(start)
        folder = found.parent if found else Path(start or os.curdir).absolute()
        if found:
            layers.append(file_layer(found))
        layer, problems = environment_layer(variables)
        layers += [layer] if layer else []
        warnings += misspelt(variables, CORE)
    if overrides:
        layers.append(Layer("command line", dict(overrides)))
    merged = merge([*_offer_layer(offers, layers), *layers])
    settings = _settings(merged, problems, folder, found, tuple(warnings), environ=variables if init is None else None)
    if not defer:
        raise_problems(settings.problems)
    return settings


def override(texts: Iterable[str]) -> dict[str, Any]:
    """Nested tables from ``section.name.option=value``, for `load(overrides=…)`. Raises `ConfigError` for a text of another form."""
    tables: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        *above, last = path.strip().split(".")
        if not equals or not above or not all((*above, last)):
            raise ConfigError(f"{text.partition('=')[0]!r} is not of the form section.option=value")
        table = tables
        for name in above:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{path!r}: {name} was given a value of its own")
        table[last] = Text(value)
    return tables


def for_module(
    settings: Settings,
    name: str,
    *,
    own: Iterable[str] = (),
    omit: Iterable[str] = ("modules", "gateway", "secrets"),
    offers: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What an orchestrator sends one module as ``init.pywatt.config``: nested tables that JSON can hold.

    The top-level tables but those in `omit`, with every table of ``[modules.NAME]`` that is not one of the orchestrator's
    `own` keys laid over them. References to secrets stay references. `offers` are sections that the module gets, opened
    at first use, where no source configures any of their kind. The member ``folder`` is what relative paths resolve against.
    """
    tables = overlaid(settings, f"modules.{name}", own=own, omit=omit)
    if offers:
        tables["offers"] = _plain(offers)
    return tables


def overlaid(settings: Settings, entry: str, *, own: Iterable[str], omit: Iterable[str]) -> dict[str, Any]:
    """The top-level tables with those of the entry at a dotted path laid over them, and ``folder``; see `for_module`."""
    skipped, omitted = set(own), set(omit)
    top = {key: value for key, value in settings.merged.data.items() if key not in omitted and isinstance(value, Mapping)}
    inside = at(settings.merged.data, tuple(entry.split("."))) or {}
    over = {key: value for key, value in inside.items() if key not in skipped and key not in omitted and isinstance(value, Mapping)}
    merged = merge([Layer("pywatt.toml", top), Layer(entry, over)])
    return {**{key: _plain(value) for key, value in merged.data.items()}, "folder": str(settings.folder)}


def name_of_main(settings: Settings, kind: str, opened: Iterable[str] = ()) -> str:
    """Which section ``state.database`` or ``state.cache`` is: ``main``, or the only one.

    `opened` are names that exist without being configured, such as those a test hands in. Raises `ConfigError` with the
    lines to add.
    """
    names = list(opened)
    if "main" in names or (len(names) == 1 and not settings.sections(kind)):
        return "main" if "main" in names else names[0]
    return settings.pick(kind).name


# ── the parts of load ───────────────────────────────────────────────────────────────────────────────────────────────


def _offer_layer(offers: Mapping[str, Any], layers: Iterable[Layer]) -> list[Layer]:
    """Offers stand below everything, and only for kinds of which no source configures anything."""
    configured = {kind for layer in layers for kind in KINDS if layer.data.get(kind)}
    taken = {kind: named for kind, named in offers.items() if kind not in configured}
    return [Layer("offered by default", taken)] if taken else []


def _settings(
    merged: Merged,
    problems: list[Problem],
    folder: Path,
    file: Path | None,
    warnings: tuple[str, ...],
    *,
    environ: Mapping[str, str] | None,
) -> Settings:
    """Everything typed and checked; `environ` is None where an orchestrator delivered the configuration."""
    named: dict[str, dict[str, Section]] = {}
    for kind in KINDS:
        named[kind], found = _named(kind, merged)
        problems += found
    if environ is not None:
        named["secrets"], found = _secrets(named["secrets"], environ)
        problems += found
    module = _own("module", ModuleOptions, merged, problems)
    warnings += _without_effect(merged)
    plugins = _own("plugins", PluginSelection, merged, problems)
    extra = {}
    for key, value in merged.data.items():
        if key in CORE:
            continue
        if isinstance(value, Mapping):
            extra[key] = value
        else:
            problems.append(
                Problem(
                    key, "stands outside any table", merged.origin((key,)), f"Options belong to a table: did you mean [module] {key} = …?"
                )
            )
    return Settings(
        module=module,
        plugins=plugins,
        **named,
        extra=extra,
        folder=folder,
        file=file,
        warnings=warnings,
        problems=tuple(problems),
        merged=merged,
    )


def _secrets(named: dict[str, Section], environ: Mapping[str, str]) -> tuple[dict[str, Section], list[Problem]]:
    """The chain of sources: the one that is configured, the one that inherited variables choose, the usual one."""
    if named:
        return named, []
    if INHERITED_SECRETS in environ:
        from .inherited_secrets import inherited_secrets

        return inherited_secrets(environ)
    return {name: Section(name, options, f"secrets.{name}") for name, options in DEFAULT_SECRETS.items()}, []


def _without_effect(merged: Merged) -> tuple[str, ...]:
    """A warning about an option that stands where nobody can read it in time."""
    layer = merged.sources.get(("module", "handshake_timeout"))
    if layer is None or layer.label in (ENVIRONMENT, DELIVERED):  # what an orchestrator delivers, it has warned of
        return ()
    place = layer.place(("module", "handshake_timeout"))
    variable = f"{PREFIX}MODULE{DELIMITER}HANDSHAKE_TIMEOUT"
    why = f"only the environment variable {variable} sets it, because the init line comes before every other source"
    return (f"module.handshake_timeout ({place}) has no effect: {why}",)


def _own(key: str, options: type[Any], merged: Merged, problems: list[Problem]) -> Any:
    """One of the core's own sections, its defaults where it is wrong."""
    table = merged.data.get(key, {})
    if table == {}:
        return options()
    if not isinstance(table, Mapping):
        problems.append(Problem(key, "is a table", merged.origin((key,)), f"Write [{key}]"))
        return options()
    instance, found = check_section(table, options, key, lambda path: merged.origin(tuple(path.split("."))))
    problems += found
    return options() if instance is None else instance


def _named(kind: str, merged: Merged) -> tuple[dict[str, Section], list[Problem]]:
    """The sections of one kind, in the order in which they were written."""
    sections: dict[str, Section] = {}
    problems: list[Problem] = []
    tables = merged.data.get(kind, {})
    if not isinstance(tables, Mapping):
        return {}, [Problem(kind, "is a table of tables", merged.origin((kind,)), f"Write [{kind}.NAME]")]
    for name, table in tables.items():
        path, source = f"{kind}.{name}", merged.origin((kind, name))
        if not isinstance(table, Mapping):
            problems.append(Problem(path, "is a table", source, f"Write [{kind}.NAME], and in it {name} = …"))
            continue
        if not re.fullmatch(NAME, name):
            problems.append(
                Problem(
                    path, "is not a name", source, "Names are lower case letters, digits and single underscores, and begin with a letter"
                )
            )
        use = table.get("use", implied_use(kind, name))
        if "use" in table and not isinstance(use, str):
            source = merged.origin((kind, name, "use"))
            remedy = 'Write use = "…"; pywatt plugins lists what is installed'
            problems.append(Problem(f"{path}.use", f"the name of a provider is text, not {type(use).__name__}", source, remedy))
            use = ""
        elif not use:
            problems.append(
                Problem(
                    path, "does not say which provider to use", source, f'Add use = "…" to [{path}]; pywatt plugins lists what is installed'
                )
            )
            use = ""
        own = {key: table[key] for key in OWN_OPTIONS.get(kind, ()) if key in table}
        problems += [
            Problem(f"{path}.{key}", f"is text, not {type(value).__name__}", merged.origin((kind, name, key)), f'Write {key} = "…"')
            for key, value in own.items()
            if not isinstance(value, str)
        ]
        options = {key: value for key, value in table.items() if key != "use" and key not in own}
        offered = merged.sources[(kind, name)].label == "offered by default"
        sections[name] = Section(str(use), options, path, offered, merged, str(own.get("serializer", "")))
    return sections, problems


def _plain(value: Any) -> Any:
    """What JSON can hold: dates and times as text, everything else as it is."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Text):
        return str(value)
    return value if isinstance(value, str | int | float | bool | type(None)) else value.isoformat()
