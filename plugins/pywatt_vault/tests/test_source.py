"""The vault as a source of secrets: the contract, and what happens when the file is damaged, exchanged or slow."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.access import ListedSource, WatchedSource, WritableSource
from pywatt_core.errors import SecretError
from pywatt_core.interfaces import Context
from pywatt_core.services.secret_chain import SecretChain, place_of
from pywatt_core.testing import assert_no_secret_in
from pywatt_core.testing.contracts import SecretSourceContract
from pywatt_vault import open_vault, source
from pywatt_vault.files import write_whole
from pywatt_vault.keys import new_key, written
from pywatt_vault.options import Options
from pywatt_vault.rotating import key_lock, rotate
from pywatt_vault.source import VaultSource, store_of
from pywatt_vault.vault import Vault

from .conftest import cheap_lock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pywatt_core.testing.contracts.secret_source import OpenWith, Replace

POLL = 0.02
OPTIONS = Options(poll=POLL)
CANARY = "vault-canary-Zq81xw"


def context(folder: Path) -> Context:
    return Context(module_id="test", section="secrets.vault", folder=folder)


def make(folder: Path, secrets: Mapping[str, str]) -> None:
    """A vault with these secrets and no others, with its key beside it."""
    file = folder / "secrets.vault"
    store = store_of(OPTIONS, folder)
    if file.exists():
        store.change(secrets, remove=[name for name in store.load().names() if name not in secrets])
        return
    key = new_key()
    (folder / "secrets.key").touch(0o600)
    (folder / "secrets.key").write_text(written(key))
    store.create(Vault.create(str(file), key).with_changes(secrets, datetime.now(UTC)))


class TestVaultSource(SecretSourceContract):
    lists = watches = writes = True

    @pytest.fixture
    def open_with(self, tmp_path: Path) -> OpenWith:
        def opened(secrets: Mapping[str, str]) -> Any:
            make(tmp_path, secrets)
            return open_vault(OPTIONS, context(tmp_path))

        return opened

    @pytest.fixture
    def replace(self, tmp_path: Path) -> Replace:
        return lambda source, secrets: make(tmp_path, secrets)


class TestVaultWithoutKnownName:
    async def test_it_says_where_it_looks(self, tmp_path: Path) -> None:
        make(tmp_path, {})
        async with open_vault(OPTIONS, context(tmp_path)) as opened:
            assert place_of(opened, "ANY") == str(tmp_path / "secrets.vault")
            assert repr(opened) == f"VaultSource({str(tmp_path / 'secrets.vault')!r})"
            with pytest.raises(SecretError, match=r"no source knows the secret 'ANY' \(asked: vault: .*/secrets\.vault\)"):
                await SecretChain([("vault", opened)]).fetch("ANY")

    async def test_it_can_be_listed_watched_and_written(self, tmp_path: Path) -> None:
        make(tmp_path, {})
        async with open_vault(OPTIONS, context(tmp_path)) as opened:
            for face in (ListedSource, WatchedSource, WritableSource):
                assert isinstance(opened, face)


async def test_what_is_known_of_a_secret_is_its_version_and_time(tmp_path: Path) -> None:
    make(tmp_path, {"NAME": CANARY})
    before = datetime.now(UTC).replace(microsecond=0)
    async with open_vault(OPTIONS, context(tmp_path)) as opened:
        await opened.set("NAME", "another value")
        info = await opened.describe("NAME")
        assert info is not None
        assert info.changed is not None
        assert info.version.startswith("2-")
        assert info.changed >= before


async def test_a_vault_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"secrets\.vault: there is no such vault; `pywatt secrets init` makes one"):
        async with open_vault(OPTIONS, context(tmp_path)):
            pass


async def test_a_vault_without_a_key_says_where_to_put_it(tmp_path: Path) -> None:
    make(tmp_path, {"NAME": CANARY})
    (tmp_path / "secrets.key").unlink()
    with pytest.raises(SecretError) as raised:
        async with open_vault(OPTIONS, context(tmp_path)):
            pass
    assert str(raised.value) == (
        f"{tmp_path}/secrets.vault: there is no key for it. "
        f"Put the key into the variable PYWATT_VAULT_KEY or into the file {tmp_path}/secrets.key"
    )


async def test_the_key_may_stand_in_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, {"NAME": CANARY})
    key = tmp_path / "secrets.key"
    monkeypatch.setenv("SHOP_KEY", key.read_text())
    key.unlink()
    async with open_vault(Options(key_env="SHOP_KEY"), context(tmp_path)) as opened:
        assert await opened.get("NAME") == CANARY


async def test_a_key_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    make(tmp_path, {"NAME": CANARY})
    with pytest.raises(SecretError, match=r"elsewhere\.key: there is no such key file"):
        async with open_vault(Options(key_file="elsewhere.key"), context(tmp_path)):
            pass


async def test_a_key_file_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, {"NAME": CANARY})
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secrets.key").rename(home / "shop.key")
    monkeypatch.setenv("HOME", str(home))
    async with open_vault(Options(key_file="~/shop.key"), context(tmp_path)) as opened:
        assert await opened.get("NAME") == CANARY


async def test_a_damaged_file_leaves_the_last_good_values_and_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, {"NAME": CANARY})
    file = tmp_path / "secrets.vault"
    good = file.read_bytes()
    caplog.set_level(logging.INFO)
    async with open_vault(OPTIONS, context(tmp_path)) as opened:
        for damage in (good[:-40], good[:-40], good[:-40]):
            file.write_bytes(damage)
            await opened.refresh()
            assert await opened.get("NAME") == CANARY
        file.unlink()
        await opened.refresh()
        assert await opened.get("NAME") == CANARY
        file.write_bytes(good)
        await opened.refresh()
        assert await opened.get("NAME") == CANARY
    told = [record.getMessage() for record in caplog.records if record.name.startswith("pywatt_vault")]
    assert len(told) == 3
    assert "changed by hand or damaged" in told[0] or "cut short" in told[0]
    assert told[1] == f"{file}: there is no such vault; `pywatt secrets init` makes one. The values known before stay in use"
    assert told[2] == f"{file}: it can be read again"
    assert_no_secret_in(told, secrets=CANARY)


async def test_a_damaged_file_does_not_end_the_changes(tmp_path: Path) -> None:
    make(tmp_path, {"NAME": CANARY, "OTHER": "stays as it is"})
    file = tmp_path / "secrets.vault"
    good = file.read_bytes()
    async with open_vault(OPTIONS, context(tmp_path)) as opened:
        changes = opened.changes()
        waiting = asyncio.ensure_future(anext(changes))
        file.write_bytes(good[:100])
        await opened.refresh()
        file.write_bytes(good)
        make(tmp_path, {"NAME": "another value", "OTHER": "stays as it is"})
        async with asyncio.timeout(30):
            assert await waiting == {"NAME"}


async def test_setting_in_a_damaged_file_is_refused(tmp_path: Path) -> None:
    make(tmp_path, {"NAME": CANARY})
    file = tmp_path / "secrets.vault"
    async with open_vault(OPTIONS, context(tmp_path)) as opened:
        damaged = file.read_bytes().replace(b"NAME", b"NAMF")
        file.write_bytes(damaged)
        with pytest.raises(SecretError, match="its seal is broken"):
            await opened.set("NAME", "new value")
        assert file.read_bytes() == damaged


async def test_a_new_key_in_the_key_file_is_followed_without_a_change_of_values(tmp_path: Path) -> None:
    make(tmp_path, {"NAME": CANARY})
    async with open_vault(OPTIONS, context(tmp_path)) as opened:
        changes = opened.changes()
        store = store_of(OPTIONS, tmp_path)
        vault = store.load()
        rotate(store, key_lock(vault.file, id=vault.header.id), file=tmp_path / "secrets.key")
        await opened.refresh()
        await opened.set("NAME", "a value under the new key")
        async with asyncio.timeout(30):
            assert await anext(changes) == {"NAME"}
        assert await opened.get("NAME") == "a value under the new key"
    assert store.load().header.key != vault.header.key


async def test_a_passphrase_is_stretched_once_however_often_the_vault_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secrets.key").touch(0o600)
    (tmp_path / "secrets.key").write_text("correct horse battery staple\n")
    store = store_of(OPTIONS, tmp_path)
    store.create(cheap_lock("correct horse battery staple").empty)
    from pywatt_vault import sealing

    calls = []
    original = sealing.stretched

    def counted(*arguments: Any) -> bytes:
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(sealing, "stretched", counted)
    async with open_vault(OPTIONS, context(tmp_path)) as opened:
        for number in range(3):
            await opened.set("NAME", f"value number {number}")
        assert await opened.get("NAME") == "value number 2"
    assert len(calls) == 1


async def test_a_file_system_that_hangs_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, {"NAME": CANARY})
    monkeypatch.setattr(source, "LOOK_TIMEOUT", 0.05)
    reads, go_on = [], threading.Event()
    async with open_vault(OPTIONS, context(tmp_path)) as opened:
        original = opened._store.data

        def slow() -> bytes:
            reads.append(1)
            assert go_on.wait(30)
            return original()

        monkeypatch.setattr(opened._store, "data", slow)
        for _ in range(3):
            await opened.refresh()
            assert await opened.get("NAME") == CANARY
        assert len(reads) == 1, "no second thread hangs"
        assert "cannot be read within 0.05 s. The values known before stay in use" in caplog.text
        monkeypatch.setattr(source, "LOOK_TIMEOUT", 30.0)
        await asyncio.to_thread(make, tmp_path, {"NAME": "a later value"})
        go_on.set()
        await opened.refresh()
        assert await opened.get("NAME") == "a later value"


async def test_a_file_that_is_what_it_was_is_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, {"NAME": CANARY})
    async with open_vault(OPTIONS, context(tmp_path)) as opened:
        openings = []
        original = Vault.read
        monkeypatch.setattr(Vault, "read", lambda *arguments: (openings.append(1), original(*arguments))[1])
        for _ in range(5):
            await opened.refresh()
        assert openings == []
        monkeypatch.undo()
        make(tmp_path, {"NAME": "a later value"})
        await opened.refresh()
        assert await opened.get("NAME") == "a later value"


async def test_two_processes_of_one_vault_see_what_the_other_sets(tmp_path: Path) -> None:
    make(tmp_path, {"NAME": CANARY})
    async with open_vault(OPTIONS, context(tmp_path)) as one, open_vault(OPTIONS, context(tmp_path)) as other:
        await one.set("ONE", "set by the first")
        await other.set("OTHER", "set by the second")
        await one.refresh()
        assert (await one.get("OTHER"), await other.get("ONE")) == ("set by the second", "set by the first")
        assert set(await one.names()) == {"NAME", "ONE", "OTHER"}


async def test_a_link_that_leads_to_another_vault_is_followed(tmp_path: Path) -> None:
    make(tmp_path, {"NAME": CANARY})
    file = tmp_path / "secrets.vault"
    store = store_of(OPTIONS, tmp_path)
    newer = store.load().with_changes({"NAME": "behind the link"}, datetime.now(UTC))
    file.rename(tmp_path / "one")
    write_whole(tmp_path / "two", newer.text(), mode=0o644)
    file.symlink_to("one")
    async with open_vault(OPTIONS, context(tmp_path)) as opened:
        changes = opened.changes()
        (tmp_path / "link").symlink_to("two")
        (tmp_path / "link").replace(file)
        async with asyncio.timeout(30):
            assert await anext(changes) == {"NAME"}
        assert await opened.get("NAME") == "behind the link"


async def test_opening_goes_through_the_class_too(tmp_path: Path) -> None:
    make(tmp_path, {"NAME": CANARY})
    opened = await VaultSource.open(OPTIONS, tmp_path)
    assert await opened.get("NAME") == CANARY
