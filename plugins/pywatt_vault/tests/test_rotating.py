"""A new key: whatever fails on the way, what is on disk can be opened with what is on disk."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import SecretError
from pywatt_core.testing import assert_no_secret_in
from pywatt_vault import rotating
from pywatt_vault import store as stores
from pywatt_vault.files import write_whole
from pywatt_vault.keys import KeyPlaces, read_keys, written
from pywatt_vault.rotating import kept_beside, key_lock, rotate
from pywatt_vault.store import Store
from pywatt_vault.vault import Vault

from .conftest import cheap_lock

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = bytes(range(100, 132))
PASSPHRASE = "correct horse battery staple"
SECRETS = {"A": "first", "B": "second"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "x.key").touch(0o600)
    (tmp_path / "x.key").write_text(f"# the key of the shop\n{written(KEY)}\n")
    store = Store(tmp_path / "x.vault", KeyPlaces(variable="", file=tmp_path / "x.key"))
    store.create(Vault.create(str(store.path), KEY).with_changes(SECRETS, datetime.now(UTC)))
    return store


def opened(store: Store) -> dict[str, str | None]:
    vault = store.load()
    return {name: vault.get(name) for name in vault.names()}


def fresh(store: Store) -> rotating.Lock:
    return key_lock(str(store.path), id=store.load().header.id)


def test_the_new_key_takes_the_place_of_the_old(store: Store) -> None:
    before, lock = store.load(), fresh(store)
    after = rotate(store, lock, file=store.places.file)
    assert store.places.file.read_text() == f"# the key of the shop\n{lock.text}\n"
    assert kept_beside(store.places.file).read_text() == f"{written(KEY)}\n"
    assert [path.stat().st_mode & 0o777 for path in (store.places.file, kept_beside(store.places.file))] == [0o600, 0o600]
    assert opened(store) == SECRETS
    assert (after.header.id, after.header.key) == (before.header.id, lock.empty.header.key)


def test_two_vaults_with_one_key_lose_none(store: Store, tmp_path: Path) -> None:
    """Neither the key that both have, nor one that only the other has, leaves the disk."""
    other = Store(tmp_path / "y.vault", KeyPlaces(variable="", file=tmp_path / "x.key"))
    other.create(Vault.create(str(other.path), KEY).with_changes({"Y": "other"}, datetime.now(UTC)))
    rotate(store, fresh(store), file=store.places.file)
    assert opened(store) == SECRETS
    with pytest.raises(SecretError, match="the key is another one"):
        other.load()
    store.places.file.write_text(store.places.file.read_text() + kept_beside(store.places.file).read_text())
    assert opened(other) == {"Y": "other"}
    rotate(store, fresh(store), file=store.places.file)
    assert (opened(store), opened(other)) == (SECRETS, {"Y": "other"}), "what stands beside the old key stays"
    threads = [
        threading.Thread(target=lambda one: [rotate(one, fresh(one), file=one.places.file) for _ in range(5)], args=[one])
        for one in (store, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (opened(store), opened(other)) == (SECRETS, {"Y": "other"})
    assert len(read_keys(store.places.file.read_text(), "the file")) == 2
    assert len(kept_beside(store.places.file).read_text().split()) == 12


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("first\nOLD words\nlast OLD words\n", "first\nNEW words\nlast OLD words\n"),
        ("OLD words\r\nOLD words more\r\n", "NEW words\r\nOLD words more\r\n"),
        ("OLD words", "NEW words"),
    ],
)
def test_of_several_passphrases_only_the_old_one_is_replaced(store: Store, before: str, after: str) -> None:
    fill = str.maketrans({"O": "one of the old ", "N": "one of the new "})
    before, after, new = before.translate(fill), after.translate(fill), "NEW words".translate(fill)
    store.path.unlink()
    store.create(cheap_lock("OLD words".translate(fill)).empty)
    store.places.file.write_text(before, newline="")
    rotate(store, cheap_lock(new), file=store.places.file)
    assert store.places.file.read_bytes().decode() == after
    assert kept_beside(store.places.file).read_text() == "OLD words\n".translate(fill)
    assert opened(store) == {}


def test_a_passphrase_for_which_there_is_no_room_changes_nothing(store: Store) -> None:
    store.path.unlink()
    store.create(cheap_lock(PASSPHRASE).empty)
    store.places.file.write_text(f"{PASSPHRASE}\n1\n2\n3\n")
    before = store.data()
    with pytest.raises(SecretError, match="with the new one: there are 5 passphrases in it, and 1 to 4 may be"):
        rotate(store, cheap_lock("another passphrase"), file=store.places.file)
    assert (store.data(), store.places.file.read_text()) == (before, f"{PASSPHRASE}\n1\n2\n3\n")


def test_the_new_key_may_have_a_file_of_its_own(store: Store, tmp_path: Path) -> None:
    old = store.places.file.read_text()
    rotate(store, fresh(store), file=tmp_path / "new.key")
    assert store.places.file.read_text() == old
    assert (tmp_path / "new.key").stat().st_mode & 0o777 == 0o600
    assert opened(Store(store.path, KeyPlaces(variable="", file=tmp_path / "new.key"))) == SECRETS


def test_a_passphrase_needs_no_file(store: Store) -> None:
    rotate(store, cheap_lock(PASSPHRASE), file=None)
    with_passphrase = KeyPlaces(variable="P", file=store.places.file, environ={"P": PASSPHRASE})
    assert opened(Store(store.path, with_passphrase)) == SECRETS


def test_a_key_that_is_given_is_taken(store: Store) -> None:
    other = bytes(range(32))
    assert list(read_keys(key_lock("x", key=other).text, "here").values()) == [other]
    assert key_lock("x").text != key_lock("x").text


def test_what_opens_a_vault_is_not_shown(store: Store) -> None:
    lock = fresh(store)
    assert_no_secret_in(repr(lock), f"{lock}", secrets=lock.text)


class _PowerCut(BaseException):
    """Nothing runs after it: what is on disk is what is left."""


@pytest.mark.parametrize("step", range(4))
def test_a_power_cut_at_any_step_leaves_a_vault_that_its_key_file_opens(store: Store, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    steps = iter(range(10))

    def cut(write: Callable[..., None], path: Path, text: str, **options: Any) -> None:
        if next(steps) == step:
            raise _PowerCut
        write(path, text, **options)

    lock = fresh(store)
    monkeypatch.setattr(rotating, "write_whole", partial(cut, write_whole))
    monkeypatch.setattr(rotating, "_keep", partial(cut, rotating._keep))
    monkeypatch.setattr(stores, "write_whole", partial(cut, write_whole))
    with pytest.raises(_PowerCut):
        rotate(store, lock, file=store.places.file)
    monkeypatch.undo()
    assert opened(store) == SECRETS
    rotate(store, fresh(store), file=store.places.file)
    assert opened(store) == SECRETS


@pytest.mark.parametrize("new_file", [False, True])
def test_a_vault_that_cannot_be_written_keeps_its_old_key(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_file: bool
) -> None:
    vault, key = store.data(), store.places.file.read_text()

    def full(path: Path, text: str, **options: Any) -> None:
        raise SecretError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(stores, "write_whole", full)
    file = tmp_path / "new.key" if new_file else store.places.file
    lock = fresh(store)
    with pytest.raises(SecretError, match=r"x\.vault: cannot be written \(No space left on device\)"):
        rotate(store, lock, file=file)
    assert (store.data(), store.places.file.read_text()) == (vault, key)
    assert not (tmp_path / "new.key").exists()


def test_a_vault_that_was_written_after_all_keeps_both_keys(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:

    def late(path: Path, text: str, **options: Any) -> None:
        write_whole(path, text, **options)
        raise SecretError(f"{path}: cannot be written (Input/output error)")

    monkeypatch.setattr(stores, "write_whole", late)
    with pytest.raises(SecretError, match="Input/output error"):
        rotate(store, fresh(store), file=store.places.file)
    monkeypatch.undo()
    assert len(read_keys(store.places.file.read_text(), "the file")) == 2
    assert opened(store) == SECRETS


def test_a_vault_that_is_damaged_is_not_sealed_anew(store: Store) -> None:
    key, lock = store.places.file.read_text(), fresh(store)
    store.path.write_bytes(store.data().replace(b"A = ", b"Z = "))
    with pytest.raises(SecretError, match="its seal is broken"):
        rotate(store, lock, file=store.places.file)
    assert store.places.file.read_text() == key
