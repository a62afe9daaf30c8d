"""The pytest plugin that comes with the core: coroutine tests run, each on a loop of its own, each with a deadline.

A test that belongs to another asynchronous plugin (marked ``asyncio``, ``anyio`` or ``trio``) is left to it.
"""

from __future__ import annotations

import asyncio
import inspect

import pytest

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
