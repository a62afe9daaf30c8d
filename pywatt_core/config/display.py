"""The effective configuration for people: each value with its source, and nothing secret in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..redaction import url_password
from .secret_references import reference
from .sections import known_secret

if TYPE_CHECKING:
    from .settings import Settings

REDACTED = "[REDACTED]"

SUSPICIOUS = re.compile(
    r"pas+w(or)?d|passphrase|secret|token|credential|api_?key|private_?key|signing_?key|(^|_)(pw|keys?)$", re.IGNORECASE
)
"""Option names whose values are hidden where the option's type is not known."""


def redacted(settings: Settings, hidden: Mapping[str, bool]) -> dict[str, Any]:
    """What `Settings.redacted` promises."""
    shown: dict[str, Any] = {}
    for key, value in settings.merged.data.items():
        shown[key] = _shown(value, key, settings, hidden)
    for name in ("module", "plugins"):
        defaults = getattr(settings, name)
        table = shown.setdefault(name, {})
        for option in type(defaults).__dataclass_fields__ if isinstance(table, dict) else ():
            table.setdefault(option, {"value": getattr(defaults, option), "source": "default"})
    return shown


def _shown(value: Any, path: str, settings: Settings, hidden: Mapping[str, bool]) -> Any:
    if isinstance(value, Mapping):
        return {key: _shown(inner, f"{path}.{key}", settings, hidden) for key, inner in value.items()}
    return {"value": _safe(value, path, hidden), "source": settings.origin(path)}


def _safe(value: Any, path: str, hidden: Mapping[str, bool]) -> Any:
    """The value, or what may be shown of it. The name of a secret is no secret."""
    if reference(value) is not None:
        return str(value)
    scalar = isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
    secret = known_secret(hidden, path)
    if scalar and (SUSPICIOUS.search(path.rpartition(".")[2]) is not None if secret is None else secret):
        return REDACTED
    if isinstance(value, str):
        password = url_password(value)
        return value.replace(f":{password}@", f":{REDACTED}@") if password else str(value)
    if isinstance(value, list | tuple):
        return [_safe(item, path, hidden) for item in value]
    if isinstance(value, Mapping):
        return {key: _safe(inner, f"{path}.{key}", hidden) for key, inner in value.items()}
    return value if isinstance(value, bool | int | float | type(None)) else str(value)
