"""The options of the section."""

from __future__ import annotations

from typing import Any

import pytest

from pywatt_core.config import check_section
from pywatt_vault import Options


def test_without_options_the_files_stand_beside_the_configuration() -> None:
    options = Options()
    assert (options.path, options.key_file, options.key_env, options.any_mode, options.poll) == (
        "secrets.vault", "", "PYWATT_VAULT_KEY", False, 1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"path": ""}, "path is empty: name the encrypted file"),
        ({"key_env": "pywatt-vault-key-AAAA"}, "key_env is the name of an environment variable, never the key itself"),
        ({"poll": 0}, "poll is 0.0: more than 0 seconds are needed"),
        ({"poll": float("inf")}, "poll is inf"),
        ({"poll": float("nan")}, "poll is nan"),
        ({"keyfile": "x"}, "unknown option"),
    ],
)
def test_a_wrong_option_is_told(table: dict[str, Any], said: str) -> None:
    _, problems = check_section(table, Options, "secrets.vault")
    assert said in " ".join(map(str, problems))
    assert "AAAA" not in " ".join(map(str, problems))
