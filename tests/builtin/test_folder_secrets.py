"""Folders as sources of secrets: as Kubernetes, Docker and systemd mount them, and what does not belong there."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.builtin.file_secrets import LONGEST
from pywatt_core.builtin.folder_secrets import FolderReader, open_folder
from pywatt_core.builtin.polled_secrets import PolledSecrets
from pywatt_core.builtin.secret_options import FolderOptions
from pywatt_core.errors import SecretError
from pywatt_core.interfaces import Context
from pywatt_core.testing import assert_no_secret_in
from pywatt_core.testing.contracts import SecretSourceContract

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pywatt_core.testing.contracts.secret_source import OpenWith, Replace

POLL = 0.02


def context(folder: Path) -> Context:
    return Context(module_id="test", section="secrets.test", folder=folder)


def fill(folder: Path, secrets: Mapping[str, str]) -> None:
    for name, value in secrets.items():
        (folder / name).write_bytes(value.encode() + b"\n")


def in_place(folder: Path, secrets: Mapping[str, str]) -> None:
    """Each file by itself, in its place."""
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        if file.name not in secrets:
            file.unlink()
    fill(folder, secrets)


def as_kubernetes(folder: Path, secrets: Mapping[str, str]) -> None:
    """What the kubelet does: a new hidden folder, ``..data`` swapped to it in one step, links kept, the old folder removed."""
    folder.mkdir(exist_ok=True)
    data = folder / "..data"
    before = data.readlink() if data.is_symlink() else None
    fresh = folder / f"..2026_{int(str(before or '_0').rpartition('_')[2]) + 1}"
    fresh.mkdir()
    fill(fresh, secrets)
    (folder / "..data_tmp").symlink_to(fresh.name)
    (folder / "..data_tmp").replace(data)
    for name in secrets:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    for link in folder.iterdir():
        if not link.name.startswith(".") and link.name not in secrets:
            link.unlink()
    if before is not None:
        for file in (folder / before).iterdir():
            file.unlink()
        (folder / before).rmdir()


def anew(folder: Path, secrets: Mapping[str, str]) -> None:
    """The whole folder is another one."""
    fresh, old = folder.with_name("fresh"), folder.with_name("old")
    in_place(fresh, secrets)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    if old.exists():
        in_place(old, {})
        old.rmdir()


class Folder(SecretSourceContract):
    lists = watches = True
    write = staticmethod(in_place)

    @pytest.fixture
    def open_with(self, tmp_path: Path) -> OpenWith:
        def opened(secrets: Mapping[str, str]) -> Any:
            type(self).write(tmp_path / "secrets", secrets)
            return open_folder(FolderOptions(path="secrets", poll=POLL), context(tmp_path))

        return opened

    @pytest.fixture
    def replace(self, tmp_path: Path) -> Replace:
        return lambda _source, secrets: type(self).write(tmp_path / "secrets", secrets)


class TestFolder(Folder):
    """One file after the other."""


class TestKubernetes(Folder):
    write = staticmethod(as_kubernetes)


class TestFolderReplaced(Folder):
    write = staticmethod(anew)


async def source_of(folder: Path) -> PolledSecrets:
    source = PolledSecrets(FolderReader(folder), poll=POLL)
    await source.open()
    return source


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"value", "value"),
        (b"value\n", "value"),
        (b"value\r\n", "value"),
        (b"value\n\n", "value\n"),
        (b"value\r", "value\r"),
        (b" value \n", " value "),
        (b"\n", ""),
        (b"", ""),
        (b"a\r\nb\r\n", "a\r\nb"),
        ("Grüße 😀\n".encode(), "Grüße 😀"),
    ],
)
async def test_one_end_of_a_line_is_not_part_of_the_value(tmp_path: Path, written: bytes, value: str) -> None:
    (tmp_path / "KEY").write_bytes(written)
    assert await (await source_of(tmp_path)).get("KEY") == value


async def test_what_is_hidden_a_folder_or_oddly_named_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in (".hidden", "..also", "with blank", "grüße", "a\nb", "x" * 254):
        (tmp_path / name).write_text("folder-canary")
    (tmp_path / "kubernetes.io").mkdir()
    (tmp_path / "kubernetes.io" / "token").write_text("folder-canary")
    for name in ("tls.crt", "db-password", "_UNDER", "-", "0", "x" * 253):
        (tmp_path / name).write_text("a folder's value")
    source = await source_of(tmp_path)
    assert await source.names() == {"tls.crt", "db-password", "_UNDER", "-", "0", "x" * 253}
    for name in (".hidden", "kubernetes.io/token", "kubernetes.io", "with blank", f"../{tmp_path.name}/tls.crt", "./tls.crt"):
        assert await source.get(name) is None
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: left out, because no secret has such a name: 'a\\nb', 'gr\\xfc\\xdfe', 'with blank', '{'x' * 254}'"
    ]
    await source.refresh()
    assert len(caplog.records) == 1, "once is enough"


async def test_links_are_followed_as_long_as_they_stay_inside(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "folder-outside"
    (folder / "..data").mkdir(parents=True)
    outside.mkdir()
    (outside / "KEY").write_text("outside-canary")
    (folder / "..data" / "KEY").write_text("an inside value")
    (folder / "INSIDE").symlink_to("..data/KEY")
    (folder / "ABSOLUTE").symlink_to(folder / "..data" / "KEY")
    (folder / "OUTSIDE").symlink_to(outside / "KEY")
    (folder / "UP").symlink_to("../folder-outside/KEY")
    (folder / "..far").symlink_to(outside)
    (folder / "FAR").symlink_to("..far/KEY")
    (folder / "NOWHERE").symlink_to("..data/GONE")
    (folder / "LOOP").symlink_to("LOOP")
    (folder / "ITSELF").symlink_to(".")
    source = await source_of(folder)
    assert (await source.get("INSIDE"), await source.get("ABSOLUTE")) == ("an inside value", "an inside value")
    assert (await source.get("NOWHERE"), await source.get("ITSELF")) == (None, None)
    for name in ("OUTSIDE", "UP", "FAR"):
        with pytest.raises(SecretError, match=rf"folder/{name}: is a link that leads out of the folder") as caught:
            await source.get(name)
        assert_no_secret_in(caught.value, secrets="outside-canary")
    with pytest.raises(SecretError, match=r"LOOP: cannot be read \(Too many levels of symbolic links\)"):
        await source.get("LOOP")


@pytest.mark.parametrize("swapped", ["inner", "inner/KEY"])
async def test_a_link_that_is_put_there_after_the_look_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    for inner in (folder / "..data" / "inner", outside):
        inner.mkdir(parents=True)
    fill(folder / "..data" / "inner", {"KEY": "an inside value"})
    fill(outside, {"KEY": "outside-canary"})
    (folder / "KEY").symlink_to("..data/inner/KEY")
    real, place = os.path.realpath, folder / "..data" / swapped

    def swapping(path: Any) -> str:
        found = str(real(path))
        if found.endswith("KEY"):
            place.rename(folder / "..data" / "gone")
            place.symlink_to(outside / "KEY" if swapped.endswith("KEY") else outside)
        return found

    reader = FolderReader(folder)
    assert reader.read().values == {"KEY": "an inside value"}
    monkeypatch.setattr(os.path, "realpath", swapping)
    reading = reader.read()
    assert (reading.values, list(reading.faults)) == ({}, ["KEY"])


async def test_a_folder_may_be_reached_through_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "KEY").write_text("value")
    (tmp_path / "link").symlink_to("real")
    source = await source_of(tmp_path / "link")
    assert await source.get("KEY") == "value"
    assert source.place("KEY") == str(tmp_path / "link" / "KEY")


async def test_one_file_that_cannot_be_read_spoils_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "GOOD").write_text("a good value")
    (tmp_path / "BINARY").write_bytes(b"binary-canary\n\xff")
    (tmp_path / "LONG").write_bytes(b"long-canary" + b"x" * LONGEST)
    os.mkfifo(tmp_path / "PIPE")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "SOCKET"))
        source = await source_of(tmp_path)
    assert await source.get("GOOD") == "a good value"
    for name, complaint in {
        "BINARY": r"BINARY:2: not UTF-8",
        "LONG": rf"LONG: has more than {LONGEST} bytes",
        "PIPE": r"PIPE: is no regular file",
        "SOCKET": r"SOCKET: cannot be read \(No such device or address\)",
    }.items():
        with pytest.raises(SecretError, match=complaint) as caught:
            await source.get(name)
        assert_no_secret_in(caught.value, secrets=["binary-canary", "long-canary"])
    assert await source.names() == {"GOOD"}
    assert len(caplog.records) == 4
    assert_no_secret_in(caplog.text, secrets=["binary-canary", "long-canary"])


@pytest.fixture
def powerless() -> Iterator[Path]:
    """A folder, and nobody's rights while looking at it: root may read everything."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        shutil.rmtree(folder)


