"""Every built-in source of secrets is opened by the name in a section, with the options of the section."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from pywatt_core.access import ListedSource, WatchedSource, WritableSource
from pywatt_core.config import load
from pywatt_core.errors import ConfigError
from pywatt_core.registry import Registry
from pywatt_core.services.secret_chain import SecretChain, place_of

if TYPE_CHECKING:
    from pathlib import Path

SECTIONS = """
[secrets.env]
prefix = "CONTRACT_"
[secrets.dotenv]
path = "{folder}/some.env"
poll = 0.5
[secrets.toml]
use = "file"
path = "secrets.toml"
[secrets.mounted]
use = "folder"
path = "mounted"
[secrets.optional]
use = "folder"
path = "not-there"
required = false
[secrets.above]
use = "orchestrator"
[secrets.memory]
values = {{ SIX = "of memory" }}
"""


async def test_a_chain_of_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRACT_ONE", "of the environment")
    (tmp_path / "some.env").write_text("TWO=of lines\nONE=hidden")
    (tmp_path / "secrets.toml").touch(0o600)
    (tmp_path / "secrets.toml").write_text('THREE = "of a table"')
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "FOUR").write_text("of a folder\n")
    (tmp_path / "pywatt.toml").write_text(SECTIONS.format(folder=tmp_path))
    async with AsyncExitStack() as stack:
        chain = SecretChain(await Registry(discover=False).open_secret_sources(stack, load(start=tmp_path, environ={})))
        found = {name: await chain.get(name) for name in ("ONE", "TWO", "THREE", "FOUR", "SIX", "NONE")}
        assert found == {
            "ONE": "of the environment", "TWO": "of lines", "THREE": "of a table", "FOUR": "of a folder", "SIX": "of memory", "NONE": None,
        }  # fmt: skip
        assert await chain.names() == {"ONE", "TWO", "THREE", "FOUR", "SIX"}
        assert [place_of(source, "KEY") for _, source in chain] == [
            "the variable CONTRACT_KEY",
            f"{tmp_path}/some.env",
            f"{tmp_path}/secrets.toml",
            f"{tmp_path}/mounted/KEY",
            f"{tmp_path}/not-there/KEY",
            "the orchestrator",
            "memory",
        ]
        kinds = {label: [isinstance(source, kind) for kind in (ListedSource, WatchedSource, WritableSource)] for label, source in chain}
    assert kinds == {
        "env": [True, False, False], "dotenv": [True, True, False], "toml": [True, True, False], "mounted": [True, True, False],
        "optional": [True, True, False], "above": [False, False, False], "memory": [True, True, True],
    }  # fmt: skip


@pytest.mark.parametrize("use", ["dotenv", "file", "folder"])
async def test_how_often_to_look_is_checked_with_all_other_options(tmp_path: Path, use: str) -> None:
    (tmp_path / "pywatt.toml").write_text(f'[secrets.x]\nuse = "{use}"\npath = "x"\npoll = 0\n')
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match=r"secrets.x.*: poll is 0(\.0)?: between 0.01 and 86400 seconds are possible"):
            await Registry(discover=False).open_secret_sources(stack, load(start=tmp_path, environ={}))
