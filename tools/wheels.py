"""Build the wheel and the sdist of every distribution: ``python -m tools.wheels FOLDER``. Nothing is fetched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.environment import ROOT, SetUpError, distributions


def build(target: Path, root: Path = ROOT) -> list[Path]:
    """Build all distributions of the repository at `root` into `target`; the files built, wheels and sdists. Raises `SetUpError`."""
    target.mkdir(parents=True, exist_ok=True)
    for folder in distributions(root):
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(target.resolve())]
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SetUpError(f"{folder} cannot be built:\n{done.stdout}{done.stderr}")
    return sorted(path for path in target.iterdir() if path.name.endswith((".whl", ".tar.gz")))


def main(arguments: list[str]) -> int:
    target = Path(arguments[0] if arguments else "dist")
    for stale in [*target.glob("pywatt_*.whl"), *target.glob("pywatt_*.tar.gz")]:
        stale.unlink()
    try:
        for path in build(target):
            print(path)
    except SetUpError as error:
        print(f"wheels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
