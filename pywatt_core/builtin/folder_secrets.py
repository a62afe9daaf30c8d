"""Secrets in a folder, one file each, as Kubernetes, Docker and systemd put them before a process.

Kubernetes swaps a whole folder at once: ``NAME`` is a link to ``..data/NAME``, and ``..data`` one to a hidden folder beside it. Links
are followed as long as they stay inside.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import SecretError
from .file_secrets import content, decoded, open_to_read, stamp_of
from .polled_secrets import PolledSecrets, Reading, Stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import FileIO

    from ..interfaces import Context
    from .secret_options import FolderOptions

NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,252}")
"""Names of files that are names of secrets: what Kubernetes and Docker allow, but for hidden ones."""

FOLDER: Final = os.O_DIRECTORY | os.O_NOFOLLOW | getattr(os, "O_PATH", os.O_RDONLY)
"""How a folder is opened to go on from there."""

MOST_FILES: Final = 4096
MOST_BYTES: Final = 16 * 1024 * 1024
"""What one folder may hold."""


@asynccontextmanager
async def open_folder(options: FolderOptions, context: Context) -> AsyncIterator[PolledSecrets]:
    """Raises `SecretError` where there is no such folder; a file in it that cannot be read is told when its secret is asked for."""
    source = PolledSecrets(FolderReader(context.folder / options.path, required=options.required), poll=options.poll)
    await source.open()
    yield source


class FolderReader:
    """Reads every file of a folder that is not hidden and no folder itself."""

    def __init__(self, folder: Path, *, required: bool = True) -> None:
        self._folder, self._required = folder, required

    @property
    def place(self) -> str:
        return str(self._folder)

    def where(self, name: str) -> str:
        return str(self._folder / name) if NAME.fullmatch(name) else self.place

    def stamp(self) -> Stamp:
        try:
            names = self._names()
        except SecretError as error:
            return Stamp(str(error), 0.0)
        stamps = [stamp_of(self._folder), *(stamp_of(self._folder / name) for name in names)]
        return Stamp((*names, *(stamp.key for stamp in stamps)), max(stamp.newest for stamp in stamps))

    def read(self) -> Reading:
        values: dict[str, str] = {}
        changed: dict[str, float] = {}
        faults: dict[str, str] = {}
        names, inside, size = self._names(), Path(os.path.realpath(self._folder)), 0
        for name in filter(NAME.fullmatch, names):
            found = self._file(name, inside)
            if isinstance(found, SecretError):
                faults[name] = str(found)
            elif found is not None:
                values[name], changed[name] = found
                size += len(values[name])
            if size > MOST_BYTES:
                values, found = {}, None  # this frame goes out with the error
                raise SecretError(f"{self._folder}: holds more than {MOST_BYTES} characters of secrets")
        odd = [name for name in names if not NAME.fullmatch(name)]
        note = f"{self._folder}: left out, because no secret has such a name: {', '.join(map(ascii, odd[:5]))}"
        return Reading(values, changed, faults=faults, notes=frozenset({note}) if odd else frozenset())

    def _names(self) -> list[str]:
        """What is there and not hidden, files or not, in order."""
        try:
            with os.scandir(self._folder) as entries:
                names = [entry.name for entry in islice(entries, MOST_FILES + 1)]
        except FileNotFoundError:
            if not self._required:
                return []
            raise SecretError(f"{self._folder}: there is no such folder of secrets") from None
        except OSError as error:
            raise SecretError(f"{self._folder}: cannot be read ({error.strerror})") from None
        if len(names) > MOST_FILES:
            raise SecretError(f"{self._folder}: holds more than {MOST_FILES} files: is this a folder of secrets?")
        return sorted(name for name in names if not name.startswith("."))

    def _file(self, name: str, inside: Path) -> tuple[str, float] | SecretError | None:
        """The value in one file and when it was written, or what is wrong with it; None where it is a folder, or leads to nothing."""
        path = self._folder / name
        try:
            real = Path(os.path.realpath(path))
            if not real.is_relative_to(inside):
                return SecretError(f"{path}: is a link that leads out of the folder")
            with _open_inside(inside, real) as file:
                value = decoded(content(file, path), path)
                return _without_line_end(value), os.fstat(file.fileno()).st_mtime
        except (FileNotFoundError, IsADirectoryError):
            return None
        except OSError as error:
            return SecretError(f"{path}: cannot be read ({error.strerror})")
        except SecretError as error:
            return error.with_traceback(None)


def _open_inside(inside: Path, real: Path) -> FileIO:
    """The file, on a way without links: somebody may have put one there since the way was found."""
    *folders, name = real.relative_to(inside).parts or (".",)
    with ExitStack() as stack:
        here = None
        for folder in (str(inside), *folders):
            here = os.open(folder, FOLDER, dir_fd=here)
            stack.callback(os.close, here)
        return open_to_read(name, os.O_NOFOLLOW, here)


def _without_line_end(text: str) -> str:
    """Without the one end of a line that an editor, or ``echo``, put after the value."""
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
