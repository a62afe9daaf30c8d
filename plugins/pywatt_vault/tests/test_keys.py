"""Keys as text, and the places that they are looked for in."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import SecretError
from pywatt_core.redaction import redact
from pywatt_core.testing import assert_no_secret_in
from pywatt_vault import keys, sealing
from pywatt_vault.document import Header, Scrypt
from pywatt_vault.keys import KeyPlaces, NoKey, Place, check_passphrase, new_key, read_keys, read_passphrases, written
from pywatt_vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = bytes(range(100, 132))
OTHER = bytes(range(32))
PASSPHRASE = "correct horse battery staple"
CHEAP = Scrypt(15, 8, 1)


def header_for(key: bytes) -> Header:
    return Vault.create("x.vault", key).header


def places(folder: Path, environ: Mapping[str, str] | None = None, **options: Any) -> KeyPlaces:
    return KeyPlaces(variable="THE_KEY", file=folder / "x.key", environ=environ or {}, **options)


def put(folder: Path, text: str) -> None:
    (folder / "x.key").touch(0o600)
    (folder / "x.key").write_text(text)


# ── as text ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_key_is_another_one_each_time() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert len(new_key()) == 32


@given(st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) >= 16))
def test_a_key_is_read_as_it_was_written_and_in_every_usual_form(key: bytes) -> None:
    forms = [
        written(key),
        written(key).removeprefix(keys.PREFIX),
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode(),
        key.hex(),
        key.hex().upper(),
    ]
    for text in forms:
        assert read_keys(text, "here") == {text: key}
        assert read_keys(f"# a comment\n  {text}\r\n\n", "here") == {text: key}


@pytest.mark.parametrize("between", ["\n", " ", ",", ", ", "\r\n# the old one:\r\n"])
def test_several_keys_stand_one_after_the_other(between: str) -> None:
    assert read_keys(written(KEY) + between + written(OTHER), "here") == {written(KEY): KEY, written(OTHER): OTHER}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "here: there is no key in it"),
        ("  \n# only a comment\n", "here: there is no key in it"),
        ("hunter2-is-no-key", "here: not a key. A key is 32 random bytes in base64, as `pywatt secrets init` writes them"),
        ("a" * 63, "here: not a key"),
        (written(KEY)[:-3], "here: not a key"),
        (written(KEY) + "AAAA", "here: not a key"),
        (written(KEY) + " hunter2-is-no-key", "here: not a key"),
        (keys.PREFIX, "here: not a key"),
        ("schlüssel", "here: not a key"),
        ("\udcff", "here: not a key"),
        ("A" * 43, "here: this key is not random; take one that `pywatt secrets init` or `openssl rand -base64 32` makes"),
        ("0123456789abcdef" * 4, "here: this key is not random"),
    ],
)
def test_what_is_no_key_is_refused_without_being_repeated(text: str, said: str) -> None:
    with pytest.raises(SecretError) as raised:
        read_keys(text, "here")
    assert said in str(raised.value)
    for word in text.split():
        if len(word) > 6 and not word.startswith("#") and word != keys.PREFIX:
            assert word not in str(raised.value)


def test_what_is_read_or_written_as_a_key_is_hidden_from_then_on() -> None:
    assert redact(f"the key is {written(KEY)}.") == "the key is [REDACTED]."
    read_keys(OTHER.hex(), "here")
    assert redact(OTHER.hex()) == "[REDACTED]"


def test_passphrases_stand_one_a_line() -> None:
    assert read_passphrases(f"{PASSPHRASE}\r\n\n the second one \n", "here") == [PASSPHRASE, " the second one "]
    with pytest.raises(SecretError, match="here: there are 5 passphrases in it, and 1 to 4 may be, one a line"):
        read_passphrases("a\nb\nc\nd\ne\n", "here")
    with pytest.raises(SecretError, match="here: there are 0 passphrases in it"):
        read_passphrases("\n \n", "here")


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "too short"), ("elevenchars", "too short: 12"), ("with a\ttabulator", "one line"), ("two lines\nof it", "one line")],
)
def test_a_passphrase_to_choose_is_long_and_printable(text: str, said: str) -> None:
    with pytest.raises(SecretError, match=said):
        check_passphrase(text)
    assert check_passphrase(PASSPHRASE) == PASSPHRASE


# ── places ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_variable_is_asked_first_then_the_file(tmp_path: Path) -> None:
    put(tmp_path, written(KEY))
    for environ, kind in (
        ({"THE_KEY": written(KEY)}, "variable"),
        ({}, "file"),
        ({"THE_KEY": ""}, "file"),
        ({"THE_KEY": written(OTHER)}, "file"),
    ):
        sealing_, place = places(tmp_path, environ).find(header_for(KEY), "x.vault")
        assert place.kind == kind
        assert sealing_.key_id


def test_the_file_is_not_looked_at_where_the_variable_has_the_key(tmp_path: Path) -> None:
    put(tmp_path, "of another user, or rubbish")
    (tmp_path / "x.key").chmod(0o644)
    assert places(tmp_path, {"THE_KEY": written(KEY)}).find(header_for(KEY), "x.vault")[1].kind == "variable"
    with pytest.raises(SecretError, match="others may read the key file"):
        places(tmp_path, {"THE_KEY": written(OTHER)}).find(header_for(KEY), "x.vault")


def test_of_several_keys_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    put(tmp_path, f"{written(OTHER)}\n{KEY.hex()}\n")
    for key, text in ((KEY, KEY.hex()), (OTHER, written(OTHER))):
        header = header_for(key)
        sealing_, place = places(tmp_path).find(header, "x.vault")
        assert sealing_.fits(header)
        assert place.text == text


def test_a_key_that_does_not_fit_is_told_with_its_place(tmp_path: Path) -> None:
    put(tmp_path, written(OTHER))
    header = header_for(KEY)
    with pytest.raises(SecretError) as raised:
        places(tmp_path, {"THE_KEY": written(OTHER)}).find(header, "x.vault")
    assert str(raised.value) == (
        f"x.vault: the variable THE_KEY and the file {tmp_path}/x.key cannot open it: the key is another one, or the head of the vault was "
        f"changed. It asks for the key {header.key}"
    )
    assert_no_secret_in(raised.value, secrets={"other": written(OTHER), "key": written(KEY)})


def test_no_key_at_all_is_told_with_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(NoKey) as raised:
        places(tmp_path).find(header_for(KEY), "x.vault")
    assert str(raised.value) == (
        f"x.vault: there is no key for it. Put the key into the variable THE_KEY or into the file {tmp_path}/x.key"
    )
    with pytest.raises(NoKey, match="Put the passphrase into the file"):
        KeyPlaces(variable="", file=tmp_path / "x.key").find(header_for(KEY)._replace(scrypt=CHEAP), "x.vault")


def test_a_file_that_was_named_has_to_be_there_unless_the_variable_is_set(tmp_path: Path) -> None:
    with pytest.raises(NoKey, match=r"x\.key: there is no such key file"):
        places(tmp_path, file_wanted=True).find(header_for(KEY), "x.vault")
    assert places(tmp_path, {"THE_KEY": written(KEY)}, file_wanted=True).find(header_for(KEY), "x.vault")
    assert [place.text for place in places(tmp_path, file_wanted=True).read(wanted=False)] == [None, None]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    put(tmp_path, written(KEY))
    (tmp_path / "x.key").chmod(mode)
    with pytest.raises(SecretError) as raised:
        places(tmp_path).find(header_for(KEY), "x.vault")
    file = tmp_path / "x.key"
    assert str(raised.value) == f"{file}: others may read the key file (mode {mode:o}): chmod 600 {file}, or set any_mode = true"
    assert places(tmp_path, any_mode=True).find(header_for(KEY), "x.vault")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_credential_of_systemd_is_private(tmp_path: Path) -> None:
    """It is root's, and its mode 0440 shows that the user of the service may read it by an access list."""
    put(tmp_path, written(KEY))
    file = tmp_path / "x.key"
    file.chmod(0o440)
    assert places(tmp_path).find(header_for(KEY), "x.vault")
    for owner, group in ((0, 12345), (12345, 0)):
        os.chown(file, owner, group)
        with pytest.raises(SecretError, match="others may read the key file"):
            places(tmp_path).find(header_for(KEY), "x.vault")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_of_another_user_is_refused(tmp_path: Path) -> None:
    put(tmp_path, written(KEY))
    os.chown(tmp_path / "x.key", 12345, -1)
    with pytest.raises(SecretError, match="the key file belongs to another user"):
        places(tmp_path).find(header_for(KEY), "x.vault")


