"""For tests of modules and of plugins: a fake orchestrator with a real session, a runner of real processes, an in-process
client, and the contract suites in `pywatt_core.testing.contracts`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import Response, fetch
    from .inprocess import Client, app
    from .orchestrator import FakeOrchestrator
    from .runner import ModuleRunner

__all__ = ["Client", "FakeOrchestrator", "ModuleRunner", "Response", "app", "fetch"]

_HOMES = {
    "Client": "inprocess",
    "FakeOrchestrator": "orchestrator",
    "ModuleRunner": "runner",
    "Response": "client",
    "app": "inprocess",
    "fetch": "client",
}


def __getattr__(name: str) -> object:
    # pytest loads the plugin beside this file in every session: that must not import the whole core.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
