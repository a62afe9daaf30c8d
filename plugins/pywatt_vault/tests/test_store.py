"""A vault on disk: changes that are written, refused, or made at the same time."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pywatt_core.errors import SecretError
from pywatt_vault.keys import KeyPlaces, written
from pywatt_vault.rotating import key_lock, rotate
from pywatt_vault.store import Store
from pywatt_vault.vault import Vault

if TYPE_CHECKING:
    from pathlib import Path

KEY = bytes(range(100, 132))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "x.key").touch(0o600)
    (tmp_path / "x.key").write_text(written(KEY))
    store = Store(tmp_path / "x.vault", KeyPlaces(variable="", file=tmp_path / "x.key"))
    store.create(Vault.create(str(store.path), KEY).with_changes({"A": "first", "B": "second"}, datetime.now(UTC)))
    return store


def values(store: Store) -> dict[str, str | None]:
    vault = store.load()
    return {name: vault.get(name) for name in vault.names()}


def test_what_is_changed_is_on_disk(store: Store) -> None:
    after, names = store.change({"A": "changed", "C": "added"}, remove=["B"])
    assert names == {"A", "B", "C"}
    assert values(store) == {"A": "changed", "C": "added"}
    assert after.text().encode() == store.data()


def test_without_a_difference_nothing_is_written(store: Store) -> None:
    before = store.path.stat()
    assert store.change({"A": "first"}, remove=["ABSENT"])[1] == frozenset()
    assert store.path.stat().st_ino == before.st_ino


def test_a_vault_that_is_there_is_not_made_again(store: Store) -> None:
    before = store.data()
    with pytest.raises(SecretError, match=r"x\.vault: there is a file already"):
        store.create(Vault.create(str(store.path), KEY))
    assert store.data() == before


def test_what_somebody_else_changed_meanwhile_is_not_written_over(store: Store) -> None:
    seen = store.load()
    store.change({"A": "by somebody else"}, remove=["B"])
    with pytest.raises(SecretError, match=r"x\.vault: A, B was changed by somebody else meanwhile"):
        store.change({"A": "mine", "NEW": "mine"}, remove=["B"], based_on=seen)
    assert values(store) == {"A": "by somebody else"}
    store.change({"NEW": "mine"}, based_on=seen)
    assert values(store) == {"A": "by somebody else", "NEW": "mine"}


def test_a_vault_that_is_damaged_is_not_written_over(store: Store) -> None:
    damaged = store.data().replace(b"A = ", b"Z = ")
    store.path.write_bytes(damaged)
    with pytest.raises(SecretError, match="its seal is broken"):
        store.change({"B": "new"})
    assert store.data() == damaged


def test_a_vault_that_is_not_there_says_how_to_make_one(store: Store) -> None:
    store.path.unlink()
    with pytest.raises(SecretError, match=r"x\.vault: there is no such vault; `pywatt secrets init` makes one"):
        store.change({"A": "x"})
    assert repr(store) == f"Store({str(store.path)!r})"


def test_a_rotation_between_the_look_at_the_vault_and_that_at_its_key_is_no_failure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, looks = Store(store.path, KeyPlaces(variable="", file=store.places.file)), []
    original = store.data

    def interrupted() -> bytes:
        data = original()
        looks.append(1)
        if len(looks) == 1:
            rotate(writer, key_lock(str(store.path), id=writer.load().header.id), file=store.places.file)
        return data

    monkeypatch.setattr(store, "data", interrupted)
    assert values(store) == {"A": "first", "B": "second"}
    known = store.load()
    assert store.load(known) is known, "the file is what it was"
    store.places.file.write_text(written(KEY))
    with pytest.raises(SecretError, match="the key is another one"):
        Store(store.path, store.places).load()


SETTING = """
import sys
from pathlib import Path
from pywatt_vault.keys import KeyPlaces
from pywatt_vault.store import Store
folder, who = Path(sys.argv[1]), sys.argv[2]
store = Store(folder / "x.vault", KeyPlaces(variable="", file=folder / "x.key"), lock_timeout=60)
for number in range(10):
    store.change({f"NAME_{who}_{number}": f"value {who} {number}"})
"""


def test_many_processes_that_set_at_the_same_time_lose_nothing(store: Store) -> None:
    folder = str(store.path.parent)
    running = [subprocess.Popen([sys.executable, "-c", SETTING, folder, str(who)]) for who in range(4)]
    assert [process.wait(100) for process in running] == [0, 0, 0, 0]
    expected = {f"NAME_{who}_{number}": f"value {who} {number}" for who in range(4) for number in range(10)}
    assert values(store) == {"A": "first", "B": "second", **expected}
