"""``pywatt config``: the effective values and where each comes from, or the JSON Schema of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rich_click as click

from ..config import Settings, load, override, report
from ..errors import PluginError
from ..registry import KINDS, Registry
from .options import config_option, json_option, set_option
from .output import complain, on_terminal, print_json, print_table, shielded_stdout, warn


@click.command()
@config_option
@set_option
@json_option
@click.option("--schema", is_flag=True, help="Print JSON Schema of the whole file, every installed provider's options included.")
def config(file: str | None, overrides: Sequence[str], as_json: bool, schema: bool) -> int:
    """Print the effective configuration: every value with its source, secrets redacted.

    Sources, lowest first: defaults, pywatt.toml (or [tool.pywatt] in pyproject.toml), environment variables such as
    PYWATT__DATABASES__MAIN__PATH, --set on the command line.

    \b
    Examples:
        pywatt config
        pywatt config --set databases.main.path=test.db
        pywatt config --schema > pywatt.schema.json
    """
    settings = load(file=file, overrides=override(overrides), defer=True)
    with shielded_stdout():
        registry = Registry(settings.plugins)
        if schema:
            described = whole_schema(registry)
        else:
            problems, warnings = registry.problems(settings)
            hidden = registry.secret_paths(settings)
    if schema:
        print_json(described)
        return 0
    values = settings.redacted(hidden)
    if as_json:
        print_json({"file": settings.file, "folder": settings.folder, "values": values, "warnings": warnings})
    else:
        _print_values(settings, values)
    for warning in warnings:
        warn(warning)
    if problems:
        complain(report(problems))
        return 2
    return 0


def whole_schema(registry: Registry) -> dict[str, Any]:
    """JSON Schema of the file as the installed plugins make it; a plugin whose options cannot be read is named and left out."""
    from ..config.schema import json_schema, option_table

    providers: dict[str, dict[str, type[Any]]] = {}
    for kind in KINDS:
        for name in registry.providers(kind):
            try:
                options = registry.claim(kind, name).options
                option_table(options)
            except PluginError as error:
                warn(str(error))
                continue
            providers.setdefault(kind, {})[name] = options
    return json_schema(providers, [(top, registry.section_options(top)) for top in registry.sections().values()])


def _print_values(settings: Settings, values: Mapping[str, Any]) -> None:
    rows = [(path, _as_toml(leaf["value"]), leaf["source"]) for path, leaf in _leaves(values, "")]
    if on_terminal():
        print(f"{settings.file or 'no configuration file'}\n")
    print_table(("OPTION", "VALUE", "SOURCE"), rows)


def _leaves(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if path and values.keys() == {"value", "source"} and isinstance(values["source"], str):
        yield path, values
        return
    for key, value in values.items():
        yield from _leaves(value, f"{path}.{key}" if path else key)


def _as_toml(value: Any) -> str:
    import json

    return "-" if value is None else json.dumps(value, ensure_ascii=False, default=str)
