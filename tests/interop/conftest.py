"""The module that is started, and a way to start it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.environment import ROOT

ORDINARY = ROOT / "tests" / "interop" / "ordinary.py"


@pytest.fixture
def ordinary(tmp_path: Path) -> Path:
    """A copy in a folder of its own, where no configuration is found."""
    file = tmp_path / "ordinary.py"
    file.write_text(ORDINARY.read_text())
    return file
