"""Make virtual environments and install into them: with uv where it is there, with pip where it is not.

``python -m tools.environment dependencies`` makes ``.venv`` and installs constraints.txt, ``… packages`` installs the
distributions of this repository into it, editable, ``… wheels`` those built into ``dist`` instead. The Makefile and
``.ci`` call them; the tests of built wheels use the functions.
Standard library alone: this runs before anything is installed.

``UV`` names the uv to use; set to nothing it means pip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "constraints.txt"


class SetUpError(Exception):
    """The environment could not be made; the text is a sentence that says how to mend that."""


def distributions(root: Path = ROOT) -> list[Path]:
    """The folders of the repository's distributions, the core first."""
    return [root, *sorted(path.parent for path in root.glob("plugins/*/pyproject.toml"))]


def find_uv() -> str | None:
    """The uv to use, or None where pip is to do the work."""
    return shutil.which(os.environ.get("UV", "uv") or "")


def make_environment(folder: Path, python: str = sys.executable) -> None:
    """Make a virtual environment at `folder`. Raises `SetUpError` where this Python cannot."""
    uv = find_uv()
    if uv is not None:
        run([uv, "venv", "--quiet", "--no-project", "--python", python, str(folder)])
        return
    if subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False).returncode:
        version = subprocess.check_output([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True).strip()
        mend = f"run 'apt-get install python{version}-venv' as root"
        raise SetUpError(f"{python} cannot make virtual environments, because its ensurepip is missing: {mend}")
    run([python, "-m", "venv", str(folder)])


def install(folder: Path, *arguments: str) -> None:
    """``pip install ARGUMENTS`` into the environment at `folder`."""
    python = str(folder / "bin" / "python")
    uv = find_uv()
    if uv is not None:
        run([uv, "pip", "install", "--quiet", "--python", python, *arguments])
    elif subprocess.run([python, "-c", "import pip"], capture_output=True, check=False).returncode:
        raise SetUpError(f"{folder} has no pip, because uv made it, and there is no uv now: remove it ('make clean') and try again")
    else:
        run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *arguments])


def run(command: list[str]) -> None:
    status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    if status:
        raise SetUpError(f"this failed, with exit status {status}: {' '.join(command)}")


def install_dependencies() -> None:
    """Make ``.venv`` where there is none, and install every third-party package, exact versions with hashes."""
    if not (VENV / "bin" / "python").exists():
        print(f"making .venv with Python {'.'.join(map(str, sys.version_info[:3]))}", flush=True)
        make_environment(VENV)
    print(f"installing constraints.txt with {'uv' if find_uv() else 'pip'}", flush=True)
    install(VENV, "--require-hashes", "-r", str(CONSTRAINTS))


def install_packages() -> None:
    """Install the distributions of this repository, editable, with nothing fetched."""
    folders = distributions()
    print("installing " + ", ".join(f"./{folder.relative_to(ROOT)}" if folder != ROOT else "." for folder in folders), flush=True)
    editables = [argument for folder in folders for argument in ("-e", str(folder))]
    install(VENV, "--no-deps", "--no-build-isolation", *editables)


def install_wheels() -> None:
    """Install the wheels in ``dist``, with nothing fetched."""
    wheels = sorted(str(path) for path in (ROOT / "dist").glob("pywatt_*.whl"))
    print("installing " + ", ".join(Path(path).name for path in wheels), flush=True)
    install(VENV, "--no-deps", *wheels)


STEPS = {"dependencies": install_dependencies, "packages": install_packages, "wheels": install_wheels}


def main(arguments: list[str]) -> int:
    try:
        for name in arguments:
            STEPS[name]()
    except SetUpError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