def test_neither_a_place_nor_the_places_show_a_key(tmp_path: Path) -> None:
    put(tmp_path, written(KEY))
    found = places(tmp_path, {"THE_KEY": written(OTHER)})
    assert_no_secret_in(
        repr(found), repr(list(found.read())), repr(Place("typed", "typed", PASSPHRASE)), secrets=[written(KEY), written(OTHER), PASSPHRASE]
    )


# ── passphrases ─────────────────────────────────────────────────────────────────────────────────────────────────────


def passphrase_header(passphrase: str) -> Header:
    salt = os.urandom(32)
    return Vault.create("x.vault", sealing.stretched(passphrase, salt, CHEAP), salt=salt, scrypt=CHEAP).header


def test_where_a_passphrase_opens_the_vault_the_places_hold_passphrases(tmp_path: Path) -> None:
    put(tmp_path, f"the wrong passphrase\n{PASSPHRASE}\n")
    header = passphrase_header(PASSPHRASE)
    assert places(tmp_path).find(header, "x.vault")[1].kind == "file"
    with pytest.raises(SecretError, match="cannot open it: the passphrase is another one"):
        places(tmp_path).find(passphrase_header("yet another passphrase"), "x.vault")


@pytest.mark.parametrize("environ", [{}, {"THE_KEY": "something that does not fit"}])
def test_a_person_is_asked_where_no_place_has_the_passphrase(tmp_path: Path, environ: dict[str, str]) -> None:
    asked = []

    def ask() -> str:
        asked.append(1)
        return PASSPHRASE

    found = KeyPlaces(variable="THE_KEY", file=tmp_path / "x.key", environ=environ, ask=ask)
    assert found.find(passphrase_header(PASSPHRASE), "x.vault")[1].kind == "typed"
    assert found.find(passphrase_header(PASSPHRASE), "x.vault")[1].kind == "typed"
    assert asked == [1], "nobody has to type it twice"


