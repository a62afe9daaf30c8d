"""Run every benchmark and print one table: ``python benchmarks/run.py [NAME …] [--json]``. README.md says what each must print.

The bytecode of the packages and of their libraries is compiled first, because what starts a process would otherwise measure
the compiler. Exit status 1 where a benchmark broke; a missed target is printed, and is for a person to judge.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
DEADLINE = 600
"""Seconds that one benchmark may take."""

COLUMNS = ("claim", "what", "ours", "peer", "limit", "ratio", "target", "verdict")
NUMERIC = {"ours", "ratio"}

Figure = dict[str, Any]


def benchmarks(names: Iterable[str] = ()) -> list[Path]:
    """The files that print figures, or those of the given names."""
    wanted = {name.removesuffix(".py").rpartition("/")[2] for name in names}
    found = [
        path for path in sorted(FOLDER.glob("*.py")) if path.name != Path(__file__).name and "--json" in path.read_text(encoding="utf-8")
    ]
    unknown = wanted - {path.stem for path in found}
    if unknown:
        raise SystemExit(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(path.stem for path in found)}")
    return [path for path in found if not wanted or path.stem in wanted]


def compile_bytecode() -> None:
    """Compile our packages and the libraries; what is compiled already is passed over quickly."""
    folders = [ROOT / "pywatt_core", *sorted(ROOT.glob("plugins/*/pywatt_*")), Path(sysconfig.get_path("purelib"))]
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-j", "0", *map(str, folders)], stdout=subprocess.DEVNULL, check=False)


def measure(path: Path) -> Iterator[Figure]:
    """The figures of one benchmark; a broken one gives a figure that says so."""
    try:
        done = subprocess.run(
            [sys.executable, str(path), "--json"],
            cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield broken(path, f"no result within {DEADLINE} s")
        return
    if done.returncode:
        yield broken(path, (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1])
        return
    try:
        figures = json.loads(done.stdout)
        for figure in figures:
            yield {**figure, "verdict": verdict(figure)}
    except (ValueError, TypeError, KeyError) as error:
        yield broken(path, f"its output is not what README.md asks for: {error!r}")


def broken(path: Path, why: str) -> Figure:
    return {"claim": path.stem, "what": "", "verdict": f"broken: {why}", "broken": True}


def verdict(figure: Figure) -> str:
    """One word on a figure, or why there is none. Raises `KeyError` where the figure lacks a member."""
    if figure.get("skipped"):
        return f"skipped: {figure['skipped']}"
    if figure["ours"] is None:
        raise KeyError("skipped")
    return {True: "met", False: "MISSED", None: "-"}[figure["ok"]]


def cell(figure: Figure, column: str) -> str:
    """One cell of the table: figures with three digits, the peer's and the limit's with their names."""
    value = figure.get(column)
    if value is None:
        return "-" if column in NUMERIC else ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        text = number(value)
        if column == "ours":
            return f"{text} {figure.get('unit', '')}".strip()
        name = figure.get(f"{column}_name", "")
        return f"{text} ({name})" if name else text
    return str(value)


def number(value: float) -> str:
    """Three significant digits, and no exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - len(str(int(abs(value)))) + 1) if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def table(figures: list[Figure]) -> str:
    """The figures as columns of text."""
    rows = [list(COLUMNS), *([cell(figure, column) for column in COLUMNS] for figure in figures)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def order(figure: Figure) -> tuple[int, str]:
    """Claims by their number, then what has a name instead; the figures of one claim stay as they were printed."""
    number_of_claim = re.fullmatch(r"[A-Z](\d+)", str(figure["claim"]))
    return (int(number_of_claim[1]), "") if number_of_claim else (sys.maxsize, str(figure["claim"]))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the benchmarks and print one table.")
    parser.add_argument("names", nargs="*", help="only these, for example codec")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    paths = benchmarks(options.names)
    compile_bytecode()
    figures: list[Figure] = []
    for path in paths:
        print(f"{path.stem} ...", file=sys.stderr, flush=True)
        figures.extend(measure(path))
    figures.sort(key=order)
    print(json.dumps(figures, indent=1) if options.json else table(figures))
    return 1 if any(figure.get("broken") for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
