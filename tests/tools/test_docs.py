"""The builder of the documentation: pages that link to each other, and a word for every link that leads nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.docs import blocks, prepare, render, slug

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "howto").mkdir(parents=True)
    (tmp_path / "README.md").write_text("# Top\n\n[how](docs/howto/serve.md#step-one) [code](code.py)\n", encoding="utf-8")
    (tmp_path / "docs" / "README.md").write_text("# Index\n\n[up](../README.md)\n", encoding="utf-8")
    (tmp_path / "docs" / "howto" / "serve.md").write_text("# How to serve\n\n## Step one!\n\n```python\nprint(1)\n```\n", encoding="utf-8")
    (tmp_path / "code.py").touch()
    return tmp_path


def test_links_between_files_become_links_between_pages(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    pages, problems = prepare(repository)
    assert problems == []
    site = tmp_path_factory.mktemp("site") / "site"
    render(site, pages)
    top = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="docs/howto/serve.html#step-one"' in top
    assert '<a title="code.py">' in top
    assert 'href="../index.html"' in (site / "docs" / "index.html").read_text(encoding="utf-8")
    page = (site / "docs" / "howto" / "serve.html").read_text(encoding="utf-8")
    assert '<h2 id="step-one">' in page
    assert 'class="highlight"' in page
    assert '<a href="serve.html" aria-current="page">How to serve</a>' in page


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("gone.md", "leads to no file"),
        ("../../outside.md", "leads to no file"),
        ("howto/serve.md#step-nine", "has no heading #step-nine"),
        ("#nowhere", "this page has no heading #nowhere"),
        ("../code.py#L3", "has no heading #L3"),
    ],
)
def test_a_link_that_leads_nowhere_is_a_problem(repository: Path, link: str, problem: str) -> None:
    (repository / "docs" / "README.md").write_text(f"# Index\n\n[x]({link})\n", encoding="utf-8")
    _, problems = prepare(repository)
    assert len(problems) == 1
    assert problem in problems[0]
    assert problems[0].startswith("docs/README.md: ")


def test_headings_of_one_name_get_anchors_of_their_own() -> None:
    assert slug("`pywatt up`, and more", set()) == "pywatt-up-and-more"
    assert slug("Same", {"same"}) == "same-1"


def test_a_fenced_block_knows_its_place_and_its_note(repository: Path) -> None:
    page = repository / "docs" / "howto" / "serve.md"
    page.write_text("# x\n\n```python notest: needs a server\nawait x\n```\n", encoding="utf-8")
    (block,) = blocks(page.relative_to(repository), repository)
    assert (block.line, block.language, block.note, block.text) == (3, "python", "notest: needs a server", "await x\n")