def test_nobody_is_asked_for_a_key(tmp_path: Path) -> None:
    def ask() -> str:
        raise AssertionError("asked")

    with pytest.raises(NoKey):
        KeyPlaces(variable="THE_KEY", file=tmp_path / "x.key", environ={}, ask=ask).find(header_for(KEY), "x.vault")


def test_a_wrong_passphrase_that_was_typed_is_told(tmp_path: Path) -> None:
    found = KeyPlaces(variable="", file=tmp_path / "x.key", ask=lambda: "typed by mistake")
    with pytest.raises(SecretError, match="x.vault: what was typed cannot open it: the passphrase is another one"):
        found.find(passphrase_header(PASSPHRASE), "x.vault")


def test_what_was_stretched_is_kept_for_a_few_vaults_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def stretched(passphrase: str, salt: bytes, cost: Scrypt) -> bytes:
        calls.append(salt)
        return KEY

    monkeypatch.setattr(sealing, "stretched", stretched)
    found = KeyPlaces(variable="", file=tmp_path / "x.key")
    headers = [Header("id", os.urandom(32), "key", CHEAP) for _ in range(10)]
    for header in headers:
        found._stretch(PASSPHRASE, header)
        found._stretch(PASSPHRASE, header)
    assert len(calls) == 10
    assert len(found._stretched) <= keys.MOST_PASSPHRASES
