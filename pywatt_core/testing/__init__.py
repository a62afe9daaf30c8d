"""For tests of modules and of plugins: a fake orchestrator with a real session, a runner of real processes, an in-process
client, and the contract suites in `pywatt_core.testing.contracts`."""

from __future__ import annotations

from .client import Response, fetch
from .inprocess import Client, app
from .orchestrator import FakeOrchestrator
from .runner import ModuleRunner

__all__ = ["Client", "FakeOrchestrator", "ModuleRunner", "Response", "app", "fetch"]
