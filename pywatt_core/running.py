"""Running a life in this process: the loop, the signals, the report of what went wrong, and the exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn

from . import redaction, telemetry
from .definition import Definition
from .errors import ConfigError, PluginError, PyWattError, ServerError
from .lifecycle import CLOSE_TIMEOUT, EXIT_CODES, Life, Step, live
from .transports.stdio import Wire, is_stream

log = logging.getLogger(__name__)

OK, FAILED, BAD_CONFIG, CUT_SHORT = 0, 1, 2, 6

OURS = __file__.rpartition("/")[0]

EXIT_PATIENCE = 5.0
"""Seconds that the interpreter has to end once the life is over."""


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
    except (Exception, SystemExit) as error:
        sys.exit(report(Step.APPLICATION, error, json=False))


def run(
    definition: Definition, wire: Wire | None, environ: Mapping[str, str] | None = None, *, on_serving: Callable[[], None] | None = None
) -> int:
    """Live one life on a new event loop (uvloop's where it is installed) and return the exit code.

    `on_serving` is called once the module is announced. Once the life is over the process has `EXIT_PATIENCE` seconds to
    end: threads, tasks and exit handlers of the user's that take longer are left behind.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(supervise(definition, wire, os.environ if environ is None else environ, on_serving=on_serving))
        if code == CUT_SHORT:
            leave(code)  # threads that are still busy would keep the interpreter alive until they are done
        reaper = threading.Timer(EXIT_PATIENCE, _leave_behind, (code,))
        reaper.daemon = True
        reaper.start()
        return code


def _leave_behind(code: int) -> None:
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread() and not thread.daemon]
    log.warning("the process does not end by itself: left by force", extra={"seconds": EXIT_PATIENCE, "threads": threads})
    leave(code)


def leave(code: int) -> NoReturn:
    """End the process now, without waiting for threads; what was written so far is flushed."""
    logging.shutdown()
    telemetry.release_streams()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


async def supervise(
    definition: Definition, wire: Wire | None, environ: Mapping[str, str], *, on_serving: Callable[[], None] | None = None
) -> int:
    """Live one life, stopping at SIGTERM and SIGINT; report a failure; return the exit code. `on_serving` as for `run`.

    Closing has a deadline, and a second signal ends the process at once.
    """
    telemetry.configure(environ.get("PYWATT_MODULE_ID") or definition.name, format="json" if wire is not None else "auto")
    life = Life(definition, wire, environ)
    life.on_serving = on_serving
    asyncio.get_running_loop().set_exception_handler(telemetry.handle_loop_exception)
    with _signals(life):
        living = asyncio.create_task(_to_the_end(life), name=f"life of {definition.name}")
        life.stop.starting = living
        ending = asyncio.create_task(life.stop.ending.wait())
        try:
            await asyncio.wait({living, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not living.done():
                await _within_limits(life, living)
            return living.result()
        finally:
            ending.cancel()


async def _to_the_end(life: Life) -> int:
    """Live, say what went wrong, close everything; the exit code."""
    async with AsyncExitStack() as stack:
        try:
            await live(life, stack)
            life.code = CUT_SHORT if life.cut_short else OK
        except asyncio.CancelledError as error:
            if life.stop.asked.is_set():
                log.info("stopped while starting", extra={"reason": life.stop.reason})
            else:
                life.code = report(life.step, error, json=life.wire is not None)
        except (Exception, SystemExit) as error:
            life.code = report(life.step, error, json=life.wire is not None)
        life.stop.starting = None  # from here on a wish to stop must not interrupt the closing
        life.stop.ending.set()
        try:
            await stack.aclose()
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            life.code = life.code or FAILED
            log.error("closing failed", exc_info=error)
    return life.code


async def _within_limits(life: Life, living: asyncio.Task[int]) -> None:
    """Wait for a life whose end has begun; what hangs is left behind by force, with a word."""
    draining = life.stop.drain if life.stop.drain is not None else life.drain_limit
    limit = CLOSE_TIMEOUT + (draining if life.stop.asked.is_set() else 0)
    _done, late = await asyncio.wait({living}, timeout=limit)
    if late:
        log.error("closing did not end in time: left by force", extra={"seconds": limit, "step": life.step.value})
        leave(life.code or CUT_SHORT)


@contextmanager
def _signals(life: Life) -> Iterator[None]:
    """Stop at the first signal, leave at the second. Under an orchestrator Ctrl-C is its business.

    The handlers are Python's, not the loop's: they act even while user code keeps the loop from running.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def stop(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if life.stop.asked.is_set() or life.signalled:
            log.error("%s again: leaving at once", name)
            leave(128 + number)
        life.signalled = True
        loop.call_soon_threadsafe(life.stop.ask, name)

    numbers = [signal.SIGTERM] if life.wire is not None else [signal.SIGTERM, signal.SIGINT]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    step_name = step.value
    if isinstance(error, SystemExit):
        error = _described(f"something called sys.exit({error.code!r})", error)
    elif isinstance(error, asyncio.CancelledError):
        error = _described("something raised CancelledError, though nobody asked for the end", error)
    if isinstance(error, PyWattError):
        causes = " ← ".join(_causes(error))
        if json:
            log.critical("%s", causes, extra={"step": step_name, "exit_code": code})
        else:
            print(redaction.redact(f"error: {causes}"), file=sys.stderr, flush=True)
    elif json:
        shown = (type(error), error, _from_the_users_code(error.__traceback__))
        log.critical("%s failed: %s", step_name, type(error).__name__, exc_info=shown, extra={"step": step_name, "exit_code": code})
    else:
        text = "".join(traceback.format_exception(type(error), error, _from_the_users_code(error.__traceback__)))
        print(redaction.redact(text), end="", file=sys.stderr, flush=True)
    return code


def _from_the_users_code(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames that only lead to the user's code; all of it where there is none of that."""
    frame = trace
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith((OURS, "<frozen importlib")):
        frame = frame.tb_next
    return frame or trace


def _described(text: str, error: BaseException) -> RuntimeError:
    described = RuntimeError(text)
    described.__traceback__ = error.__traceback__
    return described


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
