"""``pywatt plugins``: the listing is true, JSON stays JSON whatever plugins print, and every fault is named."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

PLUGIN = """
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Provider

@dataclass(frozen=True, kw_only=True)
class Options:
    path: str
    'Where it is.'
    size: int = 5
    fast: bool = True

@asynccontextmanager
async def open_thing(options, context):
    yield options

@hookimpl
def pywatt_register_databases():
    return [Provider("thing", Options, open_thing)]
"""

NOISY = """
import os, subprocess, sys
print("printed at import")
os.write(1, b"written to the descriptor\\n")
subprocess.run([sys.executable, "-c", "print('printed by a child')"])
"""


def listed(site: Any, *arguments: str, **keywords: Any) -> dict[str, Any]:
    done = site.run("plugins", "--json", *arguments, **keywords)
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_json_lists_what_is_installed_with_all_that_is_known(fake_site: Any) -> None:
    fake_site.install("pywatt-thing", PLUGIN, version="2.1")
    assert listed(fake_site)["thing"] == {
        "name": "thing",
        "distribution": "pywatt-thing",
        "version": "2.1",
        "status": "inactive",
        "reason": "no section of the configuration uses thing",
        "provides": {"databases": ["thing"]},
        "location": str(fake_site.folder),
        "entry_point": "pywatt_thing",
        "builtin": False,
    }


def test_the_nearest_configuration_decides_what_is_active_and_disabled(fake_site: Any, tmp_path: Any) -> None:
    fake_site.install("pywatt-thing", PLUGIN)
    fake_site.install("pywatt-other", "raise AssertionError('imported')")
    (fake_site.folder / "pywatt.toml").write_text('[plugins]\ndisable = ["other"]\n[databases.main]\nuse = "thing"\n')
    rows = listed(fake_site)
    assert (rows["thing"]["status"], rows["thing"]["reason"]) == ("active", "used by [databases.main]")
    assert (rows["other"]["status"], rows["other"]["reason"]) == ("disabled", "named under [plugins] disable")
    other = tmp_path / "other.toml"
    other.write_text('[plugins]\nallow = ["other"]\n')
    rows = listed(fake_site, "--config", str(other))
    assert (rows["thing"]["status"], rows["other"]["status"]) == ("disabled", "broken")
    assert listed(fake_site, f"--config={other}") == rows


def test_environment_variables_count_here_too(fake_site: Any) -> None:
    fake_site.install("pywatt-thing", PLUGIN)
    rows = listed(fake_site, environ={"PYWATT__DATABASES__MAIN__USE": "thing"})
    assert rows["thing"]["status"] == "active"
    rows = listed(fake_site, environ={"PYWATT__PLUGINS__DISABLE": '["thing"]'})
    assert rows["thing"]["status"] == "disabled"


def test_what_plugins_print_goes_to_standard_error(fake_site: Any) -> None:
    fake_site.install("pywatt-noisy", NOISY + PLUGIN.replace("    return [", "    print('printed in a hook')\n    return ["))
    done = fake_site.run("plugins", "--json")
    assert "noisy" in [row["name"] for row in json.loads(done.stdout)]
    for text in ("printed at import", "written to the descriptor", "printed by a child", "printed in a hook"):
        assert text in done.stderr


def test_broken_plugins_are_part_of_the_answer(fake_site: Any) -> None:
    fake_site.install("pywatt-thing", PLUGIN)
    fake_site.install("pywatt-twin", PLUGIN)
    fake_site.install("pywatt-exits", "import sys; sys.exit(3)")
    fake_site.install("pywatt-future", "", groups={"pywatt2": {"future": "pywatt_future"}})
    fake_site.install("pywatt-typo", "from pywatt_core.hookspecs import hookimpl\n@hookimpl\ndef pywatt_make_servers(app): ...\n")
    rows = listed(fake_site)
    assert {name for name, row in rows.items() if row["status"] == "broken"} == {"thing", "twin", "exits", "future", "typo"}
    assert rows["exits"]["reason"] == "called sys.exit(3) at import"
    assert rows["typo"]["reason"].startswith("implements the unknown hook 'pywatt_make_servers'. Did you mean 'pywatt_make_server'?")
    assert rows["twin"]["reason"] == "the database 'thing' is also provided by pywatt-thing:thing"


def test_a_plugin_that_hangs_is_interrupted_and_named(fake_site: Any) -> None:
    fake_site.install("pywatt-hangs", "while True: pass")
    assert listed(fake_site)["hangs"]["reason"] == "took longer than 5 s at import and was interrupted"


def test_plain_text_is_a_table(fake_site: Any) -> None:
    fake_site.install("pywatt-thing", PLUGIN)
    done = fake_site.run("plugins")
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["NAME", "DISTRIBUTION", "VERSION", "STATUS", "PROVIDES", "WHY"]
    (row,) = [row for row in rows if row.startswith("thing ")]
    assert re.split(r"  +", row) == [
        "thing",
        "pywatt-thing",
        "1.0",
        "inactive",
        "databases: thing",
        "no section of the configuration uses thing",
    ]
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[plugins]\ndisabled = ['x']\n", "plugins.disabled (pywatt.toml:2): unknown option. Did you mean 'disable'?"),
        ("[plugins]\nallow = 'x'\n", "plugins.allow (pywatt.toml:2): the value should be a valid"),
        ("plugins = 5\n", "plugins (pywatt.toml:1): is a table"),
        ("[plugins\n", "not valid TOML"),
    ],
)
def test_a_wrong_selection_is_a_configuration_error(fake_site: Any, content: str, complaint: str) -> None:
    (fake_site.folder / "pywatt.toml").write_text(content)
    done = fake_site.run("plugins", "--json")
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stdout == ""


def test_show_explains_one_plugin_and_each_option(fake_site: Any) -> None:
    fake_site.install("pywatt-thing", PLUGIN)
    done = fake_site.run("plugins", "show", "thing")
    assert done.returncode == 0, done.stderr
    assert "thing: pywatt-thing 1.0\n  status    inactive: no section" in done.stdout
    assert '[databases.NAME] use = "thing"\n' in done.stdout
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()[-3:]]
    assert lines == [["path", "str", "required", "Where it is."], ["size", "int", "5"], ["fast", "bool", "true"]]
    (described,) = json.loads(fake_site.run("plugins", "show", "pywatt-thing", "--json").stdout)
    assert described["options"]["databases"]["thing"][1] == {
        "name": "size",
        "type": "int",
        "required": False,
        "default": 5,
        "description": "",
    }


def test_show_of_a_name_that_is_not_installed_suggests_the_nearest(fake_site: Any) -> None:
    fake_site.install("pywatt-thing", PLUGIN)
    done = fake_site.run("plugins", "show", "thign")
    assert done.returncode == 1
    assert "no installed plugin is called 'thign'. Did you mean 'thing'? Installed: builtin, " in done.stderr


def test_check_is_silent_about_sound_plugins_and_fails_for_others(fake_site: Any) -> None:
    fake_site.install("pywatt-thing", PLUGIN)
    done = fake_site.run("plugins", "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("plugins, all sound\n")
    fake_site.install("pywatt-bad", "raise OSError('no disk')")
    fake_site.install("pywatt-types", PLUGIN.replace("size: int", "size: 'Missing'").replace('"thing"', '"typed"'))
    done = fake_site.run("plugins", "check")
    assert (done.returncode, done.stdout) == (1, "")
    assert "pywatt: bad (pywatt-bad 1.0): raised OSError: no disk at import\n" in done.stderr
    assert (
        "pywatt: types (pywatt-types 1.0): the options of databases 'typed': the types of pywatt_types.Options cannot be read"
        in done.stderr
    )
    problems = json.loads(fake_site.run("plugins", "check", "--json").stdout)["problems"]
    assert problems.keys() == {"bad", "types"}
