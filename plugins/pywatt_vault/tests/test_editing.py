"""Values in an editor: what a person sees, what comes back, and what is left behind, which is nothing."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import SecretError
from pywatt_core.testing import assert_no_secret_in
from pywatt_vault import editing
from pywatt_vault.editing import as_toml, edit_session, editor, from_toml, kind_of, private_folder, run_editor, wipe, write_private
from pywatt_vault.keys import KeyPlaces, written
from pywatt_vault.store import Store
from pywatt_vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEY = bytes(range(100, 132))
CANARY = "vault-canary-Zq81xw"
SECRETS = {"A": CANARY, "B": "second", "C.dotted": "third"}
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text(st.sampled_from("ab\n\r\t'\"\\ \x00\x7f#="), max_size=30)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "x.vault", KeyPlaces(variable="K", file=tmp_path / "none", environ={"K": written(KEY)}))
    store.create(Vault.create(str(store.path), KEY).with_changes(SECRETS, datetime.now(UTC)))
    return store


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """An editor: a Python program in which `path` is the file and `text` what stands there."""

    def made(program: str) -> dict[str, str]:
        file = tmp_path / "editor.py"
        file.write_text(f"import os, sys\nfrom pathlib import Path\npath = Path(sys.argv[-1])\ntext = path.read_text()\n{program}\n")
        return {"EDITOR": f"{sys.executable} {file}"}

    return made


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where private folders are made during a test."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.setattr(editing, "_place", lambda: (str(folder), True))
    return folder


def values(store: Store) -> dict[str, str | None]:
    vault = store.load()
    return {name: vault.get(name) for name in vault.names()}


# ── the text ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.dictionaries(st.sampled_from(["A", "B_2", "c-d", "with.dots", "_"]), texts))
def test_any_values_come_back_as_they_were(secrets: dict[str, str]) -> None:
    assert from_toml(as_toml(secrets).encode()) == secrets
    assert tomllib.loads(editing.PREFACE + as_toml(secrets)) == secrets


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", '"plain"'),
        ("it's", '"it\'s"'),
        ('{"a": "b"}', '\'{"a": "b"}\''),
        ("back\\slash", "'back\\slash'"),
        ("both ' and \"", '"both \' and \\""'),
        ("one\ntwo\n", "'''\none\ntwo\n'''"),
        ("ends with '\n'", '"""\nends with \'\n\'"""'),
        ("bell\x07", '"bell\\u0007"'),
        ("one\r\ntwo", '"""\none\\u000d\ntwo"""'),
    ],
)
def test_a_value_is_shown_as_plainly_as_it_can_be(value: str, shown: str) -> None:
    assert as_toml({"A": value}) == f"A = {shown}\n"
    assert from_toml(as_toml({"A": value}).encode()) == {"A": value}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'A = "{CANARY}\n', "line 1 cannot be read. Each secret is NAME"),
        (f'A = "x"\nB = {CANARY}\n', "line 2 cannot be read"),
        (f'A = "{CANARY}"\nA = "{CANARY}"\n', "line 2 cannot be read"),
        ("A = 3\n", "A is not text: put the value in quotes"),
        ("A.b = 'x'\n", "A is not text: a name with dots needs quotes"),
        ('"\\u001b[31m" = 3\n', "'\\x1b[31m': this is no name for a secret"),
        ('"a b" = "x"\n', "'a b': this is no name for a secret"),
        ("A = '''\nx\n", "line 2 cannot be read"),
        ("A = " + "[" * 100_000, "line 1 cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line_and_without_its_text(text: str, said: str) -> None:
    with pytest.raises(SecretError) as raised:
        from_toml(text.encode())
    assert said in str(raised.value)
    assert CANARY not in f"{raised.value!s} {raised.value.__cause__!r}"


def test_bytes_that_are_no_text_are_told_with_their_line() -> None:
    with pytest.raises(SecretError, match="line 2 is not UTF-8"):
        from_toml(b'A = "x"\nB = "\xff"\n')


# ── the editor ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_editor_is_the_one_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert editor({"EDITOR": "ed", "VISUAL": "code --wait"}) == ["code", "--wait"]
    assert editor({"EDITOR": "'my editor' -x", "VISUAL": ""}) == ["my editor", "-x"]
    assert editor({"EDITOR": "ed", "VISUAL": "  "}) == ["ed"]
    with pytest.raises(SecretError, match=r"\$EDITOR is not a command: a quotation mark is not closed"):
        editor({"EDITOR": "'x"})
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/vim" if name == "vim" else None)
    assert editor({}) == ["vim"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SecretError, match="there is no editor: set EDITOR"):
        editor({})


def test_an_editor_that_is_not_there_or_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"the editor /no/editor cannot be started \(No such file or directory\)"):
        run_editor(["/no/editor"], tmp_path / "x", {})
    with pytest.raises(SecretError, match="the editor false ended with 1; nothing was saved"):
        run_editor(["false"], tmp_path / "x", {})
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


