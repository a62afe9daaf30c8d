"""`load`: precedence from the decorator to the command line, all problems in one report, and what an orchestrator sends."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.config import ModuleOptions, for_module, load, name_of_main, override, raise_problems
from pywatt_core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
[module]
name = "users"

[databases.main]
use = "sqlite"
path = "from file"

[modules.users.databases.main]
path = "overlay"

[modules.users.module]
drain = 3

[modules.users.env]
A = "b"

[gateway]
port = 8000
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "pywatt.toml").write_text(FILE)
    return tmp_path / "pywatt.toml"


def test_nothing_at_all_is_a_configuration(tmp_path: Path) -> None:
    settings = load(start=tmp_path, environ={})
    assert settings.module == ModuleOptions()
    assert (settings.file, settings.folder, settings.databases, settings.warnings) == (None, tmp_path, {}, ())
    assert list(settings.secrets) == ["env", "dotenv"]
    assert settings.secrets["dotenv"].options == {"required": False}


def sources(value: Any) -> dict[str, Any]:
    """The arguments by which each source says `value`, lowest first."""
    table = {"databases": {"main": {"use": "sqlite", "path": value}}}
    return {
        "decorator": {"decorator": table},
        "file": {},
        "environ": {"environ": {"PYWATT__DATABASES__MAIN__PATH": value}},
        "overrides": {"overrides": override([f"databases.main.path={value}"])},
    }


ORIGINS = {
    "decorator": "decorator config=",
    "file": "pywatt.toml:2",
    "environ": "environment PYWATT__DATABASES__MAIN__PATH",
    "overrides": "command line",
}


@pytest.mark.parametrize("given", [chosen for size in (1, 2, 3, 4) for chosen in combinations(ORIGINS, size)], ids="+".join)
def test_the_highest_of_the_sources_wins_and_is_named(tmp_path: Path, given: tuple[str, ...]) -> None:
    if "file" in given:
        (tmp_path / "pywatt.toml").write_text('databases.main.use = "sqlite"\ndatabases.main.path = "file"\n')
    arguments: dict[str, Any] = {"environ": {}}
    for source in given:
        arguments.update(sources(source)[source])
    settings = load(start=tmp_path, defer=True, **arguments)
    assert settings.databases["main"].options["path"] == given[-1]
    assert settings.origin("databases.main.path") == ORIGINS[given[-1]]


def test_the_orchestrators_word_is_above_the_decorators_and_below_the_command_line(file: Path) -> None:
    arguments: dict[str, Any] = {
        "decorator": {"module": {"name": "a", "drain": 1, "threads": 1}},
        "init": {"module": {"drain": 2, "threads": 2}},
    }
    settings = load(start=file.parent, overrides={"module": {"threads": 3}}, **arguments)
    assert (settings.module.name, settings.module.drain, settings.module.threads) == ("a", 2, 3)
    assert settings.origin("module.drain") == "init.pywatt.config"


def test_with_the_orchestrators_word_neither_file_nor_environment_is_read(file: Path) -> None:
    settings = load(start=file.parent, init={"folder": str(file.parent)}, environ={"PYWATT__MODULE__DRAIN": "77"})
    assert (settings.file, settings.folder, settings.databases, settings.module.drain) == (None, file.parent, {}, 10.0)


def test_secret_sources_are_for_those_who_have_no_link(tmp_path: Path) -> None:
    assert list(load(start=tmp_path, environ={}).secrets) == ["env", "dotenv"]
    assert not load(init={"folder": str(tmp_path)}).secrets


def test_a_clean_start_under_our_orchestrator_imports_no_pydantic_and_opens_no_file(file: Path) -> None:
    program = f"""
import builtins, json, sys
opened = []
def hook(event, arguments):
    if event == "open":
        opened.append(str(arguments[0]))
