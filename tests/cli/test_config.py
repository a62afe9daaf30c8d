"""``pywatt config``: effective values with their sources, nothing secret, and a schema that editors can use."""

from __future__ import annotations

import json
from typing import Any

import pytest

PLUGIN = """
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Provider
from pywatt_core.redaction import Secret

@dataclass(frozen=True, kw_only=True)
class Options:
    path: str = "x"
    pin: Secret | None = None
    size: int = 5

@asynccontextmanager
async def open_thing(options, context):
    yield options

@hookimpl
def pywatt_register_databases():
    return [Provider("thing", Options, open_thing)]
"""

FILE = """\
[module]
name = "users"
[databases.main]
use = "thing"
path = "from file"
pin = "config-canary"
"""


@pytest.fixture
def project(fake_site: Any) -> Any:
    fake_site.install("pywatt-thing", PLUGIN)
    (fake_site.folder / "pywatt.toml").write_text(FILE)
    return fake_site


def test_every_value_is_printed_with_its_source_and_no_secret(project: Any) -> None:
    environ = {"PYWATT__DATABASES__MAIN__SIZE": "7", "PYWATT__MODULE__DRAIN": "3"}
    done = project.run("config", "--set", "databases.main.path=from command", environ=environ)
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ") for line in done.stdout.splitlines()]
    printed = {row[0]: (next(filter(None, row[1:])).strip(), row[-1].strip()) for row in rows}
    assert printed["databases.main.use"] == ('"thing"', "pywatt.toml:4")
    assert printed["databases.main.path"] == ('"from command"', "command line")
    assert printed["databases.main.pin"] == ('"[REDACTED]"', "pywatt.toml:6")
    assert printed["databases.main.size"] == ('"7"', "environment PYWATT__DATABASES__MAIN__SIZE")
    assert printed["module.drain"] == ('"3"', "environment PYWATT__MODULE__DRAIN")
    assert printed["module.threads"] == ("8", "default")
    assert "config-canary" not in done.stdout + done.stderr
    assert "warning: databases.main.pin (pywatt.toml:6) is a secret in plain text" in done.stderr


def test_json_holds_the_same(project: Any) -> None:
    done = project.run("config", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["file"] == str(project.folder / "pywatt.toml")
    assert printed["values"]["databases"]["main"]["pin"] == {"value": "[REDACTED]", "source": "pywatt.toml:6"}
    assert "config-canary" not in done.stdout


def test_a_faulty_configuration_is_still_printed_and_the_faults_with_it(project: Any) -> None:
    (project.folder / "pywatt.toml").write_text(FILE + "sise = 5\n[caches.main]\nuse = 'none'\n")
    done = project.run("config")
    assert done.returncode == 2
    assert "databases.main.sise" in done.stdout
    assert "pywatt: 2 problems in the configuration:\n" in done.stderr
    assert "databases.main.sise (pywatt.toml:7): unknown option. Did you mean 'size'?" in done.stderr


def test_a_file_that_is_named_and_missing_is_an_error(project: Any) -> None:
    done = project.run("config", "--config", "gone.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "gone.toml: cannot be read (No such file or directory). Check the path given with --config" in done.stderr


def test_the_schema_describes_the_file_with_every_installed_provider(project: Any) -> None:
    done = project.run("config", "--schema")
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    providers = {entry["properties"]["use"]["const"]: entry for entry in schema["properties"]["databases"]["additionalProperties"]["anyOf"]}
    assert {"thing", "sqlite"} <= providers.keys()
    assert providers["thing"]["properties"]["pin"]["anyOf"][0] == {"type": "string", "format": "password", "writeOnly": True}
    assert {"module", "plugins", "caches", "secrets", "modules", "gateway"} <= schema["properties"].keys()


def test_options_that_cannot_be_described_are_named_and_left_out(project: Any) -> None:
    project.install("pywatt-types", PLUGIN.replace("size: int", "size: 'Missing'").replace('"thing"', '"typed"'))
    done = project.run("config", "--schema")
    assert done.returncode == 0
    assert "warning: the types of pywatt_types.Options cannot be read" in done.stderr
    assert "typed" not in done.stdout