# ── the folder ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_folder_is_private_and_gone_afterwards(place: Path) -> None:
    with private_folder() as (folder, _):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.parent == place
        write_private(folder / "x", CANARY)
        assert stat.S_IMODE((folder / "x").stat().st_mode) == 0o600
    assert list(place.iterdir()) == []


def test_what_is_wiped_was_overwritten_first(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    (folder / "below").mkdir(parents=True)
    (folder / "x").write_text(CANARY)
    (folder / "below" / "backup~").write_text(CANARY * 1000)
    (folder / "below" / "backup~").chmod(0o400)
    (folder / "link").symlink_to("/etc/hostname")
    links = []
    for number, name in enumerate(("x", "below/backup~")):  # a second name of the same file, to look at it afterwards
        links.append(tmp_path / f"link{number}")
        os.link(folder / name, links[-1])
    wipe(folder)
    assert not folder.exists()
    assert [set(link.read_bytes()) for link in links] == [{0}, {0}]
    assert Path("/etc/hostname").read_bytes().strip(b"\0")


def test_the_place_is_in_memory_where_the_system_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    in_memory = [path for path in ("/dev/shm", os.environ.get("XDG_RUNTIME_DIR", "")) if path and kind_of(Path(path)) == "tmpfs"]
    place, found = editing._place()
    assert (place in in_memory) == found
    if not found:
        assert place == tempfile.gettempdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    if kind_of(tmp_path) not in ("tmpfs", "ramfs"):
        assert editing._place()[0] != str(tmp_path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_the_kind_of_a_file_system_is_known(tmp_path: Path) -> None:
    assert kind_of(Path("/proc")) == "proc"
    assert kind_of(tmp_path / "none") == ""


# ── a session ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_person_changes_is_saved_and_the_rest_keeps_its_line(
    store: Store, script: Callable[[str], dict[str, str]], place: Path
) -> None:
    before = store.data().decode().splitlines()
    told = edit_session(store, script('path.write_text(text.replace("second", "SECOND") + \'NEW = "fourth"\\n\')'))
    assert told == ["B set", "NEW added"]
    assert values(store) == {**SECRETS, "B": "SECOND", "NEW": "fourth"}
    kept = set(before) & set(store.data().decode().splitlines())
    assert {line.split(" = ")[0] for line in kept if "value = " in line} == {"A", '"C.dotted"'}
    assert list(place.iterdir()) == []


def test_a_line_that_is_removed_removes_the_secret(store: Store, script: Callable[[str], dict[str, str]]) -> None:
    assert edit_session(store, script('path.write_text("\\n".join(line for line in text.split("\\n") if "second" not in line))')) == [
        "B removed"
    ]
    assert values(store) == {"A": CANARY, "C.dotted": "third"}


def test_nothing_changed_writes_nothing(store: Store, script: Callable[[str], dict[str, str]]) -> None:
    before = store.path.stat().st_ino
    assert edit_session(store, script("path.write_text(text + '# a remark')")) == []
    assert store.path.stat().st_ino == before


def test_an_editor_that_replaces_the_file_and_leaves_others_is_one_too(
    store: Store, script: Callable[[str], dict[str, str]], place: Path
) -> None:
    program = """
path.with_name("x~").write_text(text)
path.with_name(".x.swp").write_text(text)
path.with_name("new").write_text(text.replace("second", "SECOND"))
path.with_name("new").rename(path)
"""
    assert edit_session(store, script(program)) == ["B set"]
    assert list(place.iterdir()) == []


def test_the_editor_sees_the_environment_without_the_key(store: Store, script: Callable[[str], dict[str, str]]) -> None:
    environ = script("path.write_text(text + f'SEEN = \"{sorted(os.environ)}\"')")
    edit_session(store, {**environ, "K": written(KEY), "OTHER": "x"})
    seen = values(store)["SEEN"]
    assert seen is not None
    assert "'OTHER'" in seen
    assert "'K'" not in seen


def test_a_place_that_is_full_or_missing_is_told(store: Store, script: Callable[[str], dict[str, str]], place: Path) -> None:
    editor = script("")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(SecretError, match=r"/secrets\.toml: the values cannot be written there \(File too large\)"):
            edit_session(store, editor)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(place.iterdir()) == []
    place.rmdir()
    with pytest.raises(SecretError, match=r"there is no place for the values while they are edited \(No such file or directory\)"):
        edit_session(store, editor)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("path.write_text('A = ')", 'line 1 cannot be read. Each secret is NAME = "value". Nothing was saved'),
        ("path.unlink()", "the editor left no file. Nothing was saved"),
        ("path.write_text(text); sys.exit(3)", "ended with 3; nothing was saved"),
        ("path.write_text('A = \"' + 'x' * 300_000 + '\"')", "A: the value is larger than 256 KiB. Nothing was saved"),
    ],
)
def test_what_cannot_be_used_changes_nothing(
    store: Store, script: Callable[[str], dict[str, str]], place: Path, program: str, said: str
) -> None:
    before = store.data()
    with pytest.raises(SecretError) as raised:
        edit_session(store, script(program))
    assert str(raised.value).endswith(said)
    assert_no_secret_in(str(raised.value), secrets=CANARY)
    assert store.data() == before
    assert list(place.iterdir()) == []


