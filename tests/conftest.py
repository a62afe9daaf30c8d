"""Fixtures for all tests of the core."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class FakeSite:
    """A folder of installed distributions that exist for one test: real metadata and modules, found as any others are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def install(
        self,
        distribution: str,
        code: str = "",
        *,
        name: str | None = None,
        module: str | None = None,
        version: str = "1.0",
        groups: Mapping[str, Mapping[str, str]] | None = None,
    ) -> str:
        """Write the distribution; return its module's name. `name` is the entry point's, `groups` replaces all entry points."""
        module = module or distribution.replace("-", "_").lower()
        (self.folder / f"{module}.py").write_text(textwrap.dedent(code))
        metadata = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n\nName: not-this\n")
        (metadata / "RECORD").write_text("")
        wanted = groups if groups is not None else {"pywatt": {name or module.removeprefix("pywatt_"): module}}
        lines = [f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items()) for group, entries in wanted.items()]
        (metadata / "entry_points.txt").write_text("\n".join(lines))
        return module

    def run(self, *arguments: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """``pywatt ARGUMENTS`` in a process that has these distributions first on its path."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYWATT") and name != "PYTHONUNBUFFERED"}
        variables |= {"PYTHONPATH": str(self.folder), "COLUMNS": "200", **(environ or {})}
        return subprocess.run(
            [sys.executable, "-m", "pywatt_core.cli.main", *arguments],
            cwd=cwd or self.folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def fake_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    """Distributions for this test; modules that the test imported from them are forgotten afterwards."""
    site = FakeSite(tmp_path / "site")
    monkeypatch.syspath_prepend(str(site.folder))
    yield site
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
