"""Typed settings from files, the init line, the environment and the command line, each value knowing its source.

`load` is where a process begins; `check_section` is what owners of other tables use; `for_module` is what an orchestrator
sends; `resolve` replaces ``secret:NAME`` just before a provider is opened.
"""

from __future__ import annotations

from .files import find_file, read_file
from .loading import CORE, for_module, load, name_of_main, override
from .merging import KINDS, Text
from .problems import Problem, nearest, raise_problems, report, suggestion
from .secret_references import reference, references, resolve, settings_references
from .sections import check_section, is_secret_type, option_fields
from .settings import ModuleOptions, PluginSelection, Section, Settings

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
    "settings_references",
    "suggestion",
]
