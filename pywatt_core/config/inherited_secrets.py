"""The variables with which the Rust SDK chooses where secrets come from; they count where no ``[secrets.*]`` does (protocol 1.2, 9.7)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .environment import ENVIRONMENT
from .merging import Layer, merge
from .names import INHERITED_SECRETS as CHAIN
from .problems import Problem
from .settings import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = "SECRET_FILE_PATH"
FORMAT: Final = "SECRET_FILE_FORMAT"


def inherited_secrets(environ: Mapping[str, str]) -> tuple[dict[str, Section], list[Problem]]:
    """The sections that the variables stand for, and what is wrong with them."""
    names = [name.strip().lower() for name in environ[CHAIN].split(",")]
    problems = [
        Problem(
            CHAIN,
            f"names {name!r}, which is no source that it knows" if name else "has an empty name",
            ENVIRONMENT,
            "Write env, file or both",
        )
        for name in dict.fromkeys(names)
        if name not in ("env", "file")
    ]
    tables: dict[str, dict[str, Any]] = {}
    variables: dict[tuple[str, ...], str] = {("secrets", name): CHAIN for name in names}
    for name in names if not problems else ():
        tables[name] = {}
        if name == "file":
            tables[name] = {"path": str(Path(environ.get(FILE, "")).absolute())}  # as that SDK: relative to where the process runs
            variables["secrets", "file", "path"] = FILE
            problems += _file_problems(environ)
    merged = merge([Layer(ENVIRONMENT, {"secrets": tables}, lambda path: f"{ENVIRONMENT} {variables.get(path, CHAIN)}")])
    return {name: Section(name, options, f"secrets.{name}", merged=merged) for name, options in tables.items()}, problems


def _file_problems(environ: Mapping[str, str]) -> list[Problem]:
    problems = []
    if not environ.get(FILE):
        problems.append(Problem(FILE, f"is not set, and {CHAIN} names file", ENVIRONMENT, f"Set {FILE} to the path of a TOML file"))
    if environ.get(FORMAT, "toml").strip().lower() != "toml":
        problems.append(Problem(FORMAT, "is not toml, the one format that there is", ENVIRONMENT, "Write toml, or leave it out"))
    return problems
