"""The gateway: one HTTP front door for all modules.

Read in this order: `options` (what can be set), `routing` (which module answers a path), `server` (the door itself).
"""

from __future__ import annotations

from .options import GatewayOptions
from .routing import ModuleRoutes, RouteTable
from .server import Gateway
from .upstream import Instance

__all__ = ["Gateway", "GatewayOptions", "Instance", "ModuleRoutes", "RouteTable"]
