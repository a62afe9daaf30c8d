"""Embeds what is built and when: wheels and sdists of the core get ``pywatt_core/_build.py``; a source tree never has it.

The hash comes from ``PYWATT_GIT_HASH``, else from the sdist that the wheel is built from, else from git, and from git only
where this folder is the top of the working tree. The time comes from ``PYWATT_BUILD_TIME_UTC``, else from the sdist, else
from ``SOURCE_DATE_EPOCH``, else from the clock: with SOURCE_DATE_EPOCH set, two builds give the same bytes.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = "pywatt_core/_build.py"


class EmbedBuild(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling calls it once for each wheel and each sdist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to the distribution, from a temporary place; an editable install has none."""
        if version == "editable":
            return
        root = Path(self.root)
        carried = _carried(root / TARGET)
        git_hash = os.environ.get("PYWATT_GIT_HASH") or carried.get("GIT_HASH") or _commit(root) or "unknown"
        built = os.environ.get("PYWATT_BUILD_TIME_UTC") or carried.get("BUILD_TIME_UTC") or _now()
        text = f'"""Written when this distribution was built."""\n\nGIT_HASH = {git_hash!r}\nBUILD_TIME_UTC = {built!r}\n'
        if carried:  # an unpacked sdist: the file is among the sources, and is what goes into the wheel
            (root / TARGET).write_text(text, encoding="utf-8")
            return
        self._folder = tempfile.TemporaryDirectory()
        source = Path(self._folder.name) / "_build.py"
        source.write_text(text, encoding="utf-8")
        build_data["force_include"][str(source)] = TARGET

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary place."""
        folder = getattr(self, "_folder", None)
        if folder is not None:
            folder.cleanup()


def _carried(path: Path) -> dict[str, str]:
    """What an sdist says about itself."""
    if not path.exists():
        return {}
    return {name: str(value) for name, value in runpy.run_path(str(path)).items() if name.isupper()}


def _commit(root: Path) -> str:
    """The commit of the working tree whose top is `root`; nothing where there is none, or git is not there."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        top = git("rev-parse", "--show-toplevel")
        if not top or Path(top).resolve() != root.resolve():
            return ""
        return git("rev-parse", "--short=12", "HEAD")
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.isoformat(timespec="seconds")
