"""Where a secret may turn up: whatever is given to `assert_no_secret_in` becomes text, each piece with the place it stands in."""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from ..redaction import redact
from .leak_readings import texts_of

PIECE_OF_FILE = 1 << 20
"""Bytes that are read of a file or of a memory at once; the next piece begins earlier by `OVERLAP`."""

OVERLAP = 1 << 13
DEEPEST = 24
"""Levels of containers that are looked into."""


@dataclasses.dataclass(frozen=True)
class Process:
    """A running process as a place to search: its command line, environment and name, of everything it has started too.

    With `memory`, also whatever stands in its memory, which needs the right to trace it: the same user's child, as a rule.
    """

    pid: int
    children: bool = True
    memory: bool = False


def texts_in(place: object, label: str = "") -> Iterator[tuple[str, str]]:
    """(where it stands, text) for everything that can be read in a place."""
    yield from _texts(place, label, frozenset(), _running())


def _texts(place: object, label: str, above: frozenset[int], running: frozenset[int]) -> Iterator[tuple[str, str]]:
    if isinstance(place, str):
        yield label, place
    elif isinstance(place, bytes | bytearray | memoryview):
        yield from ((f"{label} {how}".strip(), text) for how, text in texts_of(bytes(place)))
    elif isinstance(place, os.PathLike):
        yield from _files(Path(place))
    elif isinstance(place, Process):
        yield from _process_texts(place)
    elif id(place) in above or len(above) > DEEPEST:
        return
    else:
        inner = above | {id(place)}
        for name, part in _parts(place, running):
            yield from _texts(part, f"{label}{name}".strip(), inner, running)
        if not isinstance(place, Mapping | list | tuple | set | frozenset | BaseException):
            yield from _shown(place, label)
        for process in processes_of(place):
            yield from _process_texts(process)


def _parts(place: Any, running: frozenset[int]) -> Iterator[tuple[str, object]]:
    """(how the part is written after the whole, the part)."""
    if isinstance(place, Mapping):
        for key, value in list(place.items()):
            yield " (a key)", key
            yield f"[{_short(key)}]", value
    elif isinstance(place, list | tuple | set | frozenset):
        yield from ((f"[{number}]", item) for number, item in enumerate(place))
    elif isinstance(place, BaseException):
        yield from _exception_parts(place, running)
    elif isinstance(place, logging.LogRecord):
        yield " (a log record)", vars(place)
        yield " (a log record's message)", _safely(place.getMessage)
    elif dataclasses.is_dataclass(place) and not isinstance(place, type):
        yield from ((f".{field.name}", getattr(place, field.name, None)) for field in dataclasses.fields(place))
    elif hasattr(type(place), "__struct_fields__"):
        yield from ((f".{name}", getattr(place, name, None)) for name in type(place).__struct_fields__)
    elif not isinstance(place, type):
        yield from _attributes(place)


def _attributes(place: Any) -> Iterator[tuple[str, object]]:
    """What the `repr` leaves out of things that many tests have: HTTP answers, buffers, processes that have ended."""
    names: tuple[str, ...] = ()
    if _attribute(place, "headers") is not None:
        names = ("headers", "body", "content", "data", "text")
    elif type(place).__name__ == "CompletedProcess":
        names = ("args", "stdout", "stderr")
    elif isinstance(place, io.StringIO | io.BytesIO) and not place.closed:
        yield ".getvalue()", place.getvalue()
    yield from ((f".{name}", value) for name in names if (value := _attribute(place, name)) is not None)


def _attribute(place: object, name: str) -> object:
    """None for a method too, and for what cannot be had now, such as the body of an answer that was not read."""
    try:
        value: object = getattr(place, name, None)
    except Exception:
        return None
    return None if callable(value) else value


def _shown(place: object, label: str) -> Iterator[tuple[str, str]]:
    kind = type(place).__name__
    yield f"{label} (repr of {kind})".strip(), _repr(place)
    yield f"{label} (str of {kind})".strip(), str(_safely(lambda: str(place)))


def _safely(action: Callable[[], object]) -> object:
    try:
        return action()
    except Exception as error:
        return f"<{type(error).__name__}>"


def _repr(value: object) -> str:
    return str(_safely(lambda: repr(value)))


def _short(key: object) -> str:
    """A key for the report; what may be secret itself is only named."""
    return repr(key) if isinstance(key, str | int) and len(str(key)) <= 24 and redact(str(key)) == str(key) else "…"