async def test_a_file_of_somebody_else_is_told_when_it_is_asked_for(powerless: Path) -> None:
    fill(powerless, {"THEIRS": "their value", "OURS": "our value"})
    (powerless / "THEIRS").chmod(0)
    if os.getuid() == 0:
        os.seteuid(65534)
    source = await source_of(powerless)
    assert await source.get("OURS") == "our value"
    with pytest.raises(SecretError, match=r"THEIRS: cannot be read \(Permission denied\)"):
        await source.get("THEIRS")


async def test_a_value_that_cannot_be_read_any_more_stays_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "KEY").write_text("the last good value")
    source = await source_of(tmp_path)
    (tmp_path / "KEY").write_bytes(b"\xff")
    await source.refresh()
    assert await source.get("KEY") == "the last good value"
    assert [record.message for record in caplog.records] == [f"{tmp_path}/KEY:1: not UTF-8"]
    (tmp_path / "KEY").write_text("a better value")
    await source.refresh()
    assert await source.get("KEY") == "a better value"


async def test_a_folder_that_is_not_there_is_empty_only_where_that_is_allowed(tmp_path: Path) -> None:
    async with open_folder(FolderOptions(path="gone", required=False, poll=POLL), context(tmp_path)) as source:
        assert await source.names() == frozenset()
        in_place(tmp_path / "gone", {"KEY": "it came later"})
        await source.refresh()
        assert await source.get("KEY") == "it came later"
    (tmp_path / "file").write_text("x")
    for path, complaint in {"away": "there is no such folder of secrets", "file": r"cannot be read \(Not a directory\)"}.items():
        with pytest.raises(SecretError, match=f"/{path}: {complaint}"):
            async with open_folder(FolderOptions(path=path), context(tmp_path)):
                pass


