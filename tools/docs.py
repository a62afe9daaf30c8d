"""Render the documentation into plain HTML pages and check every link: ``python -m tools.docs FOLDER``. Nothing is fetched.

The pages are the Markdown files at the top of the repository, below ``docs/``, and the README of each plugin; they read
the same in a code browser. A link to a missing file or heading is a problem, and problems make the exit status 1.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from tools.environment import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

GROUPS = {
    "": "PyWatt",
    "docs": "Documentation",
    "docs/tutorial": "Tutorial",
    "docs/howto": "How to",
    "docs/reference": "Reference",
    "docs/explanation": "Explanation",
    "docs/decisions": "Decisions",
    "plugins": "Plugins",
    "benchmarks": "Benchmarks",
    "examples": "Examples",
}

PATTERNS = ("*.md", "docs/**/*.md", "plugins/*/README.md", "benchmarks/README.md", "examples/**/README.md")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · PyWatt</title>
<link rel="stylesheet" href="{top}style.css">
</head>
<body>
<nav aria-label="Pages">{navigation}</nav>
<main>{body}</main>
</body>
</html>
"""

STYLE = """:root { color-scheme: light dark; --line: #8884; --accent: #0b6bcb; }
@media (prefers-color-scheme: dark) { :root { --accent: #6cb6ff; } .highlight { background: #f8f8f8; color: #222; } }
body { margin: 0; display: grid; grid-template-columns: 17rem minmax(0, 52rem); gap: 2rem; font: 16px/1.55 system-ui, sans-serif; }
nav { padding: 1.5rem; border-right: 1px solid var(--line); font-size: 0.9rem; }
nav h2 { font-size: 0.8rem; text-transform: uppercase; letter-spacing: 0.05em; margin: 1.2rem 0 0.3rem; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav a[aria-current] { font-weight: 600; }
main { padding: 1.5rem 1.5rem 4rem; overflow-wrap: break-word; }
a { color: var(--accent); }
pre { padding: 0.8rem 1rem; overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; font-size: 0.85rem; line-height: 1.45; }
code { font-family: ui-monospace, monospace; font-size: 0.9em; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border: 1px solid var(--line); padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }
@media (max-width: 60rem) { body { display: block; } nav { border: 0; border-bottom: 1px solid var(--line); } }
"""


@dataclass
class Page:
    """One Markdown file: its tokens, its title and the anchors that links may name."""

    path: Path
    tokens: list[Token]
    title: str
    anchors: set[str] = field(default_factory=set)

    @property
    def output(self) -> Path:
        """Where the page goes, relative to the site's folder: a README is its folder's index."""
        relative = self.path.with_suffix(".html")
        return relative.with_name("index.html") if self.path.stem == "README" else relative

    @property
    def group(self) -> str:
        folder = self.path.parent.as_posix()
        return "" if folder == "." else next((name for name in GROUPS if name and name in {folder, folder.partition("/")[0]}), "")


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, its language, the rest of its first line, its text."""

    page: Path
    line: int
    language: str
    note: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path, root: Path = ROOT) -> list[Block]:
    """The fenced blocks of the page `page`, in order."""
    found = []
    for token in markdown().parse((root / page).read_text(encoding="utf-8")):
        if token.type == "fence" and token.map is not None:
            language, _, note = token.info.strip().partition(" ")
            found.append(Block(page, token.map[0] + 1, language, note, token.content))
    return found


def sources(root: Path = ROOT) -> list[Path]:
    """The Markdown files of the documentation, relative to `root`."""
    found = [path for pattern in PATTERNS for path in root.glob(pattern)]
    return sorted({path.relative_to(root) for path in found})


def slug(heading: str, taken: set[str]) -> str:
    """The anchor of a heading, as code browsers make it: lower case, no punctuation, hyphens for spaces, a number where it is taken."""
    plain = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
    anchor, number = plain, 0
    while anchor in taken:
        number += 1
        anchor = f"{plain}-{number}"
    return anchor


def read(path: Path, root: Path = ROOT) -> Page:
    """Parse one Markdown file and give its headings anchors."""
    tokens = markdown().parse((root / path).read_text(encoding="utf-8"))
    page = Page(path, tokens, path.stem)
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = "".join(child.content for child in inline.children or ())
        anchor = slug(text, page.anchors)
        page.anchors.add(anchor)
        opening.attrSet("id", anchor)
        if opening.tag == "h1" and page.title == path.stem:
            page.title = text
    return page


def markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"highlight": colour}).enable("table")


def colour(code: str, language: str, _attributes: str) -> str:
    """A fenced block in colour; "" leaves a language that nobody knows to the plain rendering."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    return f"<pre>{highlight(code, lexer, HtmlFormatter(nowrap=True))}</pre>".replace("<pre>", '<pre class="highlight">', 1)


