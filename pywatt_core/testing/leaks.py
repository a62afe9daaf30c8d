"""`assert_no_secret_in`: whether anything of a secret can be read in what a program has shown, written or passed on.

Unlike redaction, which looks for a list of forms, this *reads*: it undoes escapes, percent-encoding, base64, hexadecimal digits and
others, up to three of them one after the other, and looks for the value in each reading.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from io import BytesIO, StringIO
from typing import Any

from ..redaction import Redactor, Secret, redactor
from .leak_places import Process, family_of, memory_of, processes_of, texts_in
from .leak_readings import readings

SHORTEST = 4
"""Values with fewer characters stand in any text by chance: they are looked for as whole words, and not in other readings."""

LINE_FROM = 8
"""A line of a secret of several lines is looked for by itself from this many characters."""

AROUND = 60
"""Characters before and after a find that the report shows, redacted."""

Given = str | bytes | Secret


def assert_no_secret_in(
    *places: object, secrets: Given | Iterable[Given] | Mapping[str, Given] | None = None, piece: int | None = None
) -> None:
    """Fail with an `AssertionError` where a secret can be read in one of `places`, in whatever encoding.

    A place is text or bytes; a `pathlib.Path` of a file, or of a folder with all below it; an exception with its causes, groups,
    notes and the local variables of its frames; a log record; a `Process`, or anything with a ``pid``; an HTTP answer of any
    library, with headers and body; a `StringIO` or `BytesIO`; a container or dataclass of these; anything else as its ``str`` and
    ``repr``. Text is never taken for a path, nor a number for a process; without a place, and for an iterator or open file, which
    reading would use up, it raises TypeError.

    `secrets` is one value or several, by name where the report is to name them; by default all that this process has
    registered for redaction. With `piece`, any stretch of a value with so many characters counts, too: for random values,
    of which no part may be seen. The report names the secret, the place and the way of reading, and never shows the value.
    """
    if not places:
        raise TypeError("there is nothing to search: give at least one place")
    for place in places:
        if _is_used_up(place):
            raise TypeError(f"searching a {type(place).__name__} would use it up: give a list of what it yields, or a file's path")
    hunt = Hunt(_named(secrets), piece)
    for number, place in enumerate(places, 1):
        label = "" if len(places) == 1 else f"place {number}"
        for where, text in texts_in(place, label):
            hunt.search(where, text)
        for process in processes_of(place):
            if process.memory:
                hunt.search_memory(process)


def _is_used_up(place: Any) -> bool:
    """Whether reading it takes away what it holds: an iterator is its own."""
    try:
        return not isinstance(place, StringIO | BytesIO) and iter(place) is place
    except Exception:
        return False


def _named(secrets: Given | Iterable[Given] | Mapping[str, Given] | None) -> list[tuple[str, str | bytes]]:
    """(name, value) of each; names that are not given are numbers."""
    pairs: list[tuple[str, Given]]
    if secrets is None:
        pairs = [(name or "a secret without a name", value) for name, value in redactor.values()]
    elif isinstance(secrets, str | bytes | Secret):
        pairs = [("the secret", secrets)]
    elif isinstance(secrets, Mapping):
        pairs = list(secrets.items())
    else:
        pairs = [(f"secret {number}", value) for number, value in enumerate(secrets, 1)]
    plain = [(name, value.expose_secret() if isinstance(value, Secret) else value) for name, value in pairs]
    if not plain:
        raise ValueError("there is no secret to look for: name some with secrets=, or register them first")
    for name, value in plain:
        if not isinstance(value, str | bytes):
            raise TypeError(f"{name} is no text, bytes or Secret, but {type(value).__name__}")
        if not value.strip():
            raise ValueError(f"{name} is empty: it stands in every text")
    return plain


class Hunt:
    """The secrets that are looked for, and all the spellings in which one of them counts as found."""

    def __init__(self, secrets: Collection[tuple[str, str | bytes]], piece: int | None = None) -> None:
        if piece is not None and piece < SHORTEST:
            raise ValueError(f"a piece of {piece} characters stands in any text by chance: at least {SHORTEST}")
        self._hidden = Redactor()
        self._needles: dict[str, str] = {}
        self._words: dict[str, str] = {}
        for name, value in secrets:
            self._hidden.register(value)
            for needle in _needles(value, piece):
                (self._needles if len(needle) >= SHORTEST else self._words).setdefault(needle, name)
        longest_first = sorted(self._needles, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def search(self, where: str, text: str) -> None:
        """Raise where a secret can be read in `text`."""
        for word, name in self._words.items():
            found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)
            if found:
                self._report(name, where, "as a word of its own", text, found)
        if self._pattern is None:
            return
        for how, reading in readings(text):
            found = self._pattern.search(reading)
            if found:
                self._report(self._needles[found[0]], where, how, reading, found)

    def search_memory(self, process: Process) -> None:
        """Raise where a secret stands in a process's memory: as UTF-8, as Python keeps text, as base64 or hexadecimal digits."""
        needles = {}
        for needle, name in self._needles.items():
            data = needle.encode("utf-8", "surrogateescape")
            needles.update(
                dict.fromkeys((data, needle.encode("utf-16-le", "surrogatepass"), needle.encode("utf-32-le", "surrogatepass")), name)
            )
            needles[data.hex().encode()] = name
        pattern = re.compile(b"|".join(map(re.escape, sorted(needles, key=len, reverse=True))))
        for pid in family_of(process):
            for region, data in memory_of(pid):
                found = pattern.search(data)
                if found:
                    raise AssertionError(f"{needles[found[0]]} stands in the memory of process {pid} ({region})")

    def _report(self, name: str, where: str, how: str, text: str, found: re.Match[str]) -> None:
        begin, end = max(0, found.start() - AROUND), found.end() + AROUND
        around = text[begin : found.start()] + "[REDACTED]" + text[found.end() : end]
        place = f"in {where}" if where else "there"
        raise AssertionError(f"{name} can be read {place} ({how}): {self._hidden.redact(around)!r}") from None


