"""Typed settings from files, the init line, the environment and the command line, each value knowing its source.

`load` is where a process begins; `check_section` is what owners of other tables use; `for_module` is what an orchestrator
sends; `resolve` replaces ``secret:NAME`` just before a provider is opened. Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .files import find_file, read_file
    from .loading import for_module, load, name_of_main, override
    from .merging import Text
    from .names import CORE, KINDS
    from .problems import Problem, nearest, raise_problems, report, suggestion
    from .secret_references import reference, references, resolve, settings_references
    from .sections import check_section, is_secret_type, known_secret, option_fields, secret_options
    from .selection import PluginSelection
    from .settings import ModuleOptions, Section, Settings

_HOMES = {
    "files": "find_file read_file",
    "loading": "for_module load name_of_main override",
    "merging": "Text",
    "names": "CORE KINDS",
    "problems": "Problem nearest raise_problems report suggestion",
    "secret_references": "reference references resolve settings_references",
    "sections": "check_section is_secret_type known_secret option_fields secret_options",
    "selection": "PluginSelection",
    "settings": "ModuleOptions Section Settings",
}

__all__ = [
    "CORE",
    "KINDS",
    "ModuleOptions",
    "PluginSelection",
    "Problem",
    "Section",
    "Settings",
    "Text",
    "check_section",
    "find_file",
    "for_module",
    "is_secret_type",
    "known_secret",
    "load",
    "name_of_main",
    "nearest",
    "option_fields",
    "override",
    "raise_problems",
    "read_file",
    "reference",
    "references",
    "report",
    "resolve",
    "secret_options",
    "settings_references",
    "suggestion",
]

__getattr__ = lazily(__name__, _HOMES)
