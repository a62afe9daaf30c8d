"""`pywatt secrets init`, `rotate` and `check`, as they are used."""

from __future__ import annotations

import subprocess
import tomllib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pywatt_vault.files import write_whole
from pywatt_vault.keys import written

from .conftest import CANARY, cheap_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., Any]
    Value = Callable[..., str | None]

PASSPHRASE = "correct horse battery staple"
KEPT = "The old one is kept in secrets.key.old, for older versions of the vault: remove it when nobody needs those"


# ── init ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_first_vault_has_a_key_beside_it_and_says_what_to_configure(tmp_path: Path, pywatt: Run) -> None:
    done = pywatt("secrets", "init")
    assert done.code == 0
    assert done.out == (
        "secrets.vault: made. Its key is in secrets.key: keep a copy elsewhere, without it the secrets are lost\n"
        "\nAdd to pywatt.toml:\n\n[secrets.env]\n[secrets.dotenv]\nrequired = false\n[secrets.vault]\n\n"
    )
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secrets.key", "secrets.vault"]
    (tmp_path / "pywatt.toml").write_text(done.out.partition("pywatt.toml:")[2])
    assert pywatt("secrets", "set", "A", input="x").code == 0
    assert pywatt("check").code == 0


def test_in_a_repository_the_key_is_ignored(tmp_path: Path, pywatt: Run) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert ".gitignore: secrets.key added, so that Git passes the key over" in pywatt("secrets", "init").out
    pywatt("secrets", "set", "A", input="x")
    listed = subprocess.run(["git", "-C", str(tmp_path), "status", "--short", "-uall"], capture_output=True, text=True, check=True)
    assert listed.stdout == "?? .gitignore\n?? secrets.vault\n"
    (tmp_path / "secrets.key").rename(tmp_path / "brought.key")
    done = pywatt("secrets", "init", "--vault", "other.vault", "--key-file", "brought.key")
    assert ".gitignore: brought.key added, so that Git passes the key over" in done.out, "also one that was there"


def test_where_git_cannot_be_told_of_the_key_that_is_said(tmp_path: Path, pywatt: Run) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").mkdir()
    done = pywatt("secrets", "init")
    assert (done.code, done.err) == (0, "warning: .gitignore: cannot be written (Is a directory). Add /secrets.key* to it\n")
    assert "secrets.vault: made" in done.out
    assert "Add to pywatt.toml" in done.out
    (tmp_path / ".gitignore").rmdir()
    (tmp_path / ".gitignore").write_text("/secrets.key*\n")
    done = pywatt("secrets", "check", env={"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"})
    assert (done.code, done.err) == (0, "warning: secrets.key: Git could not be asked whether it takes this key along\n")


def test_what_is_configured_already_is_not_told_again(tmp_path: Path, pywatt: Run) -> None:
    (tmp_path / "pywatt.toml").write_text('[secrets.vault]\npath = "deploy/x.vault"\nkey_file = "x.key"\n')
    (tmp_path / "deploy").mkdir()
    done = pywatt("secrets", "init")
    assert (done.code, "Add to" in done.out) == (0, False)
    assert (tmp_path / "deploy/x.vault").exists()
    assert (tmp_path / "x.key").exists()


def test_a_vault_and_a_key_that_are_there_are_left_alone(vault: Path, tmp_path: Path, pywatt: Run) -> None:
    before = vault.read_bytes(), (tmp_path / "secrets.key").read_bytes()
    done = pywatt("secrets", "init")
    assert (done.code, done.err) == (1, "pywatt: secrets.vault: there is a file already; `pywatt secrets list` shows what is in it\n")
    assert (vault.read_bytes(), (tmp_path / "secrets.key").read_bytes()) == before


