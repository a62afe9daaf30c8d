"""``pywatt check``: everything that can be known about a project without starting it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any

import rich_click as click

from ..config import Problem, Settings, load, override, report, settings_references
from ..errors import ConfigError, PyWattError
from ..registry import Registry
from .options import config_option, json_option, set_option
from .output import complain, print_json, shielded_stdout, warn

DEADLINE = 30.0
"""Seconds for all secret sources together."""


@click.command()
@config_option
@set_option
@json_option
def check(file: str | None, overrides: Sequence[str], as_json: bool) -> int:
    """Check the project: the file, its sections and options, the providers they use, the secrets they refer to.

    Nothing is started and no database is opened; the secret sources are asked whether they know the secrets.
    Exit code 0: sound, 1: problems found, 2: there is no such file.

    \b
    Examples:
        pywatt check
        pywatt check --config deploy/pywatt.toml
        pywatt check --json
    """
    settings = load(file=file, overrides=override(overrides), defer=True)
    with shielded_stdout():
        registry = Registry(settings.plugins)
        problems, warnings = registry.problems(settings)
        problems += _own_checks(registry, settings)
        if not any(problem.path.partition(".")[0] == "secrets" for problem in problems):  # else that is the reason already
            problems += asyncio.run(_missing_secrets(registry, settings))
    problems = list(dict.fromkeys(problems))
    warnings += [f"{plugin.label} {plugin.broken}" for plugin in registry.plugins if plugin.broken]
    if as_json:
        print_json({"file": settings.file, "problems": [problem._asdict() for problem in problems], "warnings": warnings})
        return 1 if problems else 0
    for warning in warnings:
        warn(warning)
    if problems:
        complain(report(problems))
        return 1
    print(f"{settings.file or 'no configuration file'}: sound. {_summary(settings)}")
    return 0


def _own_checks(registry: Registry, settings: Settings) -> list[Problem]:
    """What the owners of other sections find beyond single options."""
    problems: list[Problem] = []
    for name, top in registry.sections().items():
        if name in settings.extra and top.check:
            module, _, function = top.check.partition(":")
            try:
                getattr(import_module(module), function)(settings)
            except ConfigError as error:
                problems += error.problems or (Problem(name, str(error)),)
            except PyWattError as error:
                problems.append(Problem(name, str(error), settings.origin(name)))
    return problems


async def _missing_secrets(registry: Registry, settings: Settings) -> list[Problem]:
    """Secrets that are referred to, or that a section lists by name, and that no source knows."""
    wanted: dict[str, str] = {
        name: path for path, name in settings_references(settings).items() if name and not path.startswith("secrets.")
    }
    wanted.update({name: path for path, name in _listed(registry, settings)})
    from ..services.secret_chain import SecretChain

    problems: list[Problem] = []
    try:
        async with asyncio.timeout(DEADLINE), AsyncExitStack() as stack:
            chain = SecretChain(await registry.open_secret_sources(stack, settings))
            elsewhere = any(section.use == "orchestrator" for section in settings.secrets.values())  # which is not here to be asked
            for name, path in wanted.items():
                if await chain.get(name) is None and not elsewhere:
                    remedy = f"Set it, for example: export {name}=…, or a line {name}=… in {settings.folder / '.env'}"
                    text = f"no secret source knows {name!r} (asked: {chain.labels})"
                    problems.append(Problem(path, text, settings.origin(path), remedy))
    except TimeoutError:
        problems.append(Problem("secrets", f"the secret sources did not answer within {DEADLINE:g} s", settings.origin("secrets")))
    except (PyWattError, OSError) as error:
        problems.append(Problem("secrets", str(error), settings.origin("secrets")))
    return problems


def _listed(registry: Registry, settings: Settings) -> Iterator[tuple[str, str]]:
    """(path, secret's name) for the options that list names of secrets."""
    for top in registry.sections().values():
        table: Mapping[str, Any] = settings.extra.get(top.name, {})
        entries = {f"{top.name}.{name}": entry for name, entry in table.items()} if top.named else {top.name: table}
        for path, entry in entries.items():
            names = entry.get(top.secrets) if top.secrets and isinstance(entry, Mapping) else None
            for name in names if isinstance(names, list) else ():
                if isinstance(name, str):
                    yield f"{path}.{top.secrets}", name


def _summary(settings: Settings) -> str:
    counted = {"databases": settings.databases, "caches": settings.caches, "modules": settings.extra.get("modules", {})}
    return ", ".join(f"{len(entries)} {noun if len(entries) != 1 else noun.removesuffix('s')}" for noun, entries in counted.items())
