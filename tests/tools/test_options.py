"""The tables of options in the documentation are what the options say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pywatt_core.registry import Registry
from tools.environment import ROOT
from tools.options import MARKED, marked, renewed, table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("page", marked(), ids=str)
def test_the_tables_of_a_page_are_up_to_date(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert renewed(ROOT / page, Registry()) == text, "write them anew: python -m tools.options"


@pytest.mark.parametrize("kind", ["databases", "caches"])
def test_every_database_and_cache_has_its_table(kind: str) -> None:
    registry = Registry()
    shown = {
        found["name"] for page in marked() for found in MARKED.finditer((ROOT / page).read_text(encoding="utf-8")) if found["kind"] == kind
    }
    described = {registry.claim(kind, name).options for name in shown}
    assert {name for name in registry.providers(kind) if registry.claim(kind, name).options not in described} == set()


def test_a_table_is_written_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- options: caches memory -->\nout of date\n<!-- end of options -->\n\nafter\n")
    first = renewed(page, Registry(discover=False))
    assert first.startswith("before\n\n<!-- options: caches memory -->\n\n| option | default | |\n")
    assert "| `max_items` | `10000` | Keys kept at most. |" in first
    assert '| `policy` | `"lru"` |' in first
    assert "| `default_ttl` | none |" in first
    assert "out of date" not in first
    assert first.endswith("|\n\n<!-- end of options -->\n\nafter\n")
    page.write_text(first)
    assert renewed(page, Registry(discover=False)) == first


def test_a_default_is_shown_as_a_file_would_have_it() -> None:
    written = table(Registry(discover=False), "secrets", "dotenv")
    assert '| `path` | `".env"` |' in written
    assert "| `required` | `true` |" in written
    assert '| `hosts` | `["localhost"]` |' in table(Registry(discover=False), "caches", "orchestrator")
