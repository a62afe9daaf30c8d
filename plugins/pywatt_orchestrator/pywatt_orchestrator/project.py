"""From the loaded configuration to the modules that run: every rule that spans more than one option, every problem at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pywatt_core.config import (
    CORE,
    Problem,
    Settings,
    check_section,
    for_module,
    nearest,
    option_fields,
    raise_problems,
    reference,
    references,
    suggestion,
)
from pywatt_core.errors import ConfigError

from .gateway.options import GatewayOptions
from .gateway.routing import MOUNT, RESERVED
from .logs import OURSELVES
from .services import unmet
from .settings import ChannelListener, ModuleSettings

if TYPE_CHECKING:
    from pathlib import Path

NAME = re.compile(r"[a-z][a-z0-9_]*")
MAX_INSTANCES = 256
PRIVATE_VARIABLES = ("PYWATT_MODULE_ID", "PYWATT_LISTEN_FD", "PYWATT_STANDALONE", "LISTEN_PID", "LISTEN_FDS")
"""Variables by which a module recognises how it was started; a value in `env` would mislead it."""
NOT_SENT = ("modules", "gateway", "control", "channel_listener", "registration", "services", "secrets", "orchestrator")

OVERLAYS = (*CORE, "routing")
"""Tables that may be laid over the top-level ones for one module, those of plugins apart."""


@dataclass(frozen=True)
class ModulePlan:
    """One module, checked, with everything that its processes are started with."""

    name: str
    settings: ModuleSettings
    mount: str
    cwd: Path
    config: Mapping[str, Any] = field(repr=False)
    """What it is sent as ``init.pywatt.config``; references to secrets are still references."""
    secret_names: frozenset[str] | None
    """The secrets that it may ask for; None where it may ask for any but `kept_secrets` while it starts."""
    kept_secrets: frozenset[str] = frozenset()
    """Secrets of ``[services.*]``, which are the orchestrator's: nobody gets them who does not name them in the configuration."""

    @property
    def rust(self) -> bool:
        return self.settings.rust if self.settings.rust is not None else bool(self.settings.command)

    @property
    def unix(self) -> bool:
        """Whether it serves on a Unix socket of ours."""
        return (self.settings.listen or ("tcp" if self.settings.command else "unix")) == "unix"

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that its processes are offered."""
        settings = self.settings
        return settings.channels if settings.channels is not None else (("tcp",) if settings.command else ("unix",))

    def module_ids(self) -> list[str]:
        """The identities of its instances."""
        return (
            [self.name] if self.settings.instances == 1 else [f"{self.name}.{number}" for number in range(1, self.settings.instances + 1)]
        )

    def command_line(self, python: str) -> list[str]:
        """The program and its arguments; `python` is the interpreter where the module names none."""
        if self.settings.command:
            return [*self.settings.command, *self.settings.args]
        assert self.settings.run is not None
        return [self.settings.python or python, "-X", "faulthandler", "-m", "pywatt_core.launch", self.settings.run, *self.settings.args]


@dataclass(frozen=True)
class Project:
    """Everything that one orchestrator runs."""

    modules: Mapping[str, ModulePlan]
    """In the order of the file."""
    gateway: GatewayOptions
    folder: Path
    """Relative paths resolve against it."""
    file: Path | None
    listener: ChannelListener = field(default_factory=ChannelListener)
    """Its paths are absolute."""

    def module_ids(self) -> list[str]:
        return [module_id for plan in self.modules.values() for module_id in plan.module_ids()]

    def with_dependencies(self, names: Sequence[str]) -> Project:
        """Only `names` and what they depend on. Raises `ConfigError` for names that there are not."""
        raise_problems(
            [
                Problem("", f"there is no module {name!r}", remedy=suggestion(name, self.modules, "modules"))
                for name in names
                if name not in self.modules
            ]
        )
        wanted: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in wanted:
                wanted.add(name)
                waiting.extend(self.modules[name].settings.depends_on)
        return replace(self, modules={name: plan for name, plan in self.modules.items() if name in wanted})


def read_project(settings: Settings, *, only: str | None = None, offers: Mapping[str, Any] | None = None) -> Project:
    """Check ``[gateway]`` and ``[modules.*]`` of a configuration that was loaded with ``defer=True``.

    `only` leaves out all other modules; `offers` go to each module as in `for_module`. Raises one `ConfigError` with
    every problem, those that `load` kept included.
    """
    problems = list(settings.problems)
    gateway, found = check_section(_table(settings, "gateway", problems), GatewayOptions, "gateway", settings.origin)
    problems += found
    listener = _listener(settings, problems)
    entries = _table(settings, "modules", problems)
    if not entries:
        problems.append(Problem("modules", "there is no module to run", str(settings.file or ""), _EXAMPLE))
    checked: dict[str, ModuleSettings] = {}
    for name, entry in entries.items():
        if only in (None, name):
            checked[name], found = _module(settings, name, entry)
            problems += found
    problems += _between(settings, checked, set(entries))
    configs = {name: _config(settings, name, offers) for name in checked if isinstance(entries[name], Mapping)}
    for name, config in configs.items():
        options = checked[name]
        if not (options.rust if options.rust is not None else options.command):
            problems += unmet(settings, name, config)
    raise_problems(problems)
    assert gateway is not None
    plans = {name: _plan(settings, name, options, configs[name]) for name, options in checked.items()}
    return Project(plans, gateway, settings.folder, settings.file, listener)


_EXAMPLE = 'Add to pywatt.toml:\n\n[modules.users]\nrun = "users.py"\n'


def _table(settings: Settings, key: str, problems: list[Problem]) -> Mapping[str, Any]:
    value = settings.extra.get(key, {})
    if isinstance(value, Mapping):
        return value
    problems.append(Problem(key, "is a table", settings.origin(key), f"Write [{key}]"))
    return {}


def _listener(settings: Settings, problems: list[Problem]) -> ChannelListener:
    """``[channel_listener]``, its files looked at once before anything starts."""
    table = _table(settings, "channel_listener", problems)
    options, found = check_section(table, ChannelListener, "channel_listener", settings.origin)
    problems += found
    if options is None or options.tls_cert is None:
        return options or ChannelListener()
    from pywatt_core.transports.tls import server_context

    files = {name: settings.folder / path for name in ("tls_cert", "tls_key", "client_ca") if (path := getattr(options, name)) is not None}
    options = replace(options, **files)
    try:
        server_context(files["tls_cert"], options.tls_key, options.client_ca)
    except ConfigError as error:
        option, _, text = str(error).partition(": ")
        problems.append(_at(settings, f"channel_listener.{option}", text, "Correct the path, or the file"))
    return options


def _config(settings: Settings, name: str, offers: Mapping[str, Any] | None) -> dict[str, Any]:
    return for_module(settings, name, own=option_fields(ModuleSettings), omit=NOT_SENT, offers=offers)


def _plan(settings: Settings, name: str, options: ModuleSettings, config: dict[str, Any]) -> ModulePlan:
    if options.log_level is not None:
        config["module"] = {"log_level": options.log_level, **config.get("module", {})}
    allowed = None if options.secrets is None else frozenset(options.secrets).union(wanted for _, wanted in references(config))
    cwd = settings.folder / options.cwd if options.cwd is not None else settings.folder
    own = [reference for section in ("services", "control") for reference in references(settings.extra.get(section))]
    kept = {wanted for _, wanted in own} - {wanted for _, wanted in references(config)}
    return ModulePlan(name, options, options.mount or f"/{name}", cwd, config, allowed, frozenset(kept))


# ── one module ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _at(settings: Settings, path: str, message: str, remedy: str) -> Problem:
    """A problem with its source, which is looked up only now that somebody has to know."""
    return Problem(path, message, settings.origin(path), remedy)


def _module(settings: Settings, name: str, entry: Any) -> tuple[ModuleSettings, list[Problem]]:
    """One module's options, the defaults in the place of those that are wrong, and everything that is wrong."""
    path = f"modules.{name}"
    if not isinstance(entry, Mapping):
        return ModuleSettings(), [_at(settings, path, "is a table", f"Write [modules.NAME], and in it {name} = …")]
    problems = []
    if not NAME.fullmatch(name):
        problems.append(
            _at(settings, path, "is not a module's name", "Names are lower case letters, digits and _, and begin with a letter")
        )
    if name == OURSELVES:
        problems.append(_at(settings, path, "is the orchestrator's own name in logs", "Give the module another name"))
    own = option_fields(ModuleSettings)
    overlays = [key for key, value in entry.items() if key not in own and isinstance(value, Mapping)]
    for key in overlays:
        if key not in OVERLAYS and key not in settings.extra and (near := nearest(key, [*own, *OVERLAYS])) is not None:
            problems.append(_at(settings, f"{path}.{key}", "unknown table", f"Did you mean {near!r}?"))
    # A reference to a secret has no place among these options: it is refused here, not left for somebody to resolve.
    plain = {key: value for key, value in entry.items() if key in overlays or next(references(value), None) is None}
    problems += [
        _at(settings, f"{path}.{key}", "cannot be a secret", "Write the value itself") for key in entry if key not in plain and key != "env"
    ]
    options, found = check_section(plain, ModuleSettings, path, settings.origin, ignore=overlays)
    problems += found
    problems += _environment(settings, path, entry)
    if options is None:
        options = _sound(plain)
    problems += _start(settings, path, options, entry)
    problems += _values(settings, path, options)
    return options, problems


