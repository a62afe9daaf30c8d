"""What Git would do with a file of keys."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT = 10.0


def in_repository(path: Path) -> bool:
    """Whether a folder above the file is under Git."""
    return any(os.path.lexists(folder / ".git") for folder in path.absolute().parents)


def is_tracked(path: Path) -> bool | None:
    """Whether the file is, or is about to be, in a commit. None where Git cannot be asked."""
    return _git(path, "ls-files", "--error-unmatch")


def is_ignored(path: Path) -> bool:
    """Whether ``git add`` passes the file over; where Git cannot be asked, whether ``.gitignore`` beside it names it."""
    answer = _git(path, "check-ignore", "--quiet", "--no-index")
    if answer is not None:
        return answer
    try:
        lines = (path.parent / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return bool({path.name, f"/{path.name}", f"{path.name}*", f"/{path.name}*"} & {line.strip() for line in lines})


def ignore(path: Path) -> bool:
    """Add the file, and what it is called while it is written, to ``.gitignore`` beside it.

    Only where it is in a repository and not ignored. Tells whether something was written.
    """
    if not in_repository(path) or is_ignored(path):
        return False
    listing = path.parent / ".gitignore"
    text = listing.read_text(encoding="utf-8", errors="surrogateescape") if listing.exists() else ""
    with listing.open("a", encoding="utf-8") as file:
        file.write(f"{'' if not text or text.endswith(chr(10)) else chr(10)}/{path.name}*\n")
    return True


def _git(path: Path, *arguments: str) -> bool | None:
    """Git's answer to a question. None without one: there is no Git, or it does not look into a repository of somebody else."""
    command = ["git", "-C", str(path.parent), *arguments, "--", path.name]
    try:
        code = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return None
    return code == 0 if code in (0, 1) else None
