"""Databases, caches and authenticators by name, as `AppState` holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from .config import Settings

T = TypeVar("T")


class Opened(dict[str, T]):
    """What is open, by name. Asking for another name raises `ConfigError` with the lines to add."""

    def __init__(self, opened: Mapping[str, T], config: Settings, kind: str) -> None:
        super().__init__(opened)
        self._config, self._kind = config, kind

    def __missing__(self, name: str) -> T:
        self._config.pick(self._kind, name)
        raise KeyError(name)


def the_one(opened: Mapping[str, T], config: Settings, kind: str) -> T:
    """What is called ``main``, or the only one. Raises `ConfigError` with the lines to add."""
    return opened[name_of_the_one(opened, config, kind)]


def name_of_the_one(opened: Mapping[str, Any], config: Settings, kind: str) -> str:
    """Its name."""
    if "main" in opened:
        return "main"
    return next(iter(opened)) if len(opened) == 1 else config.pick(kind).name