def _sound(entry: Mapping[str, Any]) -> ModuleSettings:
    """What is right among the options, so that one that is wrong does not hide what else is."""
    sound = {key: value for key, value in entry.items() if check_section({key: value}, ModuleSettings, "")[0] is not None}
    return check_section(sound, ModuleSettings, "")[0] or ModuleSettings()


def _environment(settings: Settings, path: str, entry: Mapping[str, Any]) -> Iterator[Problem]:
    """`env` is readable by whoever may look at the process: secrets have no place there."""
    variables, declared = entry.get("env"), entry.get("secrets")
    if not isinstance(variables, Mapping):
        return
    for key, value in variables.items():
        here = f"{path}.env.{key}"
        if (wanted := reference(value)) is not None:
            remedy = f'Remove it and let the module ask for it: secrets = ["{wanted}"]'
            yield _at(settings, here, "a secret cannot be put into the environment", remedy)
        elif isinstance(declared, list | tuple) and key in declared:
            yield _at(settings, here, "is declared a secret of this module", "Remove it from env: the module gets it by asking for it")
        elif key in PRIVATE_VARIABLES:
            yield _at(settings, here, "belongs to the orchestrator", "Remove it")


def _start(settings: Settings, path: str, options: ModuleSettings, entry: Mapping[str, Any]) -> Iterator[Problem]:
    """How it is started."""
    if options.run is None and not options.command and (entry.get("run") is None and not entry.get("command")):
        yield _at(settings, path, "does not say what to start", 'Add run = "FILE.py" or command = ["./program"]')
    elif options.run is not None and options.command:
        yield _at(settings, path, "has both run and command", "Keep run for a Python file, command for any other program")
    cwd = settings.folder / options.cwd if options.cwd is not None else settings.folder
    if not cwd.is_dir():
        yield _at(settings, f"{path}.cwd", f"there is no folder {cwd}", "Make it, or correct the path")
    elif options.run is not None:
        file = options.run.partition(":")[0]
        if not (cwd / file).is_file():
            beside = sorted(found.name for found in cwd.glob("*.py"))[:20]
            yield _at(settings, f"{path}.run", f"there is no file {cwd / file}", suggestion(file, beside, "files here"))
    if options.python is not None and options.command:
        yield _at(settings, f"{path}.python", "is for run only", "Put the interpreter into command")
    if options.listen == "unix" and (options.rust if options.rust is not None else options.command):
        remedy = "Remove listen; for a PyWatt module behind command, set rust = false"
        yield _at(settings, f"{path}.listen", "a module built on the Rust SDK cannot serve on a Unix socket", remedy)

    if options.channels is not None and "tcp" not in options.channels and (options.rust if options.rust is not None else options.command):
        remedy = 'Add "tcp"; for a PyWatt module behind command, set rust = false'
        yield _at(settings, f"{path}.channels", "a module built on the Rust SDK ends where it is offered no TCP channel", remedy)


