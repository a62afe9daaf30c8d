"""The variables of the Rust SDK choose the sources of secrets where nothing else does."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from pywatt_core.config import load
from pywatt_core.errors import ConfigError
from pywatt_core.registry import Registry
from pywatt_core.services.secret_chain import SecretChain

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "secrets.toml"
    path.parent.mkdir()
    path.touch(0o600)
    path.write_text('ONLY_THERE = "a value of the file"\n')
    return path


@pytest.mark.parametrize(
    ("chain", "sources"), [("env", ["env"]), ("file", ["file"]), ("env,file", ["env", "file"]), (" File , ENV ,env", ["file", "env"])]
)
def test_the_chain_is_the_variables(tmp_path: Path, file: Path, chain: str, sources: list[str]) -> None:
    environ = {"SECRET_PROVIDER_CHAIN": chain, "SECRET_FILE_PATH": str(file), "SECRET_FILE_FORMAT": "TOML"}
    settings = load(start=tmp_path, environ=environ)
    assert list(settings.secrets) == sources
    assert [section.use for section in settings.secrets.values()] == sources
    if "file" in sources:
        assert settings.secrets["file"].options == {"path": str(file)}
        assert settings.secrets["file"].origin("path") == "environment SECRET_FILE_PATH"
    assert settings.secrets[sources[0]].origin() == "environment SECRET_PROVIDER_CHAIN"


async def test_the_sources_open_and_answer(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("CONTRACT_VARIABLE", "a value of the environment")
    settings = load(start=tmp_path, environ={"SECRET_PROVIDER_CHAIN": "env,file", "SECRET_FILE_PATH": "secrets.toml"})
    async with AsyncExitStack() as stack:
        chain = SecretChain(await Registry(discover=False).open_secret_sources(stack, settings))
        assert await chain.get("CONTRACT_VARIABLE") == "a value of the environment"
        assert await chain.get("ONLY_THERE") == "a value of the file"


def test_without_it_the_others_mean_nothing(tmp_path: Path) -> None:
    settings = load(start=tmp_path, environ={"SECRET_FILE_PATH": "/nowhere", "SECRET_FILE_FORMAT": "yaml"})
    assert list(settings.secrets) == ["env", "dotenv"]


def test_a_configured_chain_wins_and_an_orchestrators_module_has_none(tmp_path: Path) -> None:
    environ = {"SECRET_PROVIDER_CHAIN": "nonsense"}
    assert not load(init={"folder": str(tmp_path)}, environ=environ).secrets
    (tmp_path / "pywatt.toml").write_text("[secrets.memory]\n")
    assert list(load(start=tmp_path, environ=environ).secrets) == ["memory"]


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"SECRET_PROVIDER_CHAIN": ""}, r"SECRET_PROVIDER_CHAIN \(environment\): has an empty name\. Write env, file or both"),
        ({"SECRET_PROVIDER_CHAIN": "env,"}, "has an empty name"),
        ({"SECRET_PROVIDER_CHAIN": "env,vault"}, "names 'vault', which is no source that it knows"),
        ({"SECRET_PROVIDER_CHAIN": "file"}, r"SECRET_FILE_PATH \(environment\): is not set, and SECRET_PROVIDER_CHAIN names file"),
        ({"SECRET_PROVIDER_CHAIN": "file", "SECRET_FILE_PATH": ""}, "SECRET_FILE_PATH .*: is not set"),
        (
            {"SECRET_PROVIDER_CHAIN": "file", "SECRET_FILE_PATH": "x", "SECRET_FILE_FORMAT": "yaml"},
            r"SECRET_FILE_FORMAT \(environment\): is not toml, the one format that there is\. Write toml, or leave it out",
        ),
    ],
)
def test_what_makes_no_chain_is_a_problem_of_the_configuration(tmp_path: Path, environ: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load(start=tmp_path, environ=environ)
