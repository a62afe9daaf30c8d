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

OTHER_API = r"pywatt[._-]?v?\d+"
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
    versions: dict[str, str] = {}
    folders: set[str] = set()
    for place in sys.path if path is None else path:
        folder = os.path.realpath(place or os.curdir)
        if folder in folders:
            continue
        folders.add(folder)
        for name in _metadata_folders(folder):
            raw, _, rest = name.rpartition(".")[0].partition("-")
            key = normalised(raw)
            if key in versions:
                continue
            versions[key] = rest.partition("-")[0]
            # Most distributions have no entry points: asking is cheaper than an exception for each of them.
            if os.access(f"{folder}/{name}/entry_points.txt", os.R_OK):
                found += _entry_points(f"{folder}/{name}", folder, key, versions[key])
    for entry in _other_finders(path):
        if entry.distribution.lower() not in versions:
            found.append(entry)
    return Installed(found, versions)


def _metadata_folders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.name.endswith((".dist-info", ".egg-info")))
    except OSError:  # not a folder: zip files are asked through importlib.metadata below
        return []


def _entry_points(metadata: str, folder: str, key: str, version: str) -> Iterator[EntryPoint]:
    text = _read(f"{metadata}/entry_points.txt")
    groups = list(_parse(text)) if PROJECT in text else []
    if groups:
        distribution, exact = _headers(metadata, key, version)
        for group, name, value in groups:
            yield EntryPoint(name, value, group, distribution, exact, folder)


def _headers(metadata: str, key: str, version: str) -> tuple[str, str]:
    """Name and version as the metadata has them, what the folder's name says where it has none."""
    values = {"name": key, "version": version or "unknown"}
    for line in (_read(f"{metadata}/METADATA") or _read(f"{metadata}/PKG-INFO")).splitlines():
        if not line.strip():
            break
        field, colon, value = line.partition(":")
        if colon and field.lower() in values:
            values[field.lower()] = value.strip()
    return values["name"], values["version"]


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it: ``Pywatt_SQLite`` is ``pywatt-sqlite``."""
    if "." in name or "__" in name or "-" in name:
        name = re.sub(r"[-_.]+", "-", name)
    return name.replace("_", "-").lower()


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
        elif line and line[0] not in "#;" and _concerns_us(group):
            name, _, value = line.partition("=")
            yield group, name.strip(), value.partition("[")[0].strip()


def _concerns_us(group: str) -> bool:
    return group == PROJECT or (group.startswith(PROJECT) and re.fullmatch(OTHER_API, group) is not None)


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
        if _concerns_us(entry.group)
    ]
