"""What Git would do with a file of keys."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT = 10.0


def in_repository(path: Path) -> bool:
    """Whether a folder above the file is under Git."""
    return any((folder / ".git").exists() for folder in path.absolute().parents)


def is_tracked(path: Path) -> bool:
    """Whether the file is, or is about to be, in a commit. False where Git is not there to ask."""
    return _git(path, "ls-files", "--error-unmatch") == 0


def is_ignored(path: Path) -> bool:
    """Whether ``git add`` passes the file over; without Git at hand, whether ``.gitignore`` beside it names it."""
    answer = _git(path, "check-ignore", "--quiet", "--no-index")
    if answer is not None:
        return answer == 0
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


def _git(path: Path, *arguments: str) -> int | None:
    """How a question to Git ended, None where it cannot be asked."""
    command = ["git", "-C", str(path.parent), *arguments, "--", path.name]
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return None