def test_a_key_that_is_there_opens_the_new_vault(tmp_path: Path, pywatt: Run) -> None:
    pywatt("secrets", "init", "--vault", "one.vault", "--key-file", "shared.key")
    key = (tmp_path / "shared.key").read_text()
    done = pywatt("secrets", "init", "--vault", "two.vault", "--key-file", "shared.key")
    assert "two.vault: made. It opens with the key in the file shared.key" in done.out
    table = tomllib.loads(done.out.partition("pywatt.toml:")[2])
    assert table["secrets"]["vault"] == {"path": "two.vault", "key_file": "shared.key"}
    done = pywatt("secrets", "init", "--vault", "three.vault", env={"PYWATT_VAULT_KEY": key})
    assert "three.vault: made. It opens with the key in the variable PYWATT_VAULT_KEY" in done.out
    assert (tmp_path / "shared.key").read_text() == key
    assert not (tmp_path / "three.key").exists()
    for name in ("two", "three"):
        assert pywatt("secrets", "check", "--vault", f"{name}.vault", env={"PYWATT_VAULT_KEY": key}).code == 0


def test_where_the_vault_cannot_be_made_no_key_is_left(tmp_path: Path, pywatt: Run) -> None:
    done = pywatt("secrets", "init", "--vault", "deploy/x.vault", "--key-file", "x.key")
    assert done.code == 1
    assert "deploy/x.vault" in done.err
    assert list(tmp_path.iterdir()) == []


# ── rotate and check ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_key_in_the_key_file_opens_what_the_old_one_does_not(vault: Path, pywatt: Run, value: Value) -> None:
    old, text = vault.with_suffix(".key").read_text(), vault.read_text()
    done = pywatt("secrets", "rotate")
    assert (done.code, done.out) == (0, f"secrets.vault: 2 secrets sealed anew. The new one is in secrets.key\n{KEPT}\n")
    assert value("DB_PASSWORD") == CANARY
    assert vault.with_suffix(".key.old").read_text() == old
    vault.with_suffix(".key").write_text(old)
    done = pywatt("secrets", "get", "DB_PASSWORD")
    assert (done.code, "cannot open it: the key is another one" in done.err) == (1, True)
    vault.write_text(text)
    assert value("DB_PASSWORD") == CANARY, "the old key opens what it opened before"


def test_a_new_key_in_another_file_says_what_to_configure(vault: Path, tmp_path: Path, pywatt: Run) -> None:
    (tmp_path / "pywatt.toml").write_text("[secrets.vault]\n")
    done = pywatt("secrets", "rotate", "--key-file", "new.key")
    assert done.out == (
        "secrets.vault: 2 secrets sealed anew. The new one is in new.key\n"
        "secrets.key still holds the old one, which opens older versions of the vault only\n"
        '\nAdd to pywatt.toml:\n\n[secrets.vault]\nkey_file = "new.key"\n\n'
    )
    (tmp_path / "pywatt.toml").write_text('[secrets.vault]\nkey_file = "new.key"\n')
    assert pywatt("secrets", "get", "DB_PASSWORD").out == CANARY


def test_a_key_in_a_variable_is_replaced_through_a_file(vault: Path, tmp_path: Path, pywatt: Run, value: Value) -> None:
    env = {"PYWATT_VAULT_KEY": vault.with_suffix(".key").read_text()}
    vault.with_suffix(".key").unlink()
    done = pywatt("secrets", "rotate", env=env)
    assert done.code == 1
    assert (
        "the key stands in the variable PYWATT_VAULT_KEY, which this command cannot change. Name a file for the new one with --key-file"
        in done.err
    )
    done = pywatt("secrets", "rotate", "--key-file", "new.key", env=env)
    assert done.out == (
        "secrets.vault: 2 secrets sealed anew. The new one is in new.key\n"
        "the variable PYWATT_VAULT_KEY still holds the old one: change it wherever the vault is read\n"
    )
    both = {"PYWATT_VAULT_KEY": f"{(tmp_path / 'new.key').read_text()}{env['PYWATT_VAULT_KEY']}"}
    assert value("DB_PASSWORD", env=both) == CANARY
    assert pywatt("secrets", "get", "DB_PASSWORD", env=env).code == 1
    done = pywatt("secrets", "rotate", "--key-file", "new.key", env=both)
    assert "new.key: there is a file already; name a new one" in done.err


