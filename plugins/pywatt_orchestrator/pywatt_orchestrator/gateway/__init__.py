"""The gateway: one HTTP front door for all modules.

Read in this order: `options` (what can be set); `routing`, with `paths` and `templates` (which module answers a path);
`request`, `response`, `lines` and `bodies` (what is a message); `intake` and `client` (one client's connection); `upstream`
and `exchange` (one request to a module, and its response); `server` (the door that holds it together). `tunnel`, `linked`
and `waiting` are the other ways in which a request can go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .options import GatewayOptions
    from .routing import ModuleRoutes, RouteTable
    from .server import Gateway
    from .upstream import Instance

__all__ = ["Gateway", "GatewayOptions", "Instance", "ModuleRoutes", "RouteTable"]

_HOME = {"Gateway": "server", "GatewayOptions": "options", "Instance": "upstream", "ModuleRoutes": "routing", "RouteTable": "routing"}


def __getattr__(name: str) -> Any:
    """Loaded when first asked for: whoever only checks a configuration needs the options, and neither asyncio nor httptools."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