def links(tokens: list[Token]) -> Iterator[Token]:
    """Every link and image of a page."""
    for token in tokens:
        if token.type in {"link_open", "image"}:
            yield token
        yield from links(token.children or [])


def connect(page: Page, pages: dict[Path, Page], root: Path) -> Iterator[str]:
    """Turn the page's links to Markdown files into links to pages; what leads nowhere is a problem."""
    for token in links(page.tokens):
        name = "src" if token.type == "image" else "href"
        target = str(token.attrGet(name) or "")
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = unquote(target).partition("#")
        path = Path(os.path.normpath(page.path.parent / file)) if file else page.path
        there = pages.get(path) or pages.get(path / "README.md")
        if not (root / path).exists() or path.is_absolute() or path.parts[:1] == ("..",):
            yield f"{page.path}: the link to {target} leads to no file of the repository"
        elif anchor and (there is None or anchor not in there.anchors):
            yield f"{page.path}: {file or 'this page'} has no heading #{anchor}"
        elif there is None:
            token.attrs.pop(name, None)
            token.attrSet("title", path.as_posix())
        else:
            relative = Path(os.path.relpath(there.output, page.output.parent)).as_posix()
            token.attrSet(name, relative + (f"#{anchor}" if anchor else ""))


def navigation(current: Page, pages: list[Page]) -> str:
    """The list of all pages, by group, as seen from `current`."""
    parts = []
    for group, title in GROUPS.items():
        members = [page for page in pages if page.group == group]
        if not members:
            continue
        items = []
        for page in sorted(members, key=lambda page: (page.path.stem != "README", page.path)):
            here = ' aria-current="page"' if page is current else ""
            relative = Path(os.path.relpath(page.output, current.output.parent)).as_posix()
            items.append(f'<li><a href="{relative}"{here}>{html.escape(page.title)}</a></li>')
        parts.append(f"<h2>{title}</h2><ul>{''.join(items)}</ul>")
    return "".join(parts)


def prepare(root: Path = ROOT) -> tuple[list[Page], list[str]]:
    """All pages with their links connected, and the problems found on the way."""
    pages = {path: read(path, root) for path in sources(root)}
    problems = [problem for page in pages.values() for problem in connect(page, pages, root)]
    return list(pages.values()), problems


def render(target: Path, pages: list[Page]) -> None:
    """Write the site into `target`, which is made anew."""
    if target.exists():
        shutil.rmtree(target)
    for page in pages:
        output = target / page.output
        output.parent.mkdir(parents=True, exist_ok=True)
        top = "../" * (len(page.output.parts) - 1)
        body = markdown().renderer.render(page.tokens, markdown().options, {})
        text = PAGE.format(title=html.escape(page.title), top=top, navigation=navigation(page, pages), body=body)
        output.write_text(text, encoding="utf-8")
    colours = HtmlFormatter().get_style_defs(".highlight")
    (target / "style.css").write_text(STYLE + colours + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    target = Path(arguments[0] if arguments else "site")
    pages, problems = prepare()
    render(target, pages)
    print(f"{len(pages)} pages: {target / 'index.html'}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
