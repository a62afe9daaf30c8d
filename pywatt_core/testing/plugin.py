"""The pytest plugin that comes with the core: coroutine tests run, each on a loop of its own, each with a deadline; and the
fixture `assert_no_secret_in`.

A test that belongs to another asynchronous plugin (marked ``asyncio``, ``anyio`` or ``trio``) is left to it.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .leaks import LeakCheck

DEADLINE = 60.0
"""Seconds that one coroutine test may take before it fails."""

FOREIGN_MARKS = frozenset({"asyncio", "anyio", "trio"})


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test to its end; None leaves the test to pytest or to another plugin."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    if any(mark.name in FOREIGN_MARKS for mark in pyfuncitem.iter_markers()):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        async with asyncio.timeout(DEADLINE):
            await function(**arguments)

    asyncio.run(run())
    return True


@pytest.fixture
def assert_no_secret_in(caplog: pytest.LogCaptureFixture) -> Iterator[LeakCheck]:
    """`pywatt_core.testing.assert_no_secret_in`, which also makes canaries: ``assert_no_secret_in.canary("DB_PASSWORD")`` is a
    random value that is looked for wherever the test calls it and, at the end, in the log lines that a module would have written
    for what the test has logged."""
    from .leaks import LeakCheck

    check = LeakCheck()
    yield check
    if check.canaries:
        from ..telemetry import JsonFormatter

        formatter = JsonFormatter()
        for record in [*caplog.get_records("setup"), *caplog.get_records("call")]:
            check(formatter.format(record))
