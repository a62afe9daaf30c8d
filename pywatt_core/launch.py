"""``python -m pywatt_core.launch FILE[:NAME]``: what an orchestrator starts.

The wire is taken away from user code before a line of it is imported: an early ``print`` must not corrupt the
announce, and a child process must not swallow lines that are meant for the module.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import BootstrapError, ConfigError

if TYPE_CHECKING:
    from .module import Module

PLAIN_NAMES = ("app", "application")
"""Where a file without a decorated function may keep its application."""

RARELY = (200_000, 10, 10)
"""Thresholds of the garbage collector while a module starts: imports make hundreds of thousands of objects, and all of them stay."""


def main() -> NoReturn:
    """Take the wire where there is an orchestrator, import the file, find the module, live."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*RARELY)
    from .running import exit_with, is_orchestrated, run

    with exit_with():
        if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
            raise ConfigError("usage: python -m pywatt_core.launch FILE[:NAME] [ARGUMENT]...")
        file, _, name = sys.argv[1].partition(":")
        wire = None
        if is_orchestrated(os.environ):
            from .transports.stdio import take_wire

            wire = take_wire()
        if not os.path.isfile(file):  # noqa: PTH113 - pathlib is not worth importing for this
            raise ConfigError(f"there is no file {file!r}; FILE is relative to {os.getcwd()!r}")  # noqa: PTH109
        intact = wire is None or wire.is_whole()
        loaded = load(file)
        if wire is not None and intact and not wire.is_whole():
            raise BootstrapError(f"importing {file!r} closed the wire's descriptors: close only what you opened")
        module = find(loaded, file, name)
    sys.exit(run(module.definition, wire, on_serving=lambda: collect_again(thresholds)))


def collect_again(thresholds: tuple[int, int, int]) -> None:
    """Collect garbage as usual from now on, unless the user's code has chosen thresholds of its own.

    What exists by now is not looked through ever again: it lives as long as the process does.
    """
    gc.freeze()
    if gc.get_threshold() == RARELY:
        gc.set_threshold(*thresholds)


def load(file: str) -> ModuleType:
    """Import a file as ``python FILE`` would find its neighbours, but not as ``__main__``: nothing in it runs by itself."""
    path = os.path.abspath(file)  # noqa: PTH100
    stem = os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122
    sys.path[0] = os.path.dirname(path)  # noqa: PTH120
    sys.argv = [path, *sys.argv[2:]]
    name = (
        stem
        if stem.isidentifier() and stem not in sys.modules and stem not in sys.stdlib_module_names
        else f"pywatt_module_{abs(hash(path)):x}"
    )
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file!r} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def find(loaded: ModuleType, file: str, name: str) -> Module:
    """The module called `name`, or the only one. Raises `ConfigError` that lists what the file has."""
    from .module import Module, application_module

    modules = {key: value for key, value in vars(loaded).items() if isinstance(value, Module)}
    stem = os.path.splitext(os.path.basename(file))[0]  # noqa: PTH119, PTH122
    if name:
        found: Any = getattr(loaded, name, None)
        if found is None:
            has = f"; it has {', '.join(sorted(modules))}" if modules else ""
            raise ConfigError(f"{file!r} has no {name!r}{has}")
        return found if isinstance(found, Module) else application_module(found, stem)
    distinct = {id(module): module for module in modules.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if distinct:
        raise ConfigError(f"{file!r} has several modules: say which one, {' or '.join(f'{file}:{key}' for key in sorted(modules))}")
    for plain in PLAIN_NAMES:
        if hasattr(loaded, plain):
            return application_module(getattr(loaded, plain), stem)
    raise ConfigError(f"{file!r} has no module: decorate a function with @pywatt_module, or name a plain application as {file}:NAME")


if __name__ == "__main__":
    main()
