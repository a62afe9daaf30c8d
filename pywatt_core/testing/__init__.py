"""For tests of modules and of plugins: a fake orchestrator with a real session, a runner of real processes, an in-process
client, `assert_no_secret_in`, and the contract suites in `pywatt_core.testing.contracts`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .client import Response, fetch
    from .inprocess import Client, app
    from .leak_places import Process
    from .leaks import assert_no_secret_in
    from .orchestrator import FakeOrchestrator
    from .runner import ModuleRunner

__all__ = ["Client", "FakeOrchestrator", "ModuleRunner", "Process", "Response", "app", "assert_no_secret_in", "fetch"]

# pytest loads the plugin beside this file in every session: that must not import the whole core.
__getattr__ = lazily(
    __name__,
    {
        "client": "Response fetch",
        "inprocess": "Client app",
        "leak_places": "Process",
        "leaks": "assert_no_secret_in",
        "orchestrator": "FakeOrchestrator",
        "runner": "ModuleRunner",
    },
)
