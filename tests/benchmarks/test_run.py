"""The table of benchmarks: each figure with a verdict, and a broken benchmark that breaks nothing but itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import run

if TYPE_CHECKING:
    from pathlib import Path

FIGURE: dict[str, Any] = {
    "claim": "P0", "what": "nothing", "ours": 1.5, "peer": 3.0, "limit": 1.0, "peer_name": "them", "limit_name": "physics",
    "unit": "us", "ratio": 0.5, "target": "<= 1", "ok": True,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of benchmarks; nothing is compiled."""
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    monkeypatch.setattr(run, "compile_bytecode", lambda: None)
    return tmp_path


def write(folder: Path, name: str, program: str) -> None:
    (folder / name).write_text(f"# --json\n{program}\n", encoding="utf-8")


def printing(*figures: dict[str, Any]) -> str:
    return f"print({json.dumps(json.dumps(figures))})"


def test_each_figure_is_a_row_with_its_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missed = {**FIGURE, "ok": False, "ratio": 2.0}
    skipped = {**FIGURE, "ours": None, "ok": None, "skipped": "nginx is not here"}
    write(folder, "one.py", printing(FIGURE, missed, skipped))
    assert run.main([]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == list(run.COLUMNS)
    assert "1.50 us" in rows[1]
    assert "3.00 (them)" in rows[1]
    assert rows[1].endswith("met")
    assert rows[2].endswith("MISSED")
    assert rows[3].endswith("skipped: nginx is not here")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("raise SystemExit('the server did not start')", "the server did not start"),
        ("print('no JSON')", "not what README.md asks for"),
        ("print('[{}]')", "not what README.md asks for"),
    ],
)
def test_a_broken_benchmark_is_named_and_the_others_are_run(
    folder: Path, capsys: pytest.CaptureFixture[str], program: str, why: str
) -> None:
    write(folder, "bad.py", program)
    write(folder, "good.py", printing(FIGURE))
    assert run.main([]) == 1
    out = capsys.readouterr().out
    assert f"broken: {why}" in out or why in out
    assert "bad" in out
    assert "met" in out


def test_claims_stand_in_the_order_of_their_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, "a.py", printing({**FIGURE, "claim": "sqlite"}, {**FIGURE, "claim": "P10"}))
    write(folder, "b.py", printing({**FIGURE, "claim": "P2", "what": "first"}, {**FIGURE, "claim": "P2", "what": "second"}))
    assert run.main([]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [["P2", "first"], ["P2", "second"], ["P10", "nothing"], ["sqlite", "nothing"]]


def test_a_file_that_prints_no_figures_is_no_benchmark(folder: Path) -> None:
    (folder / "load.py").write_text("", encoding="utf-8")
    assert run.benchmarks() == []


def test_a_name_that_no_benchmark_has_lists_those_there_are(folder: Path) -> None:
    write(folder, "codec.py", "")
    with pytest.raises(SystemExit, match="no benchmark is called codex; there are codec"):
        run.benchmarks(["codex"])


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.0041, "0.004"), (1.5, "1.50"), (42.36, "42.4"), (44623.0, "44,623")])
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert run.number(value) == text
