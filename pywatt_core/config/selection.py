"""``[plugins]``, apart from the other settings because listing plugins needs nothing else of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PluginSelection:
    """``[plugins]``: which entry points are loaded. Built-ins always are."""

    allow: tuple[str, ...] | None = None
    """Where present, the complete list of entry-point names that are loaded."""
    disable: tuple[str, ...] = ()
    """Names that are not loaded, whatever `allow` says."""
