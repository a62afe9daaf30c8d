"""The environment and memory as sources of secrets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.access import ListedSource
from pywatt_core.builtin.secret_options import EnvOptions, MemorySecretsOptions
from pywatt_core.builtin.secrets import (
    LONGEST_NAME,
    MOST_SECRETS,
    EnvironmentSecrets,
    MemorySecrets,
    PrefixedEnvironment,
    open_env,
    open_memory_secrets,
)
from pywatt_core.errors import SecretError
from pywatt_core.interfaces import Context
from pywatt_core.redaction import Secret, redact
from pywatt_core.testing import assert_no_secret_in
from pywatt_core.testing.contracts import SecretSourceContract

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pywatt_core.testing.contracts.secret_source import OpenWith, Replace


def context(folder: Path) -> Context:
    return Context(module_id="test", section="secrets.test", folder=folder)


class TestEnvironment(SecretSourceContract):
    prefix = "CONTRACT_"
    lists = True

    @pytest.fixture
    def open_with(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenWith:
        def opened(secrets: Mapping[str, str]) -> Any:
            for name, value in secrets.items():
                monkeypatch.setenv(f"{self.prefix}{name}", value)
            return open_env(EnvOptions(prefix=self.prefix), context(tmp_path))

        return opened


class TestEnvironmentWithoutPrefix(TestEnvironment):
    prefix = ""
    lists = False


class TestMemory(SecretSourceContract):
    lists = watches = writes = True
    removes = False

    @pytest.fixture
    def open_with(self, tmp_path: Path) -> OpenWith:
        return lambda secrets: open_memory_secrets(
            MemorySecretsOptions(values={name: Secret(value) for name, value in secrets.items()}), context(tmp_path)
        )

    @pytest.fixture
    def replace(self) -> Replace:
        async def replaced(source: MemorySecrets, secrets: Mapping[str, str]) -> None:
            for name, value in secrets.items():
                await source.set(name, value)

        return replaced


async def test_values_of_the_memory_source_are_redacted_at_once(tmp_path: Path) -> None:
    async with open_memory_secrets(MemorySecretsOptions(values={"A": Secret("memory-canary")}), context(tmp_path)) as source:
        assert redact("memory-canary") == "[REDACTED]"
        await source.set("B", "another-memory-canary")
        assert redact("another-memory-canary") == "[REDACTED]"
    assert_no_secret_in(repr(MemorySecretsOptions(values={"A": Secret("memory-canary")})), secrets="memory-canary")


async def test_what_memory_refuses_is_hidden_all_the_same() -> None:
    source = MemorySecrets({})
    for name in ("", " A", "A\n", "A\x1b[0m", "\u202eA", "\ud800", "A" * (LONGEST_NAME + 1)):
        with pytest.raises(SecretError, match="is no name of a secret: 1 to 256 printable characters"):
            await source.set(name, "refused-memory-canary")
    assert redact("refused-memory-canary") == "[REDACTED]"
    with pytest.raises(SecretError, match="the value for 'A' is no text that can be encoded"):
        await source.set("A", "refused-memory-canary \udcff")
    assert await source.names() == frozenset()


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_SECRETS == 10_000
    monkeypatch.setattr("pywatt_core.builtin.secrets.MOST_SECRETS", 2)
    source = MemorySecrets({"A": "first-bounded-value", "B": "second-bounded-value"})
    with pytest.raises(SecretError, match="memory keeps 2 secrets, and has them"):
        await source.set("C", "third-bounded-value")
    await source.set("B", "another-bounded-value")
    assert await source.get("B") == "another-bounded-value"


async def test_memory_knows_when_a_value_was_set() -> None:
    source = MemorySecrets({"A": "some-value-for-a", "B": "some-value-for-b"})
    before = await source.describe("A")
    await source.set("B", "some-other-value-for-b")
    after, changed = await source.describe("A"), await source.describe("B")
    assert before is not None and before.changed is not None
    assert after == before
    assert changed is not None and changed.changed is not None
    assert changed.changed >= before.changed


async def test_the_environment_is_read_when_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_env(EnvOptions(), context(tmp_path)) as source:
        assert await source.get("CONTRACT_LATER") is None
        monkeypatch.setenv("CONTRACT_LATER", "now")
        assert await source.get("CONTRACT_LATER") == "now"


async def test_a_variable_that_is_no_text_is_refused_by_name() -> None:
    source = EnvironmentSecrets({"BAD": os.fsdecode(b"\xff-variable-canary")})
    with pytest.raises(SecretError, match="the variable BAD is not valid UTF-8") as caught:
        await source.get("BAD")
    assert_no_secret_in(caught.value, secrets="variable-canary")


async def test_only_an_environment_with_a_prefix_is_listed() -> None:
    assert not isinstance(EnvironmentSecrets({}), ListedSource)
    source = PrefixedEnvironment({"APP_KEY": "a-key-value", "APP_": "nameless", "OTHER": "other", os.fsdecode(b"APP_\xff"): "odd"}, "APP_")
    assert await source.names() == {"KEY"}
    info = await source.describe("KEY")
    assert info is not None
    assert info.attributes == {"variable": "APP_KEY"}
    assert source.place("KEY") == "the variable APP_KEY"
    assert source.place("A\nB\x1b") == "the variable 'APP_A\\nB\\x1b'"
    assert await source.get("") is None, "the prefix alone is no secret"
