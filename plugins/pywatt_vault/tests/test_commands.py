"""`pywatt secrets`, as it is used: real processes, pipes and terminals."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.testing import assert_no_secret_in

from .conftest import CANARY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., Any]
    Value = Callable[..., str | None]

PASSPHRASE = "correct horse battery staple"


# ── help ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("arguments", [("secrets",), ("secrets", "--help"), ("secrets", "-h")])
def test_the_help_teaches(pywatt: Run, arguments: tuple[str, ...]) -> None:
    done = pywatt(*arguments)
    assert done.code == 0
    for word in (
        "pywatt secrets init",
        "pywatt secrets set DB_PASSWORD",
        "git add secrets.vault",
        "PYWATT_VAULT_KEY",
        "secret:DB_PASSWORD",
    ):
        assert word in done.out
    for command in ("init", "set", "get", "edit", "list", "remove", "rotate", "check"):
        assert f" {command} " in done.out


def test_the_commands_are_listed_with_all_others(pywatt: Run) -> None:
    assert "Secrets in an encrypted file" in pywatt("--help").out


def test_help_does_not_load_the_cryptography() -> None:
    program = """
import sys
from pywatt_core.cli.main import main
sys.argv = ["pywatt", "secrets", "--help"]
assert main() == 0
print("loaded" if "cryptography" in sys.modules else "not loaded", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "not loaded"


# ── set and get ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_set_comes_out_as_it_was(vault: Path, pywatt: Run) -> None:
    assert pywatt("secrets", "get", "DB_PASSWORD") == (0, CANARY, "")
    assert_no_secret_in(vault, secrets=CANARY)
    assert pywatt("secrets", "set", "DB_PASSWORD", input=CANARY).out == "secrets.vault: DB_PASSWORD has this value already\n"
    assert pywatt("secrets", "set", "PEM", "--keep-newline", input="one\ntwo\n").out == "secrets.vault: PEM set\n"
    assert pywatt("secrets", "get", "PEM").out == "one\ntwo\n"


@pytest.mark.parametrize(
    "arguments", [("DB_PASSWORD", "hunter22-in-argument"), ("DB_PASSWORD=hunter22-in-argument",), ("A", "B", "hunter22-in-argument")]
)
def test_a_value_as_an_argument_is_refused_and_not_repeated(vault: Path, pywatt: Run, arguments: tuple[str, ...], value: Value) -> None:
    done = pywatt("secrets", "set", *arguments, input="value")
    assert done.code == 2
    assert "The value is typed in or read from standard input: arguments are seen by other users and kept by shells" in done.err
    assert "hunter22" not in done.err + done.out
    assert value("DB_PASSWORD") == CANARY


def test_an_empty_value_has_to_be_meant(vault: Path, pywatt: Run, value: Value) -> None:
    done = pywatt("secrets", "set", "DB_PASSWORD", input="")
    assert done.code == 1
    assert "DB_PASSWORD: the value is empty. Nothing was set; --empty sets it, `pywatt secrets remove DB_PASSWORD` removes" in done.err
    assert value("DB_PASSWORD") == CANARY
    assert pywatt("secrets", "set", "DB_PASSWORD", "--empty", input="").code == 0
    assert value("DB_PASSWORD") == ""


@pytest.mark.parametrize(("arguments", "said"), [((), "name the secret"), (("1bad",), "this is no name for a secret")])
def test_a_name_is_needed(vault: Path, pywatt: Run, arguments: tuple[str, ...], said: str) -> None:
    assert said in pywatt("secrets", "set", *arguments, input="x").err


def test_a_secret_that_is_not_there_is_told_with_the_nearest(vault: Path, pywatt: Run) -> None:
    done = pywatt("secrets", "get", "db_pasword")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"pywatt: {vault}: there is no secret 'db_pasword'. Did you mean DB_PASSWORD?\n"
    assert "`pywatt secrets list` shows what is there" in pywatt("secrets", "get", "SOMETHING_ELSE").err
    assert pywatt("secrets", "get").code == 2


def test_a_value_longer_than_a_pipe_is_read_and_written_whole(vault: Path, pywatt: Run) -> None:
    pywatt("secrets", "set", "LONG", input="x" * 200_000)
    assert pywatt("secrets", "get", "LONG").out == "x" * 200_000


# ── on a terminal ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_value_that_is_typed_is_asked_for_twice_and_not_shown(vault: Path, pywatt: Run, terminal: Run, value: Value) -> None:
    typed = "typed-canary-Wm55"
    once, again = ("Value of TYPED: ", f"{typed}\n"), ("Once more: ", f"{typed}\n")
    say = [once, ("Once more: ", "something else\n"), once, again]
    done = terminal("secrets", "set", "TYPED", say=say)
    assert done.code == 0
    assert "That was something else." in done.out
    assert "secrets.vault: TYPED set" in done.out
    assert typed not in done.out
    assert value("TYPED") == typed


def test_who_gives_up_typing_sets_nothing(vault: Path, pywatt: Run, terminal: Run) -> None:
    before = vault.read_bytes()
    assert terminal("secrets", "set", "TYPED", say=[("Value of TYPED: ", "\x03")]).code == 130
    assert terminal("secrets", "set", "TYPED", say=[("Value of TYPED: ", "\x04")]).code == 130
    assert vault.read_bytes() == before


def test_a_value_is_shown_on_a_terminal_only_when_that_is_said(vault: Path, terminal: Run) -> None:
    done = terminal("secrets", "get", "DB_PASSWORD")
    assert done.code == 1
    assert "DB_PASSWORD would be shown on this terminal: add --show, or send it on" in done.out
    assert CANARY not in done.out
    assert terminal("secrets", "get", "DB_PASSWORD", "--show").out == f"{CANARY}\n"


def test_a_passphrase_is_asked_for_on_the_terminal(tmp_path: Path, pywatt: Run, terminal: Run, value: Value) -> None:
    twice = [("New passphrase: ", f"{PASSPHRASE}\n"), ("Once more: ", f"{PASSPHRASE}\n")]
    done = terminal("secrets", "init", "--passphrase", say=twice)
    assert done.code == 0
    assert "secrets.vault: made. The passphrase opens it; nobody can tell it to you again" in done.out
    assert PASSPHRASE not in done.out
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.vault"]
    asked = [("Passphrase of secrets.vault: ", f"{PASSPHRASE}\n"), ("Value of A: ", "value\n"), ("Once more: ", "value\n")]
    assert terminal("secrets", "set", "A", say=asked).code == 0
    done = terminal("secrets", "get", "A", "--show", say=[("Passphrase of secrets.vault: ", "another passphrase\n")])
    assert (done.code, "what was typed cannot open it: the passphrase is another one" in done.out) == (1, True)
    assert value("A", env={"PYWATT_VAULT_KEY": PASSPHRASE}) == "value"
    done = pywatt("secrets", "get", "A")
    assert (done.code, "Put the passphrase into the variable PYWATT_VAULT_KEY" in done.err) == (1, True)


def test_a_person_may_go_on_editing_what_cannot_be_read(vault: Path, pywatt: Run, terminal: Run, tmp_path: Path, value: Value) -> None:
    script = tmp_path / "editor.sh"
    script.write_text(
        f'if [ -e {tmp_path}/again ]; then echo \'NEW = "value"\' >"$1"; else touch {tmp_path}/again; echo rubbish >"$1"; fi\n'
    )
    done = terminal("secrets", "edit", env={"EDITOR": f"sh {script}"}, say=[("Edit again? [Y/n]: ", "y\n")])
    assert "line 1 cannot be read" in done.out
    assert "secrets.vault: NEW added; DB_PASSWORD, JWT_KEY removed" in done.out
    (tmp_path / "again").unlink()
    done = terminal("secrets", "edit", env={"EDITOR": f"sh {script}"}, say=[("Edit again? [Y/n]: ", "n\n")])
    assert (done.code, "Nothing was saved" in done.out) == (1, True)
    assert value("NEW") == "value"


# ── list, remove, edit ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_list_shows_names_versions_and_times(vault: Path, pywatt: Run) -> None:
    pywatt("secrets", "set", "JWT_KEY", input="new")
    rows = [line.split() for line in pywatt("secrets", "list").out.splitlines()]
    assert [row[0] for row in rows] == ["NAME", "DB_PASSWORD", "JWT_KEY"]
    assert [row[1][:2] for row in rows[1:]] == ["1-", "2-"]
    listed = json.loads(pywatt("secrets", "list", "--json").out)
    assert (listed["vault"], listed["checked"]) == (str(vault), True)
    assert [(row["name"], row["version"], row["changed"]) for row in listed["secrets"]] == [tuple(row) for row in rows[1:]]


def test_without_the_key_the_list_is_not_checked_and_says_so(vault: Path, pywatt: Run) -> None:
    vault.with_suffix(".key").unlink()
    done = pywatt("secrets", "list", "--json")
    assert done.code == 0
    assert "The list is not checked: anybody may have changed it" in done.err
    listed = json.loads(done.out)
    assert [row["name"] for row in listed["secrets"]] == ["DB_PASSWORD", "JWT_KEY"]
    assert listed["checked"] is False
    assert pywatt("secrets", "list", env={"PYWATT_VAULT_KEY": "pywatt-vault-key-" + "Ab3_" * 10 + "xyz"}).code == 1, (
        "a wrong key is no missing one"
    )


def test_secrets_are_removed_all_or_none(vault: Path, pywatt: Run, value: Value) -> None:
    done = pywatt("secrets", "remove", "DB_PASSWORD", "JWT_KEYS")
    assert (done.code, "there is no secret 'JWT_KEYS'. Did you mean JWT_KEY?" in done.err) == (1, True)
    assert value("DB_PASSWORD") == CANARY
    assert pywatt("secrets", "remove", "JWT_KEY", "DB_PASSWORD").out == "secrets.vault: DB_PASSWORD, JWT_KEY removed\n"
    assert pywatt("secrets", "list").out.split() == ["NAME", "VERSION", "CHANGED"]
    assert pywatt("secrets", "remove").code == 2


def test_secrets_are_edited_in_the_editor_of_the_person(vault: Path, pywatt: Run, value: Value) -> None:
    editor = {"EDITOR": "sed -i s/canary/CANARY/"}
    done = pywatt("secrets", "edit", env=editor)
    assert (done.code, done.out) == (0, "secrets.vault: DB_PASSWORD, JWT_KEY set\n")
    assert value("DB_PASSWORD") == CANARY.replace("canary", "CANARY")
    assert pywatt("secrets", "edit", env={"EDITOR": "true"}).out == "secrets.vault: nothing changed\n"
    done = pywatt("secrets", "edit", env={"EDITOR": "false"})
    assert (done.code, done.err) == (1, "pywatt: the editor false ended with 1; nothing was saved\n")


# ── in a project ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_project_reads_its_vault_after_the_environment(vault: Path, tmp_path: Path, pywatt: Run) -> None:
    (tmp_path / "pywatt.toml").write_text(
        '[secrets.env]\n[secrets.vault]\n[databases.main]\nuse = "sqlite"\npath = "secret:DB_PASSWORD"\n[caches.main]\nuse = "memory"\n'
    )
    assert pywatt("check").code == 0
    (tmp_path / "pywatt.toml").write_text('[secrets.vault]\n[databases.main]\nuse = "sqlite"\npath = "secret:MISSING"\n')
    done = pywatt("check")
    assert (done.code, "MISSING" in done.err) == (1, True)


def test_a_vault_without_a_key_is_a_problem_of_the_project(vault: Path, tmp_path: Path, pywatt: Run) -> None:
    (tmp_path / "pywatt.toml").write_text('[secrets.vault]\n[databases.main]\nuse = "sqlite"\npath = "secret:DB_PASSWORD"\n')
    vault.with_suffix(".key").unlink()
    done = pywatt("check")
    assert (done.code, f"{vault}: there is no key for it" in done.err) == (1, True)


def test_two_vaults_of_a_project_are_told_apart(tmp_path: Path, pywatt: Run) -> None:
    (tmp_path / "pywatt.toml").write_text(
        '[secrets.one]\nuse = "vault"\npath = "1.vault"\n[secrets.two]\nuse = "vault"\npath = "2.vault"\n'
    )
    for name in ("one", "two"):
        assert pywatt("secrets", "init", "--vault", name).code == 0
        assert pywatt("secrets", "set", "A", "--vault", name, input=name).code == 0
    assert [value_of(pywatt, name) for name in ("one", "two", "1.vault")] == ["one", "two", "one"]
    done = pywatt("secrets", "get", "A")
    assert (done.code, "say which with --vault one or --vault two" in done.err) == (2, True)


def value_of(pywatt: Run, vault: str) -> str:
    return str(pywatt("secrets", "get", "A", "--vault", vault).out)


def test_a_merge_of_two_changed_sides_is_resolved_as_the_page_says(vault: Path, tmp_path: Path, pywatt: Run, value: Value) -> None:
    """docs/howto/encrypted-secrets.md."""

    def git(*arguments: str, code: int = 0) -> None:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x", *arguments]
        assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == code

    (tmp_path / ".gitignore").write_text("/secrets.key*\n")
    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    git("checkout", "--quiet", "-b", "theirs")
    pywatt("secrets", "set", "API_KEY", input="their key")
    git("commit", "--quiet", "-am", "theirs")
    git("checkout", "--quiet", "main")
    pywatt("secrets", "set", "ZEBRA", input="our secret")
    git("commit", "--quiet", "-am", "ours")
    git("merge", "--quiet", "theirs", code=1)
    done = pywatt("secrets", "list")
    assert (done.code, "a merge was not finished" in done.err) == (1, True)
    theirs = subprocess.run(["git", "-C", str(tmp_path), "show", "MERGE_HEAD:secrets.vault"], capture_output=True, check=True).stdout
    (tmp_path / "theirs.vault").write_bytes(theirs)
    git("checkout", "--ours", "secrets.vault")
    env = {"PYWATT_VAULT_KEY": (tmp_path / "secrets.key").read_text()}
    given = pywatt("secrets", "get", "API_KEY", "--vault", "theirs.vault", env=env).out
    assert pywatt("secrets", "set", "API_KEY", input=given, env=env).code == 0
    assert [value(name) for name in ("API_KEY", "DB_PASSWORD", "ZEBRA")] == ["their key", CANARY, "our secret"]


def test_another_vault_for_another_environment_is_a_variable_away(vault: Path, tmp_path: Path, pywatt: Run) -> None:
    (tmp_path / "pywatt.toml").write_text('[secrets.vault]\n[databases.main]\nuse = "sqlite"\npath = "secret:ONLY_IN_PRODUCTION"\n')
    (tmp_path / "deploy").mkdir()
    done = pywatt("secrets", "init", "--vault", "deploy/production.vault")
    assert done.out.endswith('\nAdd to pywatt.toml:\n\n[secrets.NAME]\nuse = "vault"\npath = "deploy/production.vault"\n\n')
    assert pywatt("secrets", "set", "ONLY_IN_PRODUCTION", "--vault", "deploy/production.vault", input=":memory:").code == 0
    assert pywatt("check").code == 1
    assert pywatt("check", env={"PYWATT__SECRETS__VAULT__PATH": "deploy/production.vault"}).code == 0


def test_the_variable_of_the_key_is_no_misspelt_option(vault: Path, pywatt: Run) -> None:
    done = pywatt("secrets", "check", env={"PYWATT_VAULT_KEY": vault.with_suffix(".key").read_text()})
    assert (done.code, done.err) == (0, "")
    assert pywatt("check", env={"PYWATT_VAULT_KEY": "x"}).err == ""
