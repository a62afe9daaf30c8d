"""How commands print: tables in colour where a terminal is there, plain text where not, and errors as one message."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

STATUS_STYLES = {"active": "green", "inactive": "dim", "disabled": "yellow", "broken": "bold red"}


def on_terminal() -> bool:
    """Whether standard output is a terminal that a person reads."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def print_json(value: Any) -> None:
    import json

    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be; on a terminal rich wraps them to its width."""
    if on_terminal():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, header_style="bold", pad_edge=False)
        for header in headers:
            table.add_column(header, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell, style=STATUS_STYLES.get(cell, "")) for cell in row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    for row in (headers, *rows):
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def complain(message: str) -> None:
    """An error, with whatever is secret in it hidden."""
    from ..redaction import redact

    sys.stderr.write(f"pywatt: {redact(message)}\n")


def warn(message: str) -> None:
    from ..redaction import redact

    sys.stderr.write(f"warning: {redact(message)}\n")


@contextmanager
def shielded_stdout() -> Iterator[None]:
    """What plugins print while they are loaded goes to standard error: standard output holds only what was asked for."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output
        yield
        return
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
