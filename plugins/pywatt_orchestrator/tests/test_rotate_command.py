"""What `pywatt rotate` tells a person, outcome by outcome. (That it does so is in test_rotation.py.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pywatt_orchestrator.rotate_command import rotation_lines
from pywatt_orchestrator.rotation import Result

Running = Callable[[], Any]


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        (Result(name="KEY", result="rotated", used_by=["orders", "users"]), ["KEY: rotated, orders, users"]),
        (Result(name="KEY", result="rotated"), ["KEY: rotated, nobody uses it any more"]),
        (Result(name="KEY", result="unchanged", used_by=["[services.main]"]), ["KEY: has the value that is in use, [services.main]"]),
        (Result(name="KEY", result="unused"), ["KEY: nobody uses it"]),
        (
            Result(name="KEY", result="refused", reasons={"orders": "no", "users": "never"}, used_by=["orders", "users"]),
            ["KEY: not rotated, the value before stays in use", "    orders: no", "    users: never"],
        ),
        (Result(name="KEY", result="missing", why="no source knows it"), ["KEY: no source knows it"]),
        (Result(name="KEY", result="failed", why="it is down", used_by=["users"]), ["KEY: it is down; users keep what they have"]),
    ],
)
def test_each_outcome_is_told(result: Result, lines: list[str]) -> None:
    assert list(rotation_lines([result])) == lines


def test_without_any_secret_there_is_a_sentence() -> None:
    assert list(rotation_lines([])) == ["no module has been given a secret"]


async def test_where_nothing_runs_it_says_so(running: Running) -> None:
    async with running() as project:
        code, out, err = await project.command("rotate")
        assert (code, out) == (2, "")
        assert "no orchestrator runs in this folder: `pywatt up` starts one" in err