def _values(settings: Settings, path: str, options: ModuleSettings) -> Iterator[Problem]:
    if not 1 <= options.instances <= MAX_INSTANCES:
        yield _at(settings, f"{path}.instances", f"is {options.instances}", f"It is between 1 and {MAX_INSTANCES}")
    for key in ("start_timeout", "stop_timeout", "kill_timeout", "hang_timeout"):
        if not 0 < getattr(options, key) < float("inf"):
            yield _at(settings, f"{path}.{key}", f"is {getattr(options, key)}", "It is a number of seconds above 0")
    for key in ("health", "metrics"):
        value = getattr(options, key)
        if value is not None and not value.startswith("/"):
            yield _at(settings, f"{path}.{key}", f"is {value!r}", "It is a path that begins with /")
    for value in options.expose:
        if value not in {"health", "metrics", options.health, options.metrics}:
            yield _at(settings, f"{path}.expose", f"has {value!r}", 'It takes "health", "metrics" or their paths')


# ── between modules ─────────────────────────────────────────────────────────────────────────────────────────────────


def _between(settings: Settings, modules: Mapping[str, ModuleSettings], names: set[str]) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for name, options in modules.items():
        mount, here = options.mount or f"/{name}", f"modules.{name}.mount"
        if MOUNT.fullmatch(mount) is None:
            yield _at(settings, here, f"is {mount!r}", f"It is / or a path such as /{name}: letters, digits, - . _ ~, no slash at the end")
        elif mount == RESERVED or mount.startswith(f"{RESERVED}/"):
            yield _at(settings, here, f"{RESERVED} is reserved for the orchestrator", f"Choose another one, such as /{name}")
        elif (other := taken.setdefault(mount, name)) != name:
            yield _at(settings, here, f"{mount} is where modules.{other} is mounted already", "Give one of them another mount")
        for dependency in options.depends_on:
            if dependency not in names:
                remedy = suggestion(dependency, names - {name}, "other modules")
                yield _at(settings, f"modules.{name}.depends_on", f"there is no module {dependency!r}", remedy)
    for cycle in cycles({name: options.depends_on for name, options in modules.items()}):
        ring = " → ".join((*cycle, cycle[0]))
        yield _at(
            settings, f"modules.{cycle[0]}.depends_on", f"each waits for the next for ever: {ring}", "Remove one of these dependencies"
        )


def cycles(depends_on: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Every group of names that wait for one another, as one way round each, beginning with its first name."""
    found: dict[frozenset[str], tuple[str, ...]] = {}
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            ring = way[way.index(name) :]
            first = ring.index(min(ring))
            found.setdefault(frozenset(ring), tuple(ring[first:] + ring[:first]))
        elif name not in done:
            for dependency in depends_on.get(name, ()):
                visit(dependency, [*way, name])
            done.add(name)

    for name in depends_on:
        visit(name, [])
    return list(found.values())
