"""Tests of a class that names a `loop_factory` run on that kind of event loop."""

from __future__ import annotations

import asyncio
import inspect

import pytest

DEADLINE = 60.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    factory = getattr(pyfuncitem.cls, "loop_factory", None)
    if factory is None or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def run() -> None:
        async with asyncio.timeout(DEADLINE):
            await pyfuncitem.obj(**arguments)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())
    return True
