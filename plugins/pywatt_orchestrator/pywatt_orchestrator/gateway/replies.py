"""What the gateway says itself: problems, the redirect to a mount, the index page."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .routing import RouteTable
    from .templates import Methods

Lines = Sequence[tuple[str, str]]
"""Header lines: name and value."""
PHRASES = {status.value: status.phrase for status in HTTPStatus}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def prefers_text(accept: bytes) -> bool:
    """Whether a person reads the answer: the client names a text type and not JSON."""
    return b"text/" in accept and b"json" not in accept


def problem(status: int, detail: str, *, accept: bytes, request_id: bytes, module: str | None) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of an error: ``application/problem+json`` (RFC 9457), or text for a client that prefers it."""
    title = PHRASES[status]
    lines = [("Cache-Control", "no-store")]
    if prefers_text(accept):
        return [*lines, ("Content-Type", "text/plain; charset=utf-8")], f"{status} {title}: {detail}\n".encode()
    fields = {"status": status, "title": title, "detail": detail, "module": module, "request_id": request_id.decode()}
    body = json.dumps({name: value for name, value in fields.items() if value is not None}) + "\n"
    return [*lines, ("Content-Type", "application/problem+json")], body.encode()


def allow(methods: Methods) -> str:
    """The value of an ``Allow`` header."""
    return ", ".join(sorted(method.decode() for method in methods))


def index(table: RouteTable, accept: bytes) -> tuple[Lines, bytes]:
    """The modules and their open paths, as a page or as JSON."""
    modules = [(module.name, module.mount, list(table.open_paths(module))) for module in table.modules]
    if prefers_text(accept):
        return [("Content-Type", "text/html; charset=utf-8"), ("Vary", "Accept")], _page(modules).encode()
    listing = [
        {"name": name, "mount": mount, "endpoints": [{"path": path, "methods": methods} for path, methods in paths]}
        for name, mount, paths in modules
    ]
    return [("Content-Type", "application/json"), ("Vary", "Accept")], (json.dumps({"modules": listing}) + "\n").encode()


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Modules</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}}
td{{padding:.1rem 1rem .1rem 0}}code{{font-size:.95em}}</style></head>
<body><h1>Modules</h1>
{sections}
</body></html>
"""


def _page(modules: Iterable[tuple[str, str, list[tuple[str, list[str]]]]]) -> str:
    sections = []
    for name, mount, paths in modules:
        rows = "".join(
            f"<tr><td>{' '.join(map(html.escape, methods))}</td><td><code>{_link(path, methods)}</code></td></tr>\n"
            for path, methods in paths
        )
        nothing = "<p>Nothing is open here.</p>"
        sections.append(
            f"<h2>{html.escape(name)} <small>at {html.escape(mount)}</small></h2>\n" + (f"<table>\n{rows}</table>" if rows else nothing)
        )
    return PAGE.format(sections="\n".join(sections) or "<p>No module is running.</p>")


def _link(path: str, methods: list[str]) -> str:
    text = html.escape(path)
    return f'<a href="{text}">{text}</a>' if "GET" in methods and not set(path) & set("{*:") else text
