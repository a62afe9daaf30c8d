"""The file of a file cache: a SQLite database in which each operation is one transaction. Blocking; used by one thread.

SQLite brings what a cache in a file needs: a process that is killed in the middle of a change leaves none of it, and
processes that share the file see each other's changes whole.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from ..errors import NotFound, StorageError, Unavailable
from ..services.caching import counted
from .eviction import FULL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .file_options import FileOptions

OURS = 0x50595743
"""The application id in the header of the file: "PYWC"."""
VERSION = 1
SCHEMA = f"""
CREATE TABLE entries (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, size INTEGER NOT NULL, expires REAL,
    rank INTEGER NOT NULL, used INTEGER NOT NULL);
CREATE INDEX entries_by_use ON entries (rank, used);
CREATE INDEX entries_by_end ON entries (expires) WHERE expires IS NOT NULL;
CREATE TABLE locks (key BLOB PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE totals (items INTEGER NOT NULL, bytes INTEGER NOT NULL, token INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0, 0);
CREATE TRIGGER counted_in AFTER INSERT ON entries BEGIN UPDATE totals SET items = items + 1, bytes = bytes + new.size; END;
CREATE TRIGGER counted_out AFTER DELETE ON entries BEGIN UPDATE totals SET items = items - 1, bytes = bytes - old.size; END;
CREATE TRIGGER counted_on AFTER UPDATE OF size ON entries BEGIN UPDATE totals SET bytes = bytes + new.size - old.size; END;
PRAGMA application_id = {OURS};
PRAGMA user_version = {VERSION};
"""
SELECTED = "SELECT value, expires FROM entries WHERE key = ?"
STORED = "INSERT INTO entries (key, value, size, expires, rank, used) VALUES (?, ?, ?, ?, ?, ?)"
REPLACED = f"{STORED} ON CONFLICT (key) DO UPDATE SET value = excluded.value, size = excluded.size, expires = excluded.expires"
AT_ONCE = 500
"""Keys in one statement, and uses that are remembered before they are written."""


class Entry(NamedTuple):
    value: bytes
    expires: float | None
    """When it is gone, by the wall clock; None where it has no limit."""


class FileStore:
    """The open file. `clock` is the wall clock: it counts for all processes, and goes on while none of them runs."""

    def __init__(self, options: FileOptions, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._options = options
        self._clock = clock
        self._uses: dict[bytes, int] = {}
        """Keys that were read and how often: written with the next change, so that reading does not write."""
        self._last = 0
        self._database = opened(path, options)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, key: bytes) -> bytes | None:
        entry = self._entry(key)
        if entry is None:
            return None
        self._note_uses([key])
        return entry.value

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        now = self._clock()
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            statement = f"SELECT key, value FROM entries WHERE key IN ({marks}) AND (expires IS NULL OR expires > ?)"
            found.update(self._database.execute(statement, (*some, now)))
        self._note_uses(key for key in keys if key in found)
        return found

    def exists(self, key: bytes) -> bool:
        return self._entry(key) is not None

    def ttl(self, key: bytes, name: str) -> float | None:
        entry = self._entry(key)
        if entry is None:
            raise NotFound(f"the cache has no key {name!r}")
        return None if entry.expires is None else entry.expires - self._clock()

    def totals(self) -> tuple[int, int]:
        """Items and bytes."""
        with self._change():
            self._drop_expired()
            items, size = self._database.execute("SELECT items, bytes FROM totals").fetchone()
            return items, size

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def set_many(self, items: Mapping[bytes, bytes], ttl: float | None) -> None:
        with self._change():
            for key, value in items.items():
                self._store(key, value, self._end(ttl))

    def set_nx(self, key: bytes, value: bytes, ttl: float | None) -> bool:
        with self._change():
            if self._entry(key) is not None:
                return False
            self._store(key, value, self._end(ttl))
            return True

    def get_set(self, key: bytes, value: bytes, ttl: float | None) -> bytes | None:
        self._note_uses([key])
        with self._change():
            before = self._entry(key)
            self._store(key, value, self._end(ttl))
            return None if before is None else before.value

    def increment(self, key: bytes, name: str, delta: int, ttl: float | None) -> int:
        with self._change():
            before = self._entry(key)
            total = counted(name, None if before is None else before.value, delta)
            self._store(key, b"%d" % total, self._end(ttl) if before is None else before.expires)
            return total

    def delete_many(self, keys: Iterable[bytes]) -> int:
        """How many of them were there."""
        with self._change():
            self._drop_expired()
            return sum(self._database.execute("DELETE FROM entries WHERE key = ?", (key,)).rowcount for key in keys)

    def clear(self, prefix: bytes | None) -> None:
        with self._change():
            if prefix is None:
                self._database.execute("DELETE FROM entries")
            else:
                self._database.execute("DELETE FROM entries WHERE key >= ? AND key < ?", (prefix, prefix[:-1] + bytes([prefix[-1] + 1])))

    def close(self) -> None:
        """Write what is to be written and close; SQLite folds its log into the file."""
        try:
            self._write_uses_now()
        finally:
            self._database.close()

    # ── locks ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def acquire_lock(self, key: bytes, owner: str, ttl: float) -> int | None:
        now = self._clock()
        with self._change():
            self._database.execute("DELETE FROM locks WHERE expires <= ?", (now,))
            taken = self._database.execute("INSERT OR IGNORE INTO locks VALUES (?, ?, ?)", (key, owner, now + ttl))
            if not taken.rowcount:
                return None
            (token,) = self._database.execute("UPDATE totals SET token = token + 1 RETURNING token").fetchone()
            return int(token)

    def extend_lock(self, key: bytes, owner: str, ttl: float) -> bool:
        now = self._clock()
        with self._change():
            statement = "UPDATE locks SET expires = ? WHERE key = ? AND owner = ? AND expires > ?"
            return self._database.execute(statement, (now + ttl, key, owner, now)).rowcount == 1

    def release_lock(self, key: bytes, owner: str) -> bool:
        with self._change():
            statement = "DELETE FROM locks WHERE key = ? AND owner = ? AND expires > ?"
            return self._database.execute(statement, (key, owner, self._clock())).rowcount == 1

    # ── the steps ───────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction: nobody else writes meanwhile, and an error undoes all of it."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._write_uses()
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _entry(self, key: bytes) -> Entry | None:
        row = self._database.execute(SELECTED, (key,)).fetchone()
        if row is None or (row[1] is not None and row[1] <= self._clock()):
            return None
        return Entry(*row)

    def _end(self, ttl: float | None) -> float | None:
        return None if ttl is None else self._clock() + ttl

    def _store(self, key: bytes, value: bytes, expires: float | None) -> None:
        size = len(key) + len(value)
        self._database.execute("DELETE FROM entries WHERE key = ? AND expires <= ?", (key, self._clock()))
        rank, used = self._place()
        self._database.execute(REPLACED + self._when_used(), (key, value, size, expires, rank, used))
        items, total = self._database.execute("SELECT items, bytes FROM totals").fetchone()
        if items > self._options.max_items or total > self._options.max_bytes:
            self._make_room(key)

    def _make_room(self, kept: bytes) -> None:
        self._drop_expired()
        items, total = self._database.execute("SELECT items, bytes FROM totals").fetchone()
        items, total = items - self._options.max_items, total - self._options.max_bytes
        if (items > 0 or total > 0) and self._options.policy == "none":
            raise StorageError(FULL)
        victims = []
        for number, size in self._database.execute("SELECT id, size FROM entries WHERE key != ? ORDER BY rank, used", (kept,)):
            if items <= 0 and total <= 0:
                break
            victims.append((number,))
            items, total = items - 1, total - size
        self._database.executemany("DELETE FROM entries WHERE id = ?", victims)

    def _drop_expired(self) -> None:
        self._database.execute("DELETE FROM entries WHERE expires <= ?", (self._clock(),))

    def _place(self) -> tuple[int, int]:
        """Where a new entry stands among those that may have to go: the lowest goes first."""
        self._last = max(self._last + 1, time.time_ns() // 1000)
        policy = self._options.policy
        rank = random.getrandbits(62) if policy == "random" else int(policy == "lfu")
        return rank, -self._last if policy == "mru" else self._last

    def _when_used(self) -> str:
        """What a use changes of an entry's place."""
        moves = {"lru": ", used = excluded.used", "mru": ", used = excluded.used", "lfu": ", rank = rank + 1, used = excluded.used"}
        return moves.get(self._options.policy, "")

    def _note_uses(self, keys: Iterable[bytes]) -> None:
        if not self._when_used():
            return
        for key in keys:
            self._uses[key] = self._uses.pop(key, 0) + 1  # the last one used stands last
        if len(self._uses) > AT_ONCE:
            self._write_uses_now()

    def _write_uses_now(self) -> None:
        with suppress(sqlite3.OperationalError), self._change():  # where another process writes for long, only an order is lost
            pass

    def _write_uses(self) -> None:
        uses, self._uses = self._uses, {}
        for key, count in uses.items():
            _, used = self._place()
            counts = count if self._options.policy == "lfu" else 0
            self._database.execute("UPDATE entries SET rank = rank + ?, used = ? WHERE key = ?", (counts, used, key))


def opened(path: Path, options: FileOptions) -> sqlite3.Connection:
    """The file, made where there is none. Raises `Unavailable` where it cannot be opened or belongs to something else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise Unavailable(f"the file of the cache {path} cannot be opened: {error.strerror}") from error
    database = sqlite3.connect(path, timeout=options.busy_timeout, isolation_level=None, check_same_thread=False)
    try:
        database.execute("BEGIN IMMEDIATE")
        (ours,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            for statement in statements(SCHEMA):
                database.execute(statement)
        elif (ours, version) != (OURS, VERSION):
            raise Unavailable(
                f"{path} is a database of something else, or of another version of the cache: name another path, or remove it"
            )
        database.execute("COMMIT")
        write_ahead(database, options.busy_timeout)
        database.execute(f"PRAGMA synchronous = {options.synchronous}")
        database.execute("PRAGMA journal_size_limit = 16777216")
        return database
    except sqlite3.DatabaseError as error:
        database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise Unavailable(f"the file of the cache {path} cannot be opened: {error}") from error
        raise Unavailable(f"{path} is not a cache, or damaged ({error}): name another path, or remove it") from error
    except BaseException:
        database.close()
        raise


def write_ahead(database: sqlite3.Connection, patience: float) -> None:
    """Change to the write-ahead log, for which SQLite itself does not wait where another process uses the file."""
    give_up = time.monotonic() + patience
    while True:
        try:
            database.execute("PRAGMA journal_mode = wal")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def statements(script: str) -> Iterator[str]:
    """The statements of a script one by one, because `executescript` would commit."""
    so_far = ""
    for part in script.strip().split(";"):
        so_far += part + ";"
        if sqlite3.complete_statement(so_far):
            yield so_far.strip()
            so_far = ""