def _needles(value: str | bytes, piece: int | None) -> Iterator[str]:
    """What counts as the secret: the value, stripped, without white space, its long lines, the password of a URL, and pieces."""
    text = value if isinstance(value, str) else value.decode("utf-8", "replace")
    found = [text, text.strip(), *(line.strip() for line in text.splitlines() if len(line.strip()) >= LINE_FROM)]
    if isinstance(value, bytes):
        found.append(value.decode("latin-1"))
    squeezed = re.sub(r"\s+", "", text)
    if len(squeezed) >= LINE_FROM:
        found.append(squeezed)
    password = re.match(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*?:([^/?#]+)@", text.strip())
    if password:
        found.append(password[1])
    if piece is not None:
        found += [text[at : at + piece] for at in range(len(text) - piece + 1)]
    yield from dict.fromkeys(needle for needle in found if needle.strip() and not needle.startswith("-----"))


class LeakCheck:
    """What the pytest fixture `assert_no_secret_in` is: the function, for canaries of its own too."""

    def __init__(self) -> None:
        self.canaries: dict[str, str] = {}
        """The values that were made, by name."""

    def canary(self, name: str = "CANARY", *, awkward: bool = True) -> str:
        """A random value for one secret, with characters in it that every encoding writes differently unless not `awkward`."""
        import secrets

        value = secrets.token_hex(6) + ("/+'\"&é%= " if awkward else "") + secrets.token_hex(6)
        self.canaries[name] = value
        return value

    def __call__(
        self, *places: object, secrets: Given | Iterable[Given] | Mapping[str, Given] | None = None, piece: int | None = None
    ) -> None:
        """As the function; by default for the canaries, of which no 8 characters may be seen."""
        if secrets is None and self.canaries:
            assert_no_secret_in(*places, secrets=self.canaries, piece=piece or 8)
        else:
            assert_no_secret_in(*places, secrets=secrets, piece=piece)
