"""Finds plugins, says what each provides, and opens what the configuration names."""

from __future__ import annotations

from .budget import BUDGET
from .kinds import KINDS, Kind
from .plugins import Plugin
from .registry import Registry

__all__ = ["BUDGET", "KINDS", "Kind", "Plugin", "Registry"]
