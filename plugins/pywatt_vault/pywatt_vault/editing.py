"""Values in an editor: in a file that only we can read, in memory where the system has a file system there, and gone afterwards."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import tomllib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import rich_click as click

from pywatt_core.cli.output import complain
from pywatt_core.errors import SecretError
from pywatt_core.redaction import register

from .files import read_regular
from .vault import check_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .store import Store
    from .vault import Vault

TEXT_LIMIT = 32 * 2**20
PREFACE = """\
# One secret a line: NAME = "value". Values of several lines stand between three quotes.
# A line that you remove removes the secret. Save and leave the editor; nothing is written when it fails.

"""
_PLAIN = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f']*")
_PLAIN_LINES = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f]*")


def as_toml(values: Mapping[str, str]) -> str:
    """Names and values as a person edits them."""
    return "".join(f"{_key(name)} = {_quoted(value)}\n" for name, value in sorted(values.items()))


def _key(name: str) -> str:
    return f'"{name}"' if "." in name else name


def _quoted(value: str) -> str:
    if "\n" in value:
        if "'''" not in value and not value.endswith("'") and _PLAIN_LINES.fullmatch(value):
            return f"'''\n{value}'''"
        lines = value.split("\n")
        return '"""\n' + "\n".join(_escaped(line) for line in lines) + '"""'
    if _PLAIN.fullmatch(value) and ('"' in value or "\\" in value):
        return f"'{value}'"
    return f'"{_escaped(value)}"'


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", text)


def from_toml(data: bytes) -> dict[str, str]:
    """What was edited. Raises `SecretError` that names the line, and nothing of what stands there."""
    try:
        text = data.decode("utf-8-sig")
        table = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise SecretError(f"line {data.count(10, 0, error.start) + 1} is not UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # its text may repeat what stands there
        place = re.search(r"at line (\d+)", str(error))
        line = place[1] if place else str(text.rstrip().count("\n") + 1)
        raise SecretError(f'line {line} cannot be read. Each secret is NAME = "value"') from None
    for name, value in table.items():
        try:
            check_name(name)
        except SecretError as error:
            raise SecretError(f"{name!r}: {error}") from None
        if not isinstance(value, str):
            what = "a name with dots needs quotes" if isinstance(value, dict) else "put the value in quotes"
            raise SecretError(f"{name} is not text: {what}")
    return table


def editor(environ: Mapping[str, str]) -> list[str]:
    """The command of ``$VISUAL`` or ``$EDITOR``, or the first usual editor that is installed. Raises `SecretError`."""
    for variable in ("VISUAL", "EDITOR"):
        if environ.get(variable, "").strip():
            try:
                return shlex.split(environ[variable])
            except ValueError:
                raise SecretError(f"${variable} is not a command: a quotation mark is not closed") from None
    for name in ("nano", "vim", "vi"):
        if shutil.which(name):
            return [name]
    raise SecretError('there is no editor: set EDITOR, such as EDITOR=vim or EDITOR="code --wait"')


def run_editor(command: list[str], file: Path, environ: Mapping[str, str]) -> None:
    """Wait until the person is done. Raises `SecretError` where the editor cannot be started or says that it failed."""
    try:
        running = subprocess.Popen([*command, str(file)], env=environ)
    except OSError as error:
        raise SecretError(f"the editor {command[0]} cannot be started ({error.strerror})") from None
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the editor's
    try:
        ended = running.wait()
    except BaseException:
        running.terminate()
        with suppress(subprocess.TimeoutExpired):
            running.wait(5)
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if ended:
        raise SecretError(f"the editor {command[0]} ended with {ended}; nothing was saved")


@contextmanager
def private_folder() -> Iterator[tuple[Path, bool]]:
    """A folder that only we can look into, wiped at the end, also when we are told to end; and whether it is in memory alone.

    Raises `SecretError` where there is no place for it.
    """
    with _ended_by_signals():
        try:
            place, in_memory = _place()
            folder = Path(tempfile.mkdtemp(prefix="pywatt-secrets-", dir=place))
        except OSError as error:
            raise SecretError(f"there is no place for the values while they are edited ({error.strerror})") from None
        try:
            yield folder, in_memory
        finally:
            wipe(folder)


def _place() -> tuple[str, bool]:
    for candidate in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if candidate and os.access(candidate, os.W_OK | os.X_OK) and kind_of(Path(candidate)) in ("tmpfs", "ramfs"):
            return candidate, True
    return tempfile.gettempdir(), False


def kind_of(folder: Path) -> str:
    """The type of the file system that a folder is on, as Linux calls it; empty where that cannot be known."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        device = folder.stat().st_dev
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        left, _, right = line.partition(" - ")
        if left.split()[2:3] == [wanted]:
            return right.split()[0]
    return ""


def write_private(file: Path, text: str) -> None:
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as opened:
            opened.write(text.encode())
    except OSError as error:
        raise SecretError(f"{file}: the values cannot be written there ({error.strerror})") from None


def read_edited(file: Path) -> bytes:
    found = read_regular(file, TEXT_LIMIT, what="edited file")
    if found is None:
        raise SecretError("the editor left no file")
    return found[0]


def wipe(folder: Path) -> None:
    """Overwrite and remove every file in the folder, what an editor left beside ours included."""
    for path in folder.rglob("*"):
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                path.chmod(0o600)
                with path.open("r+b", buffering=0) as file:
                    left = status.st_size
                    while left > 0:
                        left -= file.write(bytes(min(left, 2**20)))
                    os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Be ended by SIGTERM, SIGHUP and SIGQUIT as by an exception, so that what has to be wiped is wiped."""

    def end(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def edit_session(store: Store, environ: Mapping[str, str]) -> list[str]:
    """Let a person edit the values; what changed, in words. Where the text cannot be used, a person at a terminal may go on editing.

    The editor does not see the variable of the key: what it starts in turn has no use for it. Raises `SecretError`; nothing was
    saved then.
    """
    command = editor(environ)
    environ = {name: value for name, value in environ.items() if name != store.places.variable}
    vault = store.load()
    values = {name: vault.get(name) or "" for name in vault.names()}
    with private_folder() as (folder, in_memory):
        if not in_memory:
            sys.stderr.write(f"warning: no file system in memory was found: the values are on disk, in {folder}, until the editor ends\n")
        file = folder / "secrets.toml"
        write_private(file, PREFACE + as_toml(values))
        while True:
            run_editor(command, file, environ)
            try:
                wanted = from_toml(read_edited(file))
                return _save(store, vault, values, wanted)
            except SecretError as error:
                if not _goes_on(str(error)):
                    raise SecretError(f"{error}. Nothing was saved") from None


def _save(store: Store, vault: Vault, values: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    for name, value in wanted.items():
        register(value, name=name)
    changed = {name: value for name, value in wanted.items() if values.get(name) != value}
    removed = sorted(values.keys() - wanted.keys())
    if not changed and not removed:
        return []
    store.change(changed, remove=removed, based_on=vault)
    told = {
        "set": sorted(changed.keys() & values.keys()),
        "added": sorted(changed.keys() - values.keys()),
        "removed": removed,
    }
    return [f"{', '.join(names)} {verb}" for verb, names in told.items() if names]


def _goes_on(problem: str) -> bool:
    """Whether the person wants to repair it; nobody is asked where nobody is there."""
    if not sys.stdin.isatty():
        return False
    complain(problem)
    return click.confirm("Edit again?", default=True, err=True)
