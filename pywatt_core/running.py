"""Running a life in this process: the loop, the signals, the report of what went wrong, and the exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from . import redaction, telemetry
from .definition import Definition
from .errors import ConfigError, PluginError, PyWattError, ServerError
from .lifecycle import CLOSE_TIMEOUT, EXIT_CODES, Life, Step, live
from .transports.stdio import Wire, is_stream

log = logging.getLogger(__name__)

OK, BAD_CONFIG, CUT_SHORT = 0, 2, 6


def is_orchestrated(environ: Mapping[str, str]) -> bool:
    """Whether this process has an orchestrator, decided in one fixed order.

    ``PYWATT_STANDALONE`` (0 or 1); systemd's ``LISTEN_PID`` naming this process: alone; ``PYWATT_MODULE_ID`` set, or
    standard input a pipe or socket: orchestrated; else alone. Raises `ConfigError` for another ``PYWATT_STANDALONE``.
    """
    alone = environ.get("PYWATT_STANDALONE", "")
    if alone not in ("", "0", "1"):
        raise ConfigError(f"PYWATT_STANDALONE={alone!r}: it is 0 or 1")
    if alone:
        return alone == "0"
    if environ.get("LISTEN_PID") == str(os.getpid()):
        return False
    return bool(environ.get("PYWATT_MODULE_ID")) or is_stream(0)


@contextmanager
def exit_with() -> Iterator[None]:
    """End the process with a report where something fails before the life begins: the user's import, the arguments."""
    try:
        yield
    except Exception as error:
        sys.exit(report(Step.APPLICATION, error, json=False))


def run(
    definition: Definition, wire: Wire | None, environ: Mapping[str, str] | None = None, *, on_serving: Callable[[], None] | None = None
) -> int:
    """Live one life on a new event loop (uvloop's where it is installed) and return the exit code.

    `on_serving` is called once the module is announced.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_supervise_to_the_end(definition, wire, os.environ if environ is None else environ, on_serving))


async def _supervise_to_the_end(
    definition: Definition, wire: Wire | None, environ: Mapping[str, str], on_serving: Callable[[], None] | None
) -> int:
    code = await supervise(definition, wire, environ, on_serving=on_serving)
    if code == CUT_SHORT:
        leave(code)  # threads that are still busy would keep the interpreter alive until they are done
    return code


def leave(code: int) -> NoReturn:
    """End the process now, without waiting for threads; what was written so far is flushed."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


async def supervise(
    definition: Definition, wire: Wire | None, environ: Mapping[str, str], *, on_serving: Callable[[], None] | None = None
) -> int:
    """Live one life, stopping at SIGTERM and SIGINT; report a failure; return the exit code. `on_serving` as for `run`."""
    telemetry.configure(environ.get("PYWATT_MODULE_ID") or definition.name, format="json" if wire is not None else "auto")
    life = Life(definition, wire, environ)
    life.on_serving = on_serving
    living = asyncio.create_task(live(life), name=f"life of {definition.name}")
    life.stop.starting = living
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(telemetry.handle_loop_exception)
    caught = [signal.SIGTERM] if wire is not None else [signal.SIGTERM, signal.SIGINT]
    for number in caught:
        loop.add_signal_handler(number, life.stop.ask, number.name)
    asked = asyncio.create_task(life.stop.asked.wait())
    try:
        await asyncio.wait({living, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not living.done():
            await _within_limits(life, living)
        living.result()
    except asyncio.CancelledError:
        if not life.stop.asked.is_set():
            raise
        log.info("stopped while starting", extra={"reason": life.stop.reason})
    except (Exception, SystemExit) as error:
        return report(life.step, error, json=wire is not None)
    finally:
        asked.cancel()
        for number in caught:
            loop.remove_signal_handler(number)
    return CUT_SHORT if life.cut_short else OK


async def _within_limits(life: Life, living: asyncio.Task[None]) -> None:
    """Wait for a life that was asked to end; what hangs while closing is left behind by force, with a word."""
    limit = CLOSE_TIMEOUT + (life.stop.drain if life.stop.drain is not None else life.drain_limit)
    _done, late = await asyncio.wait({living}, timeout=limit)
    if late:
        log.error("closing did not end in time: leaving by force", extra={"seconds": limit, "step": life.step.name})
        leave(CUT_SHORT)


def exit_code(step: Step, error: BaseException) -> int:
    """The exit code of `error` at `step`: configuration is always 2, a plugin or server 4, else the step's own."""
    if isinstance(error, ConfigError):
        return BAD_CONFIG
    if isinstance(error, PluginError | ServerError) and step is not Step.STATE:
        return EXIT_CODES[Step.PLUGINS]
    return EXIT_CODES[step]


def report(step: Step, error: BaseException, *, json: bool) -> int:
    """Say once what ended the life, without a traceback where the text tells a person what to do; return the exit code."""
    code = exit_code(step, error)
    step_name = step.name.lower()
    if isinstance(error, PyWattError):
        causes = " ← ".join(_causes(error))
        if json:
            log.critical("%s", causes, extra={"step": step_name, "exit_code": code})
        else:
            print(redaction.redact(f"error: {causes}"), file=sys.stderr, flush=True)
    elif json:
        log.critical("%s failed: %s", step_name, type(error).__name__, exc_info=error, extra={"step": step_name, "exit_code": code})
    else:
        text = "".join(traceback.format_exception(error))
        print(redaction.redact(text), end="", file=sys.stderr, flush=True)
    return code


def _causes(error: BaseException) -> list[str]:
    chain: list[str] = []
    cause: BaseException | None = error
    if isinstance(error, ConfigError | ServerError):
        cause, chain = None, [str(error)]  # their text says it all
    while cause is not None and len(chain) < 5:
        text = str(cause) or type(cause).__name__
        chain.append(text if isinstance(cause, PyWattError) else f"{type(cause).__name__}: {text}")
        cause = cause.__cause__
    return chain


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Any = uvloop.new_event_loop
    return factory  # type: ignore[no-any-return]
