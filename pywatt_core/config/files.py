"""``pywatt.toml``: found, read, and the line of every value in it."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .merging import Layer
    from .merging import Path as Keys

# Paths are texts here: `pywatt plugins` looks for a file at every call, and pathlib takes longer to import than the search takes.

FILE = "pywatt.toml"
PROJECT_FILE = "pyproject.toml"


def find_file(start: str | os.PathLike[str] | None = None) -> Path | None:
    """The nearest ``pywatt.toml``, or ``pyproject.toml`` with ``[tool.pywatt]``, in `start` (the current directory) or above it.

    In one folder ``pywatt.toml`` wins. None where there is neither.
    """
    found = find(start)
    if found is None:
        return None
    from pathlib import Path

    return Path(found)


def find(start: str | os.PathLike[str] | None = None) -> str | None:
    """`find_file` for those who want the path as text."""
    try:
        folder = os.path.abspath(os.fspath(start or os.curdir))  # noqa: PTH100
    except FileNotFoundError:
        raise ConfigError(
            "the current folder does not exist any more, so no configuration can be looked for. Change to another one"
        ) from None
    while True:
        file, project = os.path.join(folder, FILE), os.path.join(folder, PROJECT_FILE)  # noqa: PTH118
        if os.path.isfile(file):  # noqa: PTH113
            return file
        if os.path.isfile(project) and _has_our_table(project):  # noqa: PTH113
            return project
        above = os.path.dirname(folder)  # noqa: PTH120
        if above == folder:
            return None
        folder = above


def read_file(file: str | os.PathLike[str]) -> dict[str, Any]:
    """The file's tables; of ``pyproject.toml`` those below ``[tool.pywatt]``. Raises `ConfigError` that names the line."""
    return _parse(os.fspath(file), _read(os.fspath(file)))


def file_layer(file: Path) -> Layer:
    """The file as a source. Lines are looked up only when somebody asks where a value stands."""
    from .merging import Layer

    text = _read(str(file))
    data = _parse(str(file), text)
    prefix = ("tool", "pywatt") if file.name == PROJECT_FILE else ()

    @cache
    def lines() -> Mapping[Keys, int]:
        from .positions import positions

        return positions(text)

    def locate(path: Keys) -> str | None:
        line = lines().get((*prefix, *path))
        return None if line is None else f"{file.name}:{line}"

    return Layer(file.name, data, locate)


def _read(file: str) -> str:
    try:
        with open(file, "rb") as stream:  # noqa: PTH123
            return stream.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}. Save the file as UTF-8") from None
    except OSError as error:
        remedy = "Check the path given with --config" if isinstance(error, FileNotFoundError) else "Check its permissions"
        raise ConfigError(f"{file}: cannot be read ({error.strerror}). {remedy}") from None


def _parse(file: str, text: str) -> dict[str, Any]:
    import tomllib

    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    if os.path.basename(file) != PROJECT_FILE:  # noqa: PTH119
        return data
    tool = data.get("tool", {})
    ours = tool.get("pywatt", {}) if isinstance(tool, dict) else {}
    if not isinstance(ours, dict):
        raise ConfigError(f"{file}: [tool.pywatt] is a table, not {type(ours).__name__}")
    return ours


def _has_our_table(project: str) -> bool:
    """A look at the bytes first: most projects' files are not ours, and parsing is slow. A file that cannot be read is not ours."""
    try:
        with open(project, "rb") as stream:  # noqa: PTH123
            text = stream.read()
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
