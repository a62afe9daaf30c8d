"""A whole configuration against the plugins that are installed: every problem in one report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..config import (
    CORE,
    Problem,
    Section,
    Settings,
    check_section,
    known_secret,
    load,
    option_fields,
    raise_problems,
    reference,
    secret_options,
    suggestion,
)
from ..config.loading import overlaid
from ..config.problems import report
from ..errors import PluginError
from ..redaction import register, url_password
from .kinds import KINDS

if TYPE_CHECKING:
    from ..interfaces import TopSection
    from .registry import Registry

ELSEWHERE = dict.fromkeys(("modules", "gateway", "control", "channel_listener", "registration", "services"), "pywatt-orchestrator")
"""Sections that only an orchestrator reads: a module that runs alone beside them leaves them in peace."""


class Findings(Struct):
    problems: list[Problem] = []
    faults: list[Problem] = []
    """What only the author or installer of a plugin can mend."""
    warnings: list[str] = []


def check(registry: Registry, settings: Settings) -> list[str]:
    """What `Registry.check` promises."""
    found = examine(registry, settings)
    if found.problems:
        raise_problems([*found.problems, *found.faults])
    if found.faults:
        raise PluginError(report(found.faults))
    return found.warnings


def examine(registry: Registry, settings: Settings, *, whole: bool = False, nested: bool = False) -> Findings:
    """Everything that is wrong with `settings`, and what is only unwise.

    `whole` adds what only an orchestrator reads; `nested` says that these are the settings of one entry that overlays
    others, so that entries are not looked into again.
    """
    found = Findings(problems=list(settings.problems), warnings=[*settings.warnings, *registry.warnings])
    for kind, known in KINDS.items():
        if known.section:
            for section in settings.sections(known.section).values():
                _examine_section(registry, kind, section, found)
    frames = settings.module.frames
    if frames != "msgpack" and all(section.use != frames for section in settings.serializers.values()):
        reason = f"{frames!r} is what no [serializers.NAME] brings"
        found.problems.append(Problem("module.frames", reason, settings.origin("module.frames"), f"Add [serializers.{frames}]"))
    for section in settings.caches.values():
        if section.serializer and section.serializer != "json" and section.serializer not in settings.serializers:
            reason = f"{section.serializer!r} is what no [serializers.NAME] brings"
            origin, remedy = section.origin("serializer"), f"Add [serializers.{section.serializer}]"
            found.problems.append(Problem(f"{section.path}.serializer", reason, origin, remedy))
    tops = registry.sections() if settings.extra else {}
    for name, table in settings.extra.items():
        if name in ELSEWHERE and not whole:
            continue
        if name in tops and tops[name].overlays and nested:
            continue
        if name in tops:
            _examine_top(registry, settings, tops, tops[name], table, found)
        elif name in ELSEWHERE:
            brings = ELSEWHERE[name]
            found.warnings.append(f"[{name}] is for {brings}, which is not at work here: nothing in it was checked (pip install {brings})")
        else:
            remedy = suggestion(name, {*CORE, *tops, *ELSEWHERE}, "sections")
            found.problems.append(Problem(name, "unknown section", settings.origin(name), remedy))
    return found


def _examine_section(registry: Registry, kind: str, section: Section, found: Findings) -> None:
    if not section.use:
        return  # the configuration step has said so
    try:
        options = registry.claim(kind, section.use).options
        _, problems = check_section(section.options, options, section.path, section.origin_of)
    except PluginError as error:
        unknown = str(error).startswith("unknown ")
        (found.problems if unknown else found.faults).append(Problem(f"{section.path}.use", str(error), section.origin("use")))
        return
    found.problems += problems
    _warn_of_literals(section.options, options, section.path, section.origin_of, found)


def _examine_top(
    registry: Registry, settings: Settings, tops: Mapping[str, TopSection], top: TopSection, table: Mapping[str, Any], found: Findings
) -> None:
    """A plugin's own section; entries that may overlay others are checked as the effective configuration they make."""
    overlays = {*CORE, *tops} - {"secrets"} if top.overlays else set()
    try:
        options = registry.section_options(top)
        own = option_fields(options)
    except PluginError as error:
        found.faults.append(Problem(top.name, str(error), settings.origin(top.name)))
        return
    entries = [(top.name, table)] if not top.named else [(f"{top.name}.{name}", entry) for name, entry in table.items()]
    for path, entry in entries:
        if not isinstance(entry, Mapping):
            found.problems.append(Problem(path, "is a table", settings.origin(path), f"Write [{top.name}.NAME]"))
            continue
        over = {key for key, value in entry.items() if key in overlays and key not in own and isinstance(value, Mapping)}
        _, problems = check_section(entry, options, path, settings.origin, ignore=over)
        found.problems += problems
        _warn_of_literals(entry, options, path, settings.origin, found)
        if over:
            _examine_overlay(registry, settings, path, own, over, found)


def _examine_overlay(registry: Registry, settings: Settings, path: str, own: Iterable[str], over: set[str], found: Findings) -> None:
    """What one module would be sent, checked; only problems below the overlay are new, and they are told where they stand."""
    effective = load(init=overlaid(settings, path, own=own, omit={path.partition(".")[0], "secrets"}), defer=True)
    below = examine(registry, effective, nested=True)
    for problems, target in ((below.problems, found.problems), (below.faults, found.faults)):
        for one in problems:
            there = f"{path}.{one.path}"
            if one.path.partition(".")[0] in over and settings.origin(there) != "default":
                target.append(Problem(there, one.message, settings.origin(there), one.remedy))


def _warn_of_literals(values: Mapping[str, Any], options: type[Any], path: str, origin: Callable[[str], str], found: Findings) -> None:
    """Secrets that stand in the configuration itself are hidden from now on, and the operator is told."""
    secret = secret_options(options, path)
    for here, value in _texts(values, path):
        if not value or reference(value) is not None or not (known_secret(secret, here) or url_password(value)):
            continue
        register(value, name=here)
        where, name = origin(here), here.rpartition(".")[2]
        if not where.startswith("environment"):
            what = "is a secret in plain text" if known_secret(secret, here) else "holds a password in plain text"
            found.warnings.append(f'{here} ({where}) {what}; better: {name} = "secret:NAME", with NAME in the environment or in .env')


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text inside a value, with the path of the option that it belongs to."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, path)


def secret_paths(registry: Registry, settings: Settings, *, nested: bool = False) -> dict[str, bool]:
    """What `Registry.secret_paths` promises; `nested` as in `examine`."""
    paths: dict[str, bool] = {}
    for kind, known in KINDS.items():
        providers = registry.providers(kind)
        for section in settings.sections(known.section).values() if known.section else ():
            if section.use in providers:
                paths.update(_known(registry, kind, section))
    for top in registry.sections().values():
        table = settings.extra.get(top.name, {})
        try:
            options = registry.section_options(top)
            own = option_fields(options)
        except PluginError:  # the check says what is wrong with it
            continue
        for path in [f"{top.name}.{name}" for name in table] if top.named else [top.name]:
            paths.update(secret_options(options, path))
            if top.overlays and not nested:
                effective = load(init=overlaid(settings, path, own=own, omit={top.name, "secrets"}), defer=True)
                paths.update({f"{path}.{below}": known for below, known in secret_paths(registry, effective, nested=True).items()})
    return paths


def _known(registry: Registry, kind: str, section: Section) -> dict[str, bool]:
    try:
        return secret_options(registry.claim(kind, section.use).options, section.path)
    except PluginError:  # the check says what is wrong with it
        return {}
