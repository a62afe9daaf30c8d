"""Secrets in one file: lines of ``NAME=value``, or a flat TOML table."""

from __future__ import annotations

import os
import stat
from contextlib import asynccontextmanager
from io import FileIO
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, PyWattError, SecretError
from .polled_secrets import PolledSecrets, Reading, Stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from ..interfaces import Context
    from .secret_options import DotenvOptions, FileOptions

LONGEST: Final = 1024 * 1024
"""Bytes that a file of secrets may have."""

PRIVATE: Final = 0o077
"""The bits of a mode that let others than the owner at a file."""


@asynccontextmanager
async def open_dotenv(options: DotenvOptions, context: Context) -> AsyncIterator[PolledSecrets]:
    """Raises `SecretError` that names file and line where the file cannot be read or parsed; never with a value in it."""
    from .dotenv import parse_dotenv

    source = PolledSecrets(FileReader(context.folder / options.path, parse_dotenv, required=options.required), poll=options.poll)
    await source.open()
    yield source


@asynccontextmanager
async def open_file(options: FileOptions, context: Context) -> AsyncIterator[PolledSecrets]:
    """Raises `SecretError` for a file that cannot be read or that others may read, `ConfigError` for a malformed one (protocol 9.7)."""
    reader = FileReader(context.folder / options.path, parse_table, required=options.required, private=not options.any_mode)
    source = PolledSecrets(reader, poll=options.poll)
    await source.open()
    yield source


class FileReader:
    """Reads one file with `parse`, which takes its text and its name and gives names to values."""

    def __init__(self, path: Path, parse: Callable[[str, str], dict[str, str]], *, required: bool = True, private: bool = False) -> None:
        self._path, self._parse, self._required, self._private = path, parse, required, private

    @property
    def place(self) -> str:
        return str(self._path)

    def where(self, name: str) -> str:
        return self.place

    def stamp(self) -> Stamp:
        return stamp_of(self._path)

    def read(self) -> Reading:
        try:
            file = open_to_read(self._path)
        except FileNotFoundError:
            if self._required:
                raise SecretError(f"{self._path}: there is no such file of secrets") from None
            return Reading({}, {})
        except OSError as error:
            raise SecretError(f"{self._path}: cannot be read ({error.strerror})") from None
        with file:
            status = os.fstat(file.fileno())
            mode = stat.S_IMODE(status.st_mode)
            if self._private and mode & PRIVATE:
                raise SecretError(f"{self._path}: others may read it (mode {mode:o}): chmod 600 {self._path}, or set any_mode = true")
            found = parsed(self._parse, content(file, self._path), self._path)
        if isinstance(found, PyWattError):
            raise found
        return Reading(found, dict.fromkeys(found, status.st_mtime))


def stamp_of(path: Path) -> Stamp:
    """The stamp of one file, or of what a link leads to."""
    try:
        status = path.stat()
    except OSError as error:
        return Stamp(error.errno, 0.0)
    key = (status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return Stamp(key, max(status.st_mtime, status.st_ctime))


def open_to_read(path: str | Path, flags: int = 0, folder: int | None = None) -> FileIO:
    """The file, open; a relative path begins in `folder`. A pipe that nobody writes to does not hold us up."""
    return FileIO(path, opener=lambda name, mode: os.open(name, mode | flags | os.O_NONBLOCK, dir_fd=folder))


def content(file: FileIO, path: str | Path, longest: int = LONGEST) -> bytes:
    """All of an open file. Raises `SecretError` where it is no regular one, or has more than `longest` bytes."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise SecretError(f"{path}: is no regular file, so it cannot be read more than once")
    data, problem, before = bytearray(), "", -1
    try:
        while before < len(data) <= longest:
            before = len(data)
            data += file.read(min(status.st_size, longest) + 1) or b""
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    if len(data) > longest:
        problem = f"has more than {longest} bytes"
    if problem:
        data.clear()  # this frame goes out with the error
        raise SecretError(f"{path}: {problem}")
    return bytes(data)


def parsed(parse: Callable[[str, str], dict[str, str]], data: bytes, path: Path) -> dict[str, str] | PyWattError:
    """What the file says, or what is wrong with it, freed of the frames and causes in which the text of the file stood."""
    try:
        return parse(decoded(data, path, "utf-8-sig"), str(path))
    except PyWattError as error:
        return error.with_traceback(None)
    finally:
        del data


def decoded(data: bytes, path: Path, encoding: str = "utf-8") -> str:
    """The text. Raises `SecretError` that names the line which is none."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    raise SecretError(f"{path}:{line}: not UTF-8")


def parse_table(text: str, file: str) -> dict[str, str]:
    """A flat table of texts. The parser's own message may quote the line, so only the place of it is repeated."""
    import re
    import tomllib

    wanted = 'A file of secrets is a flat table: NAME = "value"'
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is no TOMLDecodeError
        place = re.search(r"at line (\d+)", str(error))
        line = place.group(1) if place else str(text.count("\n") + 1)
    else:
        wrong = next((name for name, value in table.items() if not isinstance(value, str)), None)
        if wrong is None:
            return table
        raise ConfigError(f"{file}:{_line(text, wrong)}: {wrong if wrong.isidentifier() else repr(wrong)} is not text. {wanted}")
    raise ConfigError(f"{file}:{line}: not valid TOML. {wanted}")


def _line(text: str, name: str) -> int:
    """Where a key stands, or the first of its table."""
    from ..config.positions import positions

    return min((line for keys, line in positions(text).items() if keys[0] == name), default=1)
