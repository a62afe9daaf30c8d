"""What is wrong with a configuration, said so that somebody can mend it: every problem found, each with path, source and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Problem(NamedTuple):
    """One thing that the operator has to change."""

    path: str
    """Where in the configuration, for example ``databases.main.dsn``; empty where it concerns the whole file."""
    message: str
    source: str = ""
    """Where the value comes from, for example ``pywatt.toml:12``."""
    remedy: str = ""
    """What to do about it, a sentence or some lines to paste."""

    def __str__(self) -> str:
        where = f"{self.path} ({self.source})" if self.path and self.source else self.path or self.source
        text = f"{where}: {self.message}" if where else self.message
        return f"{text}. {self.remedy}" if self.remedy else text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is most likely a misspelling of, None where nothing comes close."""
    from difflib import get_close_matches

    found = get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def suggestion(name: str, known: Iterable[str], noun: str) -> str:
    """The remedy for an unknown name: the nearest known one, then all of them."""
    names = sorted(set(known))
    guess = nearest(name, names)
    listed = f"known {noun}: {', '.join(names)}" if names else f"there are no {noun} here"
    return f"Did you mean {guess!r}? ({listed})" if guess else listed[0].upper() + listed[1:]


def report(problems: Sequence[Problem]) -> str:
    """The text of one `ConfigError`: a single problem on its own, several as a numbered list."""
    unique = list(dict.fromkeys(problems))
    if len(unique) == 1:
        return str(unique[0])
    lines = [f"{len(unique)} problems in the configuration:"]
    lines += [f"  {number}. {str(problem).replace(chr(10), chr(10) + '     ')}" for number, problem in enumerate(unique, 1)]
    return "\n".join(lines)


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise one `ConfigError` that lists all of `problems`; return where there are none."""
    if problems:
        raise ConfigError(report(problems), problems=tuple(dict.fromkeys(problems)))
