"""A configuration against everything that is known before anything starts: the modules' own rules, and what providers are installed.

Modules run with the orchestrator's own interpreter, and so with its plugins, unless they name another one (``python``) or are
programs of their own (``command``): what those need only they can know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pywatt_core.config import report
from pywatt_core.errors import ConfigError, PluginError
from pywatt_core.registry import Registry
from pywatt_core.registry.checking import examine

from .services import service_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pywatt_core.config import Problem, Settings

    from .project import Project

OURS = ("secrets", "gateway", "control", "registration", "services", "orchestrator", "plugins", "module")
"""Sections that concern us whoever runs the modules."""


class Reading:
    """The configuration, read and checked; `again` does so for a restart, with the same plugins."""

    def __init__(self, load: Callable[[], Settings], plan: Callable[[Settings], Project], *, only: str | None = None) -> None:
        """`plan` makes a project of what `load` finds, and raises `ConfigError`; `only` is the one module that matters.

        Raises as `checked` does.
        """
        self._load, self._plan, self._only = load, plan, only
        self.settings = load()
        self.registry = Registry(self.settings.plugins)
        self.registry.open_timeout = self.settings.module.open_timeout
        self.project, self.warnings = checked(self.registry, self.settings, plan, only=only)

    def again(self) -> Project:
        """Raises as `checked` does."""
        return checked(self.registry, self._load(), self._plan, only=self._only)[0]


def checked(
    registry: Registry, settings: Settings, plan: Callable[[Settings], Project], *, only: str | None = None
) -> tuple[Project, list[str]]:
    """The project that `plan` makes of `settings`, and what is only unwise about them.

    Raises one `ConfigError` with every problem, those that `plan` raises included, or `PluginError` where only plugins are
    at fault.
    """
    problems: list[Problem] = []
    project, wrong = None, None
    try:
        project = plan(settings)
    except ConfigError as error:
        wrong, problems = error, list(error.problems)
    found = examine(registry, settings, whole=True)
    here = set(project.modules) if project is not None else {only} if only is not None else None
    problems += service_problems(settings, registry, _modules(settings))
    said = {problem.path for problem in problems}
    news = [problem for problem in _concerning(settings, here, found.problems) if problem.path not in said]
    faults = list(_concerning(settings, here, found.faults))
    if wrong is not None and not problems and not news:
        raise wrong
    if everything := list(dict.fromkeys([*problems, *news])):
        everything += faults
        raise ConfigError(report(everything), problems=tuple(everything))
    if faults:
        raise PluginError(report(faults))
    assert project is not None
    return project, list(dict.fromkeys(found.warnings))


def _modules(settings: Settings) -> Mapping[str, Any]:
    entries = settings.extra.get("modules")
    return entries if isinstance(entries, Mapping) else {}


def _concerning(settings: Settings, here: set[str] | None, problems: Sequence[Problem]) -> Iterator[Problem]:
    """The problems that keep us, or a module that runs with our plugins, from working; `here` are the modules that run."""
    entries = settings.extra.get("modules")
    ours = {
        name
        for name, entry in (entries if isinstance(entries, Mapping) else {}).items()
        if (here is None or name in here) and not (isinstance(entry, Mapping) and (entry.get("python") or entry.get("command")))
    }
    for problem in problems:
        section, _, rest = problem.path.partition(".")
        if section == "modules":
            if not rest or rest.partition(".")[0] in ours:
                yield problem
        elif ours or section in OURS or problem.remedy.startswith("Did you mean"):
            yield problem
