"""Which plugins are installed: the ``entry_points.txt`` of every distribution on ``sys.path``, read directly.

importlib.metadata would do the same and costs 25 ms before it has read the first file. Nothing is imported here.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from ..hookspecs import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

OTHER_API = re.compile(r"pywatt[._-]?v?\d+")
"""Entry-point groups of other versions of the plugin API."""


class EntryPoint(NamedTuple):
    """One line of a distribution's ``entry_points.txt``."""

    name: str
    value: str
    """``"package.module"`` or ``"package.module:attribute"``."""
    group: str
    distribution: str
    version: str
    location: str
    """The folder on ``sys.path`` in which the distribution was found."""


class Installed(NamedTuple):
    entry_points: list[EntryPoint]
    """Those of our group and of other versions of it, in the order of the path."""
    versions: dict[str, str]
    """Every distribution's normalised name and its version, as its folder spells it."""


def scan(path: Sequence[str] | None = None) -> Installed:
    """What is installed on `path` (``sys.path``).

    Of a distribution that is found twice, such as an editable install and a wheel, the first on the path counts alone.
    """
    found: list[EntryPoint] = []
    seen: dict[str, str] = {}
    folders: set[str] = set()
    for place in sys.path if path is None else path:
        folder = os.path.realpath(place or os.curdir)
        if folder in folders:
            continue
        folders.add(folder)
        for distribution in _distributions(folder):
            if distribution.key not in seen:
                seen[distribution.key] = distribution.folder_version
                found += distribution.entry_points()
    for entry in _other_finders(path):
        if entry.distribution.lower() not in seen:
            found.append(entry)
    return Installed(found, seen)


class _Distribution(NamedTuple):
    key: str
    """The normalised name (PEP 503)."""
    metadata: str
    folder: str

    @property
    def folder_version(self) -> str:
        return self.metadata.rpartition("/")[2].rpartition(".")[0].partition("-")[2].partition("-")[0]

    def entry_points(self) -> Iterator[EntryPoint]:
        text = _read(f"{self.metadata}/entry_points.txt")
        if PROJECT in text:
            groups = list(_parse(text))
            if groups:
                name, version = self._headers()
                for group, entry, value in groups:
                    yield EntryPoint(entry, value, group, name, version, self.folder)

    def _headers(self) -> tuple[str, str]:
        """Name and version as the metadata has them, what the folder's name says where it has none."""
        values = {"name": self.key, "version": self.folder_version or "unknown"}
        for line in (_read(f"{self.metadata}/METADATA") or _read(f"{self.metadata}/PKG-INFO")).splitlines():
            if not line.strip():
                break
            key, colon, value = line.partition(":")
            if colon and key.lower() in values:
                values[key.lower()] = value.strip()
        return values["name"], values["version"]


def _distributions(folder: str) -> Iterator[_Distribution]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith((".dist-info", ".egg-info")))
    except OSError:  # not a folder: zip files are asked through importlib.metadata below
        return
    for name in names:
        yield _Distribution(normalised(name.rpartition(".")[0].partition("-")[0]), f"{folder}/{name}", folder)


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it: ``Pywatt_SQLite`` is ``pywatt-sqlite``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            return stream.read()
    except OSError:
        return ""


def _parse(text: str) -> Iterator[tuple[str, str, str]]:
    """(group, name, value) of the groups that concern us."""
    group = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif line and line[0] not in "#;" and (group == PROJECT or OTHER_API.fullmatch(group)):
            name, equals, value = line.partition("=")
            if equals:
                yield group, name.strip(), value.partition("[")[0].strip()


def _other_finders(path: Sequence[str] | None) -> Iterable[EntryPoint]:
    """Distributions that are not folders: those inside zip files on the path, and those of unusual importers."""
    archives = [place for place in (sys.path if path is None else path) if os.path.isfile(place)]  # noqa: PTH113
    finders: list[Any] = [
        finder
        for finder in sys.meta_path
        if hasattr(finder, "find_distributions") and getattr(finder, "__module__", "") != "_frozen_importlib_external"
    ]
    if not archives and not finders:
        return []
    from importlib.metadata import DistributionFinder, distributions

    found = list(distributions(path=archives)) if archives else []
    for finder in finders if path is None else ():
        found += finder.find_distributions(DistributionFinder.Context())
    return [
        EntryPoint(entry.name, entry.value, entry.group, normalised(found_one.name), found_one.version, str(found_one.locate_file("")))
        for found_one in found
        for entry in found_one.entry_points
        if entry.group == PROJECT or OTHER_API.fullmatch(entry.group)
    ]
