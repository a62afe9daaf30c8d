"""A vault that is open: what its seal promises against somebody who has the file and not the key."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from pywatt_core.errors import SecretError
from pywatt_core.testing import assert_no_secret_in
from pywatt_vault import vault as vaults
from pywatt_vault.document import Entry, parse, render, seal_line
from pywatt_vault.keys import KeyPlaces, written
from pywatt_vault.vault import Vault, check_name, check_value, written_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = bytes(range(100, 132))
OTHER = bytes(range(32))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CANARY = "vault-canary-Zq81xw"
SECRETS = {"A": CANARY, "B": "another value", "C.dotted": "Grüße 😀\nin two lines", "EMPTY": ""}


@pytest.fixture
def places(tmp_path: Path) -> KeyPlaces:
    return KeyPlaces(variable="K", file=tmp_path / "none", environ={"K": f"{written(KEY)} {written(OTHER)}"})


@pytest.fixture
def vault() -> Vault:
    return Vault.create("x.vault", KEY).with_changes(SECRETS, NOW)


def read(text: str, places: KeyPlaces) -> Vault:
    return Vault.read(text.encode(), "x.vault", places)


def refused(text: str, places: KeyPlaces) -> str:
    with pytest.raises(SecretError) as raised:
        read(text, places)
    assert str(raised.value).startswith("x.vault:")
    assert CANARY not in str(raised.value)
    return str(raised.value)


def test_what_was_set_is_there_after_writing_and_reading(vault: Vault, places: KeyPlaces) -> None:
    again = read(vault.text(), places)
    assert {name: again.get(name) for name in again.names()} == SECRETS
    assert again.names() == sorted(SECRETS)
    assert again.get("D") is None
    assert again.describe("D") is None
    assert "A" in again
    assert "D" not in again
    assert again.text() == vault.text()


def test_neither_the_text_nor_the_vault_shows_a_value(vault: Vault) -> None:
    assert_no_secret_in(vault.text(), repr(vault), repr(vars(vault)), secrets=[CANARY, "another value", written(KEY)])
    assert repr(vault) == "Vault('x.vault', 4 secrets)"


# ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_change_of_one_secret_changes_its_line_and_the_seal(vault: Vault) -> None:
    before, after = vault.text().splitlines(), vault.with_changes({"B": "a new value"}, NOW).text().splitlines()
    changed = [one for one, other in zip(before, after, strict=True) if one != other]
    assert [line.split(" = ")[0] for line in changed] == ["B", "mac"]


def test_setting_what_is_there_already_changes_nothing(vault: Vault) -> None:
    assert vault.with_changes(SECRETS, NOW + timedelta(days=1)).text() == vault.text()


def test_a_new_value_has_a_new_version_and_time(vault: Vault) -> None:
    later = vault.with_changes({"B": "a new value"}, NOW + timedelta(days=1))
    old, new, other = vault.describe("B"), later.describe("B"), later.describe("A")
    assert old is not None
    assert new is not None
    assert other is not None
    assert (old.version[:2], new.version[:2], other.version[:2]) == ("1-", "2-", "1-")
    assert (old.changed, new.changed, other.changed) == (NOW, NOW + timedelta(days=1), NOW)


def test_no_two_values_share_a_version_whatever_happened_between(vault: Vault) -> None:
    seen = set()
    for number in range(50):
        vault = vault.with_changes({}, NOW, remove=["B"]).with_changes({"B": f"value {number}"}, NOW)
        info = vault.describe("B")
        assert info is not None
        seen.add(info.version)
    assert len(seen) == 50


def test_what_is_removed_is_gone(vault: Vault, places: KeyPlaces) -> None:
    after = read(vault.with_changes({"NEW": "value"}, NOW, remove=["A", "B", "ABSENT"]).text(), places)
    assert after.names() == ["C.dotted", "EMPTY", "NEW"]


def test_the_names_that_differ_are_those_with_another_value(vault: Vault) -> None:
    after = vault.with_changes({"A": "new", "ADDED": "x"}, NOW, remove=["EMPTY"])
    assert vault.differing(after) == after.differing(vault) == {"A", "ADDED", "EMPTY"}
    resealed = after.with_changes({"A": CANARY}, NOW, remove=["ADDED"]).with_changes({"EMPTY": ""}, NOW)
    assert vault.differing(resealed) == frozenset(), "another version of the same value is no difference"


def test_times_are_utc_to_the_second() -> None:
    moment = datetime(2026, 1, 2, 5, 4, 5, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert written_time(moment) == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize("name", ["", "1A", "a b", "A=B", "A\n", "ä", "-A", ".A", "A" * 129, "a/b", "\ud800"])
def test_a_name_that_cannot_be_one_is_refused_and_not_repeated(vault: Vault, name: str) -> None:
    with pytest.raises(SecretError) as raised:
        vault.with_changes({name: "x"}, NOW)
    assert str(raised.value).startswith("this is no name for a secret")


@pytest.mark.parametrize("name", ["A", "_", "a-b.c_d", "A" * 128])
def test_a_usual_name_is_one(name: str) -> None:
    assert check_name(name) == name


def test_a_value_has_a_largest_size_and_is_utf8(monkeypatch: pytest.MonkeyPatch, vault: Vault) -> None:
    assert len(check_value("A", "x" * vaults.VALUE_LIMIT)) == vaults.VALUE_LIMIT
    with pytest.raises(SecretError, match="A: the value is larger than 256 KiB"):
        check_value("A", "ü" * (vaults.VALUE_LIMIT // 2) + "x")
    with pytest.raises(SecretError, match="A: the value is not text that can be written as UTF-8"):
        check_value("A", "\ud800")
    monkeypatch.setattr(vaults, "ENTRY_LIMIT", 4)
    with pytest.raises(SecretError, match=r"x\.vault: a vault holds 4 secrets at most"):
        vault.with_changes({"FIFTH": "x"}, NOW)
    monkeypatch.setattr(vaults, "ENTRY_LIMIT", 10)
    monkeypatch.setattr(vaults, "TEXT_LIMIT", 2**20)
    with pytest.raises(SecretError, match=r"x\.vault: a vault holds 1 MiB at most"):
        vault.with_changes({f"LARGE_{number}": "x" * 2**18 for number in range(4)}, NOW)


# ── a new key ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_under_a_new_key_all_is_sealed_anew_and_known_as_before(vault: Vault, places: KeyPlaces) -> None:
    after = vault.rekeyed(Vault.create("x.vault", OTHER, id=vault.header.id))
    again = read(after.text(), places)
    assert {name: again.get(name) for name in again.names()} == SECRETS
    assert [again.describe(name) for name in SECRETS] == [vault.describe(name) for name in SECRETS]
    assert vault.differing(again) == frozenset()
    assert again.header.id == vault.header.id
    assert (again.header.key, again.header.salt) != (vault.header.key, vault.header.salt)
    for line in after.text().splitlines():
        assert "value = " not in line or line not in vault.text()


def test_the_old_key_does_not_open_what_the_new_one_sealed(vault: Vault, tmp_path: Path) -> None:
    after = vault.rekeyed(Vault.create("x.vault", OTHER, id=vault.header.id))
    old = KeyPlaces(variable="K", file=tmp_path / "none", environ={"K": written(KEY)})
    assert f"It asks for the key {after.header.key}" in refused(after.text(), old)


# ── attacks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_byte_of_the_file_can_be_changed(vault: Vault, places: KeyPlaces) -> None:
    data = vault.text().encode()
    for at in range(len(data)):
        for bit in (0x01, 0x02, 0x20, 0x80):
            changed = bytearray(data)
            changed[at] ^= bit
            with pytest.raises(SecretError) as raised:
                Vault.read(bytes(changed), "x.vault", places)
            assert str(raised.value).startswith("x.vault:"), at
            assert CANARY not in str(raised.value)


def test_no_byte_can_be_removed_or_doubled(vault: Vault, places: KeyPlaces) -> None:
    data = vault.text().encode()
    for at in range(len(data)):
        for changed in (data[:at] + data[at + 1 :], data[:at] + data[at : at + 1] + data[at:]):
            if changed != data:
                with pytest.raises(SecretError, match=r"^x\.vault:"):
                    Vault.read(changed, "x.vault", places)


def line_of(text: str, name: str) -> str:
    return next(line for line in text.splitlines(keepends=True) if line.startswith(f"{name} = "))


def swap(text: str) -> str:
    a, b = line_of(text, "A"), line_of(text, "B")
    return text.replace(a, a.replace("A", "\0", 1)).replace(b, b.replace("B = ", "A = ", 1)).replace("\0 = ", "B = ")


ATTACKS: dict[str, Callable[[str], str]] = {
    "renamed": lambda text: text.replace("\nB = ", "\nBB = "),
    "removed": lambda text: text.replace(line_of(text, "B"), ""),
    "doubled": lambda text: text.replace(line_of(text, "B"), line_of(text, "B") + line_of(text, "B").replace("B", "BB", 1)),
    "swapped": swap,
    "reordered": lambda text: text.replace(line_of(text, "A") + line_of(text, "B"), line_of(text, "B") + line_of(text, "A")),
    "newer by its word": lambda text: re.sub(r'version = "1-', 'version = "9-', text),
    "younger by its word": lambda text: text.replace("2026-01-02", "2027-01-02"),
    "another comment": lambda text: text.replace("# Encrypted", "# encrypted"),
    "another id": lambda text: re.sub(r'id = "...', 'id = "AAA', text),
    "another salt": lambda text: re.sub(r'salt = "...', 'salt = "AAA', text),
    "a passphrase instead": lambda text: text.replace('\n\n[secrets]', '\nscrypt = "ln=15,r=8,p=1"\n\n[secrets]'),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_changed_without_the_key_is_noticed(vault: Vault, places: KeyPlaces, attack: str) -> None:
    changed = ATTACKS[attack](vault.text())
    assert changed != vault.text()
    refused(changed, places)


@pytest.mark.parametrize("attack", ["renamed", "removed", "another id"])
def test_what_is_noticed_is_told_without_a_value_or_a_key_also_in_its_traceback(vault: Vault, places: KeyPlaces, attack: str) -> None:
    with pytest.raises(SecretError) as raised:
        read(ATTACKS[attack](vault.text()), places)
    assert_no_secret_in(raised.value, secrets={"canary": CANARY, "key": written(KEY)})


def test_an_older_line_of_the_same_secret_is_noticed(vault: Vault, places: KeyPlaces) -> None:
    old, new = vault.text(), vault.with_changes({"A": "the value of today"}, NOW).text()
    assert "its seal is broken" in refused(new.replace(line_of(new, "A"), line_of(old, "A")), places)


def test_a_seal_of_another_state_of_the_same_vault_is_noticed(vault: Vault, places: KeyPlaces) -> None:
    old, new = vault.text(), vault.with_changes({}, NOW, remove=["B"]).text()
    assert refused(new.replace(line_of(new, "mac"), line_of(old, "mac")), places) == (
        "x.vault: its seal is broken: somebody without the key changed, added or removed something, or the file is damaged. "
        "Restore it from version control"
    )


def test_a_line_of_another_vault_of_the_same_key_is_noticed(vault: Vault, places: KeyPlaces) -> None:
    other = Vault.create("y.vault", KEY).with_changes(SECRETS, NOW).text()
    text = vault.text()
    assert "its seal is broken" in refused(text.replace(line_of(text, "A"), line_of(other, "A")), places)


def test_even_with_a_seal_an_entry_that_belongs_elsewhere_does_not_open(vault: Vault, places: KeyPlaces) -> None:
    document = parse(vault.text().encode(), "x.vault")
    for name, entry in {
        "RENAMED": document.entries["A"],
        "A": document.entries["B"],
        "B": Entry("9-00000000", "2026-01-02T03:04:05Z", b"x"),
    }.items():
        signed = render(document.header, {**document.entries, name: entry})
        text = signed + seal_line(vault._sealing.mac(signed.encode()))
        assert refused(text, places) == f"x.vault: {name} cannot be opened: it was not sealed here. Restore the file from version control"


def test_a_vault_made_by_somebody_else_does_not_open_with_our_key(vault: Vault, tmp_path: Path) -> None:
    theirs = Vault.create("x.vault", OTHER, id=vault.header.id).with_changes({"A": "their value"}, NOW)
    forged = theirs.text().replace(theirs.header.key, vault.header.key)
    ours = KeyPlaces(variable="K", file=tmp_path / "none", environ={"K": written(KEY)})
    assert "cannot open it" in refused(forged, ours)