async def test_a_folder_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"A": "bounded-canary-a", "B": "bounded-canary-b"})
    monkeypatch.setattr("pywatt_core.builtin.folder_secrets.MOST_BYTES", 30)
    with pytest.raises(SecretError, match="holds more than 30 characters of secrets") as caught:
        await source_of(tmp_path)
    assert_no_secret_in(caught.value, secrets=["bounded-canary-a", "bounded-canary-b"])
    monkeypatch.setattr("pywatt_core.builtin.folder_secrets.MOST_FILES", 1)
    with pytest.raises(SecretError, match="holds more than 1 files: is this a folder of secrets?"):
        await source_of(tmp_path)


def test_whatever_happens_in_a_folder_gives_another_stamp(tmp_path: Path) -> None:
    """It is what tells later, when nothing is young any more, that something has to be read."""
    folder = tmp_path / "folder"
    reader = FolderReader(folder)
    stamps = [reader.stamp()]

    def changed() -> bool:
        stamps.append(reader.stamp())
        assert reader.stamp() == stamps[-1]
        return stamps[-1] not in stamps[:-1]

    as_kubernetes(folder, {"LINKED": "one"})
    assert changed()
    as_kubernetes(folder, {"LINKED": "two"})
    assert changed()
    (folder / "PLAIN").write_text("one")
    assert changed()
    os.utime(folder / "PLAIN", ns=(1, 1))
    assert changed(), "a time that went back"
    (folder / "PLAIN").chmod(0o600)
    assert changed(), "it may be readable now"
    (folder / "PLAIN").write_text("longer")
    assert changed()
    (folder / "PLAIN").rename(folder / "OTHER")
    assert changed()
    (folder / "OTHER").unlink()
    assert changed()
    folder.rename(tmp_path / "away")
    assert reader.stamp() == stamps[0]


def test_the_place_of_a_secret_is_its_file_where_it_can_have_one(tmp_path: Path) -> None:
    reader = FolderReader(tmp_path)
    assert reader.where("KEY") == f"{tmp_path}/KEY"
    assert reader.where("../KEY") == str(tmp_path)
