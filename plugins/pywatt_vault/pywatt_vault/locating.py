"""Which vault a command means: the one that the configuration names, one of several by its section, or any file by its path."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pywatt_core.config import check_section, load, raise_problems
from pywatt_core.errors import ConfigError

from .options import Options
from .source import store_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pywatt_core.config import Settings

    from .store import Store


class Located(NamedTuple):
    """A vault, whether it exists or not."""

    store: Store
    folder: Path
    """Relative paths of the configuration start here."""
    section: str
    """``secrets.NAME`` where the configuration names it, else empty."""
    sources: Collection[str]
    """The names of all sources of secrets in the configuration."""

    @property
    def name(self) -> str:
        """The path as short as it can be said from here."""
        return short(self.store.path)


def locate(wanted: str | None, file: str | None, ask: Callable[[str], str] | None = None) -> Located:
    """`wanted`: the name of a section or a path, `file`: the configuration. `ask` asks a person, who is told for what.

    Raises `ConfigError` where the configuration is wrong, or where nothing says which of several vaults is meant.
    """
    settings = load(file=file, defer=True)
    raise_problems([problem for problem in settings.problems if problem.path.partition(".")[0] == "secrets"])
    sections = _sections(settings)
    section, options, folder = _chosen(wanted, sections, settings)
    where = short(folder / options.path)
    store = store_of(options, folder, None if ask is None else lambda: ask(f"Passphrase of {where}"))
    return Located(store, settings.folder, f"secrets.{section}" if section else "", settings.merged.data.get("secrets", {}).keys())


def _sections(settings: Settings) -> dict[str, Options]:
    found: dict[str, Options] = {}
    for name, section in settings.secrets.items():
        if section.use == "vault":
            options, problems = check_section(section.options, Options, section.path, section.origin_of)
            raise_problems(problems)
            if options is not None:
                found[name] = options
    return found


def _chosen(wanted: str | None, sections: Mapping[str, Options], settings: Settings) -> tuple[str, Options, Path]:
    if wanted is None:
        if len(sections) > 1:
            raise ConfigError(f"there are several vaults: say which with --vault {' or --vault '.join(sections)}")
        for name, options in sections.items():
            return name, options, settings.folder
        return "", Options(), settings.folder
    if wanted in sections:
        return wanted, sections[wanted], settings.folder
    path = Path(wanted).absolute()
    for name, options in sections.items():
        if (settings.folder / options.path).resolve() == path.resolve():
            return name, options, settings.folder
    if len(sections) == 1 and path.suffix != ".vault" and not path.exists() and not path.parent.exists():
        raise ConfigError(f"there is no vault {wanted!r}: neither a section [secrets.{wanted}] nor a file")
    return "", replace(Options(), path=str(path)), path.parent


def short(path: Path, folder: Path | None = None) -> str:
    """Relative to the folder, or to here, where that is shorter."""
    whole = os.path.normpath(path.absolute())
    relative = os.path.relpath(whole, folder)
    return relative if len(relative) < len(whole) else whole
