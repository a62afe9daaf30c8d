"""``pywatt plugins``, ``pywatt plugins show NAME`` and ``pywatt plugins check``."""

from __future__ import annotations

import sys
from typing import Any

import rich_click as click

from ..config.problems import nearest
from ..config.schema import option_table
from ..errors import PluginError
from ..registry import KINDS, Plugin, Registry
from ..registry.status import PluginStatus
from .listing import print_plugins, provided, raw_configuration
from .options import config_option, json_option
from .output import complain, print_json, print_table, shielded_stdout, warn


@click.group(invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def plugins(ctx: click.Context, file: str | None, as_json: bool) -> int | None:
    """List the installed plugins: what each provides, whether it is active, inactive, disabled or broken, and why.

    \b
    Examples:
        pywatt plugins
        pywatt plugins --json
        pywatt plugins show sqlite
        pywatt plugins check
    """
    ctx.obj = file
    return print_plugins(as_json, file) if ctx.invoked_subcommand is None else None


@plugins.command()
@click.argument("name")
@config_option
@json_option
@click.pass_obj
def show(outer: str | None, name: str, file: str | None, as_json: bool) -> int:
    """Show one plugin, by its name or its distribution's: its providers, and every option of each.

    \b
    Examples:
        pywatt plugins show sqlite
        pywatt plugins show pywatt-fastapi --json
    """
    registry, rows = _survey(file or outer)
    found = [row for row in rows if name in (row.name, row.distribution)]
    if not found:
        names = [row.name for row in rows]
        guess = nearest(name, names)
        hint = f"Did you mean {guess!r}? " if guess else ""
        complain(f"no installed plugin is called {name!r}. {hint}Installed: {', '.join(names)}")
        return 1
    described = [_described(registry, row) for row in found]
    if as_json:
        print_json(described)
    else:
        for one in described:
            _print_description(one)
    return 0


@plugins.command()
@config_option
@json_option
@click.pass_obj
def check(outer: str | None, file: str | None, as_json: bool) -> int:
    """Load every plugin and look at everything it registers; exit 1 where one is broken.

    \b
    Examples:
        pywatt plugins check
        pywatt plugins check --json
    """
    registry, rows = _survey(file or outer)
    problems = {row.name: [row.reason] for row in rows if row.status == "broken"}
    for plugin in registry.plugins:
        problems.setdefault(plugin.name, []).extend(_option_problems(registry, plugin))
    problems = {name: found for name, found in problems.items() if found}
    if as_json:
        print_json({"plugins": len(rows), "problems": problems, "warnings": registry.warnings})
    else:
        for warning in registry.warnings:
            warn(warning)
        for row in rows:
            for problem in problems.get(row.name, []) if row.name in problems else []:
                complain(f"{row.name} ({row.distribution} {row.version}): {problem}")
        if not problems:
            print(f"{len(rows)} plugins, all sound")
    return 1 if problems else 0


def _survey(file: str | None) -> tuple[Registry, list[PluginStatus]]:
    raw, selection = raw_configuration(file)
    with shielded_stdout():
        registry = Registry(selection)
        return registry, registry.status(raw)


def _described(registry: Registry, row: PluginStatus) -> dict[str, Any]:
    providers: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        for plugin, provider in registry.provided(kind):
            if plugin.name == row.name and plugin.distribution == row.distribution:
                providers.setdefault(kind, {})[provider.name] = option_table(registry.options_of(plugin, provider))
    return {**row._asdict(), "options": providers}


def _option_problems(registry: Registry, plugin: Plugin) -> list[str]:
    """Options whose types cannot be read are a fault that only using them would show."""
    problems = []
    for kind in KINDS:
        for owner, provider in registry.provided(kind):
            if owner is plugin:
                try:
                    option_table(registry.options_of(owner, provider))
                except PluginError as error:
                    problems.append(f"the options of {kind} {provider.name!r}: {error}")
    return problems


def _print_description(one: dict[str, Any]) -> None:
    status = PluginStatus(**{key: value for key, value in one.items() if key != "options"})
    print(f"{status.name}: {status.distribution} {status.version}".rstrip())
    print(f"  status    {status.status}: {status.reason}")
    print(f"  provides  {provided(status)}")
    if status.entry_point:
        print(f"  loads     {status.entry_point} from {status.location}")
    for kind, named in one["options"].items():
        for name, options in named.items():
            print(f"\n{_heading(kind, name)}")
            rows = [(option["name"], option["type"], _default(option), option["description"].replace("\n", " ")) for option in options]
            if rows:
                print_table(("OPTION", "TYPE", "DEFAULT", "MEANING"), rows)
            else:
                print("no options")
    sys.stdout.flush()


def _heading(kind: str, name: str) -> str:
    section = KINDS[kind].section
    return f'[{section}.NAME] use = "{name}"' if section else f"{KINDS[kind].noun} {name}"


def _default(option: dict[str, Any]) -> str:
    if option["required"]:
        return "required"
    default = option["default"]
    if isinstance(default, str):
        return f'"{default}"'
    return "-" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