sys.addaudithook(hook)
from pywatt_core.config import load, resolve
from pywatt_core.registry import Registry
settings = load(init=json.loads({json.dumps(json.dumps({"databases": {"main": {"use": "sqlite"}}, "module": {"drain": 3}}))}))
registry = Registry.discover(settings)
print(json.dumps([settings.module.drain, [name for name in sys.modules if name.startswith(("pydantic", "tomllib"))],
                  [name for name in opened if name.endswith((".toml", ".env"))]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=file.parent,
        env={"PATH": "/usr/bin", "PYWATT__MODULE__DRAIN": "77"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [3, [], []]


def test_every_problem_is_in_one_report_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text(
        'stray = 1\n[module]\nlog_level = "loud"\ndrian = 5\n'
        '[databases.Main]\npath = "x"\n[caches]\nmain = "memory"\n[plugins]\nallow = "all"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(start=tmp_path, environ={"PYWATT__MODULE__THREADS": "many"})
    text = str(caught.value)
    assert text.startswith("8 problems in the configuration:\n")
    for expected in (
        "stray (pywatt.toml:1): stands outside any table. Options belong to a table",
        "module.log_level (pywatt.toml:3): the value should be 'trace', 'debug', 'info', 'warning' or 'error'",
        "module.drian (pywatt.toml:4): unknown option. Did you mean 'drain'?",
        "databases.Main (pywatt.toml:5): is not a name. Names are lower case",
        'databases.Main (pywatt.toml:5): does not say which provider to use. Add use = "…" to [databases.Main]',
        "caches.main (pywatt.toml:8): is a table. Write [caches.NAME]",
        "plugins.allow (pywatt.toml:10): the value should be a valid",
        "module.threads (environment PYWATT__MODULE__THREADS): the value should be a valid integer",
    ):
        assert expected in text
    assert len(caught.value.problems) == 8


def test_deferred_problems_are_kept_and_what_is_sound_works(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text('[module]\ndrian = 5\n[databases.main]\nuse = "sqlite"\n')
    settings = load(start=tmp_path, environ={}, defer=True)
    assert [problem.path for problem in settings.problems] == ["module.drian"]
    assert settings.module == ModuleOptions()
    assert settings.databases["main"].use == "sqlite"
    with pytest.raises(ConfigError, match="drian"):
        raise_problems(settings.problems)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("drain", "-1"),
        ("drain", "inf"),
        ("threads", "0"),
        ("handshake_timeout", "nan"),
        ("messages_at_once", "0"),
        ("messages_waiting", "-1"),
        ("messages_bytes", "0"),
        ("requests_bytes", "-1"),
    ],
)
def test_numbers_without_sense_are_refused(option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"module.*{option}"):
        load(start="/", environ={f"PYWATT__MODULE__{option.upper()}": value})


def test_a_number_without_sense_is_told_beside_other_problems_with_its_own_source(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text('[module]\ndrain = -1\nnam = "x"\nthreads = 0\n')
    with pytest.raises(ConfigError) as caught:
        load(start=tmp_path, environ={"PYWATT__MODULE__LISTEN": "127.0.0.1:0"})
    assert [(problem.path, problem.source) for problem in caught.value.problems] == [
        ("module.nam", "pywatt.toml:3"),
        ("module.drain", "pywatt.toml:2"),
        ("module.threads", "pywatt.toml:4"),
    ]


def test_a_handshake_timeout_that_nobody_can_read_in_time_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text("[module]\nhandshake_timeout = 5\n")
    (warning,) = load(start=tmp_path, environ={}).warnings
    assert warning.startswith(
        "module.handshake_timeout (pywatt.toml:2) has no effect: only the environment variable PYWATT__MODULE__HANDSHAKE_TIMEOUT sets it"
    )
    (warning,) = load(start="/", environ={}, decorator={"module": {"handshake_timeout": 5}}).warnings
    assert "(decorator config=) has no effect" in warning
    assert load(start=tmp_path, environ={"PYWATT__MODULE__HANDSHAKE_TIMEOUT": "5"}).warnings == ()
    assert load(init={"module": {"handshake_timeout": 5}}).warnings == ()


@pytest.mark.parametrize(("use", "kind"), [("5", "int"), ("true", "bool"), ('["sqlite"]', "list")])
def test_a_use_that_is_no_text_is_told_as_such(use: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text(f"[databases.main]\nuse = {use}\n")
    (problem,) = load(start=tmp_path, environ={}, defer=True).problems
    assert str(problem).startswith(f"databases.main.use (pywatt.toml:2): the name of a provider is text, not {kind}. Write use =")


def test_secret_sources_keep_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text('[secrets.vault]\nuse = "file"\npath = "s.toml"\n[secrets.env]\nprefix = "APP_"\n')
    settings = load(start=tmp_path, environ={})
    assert [(section.use, section.options) for section in settings.secrets.values()] == [
        ("file", {"path": "s.toml"}),
        ("env", {"prefix": "APP_"}),
    ]


def test_an_overlay_is_what_one_module_is_sent(file: Path) -> None:
    settings = load(start=file.parent, environ={})
    sent = for_module(settings, "users", own={"env"})
    assert sent == {
        "module": {"name": "users", "drain": 3},
        "databases": {"main": {"use": "sqlite", "path": "overlay"}},
        "folder": str(file.parent),
    }
    json.dumps(sent)
    received = load(init=sent)
    assert (received.module.drain, received.databases["main"].options, received.folder) == (3, {"path": "overlay"}, file.parent)
    assert for_module(settings, "other", own={"env"})["databases"] == {"main": {"use": "sqlite", "path": "from file"}}


def test_references_to_secrets_travel_as_references(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text('[databases.main]\nuse = "x"\ndsn = "secret:DATABASE_URL"\n[secrets.vault]\nuse = "env"\n')
    sent = for_module(load(start=tmp_path, environ={}), "users")
    assert sent["databases"]["main"]["dsn"] == "secret:DATABASE_URL"
    assert "secrets" not in sent


def test_dates_become_text_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text("[other]\nsince = 2024-01-01\nat = [10:00:00]\n")
    assert for_module(load(start=tmp_path, environ={}), "users")["other"] == {"since": "2024-01-01", "at": ["10:00:00"]}


def test_an_offer_counts_only_where_nobody_configured_its_kind(file: Path) -> None:
    offers = {"databases": {"main": {"use": "sqlite", "path": "offered"}}, "caches": {"main": {"use": "memory"}}}
    settings = load(start=file.parent, environ={})
    received = load(init=for_module(settings, "users", offers=offers))
    assert (received.databases["main"].offered, received.databases["main"].options) == (False, {"path": "overlay"})
    assert received.caches["main"].offered
    decorated = load(
        init=for_module(load(start="/", environ={}), "x", offers=offers), decorator={"databases": {"users": {"use": "sqlite"}}}
    )
    assert list(decorated.databases) == ["users"]


def test_the_main_section_is_called_main_or_is_the_only_one() -> None:
    def loaded(*names: str) -> Any:
        return load(start="/", environ={}, decorator={"databases": {name: {"use": "sqlite"} for name in names}})

    assert name_of_main(loaded("main", "other"), "databases") == "main"
    assert name_of_main(loaded("users"), "databases") == "users"
    assert name_of_main(loaded(), "databases", ["given"]) == "given"
    with pytest.raises(ConfigError, match=r"state.database is \[databases.main\] or the only one configured, and there are 2: a, b"):
        name_of_main(loaded("a", "b"), "databases")


def test_a_section_that_nobody_named_says_the_three_lines_to_add() -> None:
    settings = load(start="/", environ={}, decorator={"databases": {"main": {"use": "sqlite"}}})
    with pytest.raises(ConfigError) as nothing:
        settings.pick("caches")
    assert str(nothing.value).endswith('Add to pywatt.toml:\n\n[caches.main]\nuse = "memory"\nmax_items = 10000')
    with pytest.raises(ConfigError) as other:
        settings.pick("databases", "users")
    assert str(other.value) == (
        "state.databases['users']: the configuration names only main. Add to pywatt.toml:\n\n"
        '[databases.users]\nuse = "sqlite"\npath = "main.db"'
    )


@pytest.mark.parametrize("text", ["a=1", "a.b", "=1", ".a=1", "a..b=1"])
def test_an_override_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form section.option=value"):
        override([text])


def test_an_override_never_shows_its_value_where_it_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        override(["password=hunter2"])
    assert "hunter2" not in str(caught.value)
