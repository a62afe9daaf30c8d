"""``pywatt``: the entry point. What a command does not need is not imported, and ``pywatt plugins`` needs not even click.

Exit codes: 0 done, 1 problems found, 2 usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..errors import ConfigError, PyWattError

TRACEBACK = "PYWATT_TRACEBACK"
"""Set to 1 to see where an error comes from."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` is ``sys.argv[1:]`` by default. Returns the exit code and prints no bare traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from .surroundings import fill_streams

        fill_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read us has seen enough; Python must not complain again when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        if os.environ.get(TRACEBACK) == "1":
            raise
        from .output import complain
        from .surroundings import at_fault

        known = str(error) if isinstance(error, PyWattError) else at_fault(error) if isinstance(error, OSError) else ""
        complain(known or f"unforeseen: {type(error).__name__}: {error}. Set {TRACEBACK}=1 to see where it comes from")
        return 2 if isinstance(error, ConfigError) else 1


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] == "plugins":
        wanted = _plain_listing(arguments[1:])
        if wanted is not None:
            return _list(*wanted)
    from .group import run

    return run(arguments)


def _list(as_json: bool, file: str | None) -> int:
    """Print the plugins. What is imported on the way stays: looking through it for garbage, now or at the end, would only take time."""
    import atexit
    import gc

    collecting = gc.isenabled()
    gc.disable()
    atexit.register(gc.freeze)
    try:
        from .listing import print_plugins

        return print_plugins(as_json, file)
    finally:
        if collecting:
            gc.enable()


def _plain_listing(options: list[str]) -> tuple[bool, str | None] | None:
    """(as JSON, configuration file) where `options` are only these; None leaves everything else to click."""
    as_json, file, rest = False, None, list(options)
    while rest:
        option = rest.pop(0)
        if option == "--json":
            as_json = True
        elif option.startswith("--config="):
            file = option.partition("=")[2]
        elif option == "--config" and rest:
            file = rest.pop(0)
        else:
            return None
    return as_json, file


if __name__ == "__main__":
    sys.exit(main())