def test_what_somebody_else_changes_meanwhile_is_kept(
    store: Store, script: Callable[[str], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = run_editor

    def meanwhile(command: list[str], file: Path, environ: Mapping[str, str]) -> None:
        store.change({"B": "by somebody else", "OTHER": "new"})
        original(command, file, environ)

    monkeypatch.setattr(editing, "run_editor", meanwhile)
    assert edit_session(store, script('path.write_text(text.replace("third", "THIRD"))')) == ["C.dotted set"]
    assert values(store) == {"A": CANARY, "B": "by somebody else", "OTHER": "new", "C.dotted": "THIRD"}
    store.change({"B": "second"})
    with pytest.raises(SecretError, match=r"B was changed by somebody else meanwhile\. Nothing was saved"):
        edit_session(store, script('path.write_text(text.replace("second", "SECOND"))'))


def test_without_a_file_system_in_memory_that_is_said(
    store: Store, script: Callable[[str], dict[str, str]], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(editing, "_place", lambda: (str(place), False))
    edit_session(store, script(""))
    assert capsys.readouterr().err.startswith(
        f"warning: no file system in memory was found: the values are on disk, in {place}/pywatt-secrets-"
    )


SESSION = """
import sys
from pathlib import Path
from pywatt_vault import editing
from pywatt_vault.keys import KeyPlaces
from pywatt_vault.store import Store
folder = Path(sys.argv[1])
editing._place = lambda: (str(folder / "place"), True)
store = Store(folder / "x.vault", KeyPlaces(variable="K", file=folder / "none"))
editing.edit_session(store, {"EDITOR": sys.argv[2]})
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_who_is_told_to_end_wipes_and_ends_the_editor(
    store: Store, script: Callable[[str], dict[str, str]], tmp_path: Path, place: Path, number: signal.Signals
) -> None:
    before = store.data()
    waits = script("print(os.getpid(), flush=True); sys.stdin.read()")["EDITOR"]
    command, pipe = [sys.executable, "-c", SESSION, str(tmp_path), waits], subprocess.PIPE
    with subprocess.Popen(command, env={**os.environ, "K": written(KEY)}, stdin=pipe, stdout=pipe, start_new_session=True) as running:
        assert running.stdout is not None
        editors = int(running.stdout.readline())
        assert [path.read_text().count(CANARY) for path in place.glob("*/secrets.toml")] == [1]
        running.send_signal(number)
        assert running.wait(60) == 128 + number
    assert list(place.iterdir()) == []
    assert store.data() == before
    with pytest.raises(ProcessLookupError):
        os.kill(editors, 0)
