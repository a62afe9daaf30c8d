"""What is printed of a configuration: every value with its source, and nothing secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pywatt_core.config import Section, Settings, load

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
[databases.main]
use = "postgres"
dsn = "postgres://app:tulip@db/app"
password = "hyacinth"
pin = 1234
api_key = 998877
token_ttl = 60
reference = "secret:DATABASE_URL"
[databases.main.pool]
size = 4
passphrase = "crocus"
replicas = ["postgres://app:daffodil@db2/app"]
[auth.main]
use = "jwt"
key = "freesia"
previous_keys = ["gentian"]
pasword = "heather"
[secrets.memory]
values = { PIN = "iris" }
[modules.users.env]
API_TOKEN = "snowdrop"
"""


def shown(path: Path, hidden: dict[str, bool] | None = None) -> dict[str, Any]:
    (path / "pywatt.toml").write_text(FILE)
    return load(start=path, environ={}).redacted(hidden)


def test_secrets_are_hidden_by_name_and_in_urls(tmp_path: Path) -> None:
    text = json.dumps(shown(tmp_path))
    for canary in ("tulip", "hyacinth", "998877", "crocus", "daffodil", "snowdrop", "freesia", "gentian", "heather"):
        assert canary not in text


def test_in_a_table_of_secrets_everything_is_hidden(tmp_path: Path) -> None:
    hidden = {"secrets.memory.values": True, "databases.main.pool": False}
    text = json.dumps(shown(tmp_path, hidden))
    assert "iris" not in text and "crocus" not in text


def test_what_is_known_about_an_option_counts_more_than_its_name(tmp_path: Path) -> None:
    main = shown(tmp_path, {"databases.main.pin": True, "databases.main.token_ttl": False})["databases"]["main"]
    assert main["pin"]["value"] == "[REDACTED]"
    assert main["token_ttl"] == {"value": 60, "source": "pywatt.toml:7"}


def test_every_value_names_its_source(tmp_path: Path) -> None:
    values = shown(tmp_path)
    assert values["databases"]["main"]["dsn"] == {"value": "postgres://app:[REDACTED]@db/app", "source": "pywatt.toml:3"}
    assert values["databases"]["main"]["reference"] == {"value": "secret:DATABASE_URL", "source": "pywatt.toml:8"}
    assert values["databases"]["main"]["pool"]["size"] == {"value": 4, "source": "pywatt.toml:10"}
    assert values["module"]["drain"] == {"value": 10.0, "source": "default"}
    assert values["plugins"]["disable"] == {"value": (), "source": "default"}


def test_neither_settings_nor_sections_show_values_by_themselves(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text(FILE)
    settings = load(start=tmp_path, environ={})
    for text in (repr(settings), str(settings), repr(settings.databases["main"]), f"{settings.merged}"):
        for canary in ("tulip", "hyacinth", "998877", "crocus", "snowdrop"):
            assert canary not in text
    assert "postgres" in repr(settings.databases["main"])
    assert "sqlite" in repr(Section("sqlite"))
    assert Settings().folder.is_absolute()