def _exception_parts(error: BaseException, running: frozenset[int]) -> Iterator[tuple[str, object]]:
    name = f" ({type(error).__name__})"
    yield name, str(_safely(lambda: str(error)))
    yield f"{name}.args", list(error.args)
    yield f"{name}.__notes__", list(getattr(error, "__notes__", ()))
    yield f"{name}.__dict__", {key: value for key, value in vars(error).items() if key != "__notes__"}
    yield f"{name}'s traceback", "".join(traceback.format_exception(type(error), error, error.__traceback__))
    yield from _locals(error.__traceback__, running)
    for word, other in (("cause", error.__cause__), ("context", error.__context__)):
        if other is not None:
            yield f"{name}'s {word}", other
    if isinstance(error, BaseExceptionGroup):
        yield f"{name}.exceptions", list(error.exceptions)


def _locals(trace: TracebackType | None, running: frozenset[int]) -> Iterator[tuple[str, object]]:
    """The local variables as a traceback shows them that shows locals; not those of frames that still run, such as the test's."""
    while trace is not None:
        frame = trace.tb_frame
        if id(frame) not in running:
            for name, value in list(frame.f_locals.items()):
                yield f" (the local variable {name!r} of {frame.f_code.co_name})", _repr(value)
        trace = trace.tb_next


def _running() -> frozenset[int]:
    found = set()
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        found.add(id(frame))
        frame = frame.f_back
    return frozenset(found)


def _files(path: Path) -> Iterator[tuple[str, str]]:
    """What stands in a file, or in the names and files of a folder. What goes away meanwhile is passed over."""
    if not path.exists() and not path.is_symlink():
        raise FileNotFoundError(f"there is nothing at {str(path)!r} to search")
    folder = path.is_dir()
    for found in [path, *sorted(path.rglob("*"))] if folder else [path]:
        if folder and found != path:
            yield "the name of a file", str(found.relative_to(path))
        try:
            if found.is_symlink():
                yield f"the target of the link {found.name!r}", str(found.readlink())
            elif found.is_file():
                yield from _pieces(found)
        except FileNotFoundError:
            continue


def _pieces(path: Path) -> Iterator[tuple[str, str]]:
    with path.open("rb") as file:
        before = b""
        while data := file.read(PIECE_OF_FILE):
            yield from ((f"the file {path.name!r} {how}", text) for how, text in texts_of(before + data))
            before = data[-OVERLAP:]


# ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def processes_of(place: object) -> Iterator[Process]:
    """The process that a place is or stands for."""
    if isinstance(place, Process):
        yield place
    elif not isinstance(place, Mapping | str | bytes) and isinstance(pid := _attribute(place, "pid"), int):
        yield Process(pid)


def _process_texts(process: Process) -> Iterator[tuple[str, str]]:
    for pid in family_of(process):
        for name, what in (("cmdline", "the command line"), ("environ", "the environment"), ("comm", "the name")):
            for part in _of_process(pid, name).split(b"\0"):
                yield f"{what} of process {pid}", part.decode("utf-8", "replace")


def family_of(process: Process) -> list[int]:
    """The process and, where wanted, everything below it."""
    if not Path(f"/proc/{os.getpid()}").is_dir():
        raise RuntimeError("processes are searched through /proc, which this system does not have")
    if not Path(f"/proc/{process.pid}").is_dir():
        raise ProcessLookupError(f"there is no process {process.pid} to search")
    if not process.children:
        return [process.pid]
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (found := re.search(rb"\) \S (\d+) ", _of_process(int(folder.name), "stat"))):
            parents.setdefault(int(found[1]), []).append(int(folder.name))
    family = [process.pid]
    for pid in family:
        family += parents.get(pid, [])
    return family


def _of_process(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return b""


def memory_of(pid: int) -> Iterator[tuple[str, bytes]]:
    """(what it belongs to, bytes) of everything that the process can read, in pieces."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in _of_process(pid, "maps").decode("utf-8", "replace").splitlines():
            span, rights, *rest = line.split(maxsplit=5)
            first, last = (int(address, 16) for address in span.split("-"))
            name = rest[3] if len(rest) > 3 else "anonymous memory"
            if not rights.startswith("r") or name in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            starts = [*range(first, last, PIECE_OF_FILE), last]
            for begin, end in pairwise(starts):
                try:
                    memory.seek(begin)
                    yield name, memory.read(min(end + OVERLAP, last) - begin)
                except (OSError, ValueError, OverflowError):
                    continue
