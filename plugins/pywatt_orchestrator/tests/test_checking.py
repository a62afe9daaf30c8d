"""Everything that is wrong with a configuration is known before anything starts, in one report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.config import load
from pywatt_core.errors import ConfigError
from pywatt_orchestrator.checking import Reading
from pywatt_orchestrator.project import read_project

Read = Callable[..., Reading]


@pytest.fixture
def reading_of(tmp_path: Path) -> Read:
    """Write pywatt.toml beside two module files and read it."""

    def read(text: str, *, only: str | None = None) -> Reading:
        for name in ("good.py", "other.py"):
            (tmp_path / name).touch()
        (tmp_path / "pywatt.toml").write_text(text)
        return Reading(lambda: load(start=tmp_path, environ={}, defer=True), lambda settings: read_project(settings, only=only), only=only)

    return read


def problems_of(reading_of: Read, text: str, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        reading_of(text, **more)
    return [str(problem) for problem in caught.value.problems]


def test_an_unknown_section_is_told_beside_every_other_problem(reading_of: Read) -> None:
    problems = problems_of(
        reading_of, '[gatway]\nport = 1\n[gateway]\nprot = 2\n[modules.good]\nrun = "good.py"\ninstances = 0\nmuont = "/x"\n'
    )
    for path in ("gatway (pywatt.toml:1)", "gateway.prot (pywatt.toml:4)", "modules.good.instances (", "modules.good.muont ("):
        assert len([text for text in problems if text.startswith(path)]) == 1, problems
    assert len(problems) == 4


def test_a_provider_that_nobody_has_is_found_where_it_stands_in_a_module(reading_of: Read) -> None:
    (text,) = problems_of(reading_of, '[modules.good]\nrun = "good.py"\n[modules.good.databases.main]\nuse = "sqlte"\n')
    assert text.startswith("modules.good.databases.main.use (pywatt.toml:4): unknown")
    assert "sqlite" in text


def test_the_options_of_a_provider_are_checked_as_the_module_gets_them(reading_of: Read) -> None:
    (text,) = problems_of(
        reading_of,
        '[caches.main]\nuse = "memory"\n[modules.good]\nrun = "good.py"\n[modules.good.caches.main]\nmax_entrees = 1\n',
    )
    assert text.startswith("modules.good.caches.main.max_entrees (pywatt.toml:6): unknown option")


@pytest.mark.parametrize("own", ['run = "good.py"\npython = "elsewhere/bin/python"', 'command = ["./program"]'])
def test_what_only_another_interpreter_or_program_can_know_is_left_to_it(reading_of: Read, own: str) -> None:
    theirs = f'[databases.main]\nuse = "theirs"\n[modules.good]\n{own}\n[modules.good.caches.main]\nuse = "redis_of_theirs"\n'
    assert list(reading_of(theirs).project.modules) == ["good"]
    (text,) = problems_of(reading_of, theirs + '[modules.other]\nrun = "other.py"\n')
    assert text.startswith("databases.main.use (pywatt.toml:2): unknown")
    (text,) = problems_of(reading_of, theirs + "[gatway]\n")
    assert text.startswith("gatway")


def test_a_module_that_does_not_run_is_not_looked_at(reading_of: Read) -> None:
    text = '[modules.good]\nrun = "good.py"\n[modules.other]\nrun = "other.py"\n[modules.other.databases.main]\nuse = "sqlte"\n'
    assert list(reading_of(text, only="good").project.modules) == ["good"]
    assert len(problems_of(reading_of, text)) == 1


def test_reading_again_checks_again(reading_of: Read, tmp_path: Path) -> None:
    reading = reading_of('[modules.good]\nrun = "good.py"\n')
    (tmp_path / "pywatt.toml").write_text('[modules.good]\nrun = "good.py"\n[modules.good.databases.main]\nuse = "sqlte"\n')
    with pytest.raises(ConfigError, match=r"modules\.good\.databases\.main\.use \(pywatt\.toml:4\)"):
        reading.again()
