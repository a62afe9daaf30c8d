"""Which vault is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pywatt_core.errors import ConfigError
from pywatt_vault.locating import locate, short

TWO = """
[secrets.env]

[secrets.vault]
key_env = "FIRST_KEY"

[secrets.production]
use = "vault"
path = "deploy/production.vault"
key_file = "/run/secrets/production"
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configure(text: str) -> None:
    Path("pywatt.toml").write_text(text)


def test_without_a_configuration_it_is_the_one_here(here: Path) -> None:
    found = locate(None, None)
    assert list(found.sources) == []
    assert (found.store.path, found.section, found.name) == (here / "secrets.vault", "", "secrets.vault")
    assert found.store.places.file == here / "secrets.key"
    assert found.store.places.variable == "PYWATT_VAULT_KEY"


def test_the_only_one_that_is_configured_is_meant_also_from_below(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure('[secrets.env]\n[secrets.mine]\nuse = "vault"\npath = "deploy/x.vault"\n')
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")
    found = locate(None, None)
    assert (found.store.path, found.section, found.folder) == (here / "deploy/x.vault", "secrets.mine", here)
    assert list(found.sources) == ["env", "mine"]
    assert found.name == "../deploy/x.vault"


@pytest.mark.parametrize("wanted", ["production", "deploy/production.vault", "./deploy/../deploy/production.vault"])
def test_one_of_several_is_meant_by_its_section_or_its_path(here: Path, wanted: str) -> None:
    configure(TWO)
    found = locate(wanted, None)
    assert (found.store.path, found.section) == (here / "deploy/production.vault", "secrets.production")
    assert found.store.places.file == Path("/run/secrets/production")


def test_where_several_are_configured_one_has_to_be_said() -> None:
    configure(TWO)
    with pytest.raises(ConfigError, match="there are several vaults: say which with --vault vault or --vault production"):
        locate(None, None)


def test_any_other_path_is_a_vault_of_its_own(here: Path) -> None:
    configure(TWO)
    found = locate("other.vault", None)
    assert (found.store.path, found.section, list(found.sources)) == (here / "other.vault", "", ["env", "vault", "production"])
    assert found.store.places.file == here / "other.key"
    assert found.store.places.variable == "PYWATT_VAULT_KEY"


def test_a_path_into_nowhere_is_neither(here: Path) -> None:
    configure("[secrets.vault]\n")
    with pytest.raises(ConfigError, match=r"there is no vault 'no/such': neither a section \[secrets\.no/such\] nor a file"):
        locate("no/such", None)


def test_wrong_options_are_told_with_their_place() -> None:
    configure('[secrets.vault]\npaht = "x.vault"\n')
    with pytest.raises(ConfigError, match=r"secrets\.vault\.paht.*unknown option"):
        locate(None, None)
    configure("[secrets]\nvault = 3\n")
    with pytest.raises(ConfigError, match=r"secrets\.vault"):
        locate(None, None)


def test_a_configuration_that_was_named_is_read(here: Path) -> None:
    (here / "other").mkdir()
    (here / "other" / "pywatt.toml").write_text('[secrets.vault]\npath = "x.vault"\n')
    assert locate(None, "other/pywatt.toml").store.path == here / "other/x.vault"


def test_a_person_is_asked_for_the_vault_by_its_name(here: Path) -> None:
    asked = []

    def ask(what: str) -> str:
        asked.append(what)
        return "a passphrase"

    found = locate(None, None, ask)
    assert found.store.places._ask is not None
    assert found.store.places._ask() == "a passphrase"
    assert asked == ["Passphrase of secrets.vault"]


def test_a_path_is_said_as_short_as_it_can_be(here: Path) -> None:
    assert short(here / "a" / "b") == "a/b"
    assert short(Path("/x")) == "/x"
    assert short(here / "a", here / "b") == "../a"
