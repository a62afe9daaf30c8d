"""The built-in secret sources keep the contract, and refuse files that are not what they have to be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pywatt_core.builtin.file_secrets import open_dotenv, open_file
from pywatt_core.builtin.secret_options import DotenvOptions, EnvOptions, FileOptions, MemorySecretsOptions
from pywatt_core.builtin.secrets import EnvironmentSecrets, open_env, open_memory_secrets
from pywatt_core.errors import ConfigError, SecretError
from pywatt_core.interfaces import Context
from pywatt_core.redaction import redact
from pywatt_core.testing.contracts import SecretSourceContract

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pywatt_core.testing.contracts.secret_source import OpenWith


def context(folder: Path) -> Context:
    return Context(module_id="test", section="secrets.test", folder=folder)


class TestEnvironment(SecretSourceContract):
    @pytest.fixture
    def open_with(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenWith:
        def opened(secrets: Mapping[str, str]) -> Any:
            for name, value in secrets.items():
                monkeypatch.setenv(f"CONTRACT_{name}", value)
            return open_env(EnvOptions(prefix="CONTRACT_"), context(tmp_path))

        return opened


class TestDotenv(SecretSourceContract):
    @pytest.fixture
    def open_with(self, tmp_path: Path) -> OpenWith:
        def opened(secrets: Mapping[str, str]) -> Any:
            escaped = {name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r") for name, value in secrets.items()}
            (tmp_path / ".env").write_text("".join(f'{name}="{value}"\n' for name, value in escaped.items()), encoding="utf-8")
            return open_dotenv(DotenvOptions(), context(tmp_path))

        return opened


class TestFile(SecretSourceContract):
    @pytest.fixture
    def open_with(self, tmp_path: Path) -> OpenWith:
        def opened(secrets: Mapping[str, str]) -> Any:
            file = tmp_path / "secrets.toml"
            file.touch(0o600)
            file.write_text(
                "".join(f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in secrets.items()), encoding="utf-8"
            )
            return open_file(FileOptions(path="secrets.toml"), context(tmp_path))

        return opened


class TestMemory(SecretSourceContract):
    @pytest.fixture
    def open_with(self, tmp_path: Path) -> OpenWith:
        return lambda secrets: open_memory_secrets(MemorySecretsOptions(values=dict(secrets)), context(tmp_path))


async def test_values_of_the_memory_source_are_redacted_at_once(tmp_path: Path) -> None:
    async with open_memory_secrets(MemorySecretsOptions(values={"A": "memory-canary"}), context(tmp_path)):
        assert redact("memory-canary") == "[REDACTED]"
    assert "memory-canary" not in repr(MemorySecretsOptions(values={"A": "memory-canary"}))


async def test_the_environment_is_read_when_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_env(EnvOptions(), context(tmp_path)) as source:
        assert await source.get("CONTRACT_LATER") is None
        monkeypatch.setenv("CONTRACT_LATER", "now")
        assert await source.get("CONTRACT_LATER") == "now"


async def test_a_variable_that_is_no_text_is_refused_by_name() -> None:
    source = EnvironmentSecrets({"BAD": os.fsdecode(b"\xff-canary")})
    with pytest.raises(SecretError, match="the environment variable BAD is not valid UTF-8") as caught:
        await source.get("BAD")
    assert "canary" not in str(caught.value)


async def opened(manager: Any) -> Any:
    async with manager as source:
        return source


async def test_a_dotenv_file_that_is_not_there_is_empty_only_where_that_is_allowed(tmp_path: Path) -> None:
    source = await opened(open_dotenv(DotenvOptions(required=False), context(tmp_path)))
    assert await source.get("ANY") is None
    with pytest.raises(SecretError, match=r"/\.env: there is no such file of secrets"):
        await opened(open_dotenv(DotenvOptions(), context(tmp_path)))


async def test_a_path_is_relative_to_the_folder_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.env").write_text("A=b")
    source = await opened(open_dotenv(DotenvOptions(path="sub/x.env"), context(tmp_path)))
    assert await source.get("A") == "b"
    absolute = await opened(open_dotenv(DotenvOptions(path=str(tmp_path / "sub" / "x.env")), context(tmp_path / "elsewhere")))
    assert await absolute.get("A") == "b"


async def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secrets.toml"
    file.write_text('A = "b"\n')
    file.chmod(0o640)
    with pytest.raises(SecretError, match=r"others may read it \(mode 640\): chmod 600 .*, or set any_mode = true"):
        await opened(open_file(FileOptions(path="secrets.toml"), context(tmp_path)))
    source = await opened(open_file(FileOptions(path="secrets.toml", any_mode=True), context(tmp_path)))
    assert await source.get("A") == "b"


@pytest.mark.parametrize(
    ("content", "error", "complaint"),
    [
        (b"A = file-canary\n", ConfigError, r"secrets.toml:1: not valid TOML. A file of secrets is a flat table"),
        (b'A = "x"\nB = "file-canary\n', ConfigError, r"secrets.toml:2: not valid TOML"),
        (b'A = """\nfile-canary', ConfigError, r"secrets.toml:2: not valid TOML"),
        (b'[table]\nA = "file-canary"\n', ConfigError, r"secrets.toml:1: table is not text"),
        (b"A = 5\n", ConfigError, r"secrets.toml:1: A is not text"),
        (b'A = "x"\nB = "\xff-file-canary"\n', SecretError, r"secrets.toml:2: not UTF-8"),
    ],
)
async def test_a_file_of_another_form_is_refused_without_its_values(
    tmp_path: Path, content: bytes, error: type[Exception], complaint: str
) -> None:
    (tmp_path / "secrets.toml").write_bytes(content)
    (tmp_path / "secrets.toml").chmod(0o600)
    with pytest.raises(error, match=complaint) as caught:
        await opened(open_file(FileOptions(path="secrets.toml"), context(tmp_path)))
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"cannot be read \(Is a directory\)"):
        await opened(open_file(FileOptions(path="."), context(tmp_path)))
    with pytest.raises(SecretError, match="there is no such file of secrets"):
        await opened(open_file(FileOptions(path="gone.toml"), context(tmp_path)))
