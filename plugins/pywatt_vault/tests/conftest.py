"""The command as people and programs use it: a real process, with pipes or on a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pywatt_vault.document import Scrypt
from pywatt_vault.files import write_whole
from pywatt_vault.keys import KeyPlaces
from pywatt_vault.rotating import Lock, key_lock
from pywatt_vault.sealing import stretched
from pywatt_vault.store import Store
from pywatt_vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PROGRAM = [sys.executable, "-m", "pywatt_core.cli.main"]
DEADLINE = 60.0
CANARY = "vault-canary-Zq81xw"
"""The value of DB_PASSWORD in the vault of these tests."""


class Done(NamedTuple):
    code: int
    out: str
    err: str = ""


def surroundings(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYWATT", "VISUAL", "EDITOR", "XDG"))}
    return {**inherited, "HOME": str(folder), "COLUMNS": "200", "TERM": "dumb", "GIT_CONFIG_NOSYSTEM": "1", **more}


@pytest.fixture
def pywatt(tmp_path: Path) -> Callable[..., Done]:
    """``pywatt(*arguments, input=…, env=…)`` in the test's folder, with pipes and without a terminal."""

    def run(*arguments: str, input: str | bytes = "", env: Mapping[str, str] | None = None, folder: Path = tmp_path) -> Done:
        data = input.encode() if isinstance(input, str) else input
        done = subprocess.run(
            [*PROGRAM, *arguments],
            cwd=folder,
            env=surroundings(tmp_path, env or {}),
            input=data,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
            start_new_session=True,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def terminal(tmp_path: Path) -> Callable[..., Done]:
    """``terminal(*arguments, say=[(prompt, answer), …])`` on a terminal of its own: what it showed, and how it ended."""

    def run(*arguments: str, say: Sequence[tuple[str, str]] = (), env: Mapping[str, str] | None = None) -> Done:
        around = surroundings(tmp_path, env or {})
        process, handle = pty.fork()
        if process == 0:
            try:
                os.chdir(tmp_path)
                os.execve(PROGRAM[0], [*PROGRAM, *arguments], around)
            finally:
                os._exit(127)
        return converse(process, handle, say)

    return run


def converse(process: int, handle: int, say: Sequence[tuple[str, str]]) -> Done:
    shown, waiting, at = b"", list(say), 0
    deadline = time.monotonic() + DEADLINE
    try:
        while time.monotonic() < deadline:
            if waiting and waiting[0][0].encode() in shown[at:]:
                at = len(shown)
                os.write(handle, waiting.pop(0)[1].encode())
            if select.select([handle], [], [], 0.05)[0]:
                try:
                    piece = os.read(handle, 65536)
                except OSError:  # the terminal is gone: so is the process
                    break
                if not piece:
                    break
                shown += piece
        else:
            os.kill(process, 9)
        status = os.waitpid(process, 0)[1]
    finally:
        os.close(handle)
    assert not waiting, f"{waiting[0][0]!r} was not shown; shown: {shown.decode()!r}"
    return Done(os.waitstatus_to_exitcode(status), shown.decode().replace("\r\n", "\n"))


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """A vault with two secrets, and its key beside it."""
    path, lock = tmp_path / "secrets.vault", key_lock("x")
    write_whole(path.with_suffix(".key"), f"{lock.text}\n", mode=0o600)
    secrets = {"DB_PASSWORD": CANARY, "JWT_KEY": "another-canary-Hy72mc"}
    write_whole(path, lock.empty.with_changes(secrets, datetime.now(UTC)).text(), mode=0o644)
    return path


@pytest.fixture
def value(tmp_path: Path) -> Callable[..., str | None]:
    """``value(name, env=…)``: what the vault in the test's folder holds. What `pywatt secrets get` writes has tests of its own."""

    def read(name: str, env: Mapping[str, str] | None = None) -> str | None:
        places = KeyPlaces(variable="PYWATT_VAULT_KEY", file=tmp_path / "secrets.key", environ=env or {})
        return Store(tmp_path / "secrets.vault", places).load().get(name)

    return read


def cheap_lock(passphrase: str) -> Lock:
    """A passphrase that costs no more than a vault may cost least."""
    salt, cost = os.urandom(32), Scrypt(15, 8, 1)
    return Lock(passphrase, Vault.create("x", stretched(passphrase, salt, cost), salt=salt, scrypt=cost))
