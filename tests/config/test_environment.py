"""``PYWATT__SECTION__NAME__OPTION``: typed where the option says so, traceable, and a typo is noticed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.config import check_section, load
from pywatt_core.config.environment import environment_layer
from pywatt_core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    text: str = ""
    number: int = 0
    seconds: float = 0.0
    switch: bool = False
    choice: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    ports: list[int] = field(default_factory=list)
    table: dict[str, int] = field(default_factory=dict)
    maybe: int | None = None
    either: int | str = 0


def read(**variables: str) -> Options:
    environ = {f"PYWATT__DATABASES__MAIN__{name.upper()}": value for name, value in variables.items()}
    settings = load(environ={**environ, "PYWATT__DATABASES__MAIN__USE": "x"}, start="/")
    options, problems = check_section(settings.databases["main"].options, Options, "databases.main", settings.origin)
    assert problems == []
    assert options is not None
    return options


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "12345", "12345"),
        ("text", "true", "true"),
        ("text", '{"a": 1}', '{"a": 1}'),
        ("text", "", ""),
        ("number", "5", 5),
        ("seconds", "1.5", 1.5),
        ("seconds", "2", 2.0),
        ("switch", "true", True),
        ("switch", "yes", True),
        ("switch", "0", False),
        ("switch", "off", False),
        ("choice", "b", "b"),
        ("names", '["a", "b"]', ("a", "b")),
        ("ports", "[1, 2]", [1, 2]),
        ("table", '{"a": 1}', {"a": 1}),
        ("maybe", "7", 7),
        ("either", "7", "7"),
    ],
)
def test_text_becomes_what_the_option_is(name: str, text: str, value: object) -> None:
    assert getattr(read(**{name: text}), name) == value


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
def test_any_text_reaches_a_text_option_unchanged(text: str) -> None:
    assert read(text=text).text == text


def test_a_table_grows_from_single_variables() -> None:
    settings = load(start="/", environ={"PYWATT__DATABASES__MAIN__USE": "x", "PYWATT__DATABASES__MAIN__TABLE__ONE": "1"})
    options, problems = check_section(settings.databases["main"].options, Options, "databases.main", settings.origin)
    assert problems == []
    assert options is not None
    assert options.table == {"one": 1}


def test_a_whole_section_may_be_json_and_single_variables_lie_over_it() -> None:
    settings = load(start="/", environ={"PYWATT__DATABASES": '{"main": {"use": "x", "number": 1}}', "PYWATT__DATABASES__MAIN__NUMBER": "2"})
    assert settings.databases["main"].options == {"number": "2"}
    assert settings.origin("databases.main.use") == "environment PYWATT__DATABASES"
    assert settings.origin("databases.main.number") == "environment PYWATT__DATABASES__MAIN__NUMBER"


def test_text_that_does_not_fit_names_the_variable() -> None:
    settings = load(start="/", environ={"PYWATT__DATABASES__MAIN__USE": "x", "PYWATT__DATABASES__MAIN__NUMBER": "five"})
    _, problems = check_section(settings.databases["main"].options, Options, "databases.main", settings.origin)
    assert [str(problem) for problem in problems] == [
        "databases.main.number (environment PYWATT__DATABASES__MAIN__NUMBER): the value should be a valid integer"
    ]


def test_a_misspelt_variable_of_a_core_section_is_a_problem_like_any_other() -> None:
    with pytest.raises(ConfigError, match=r"module.drian \(environment PYWATT__MODULE__DRIAN\): unknown option. Did you mean 'drain'\?"):
        load(start="/", environ={"PYWATT__MODULE__DRIAN": "5"})


def test_a_variable_that_misses_an_underscore_is_warned_about() -> None:
    settings = load(start="/", environ={"PYWATT_DATABASES__MAIN__DSN": "x", "PYWATT_MODULE_ID": "users", "PYWATT_STANDALONE": "1"})
    assert settings.warnings == (
        "the environment variable PYWATT_DATABASES__MAIN__DSN is not read; did you mean PYWATT__DATABASES__MAIN__DSN?",
    )


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("PYWATT____X", "PYWATT____X has an empty part"),
        ("PYWATT__MODULE", "module .environment PYWATT__MODULE.: is a table. Write PYWATT__MODULE__KEY=value"),
    ],
)
def test_a_variable_that_names_no_option_is_refused(name: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load(start="/", environ={name: "1"})


def test_without_such_variables_there_is_no_source() -> None:
    assert environment_layer({"HOME": "/root", "PYWATT_MODULE_ID": "x"}) == (None, [])


def test_pydantic_is_imported_only_where_a_variable_is_set(tmp_path: Path) -> None:
    program = (
        "import sys; from pywatt_core.config import load; load(); print('pydantic' in sys.modules, 'pydantic_settings' in sys.modules)"
    )

    def imported(**variables: str) -> str:
        environ = {"PATH": "/usr/bin", **variables}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.strip()

    assert imported() == "False False"
    assert imported(PYWATT__MODULE__DRAIN="5") == "True True"
