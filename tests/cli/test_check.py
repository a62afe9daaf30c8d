"""``pywatt check``: everything that is wrong with a project, in one go, without starting anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

PLUGIN = """
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pywatt_core.errors import ConfigError
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Provider, TopSection

@dataclass(frozen=True, kw_only=True)
class Options:
    path: str = "x"
    dsn: str = ""
    size: int = 5

@dataclass(frozen=True, kw_only=True)
class Work:
    run: str = ""
    needs: tuple[str, ...] = ()

@asynccontextmanager
async def open_thing(options, context):
    raise AssertionError("opened")
    yield

@hookimpl
def pywatt_register_databases():
    return [Provider("thing", Options, open_thing)]

@hookimpl
def pywatt_register_sections():
    return [TopSection("work", "pywatt_thing:Work", named=True, overlays=True, secrets="needs", check="pywatt_thing:look")]

def look(settings):
    from pywatt_core.config import Problem, raise_problems
    raise_problems([
        Problem(f"work.{name}.run", "there is no such file", settings.origin(f"work.{name}.run"), "Make it")
        for name, entry in settings.extra["work"].items() if entry.get("run") == "gone.py"
    ])
"""


@pytest.fixture
def project(fake_site: Any) -> Any:
    fake_site.install("pywatt-thing", PLUGIN)
    return fake_site


def write(project: Any, text: str) -> None:
    (project.folder / "pywatt.toml").write_text(text)


def test_a_sound_project_is_called_sound(project: Any) -> None:
    write(project, '[databases.main]\nuse = "thing"\ndsn = "secret:THING_URL"\n[work.one]\nrun = "one.py"\nneeds = ["KEY"]\n')
    (project.folder / ".env").write_text("KEY=k\n")
    done = project.run("check", environ={"THING_URL": "x"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{project.folder / 'pywatt.toml'}: sound. 1 database, 0 caches, 0 modules\n"


def test_no_file_at_all_is_no_problem(project: Any, tmp_path: Any) -> None:
    done = project.run("check", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "no configuration file: sound. 0 databases, 0 caches, 0 modules\n")


FAULTY = """\
[module]
drian = 5
[databases.main]
use = "thing"
dsn = "secret:ABSENT_URL"
size = "big"
[databases.other]
use = "sqlit"
[work.one]
run = "gone.py"
needs = ["ABSENT_KEY"]
[work.one.databases.main]
sise = 5
[wrok.two]
run = "x"
"""


def test_every_fault_is_reported_with_its_line(project: Any) -> None:
    write(project, FAULTY)
    done = project.run("check", "--json")
    assert done.returncode == 1
    problems = {problem["path"]: problem for problem in json.loads(done.stdout)["problems"]}
    assert {path: problem["source"] for path, problem in problems.items()} == {
        "module.drian": "pywatt.toml:2",
        "databases.main.dsn": "pywatt.toml:5",
        "databases.main.size": "pywatt.toml:6",
        "databases.other.use": "pywatt.toml:8",
        "work.one.run": "pywatt.toml:10",
        "work.one.needs": "pywatt.toml:11",
        "work.one.databases.main.sise": "pywatt.toml:13",
        "wrok": "pywatt.toml:14",
    }
    assert problems["databases.main.dsn"]["message"] == "no secret source knows 'ABSENT_URL' (asked: env, dotenv)"
    assert problems["databases.main.dsn"]["remedy"] == (
        f"Set it, for example: export ABSENT_URL=…, or a line ABSENT_URL=… in {project.folder / '.env'}"
    )
    assert problems["wrok"]["remedy"].startswith("Did you mean 'work'?")
    text = project.run("check")
    assert (text.returncode, text.stdout) == (1, "")
    assert text.stderr.startswith("pywatt: 8 problems in the configuration:\n  1. module.drian (pywatt.toml:2): unknown option.")


def test_a_secret_source_that_cannot_be_opened_is_a_problem(project: Any) -> None:
    write(project, '[secrets.file]\npath = "secrets.toml"\n[databases.main]\nuse = "thing"\ndsn = "secret:URL"\n')
    done = project.run("check")
    assert done.returncode == 1
    assert f"secrets (pywatt.toml:1): {project.folder / 'secrets.toml'}: there is no such file of secrets" in done.stderr


def test_a_secret_that_the_orchestrator_may_know_is_not_missing_and_the_other_sources_are_asked(project: Any) -> None:
    sources = '[secrets.orchestrator]\n[secrets.mounted]\nuse = "folder"\npath = "mounted"\n'
    write(project, f'{sources}[databases.main]\nuse = "thing"\ndsn = "secret:ELSEWHERE"\n')
    (project.folder / "mounted").mkdir()
    assert project.run("check").returncode == 0
    (project.folder / "mounted" / "ELSEWHERE").write_bytes(b"\xff")
    done = project.run("check")
    assert done.returncode == 1
    assert "mounted/ELSEWHERE:1: not UTF-8" in done.stderr


def test_no_value_of_a_secret_is_printed(project: Any) -> None:
    write(project, '[databases.main]\nuse = "thing"\nsize = "secret:SIZE"\ndsn = "x://u:check-canary@h"\n')
    (project.folder / ".env").write_text("SIZE=check-bird\nBROKEN LINE check-cat\n")
    done = project.run("check")
    assert done.returncode == 1
    assert f"{project.folder / '.env'}:2: the line is not of the form NAME=value" in done.stderr
    for canary in ("check-canary", "check-bird", "check-cat"):
        assert canary not in done.stdout + done.stderr


def test_a_broken_plugin_that_nothing_needs_is_a_warning_and_one_that_is_needed_a_problem(project: Any) -> None:
    project.install("pywatt-bad", "raise OSError('no disk')")
    write(project, "")
    done = project.run("check")
    assert done.returncode == 0
    assert done.stderr == "warning: the plugin 'bad' of pywatt-bad 1.0 raised OSError: no disk at import\n"
    write(project, '[databases.main]\nuse = "bad"\n')
    done = project.run("check")
    assert done.returncode == 1
    assert "would come from the plugin 'bad' of pywatt-bad 1.0, which is broken: raised OSError: no disk at import" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--config", "gone.toml"), 2, "gone.toml: cannot be read"),
        (("--set", "databases.main.size=huge"), 1, "databases.main.size (command line): the value should be a valid integer"),
    ],
)
def test_what_the_command_line_says_is_checked_too(project: Any, arguments: tuple[str, ...], code: int, complaint: str) -> None:
    write(project, '[databases.main]\nuse = "thing"\n')
    done = project.run("check", *arguments)
    assert done.returncode == code
    assert complaint in done.stderr
