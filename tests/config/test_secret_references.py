"""``secret:NAME``: a reference until just before it is needed, then a value that is redacted everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pywatt_core.config import Text, load, reference, references, resolve, settings_references
from pywatt_core.errors import SecretError, SecretNotFound
from pywatt_core.redaction import redact

if TYPE_CHECKING:
    from pathlib import Path

VALUES = {"DATABASE_URL": "postgres://app:tulip%20bulb@db/app", "POOL": "7", "KEY": "reference-test-key"}


async def known(name: str) -> str | None:
    return VALUES.get(name)


def section(path: Path, *lines: str) -> object:
    (path / "pywatt.toml").write_text("\n".join(["[databases.main]", 'use = "x"', *lines]))
    return load(start=path, environ={}).databases["main"]


async def test_references_are_replaced_wherever_they_stand(tmp_path: Path) -> None:
    made = section(
        tmp_path, 'dsn = "secret:DATABASE_URL"', 'pool = { size = "secret:POOL" }', 'keys = ["secret:KEY", "plain"]', "other = 5"
    )
    resolved = await resolve(made, known)  # type: ignore[arg-type]
    assert resolved.options == {
        "dsn": VALUES["DATABASE_URL"],
        "pool": {"size": "7"},
        "keys": ["reference-test-key", "plain"],
        "other": 5,
    }
    assert isinstance(resolved.options["pool"]["size"], Text)
    assert made.options["dsn"] == "secret:DATABASE_URL"  # type: ignore[attr-defined]


async def test_values_are_redacted_before_anybody_sees_them_and_so_is_the_password_inside_a_url(tmp_path: Path) -> None:
    await resolve(section(tmp_path, 'dsn = "secret:DATABASE_URL"', 'key = "secret:KEY"'), known)  # type: ignore[arg-type]
    for text in (VALUES["DATABASE_URL"], "reference-test-key", "password tulip bulb is wrong", "tulip%20bulb"):
        assert "[REDACTED]" in redact(text)
        assert "tulip" not in redact(text)


async def test_every_missing_secret_is_named_with_the_place_that_wants_it(tmp_path: Path) -> None:
    made = section(tmp_path, 'dsn = "secret:ABSENT"', 'key = "secret:KEY"', 'other = "secret:GONE"')
    with pytest.raises(SecretNotFound) as caught:
        await resolve(made, known)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "databases.main.dsn (pywatt.toml:3): no secret source knows 'ABSENT'; "
        "databases.main.other (pywatt.toml:5): no secret source knows 'GONE'"
    )


async def test_a_source_that_refuses_says_why_and_a_source_that_fails_ends_it(tmp_path: Path) -> None:
    async def refusing(name: str) -> str | None:
        raise SecretNotFound(f"the orchestrator refused {name}")

    async def failing(name: str) -> str | None:
        raise SecretError("the vault is sealed")

    made = section(tmp_path, 'dsn = "secret:ABSENT"')
    with pytest.raises(SecretNotFound, match=r"databases.main.dsn \(pywatt.toml:3\): the orchestrator refused ABSENT"):
        await resolve(made, refusing)  # type: ignore[arg-type]
    with pytest.raises(SecretError, match="the vault is sealed"):
        await resolve(made, failing)  # type: ignore[arg-type]


async def test_each_secret_is_asked_for_once(tmp_path: Path) -> None:
    asked = []

    async def counting(name: str) -> str | None:
        asked.append(name)
        return "counted-value"

    await resolve(section(tmp_path, 'a = "secret:ONE"', 'b = ["secret:ONE", "secret:TWO"]'), counting)  # type: ignore[arg-type]
    assert asked == ["ONE", "TWO"]


def test_all_references_of_a_configuration_are_known_by_path(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text('[databases.main]\nuse = "x"\ndsn = "secret:A"\n[other]\nlist = [{ key = "secret: B" }]\n')
    assert settings_references(load(start=tmp_path, environ={})) == {"databases.main.dsn": "A", "other.list[0].key": "B"}
    assert list(references("secret:X", "here")) == [("here", "X")]
    assert reference("no secret:X") is None