def test_a_vault_changes_from_a_key_to_a_passphrase_and_back(vault: Path, tmp_path: Path, pywatt: Run, value: Value) -> None:
    done = pywatt("secrets", "rotate", "--passphrase", input=f"{PASSPHRASE}\n")
    assert "2 secrets sealed anew. The new passphrase opens it" in done.out
    assert "secrets.key still holds the old one, which opens older versions of the vault only" in done.out
    vault.with_suffix(".key").unlink()
    env = {"PYWATT_VAULT_KEY": PASSPHRASE}
    assert value("DB_PASSWORD", env=env) == CANARY
    write_whole(vault, cheap_lock(PASSPHRASE).empty.with_changes({"DB_PASSWORD": CANARY}, datetime.now(UTC)).text(), mode=0o644)
    assert pywatt("secrets", "rotate", "--key-file", "secrets.key", env=env).code == 0
    assert value("DB_PASSWORD") == CANARY


def test_a_passphrase_in_a_file_is_replaced_there(tmp_path: Path, pywatt: Run, value: Value) -> None:
    write_whole(tmp_path / "secrets.vault", cheap_lock(PASSPHRASE).empty.text(), mode=0o644)
    key = tmp_path / "secrets.key"
    key.touch(0o600)
    key.write_text(f"{PASSPHRASE}\n")
    pywatt("secrets", "set", "A", input="value")
    assert pywatt("secrets", "rotate", input="short\n").code == 1
    done = pywatt("secrets", "rotate", input="another long passphrase\n")
    assert done.out == f"secrets.vault: 1 secret sealed anew. The new one is in secrets.key\n{KEPT}\n"
    assert key.read_text() == "another long passphrase\n"
    assert value("A") == "value"
    assert pywatt("secrets", "rotate", "--passphrase", "--key-file", "x").code == 2
    assert pywatt("secrets", "init", "--passphrase", "--key-file", "x").code == 2


def test_a_sound_vault_is_sound(vault: Path, pywatt: Run) -> None:
    assert pywatt("secrets", "check").out == "secrets.vault: sound. 2 secrets, opened with the file secrets.key\n"
    env = {"PYWATT_VAULT_KEY": vault.with_suffix(".key").read_text()}
    assert pywatt("secrets", "check", env=env).out == "secrets.vault: sound. 2 secrets, opened with the variable PYWATT_VAULT_KEY\n"
    with vault.with_suffix(".key").open("a") as file:
        file.write(f"{written(bytes(range(32)))}\n")
    assert pywatt("secrets", "check").out.endswith("opened with the file secrets.key. 1 other stands there, too\n")
    vault.write_bytes(vault.read_bytes().replace(b"JWT_KEY", b"JWT_KEX"))
    done = pywatt("secrets", "check")
    assert (done.code, f"{vault}: its seal is broken" in done.err) == (1, True)


def test_a_key_that_git_would_take_along_is_a_problem(tmp_path: Path, pywatt: Run, vault: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    done = pywatt("secrets", "check")
    assert (done.code, done.err) == (1, "pywatt: secrets.key: Git would take this key along: add /secrets.key* to .gitignore\n")
    (tmp_path / ".gitignore").write_text("secrets.key\n")
    done = pywatt("secrets", "rotate")
    assert ".gitignore: secrets.key.old added, so that Git passes the key over" in done.out
    assert pywatt("secrets", "check").code == 0
    (tmp_path / ".gitignore").write_text("secrets.key\n")
    done = pywatt("secrets", "check")
    assert (done.code, done.err) == (1, "pywatt: secrets.key.old: Git would take this key along: add /secrets.key.old* to .gitignore\n")
    (tmp_path / ".gitignore").unlink()
    subprocess.run(["git", "-C", str(tmp_path), "add", "secrets.key"], check=True)
    done = pywatt("secrets", "check")
    assert (done.code, "secrets.key: this key is under version control: whoever has the repository can read every secret" in done.err) == (
        1,
        True,
    )
