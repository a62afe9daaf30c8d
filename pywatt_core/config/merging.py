"""Several sources become one mapping in which every value still knows where it came from.

The rules, from the lowest source to the highest: tables merge key by key; anything else replaces what was there. One
exception: where a source gives a named section (``[databases.main]``) another ``use`` than the sources below it, the
section starts afresh, because the options of one provider mean nothing to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from .names import KINDS, implied_use

Path: TypeAlias = "tuple[str, ...]"


class Text(str):
    """A value from a place that knows only text, such as the environment: read as whatever type its option has."""

    __slots__ = ()


class Layer:
    """One source: its values, and a way to say where each of them stands.

    `label` is for people: ``pywatt.toml``, ``decorator config=``, ``environment``. `locate` gives the exact place of one
    value, for example ``pywatt.toml:12``, or None where the label is all there is to say.
    """

    __slots__ = ("data", "label", "locate")

    def __init__(self, label: str, data: Mapping[str, Any], locate: Callable[[Path], str | None] = lambda path: None) -> None:
        self.label = label
        self.data = data
        self.locate = locate

    def place(self, path: Path) -> str:
        return self.locate(path) or self.label


class Merged:
    """The outcome: `data` is a fresh nested dict, `sources` names for every table and value the layer that it came from."""

    __slots__ = ("data", "sources")

    def __init__(self, data: dict[str, Any], sources: dict[Path, Layer]) -> None:
        self.data = data
        self.sources = sources

    def origin(self, path: Path) -> str:
        """Where the value at `path` comes from; ``default`` where no source gives one. Elements of a list stand where it stands."""
        layer = self.sources.get(path)
        if layer is not None:
            return layer.place(path)
        for end in range(len(path) - 1, 0, -1):
            layer = self.sources.get(path[:end])
            if layer is not None:
                return "default" if isinstance(at(self.data, path[:end]), Mapping) else layer.place(path[:end])
        return "default"


def at(data: Mapping[str, Any], path: Path) -> Any:
    """The value at `path`, None where there is none."""
    value: Any = data
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def split(path: str) -> Path:
    """``modules.users.channels[0]`` as keys; the number of an element is one, ``"[0]"``."""
    return tuple(path.replace("[", ".[").split(".")) if path else ()


def merge(layers: Iterable[Layer]) -> Merged:
    """Lay `layers` over each other, lowest first."""
    merged = Merged({}, {})
    for layer in layers:
        _lay(merged, merged.data, layer.data, (), layer)
    return merged


def _lay(merged: Merged, below: dict[str, Any], above: Mapping[str, Any], path: Path, layer: Layer) -> None:
    for key, value in above.items():
        here = (*path, key)
        old = below.get(key)
        if not isinstance(value, Mapping):
            _forget(merged, here)
            below[key] = value
        else:
            if not isinstance(old, dict) or _other_provider(here, old, value):
                _forget(merged, here)
                old = below[key] = {}
            _lay(merged, old, value, here, layer)
        merged.sources[here] = layer


def _other_provider(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if len(path) != 2 or path[0] not in KINDS or "use" not in new:
        return False
    used = old.get("use", implied_use(*path))
    return used is not None and used != new["use"]


def _forget(merged: Merged, path: Path) -> None:
    for known in [known for known in merged.sources if known[: len(path)] == path]:
        del merged.sources[known]
