"""``pywatt.toml``: found, read, and the line of every value in it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .merging import Layer
from .merging import Path as Keys

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "pywatt.toml"
PROJECT_FILE = "pyproject.toml"


def find_file(start: str | os.PathLike[str] | None = None) -> Path | None:
    """The nearest ``pywatt.toml``, or ``pyproject.toml`` with ``[tool.pywatt]``, in `start` (the current directory) or above it.

    In one folder ``pywatt.toml`` wins. None where there is neither.
    """
    folder = Path(start or os.curdir).absolute()
    for here in (folder, *folder.parents):
        if (here / FILE).is_file():
            return here / FILE
        project = here / PROJECT_FILE
        if project.is_file() and _has_our_table(project):
            return project
    return None


def read_file(file: Path) -> dict[str, Any]:
    """The file's tables; of ``pyproject.toml`` those below ``[tool.pywatt]``. Raises `ConfigError` that names the line."""
    return _parse(file, _read(file))


def file_layer(file: Path) -> Layer:
    """The file as a source. Lines are looked up only when somebody asks where a value stands."""
    text = _read(file)
    data = _parse(file, text)
    prefix = ("tool", "pywatt") if file.name == PROJECT_FILE else ()

    @cache
    def lines() -> Mapping[Keys, int]:
        from .positions import positions

        return positions(text)

    def locate(path: Keys) -> str | None:
        line = lines().get((*prefix, *path))
        return None if line is None else f"{file.name}:{line}"

    return Layer(file.name, data, locate)


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}. Save the file as UTF-8") from None
    except OSError as error:
        remedy = "Check the path given with --config" if isinstance(error, FileNotFoundError) else "Check its permissions"
        raise ConfigError(f"{file}: cannot be read ({error.strerror}). {remedy}") from None


def _parse(file: Path, text: str) -> dict[str, Any]:
    import tomllib

    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    if file.name != PROJECT_FILE:
        return data
    tool = data.get("tool", {})
    ours = tool.get("pywatt", {}) if isinstance(tool, dict) else {}
    if not isinstance(ours, dict):
        raise ConfigError(f"{file}: [tool.pywatt] is a table, not {type(ours).__name__}")
    return ours


def _has_our_table(project: Path) -> bool:
    """A look at the bytes first: most projects' files are not ours, and parsing is slow. A file that cannot be read is not ours."""
    try:
        text = project.read_bytes()
    except OSError:
        return False
    if b"pywatt" not in text:
        return False
    import tomllib

    try:
        tool = tomllib.loads(text.decode("utf-8-sig")).get("tool")
    except (ValueError, RecursionError):
        return b"[tool.pywatt" in text
    return isinstance(tool, dict) and "pywatt" in tool
