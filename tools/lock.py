"""Make constraints.txt anew: every third-party package, exact version, hashes of all its files, no URL and no host.

The requirements are read from the pyproject.toml files of the repository, with all their extras, the groups ``dev`` and
``bench``, and what building needs; uv resolves them for all platforms and every Python from 3.11 on. Where uv is not on PATH
it is installed into a scratch environment. ``python -m tools.lock --upgrade`` takes the newest versions, otherwise those that
constraints.txt names are kept where they fit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tools.environment import CONSTRAINTS, distributions, find_uv, make_environment

OLDEST = "3.11"
HEADER = """\
# Every third-party package, exact versions with hashes, for all platforms and Python 3.11 and newer.
# Made by `make constraints` from the pyproject.toml files; install with `pip install --require-hashes -r constraints.txt`.
"""


def requirements() -> list[str]:
    """What the distributions, their extras, their groups and their builds ask for, this repository's own left out."""
    found: set[str] = set()
    for folder in distributions():
        table = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        project = table["project"]
        found.update(project.get("dependencies", []))
        for extra in project.get("optional-dependencies", {}).values():
            found.update(extra)
        found.update(table["build-system"]["requires"])
        for group in table.get("dependency-groups", {}).values():
            found.update(group)
    return sorted(line for line in found if not re.match(r"pywatt[-_]", line))


def resolve(uv: str, wanted: list[str], *, upgrade: bool) -> str:
    """The resolved list in pip's format, starting from the versions of today's file unless `upgrade` asks for newer ones."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "constraints.txt"
        if CONSTRAINTS.exists() and not upgrade:
            output.write_text(CONSTRAINTS.read_text(encoding="utf-8"), encoding="utf-8")
        command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", OLDEST, "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--no-config"]
        command += ["--output-file", str(output), "-"]
        if upgrade:
            command.append("--upgrade")
        subprocess.run(command, input="\n".join(wanted), text=True, check=True, cwd=scratch)
        return output.read_text(encoding="utf-8")


def scratch_uv(folder: Path) -> str:
    """A uv of its own for this run, from the index that pip is configured for."""
    os.environ["UV"] = ""
    make_environment(folder)
    subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv"], check=True)
    return str(folder / "bin" / "uv")


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        uv = find_uv() or scratch_uv(Path(scratch) / "uv")
        text = resolve(uv, requirements(), upgrade="--upgrade" in arguments)
    if "://" in text or re.search(r"^-", text, re.MULTILINE):
        print("lock: the resolution names an address or an option, which constraints.txt must not:", file=sys.stderr)
        print("\n".join(line for line in text.splitlines() if "://" in line or line.startswith("-")), file=sys.stderr)
        return 1
    CONSTRAINTS.write_text(HEADER + text, encoding="utf-8")
    print(f"constraints.txt: {len(re.findall(r'^[a-z0-9]', text, re.MULTILINE))} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
