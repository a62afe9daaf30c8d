"""A whole configuration against what is installed: one report, and warnings for what is only unwise."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pywatt_core.config import PluginSelection, load
from pywatt_core.errors import ConfigError, PluginError
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Provider, TopSection
from pywatt_core.redaction import Secret, redact
from pywatt_core.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Replica:
    host: str = ""
    key: Secret | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    path: str = "x"
    replica: Replica | None = None
    replicas: list[Replica] = field(default_factory=list)
    pins: list[Secret] = field(default_factory=list)
    dsn: str = ""
    password: Secret | None = None
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class ModuleTable:
    run: str = ""
    mode: Literal["a", "b"] = "a"
    secrets: tuple[str, ...] = ()


class Plugin:
    @hookimpl
    def pywatt_register_databases(self) -> list[Provider[Any]]:
        return [Provider("thing", Options, print)]  # type: ignore[arg-type]

    @hookimpl
    def pywatt_register_sections(self) -> list[TopSection]:
        return [
            TopSection("modules", "test_checking_tables:ModuleTable", named=True, overlays=True),
            TopSection("jobs", "test_checking_tables:ModuleTable", named=True, overlays=True),
            TopSection("extra", "test_checking_tables:ModuleTable"),
            TopSection("ghost", "no_such_module:Options"),
        ]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    import sys
    import types

    tables = types.ModuleType("test_checking_tables")
    tables.ModuleTable = ModuleTable  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "test_checking_tables", tables)
    registry = Registry(discover=False)
    assert registry.add(Plugin(), name="thing", distribution="pywatt-thing").broken == ""
    return registry


def loaded(path: Path, text: str, **arguments: Any) -> Any:
    (path / "pywatt.toml").write_text(text)
    return load(start=path, environ={}, defer=True, **arguments)


def test_problems_of_both_steps_are_one_report(tmp_path: Path, registry: Registry) -> None:
    text = """\
[module]
drian = 5
[databases.main]
use = "thing"
size = "big"
paht = "x"
[databases.other]
use = "thign"
[caches.main]
use = "redis"
[databse.main]
use = "thing"
[extra]
mode = "c"
"""
    with pytest.raises(ConfigError) as caught:
        registry.check(loaded(tmp_path, text))
    assert [problem.path for problem in caught.value.problems] == [
        "module.drian",
        "databases.main.paht",
        "databases.main.size",
        "databases.other.use",
        "caches.main.use",
        "databse",
        "extra.mode",
    ]
    text = str(caught.value)
    assert (
        "databases.other.use (pywatt.toml:8): unknown database provider 'thign'; installed: orchestrator, thing. Did you mean 'thing'?"
        in text
    )
    assert (
        "caches.main.use (pywatt.toml:10): unknown cache provider 'redis'; installed: file, memory, orchestrator. "
        "Install it: pip install pywatt-redis" in text
    )
    assert "databse (pywatt.toml:11): unknown section. Did you mean 'databases'?" in text
    known = text.partition("known sections: ")[2].partition(")")[0].split(", ")
    assert len(known) == len(set(known)) > 5


def test_a_misspelt_section_in_a_variable_is_named_by_the_variable(registry: Registry) -> None:
    settings = load(start="/", environ={"PYWATT__DATABSES__MAIN__USE": "thing"}, defer=True)
    with pytest.raises(
        ConfigError, match=r"databses \(environment PYWATT__DATABSES__MAIN__USE\): unknown section. Did you mean 'databases'\?"
    ):
        registry.check(settings)


def test_a_sound_configuration_has_no_warnings(tmp_path: Path, registry: Registry) -> None:
    assert registry.check(loaded(tmp_path, '[databases.main]\nuse = "thing"\ndsn = "secret:URL"\npassword = "secret:PW"\n[extra]\n')) == []


def test_a_literal_password_is_accepted_with_a_warning_and_redacted(tmp_path: Path, registry: Registry) -> None:
    text = '[databases.main]\nuse = "thing"\npassword = "checking-canary"\ndsn = "x://u:checking-bird@h"\n'
    warnings = registry.check(loaded(tmp_path, text))
    assert sorted(warnings) == [
        'databases.main.dsn (pywatt.toml:4) holds a password in plain text; better: dsn = "secret:NAME", '
        "with NAME in the environment or in .env",
        'databases.main.password (pywatt.toml:3) is a secret in plain text; better: password = "secret:NAME", '
        "with NAME in the environment or in .env",
    ]
    assert redact("checking-canary and checking-bird") == "[REDACTED] and [REDACTED]"


def test_a_password_in_an_environment_variable_is_where_it_belongs(registry: Registry) -> None:
    environ = {"PYWATT__DATABASES__MAIN__USE": "thing", "PYWATT__DATABASES__MAIN__PASSWORD": "environment-canary"}
    assert registry.check(load(start="/", environ=environ)) == []
    assert redact("environment-canary") == "[REDACTED]"


def test_only_what_needs_a_broken_plugin_fails_and_names_it(tmp_path: Path, fake_site: Any) -> None:
    fake_site.install("pywatt-bad", "raise OSError('no disk')")
    registry = Registry(path=[str(fake_site.folder)])
    assert registry.check(loaded(tmp_path, '[caches.main]\nuse = "memory"\n')) == []
    with pytest.raises(
        PluginError, match=r"databases.main.use \(pywatt.toml:2\): .*'bad' of pywatt-bad 1.0, which is broken: raised OSError"
    ):
        registry.check(loaded(tmp_path, '[databases.main]\nuse = "bad"\n'))
    with pytest.raises(ConfigError, match=r"(?s)2 problems.*unknown cache provider 'nothing'.*which is broken"):
        registry.check(loaded(tmp_path, '[databases.main]\nuse = "bad"\n[caches.main]\nuse = "nothing"\n'))


def test_a_disabled_plugin_is_named_where_it_is_needed(tmp_path: Path, fake_site: Any) -> None:
    fake_site.install("pywatt-bad", "raise OSError('imported')")
    registry = Registry(PluginSelection(disable=("bad",)), path=[str(fake_site.folder)])
    with pytest.raises(PluginError, match=r"which is disabled: named under \[plugins\] disable"):
        registry.check(loaded(tmp_path, '[databases.main]\nuse = "bad"\n'))


MODULES = """\
[databases.main]
use = "thing"
[modules.users]
run = "users.py"
mode = "c"
[modules.users.databases.main]
size = "big"
[modules.users.caches.main]
use = "nothing"
[modules.other]
runn = "other.py"
"""


def test_a_module_that_runs_alone_leaves_the_orchestrators_sections_in_peace(tmp_path: Path, registry: Registry) -> None:
    assert registry.check(loaded(tmp_path, MODULES)) == []
    assert Registry(discover=False).check(loaded(tmp_path, "[modules.users]\nrun = 'x'\n[gateway]\nport = 1\n")) == []


def test_a_look_at_the_whole_project_checks_them_and_what_they_overlay(tmp_path: Path, registry: Registry) -> None:
    problems, _ = registry.problems(loaded(tmp_path, MODULES))
    assert [(problem.path, problem.source) for problem in problems] == [
        ("modules.users.mode", "pywatt.toml:5"),
        ("modules.users.databases.main.size", "pywatt.toml:7"),
        ("modules.users.caches.main.use", "pywatt.toml:9"),
        ("modules.other.runn", "pywatt.toml:11"),
    ]


def test_sections_that_overlay_each_other_are_looked_into_once(tmp_path: Path, registry: Registry) -> None:
    text = "[modules.users.extra]\nmode = 'c'\n[modules.users.jobs.inner]\nrunn = 'x'\n[jobs.one.extra]\nmode = 'd'\n[jobs.one.modules.x]\n"
    problems, _ = registry.problems(loaded(tmp_path, text))
    assert [problem.path for problem in problems] == ["modules.users.extra.mode", "jobs.one.extra.mode"]


def test_a_section_whose_options_cannot_be_imported_is_the_plugins_fault(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(PluginError, match="ghost .pywatt.toml:1.: the plugin 'thing' of pywatt-thing raised ModuleNotFoundError"):
        registry.check(loaded(tmp_path, "[ghost]\n"))


def test_which_paths_are_secret_is_known_from_the_types(tmp_path: Path, registry: Registry) -> None:
    settings = loaded(
        tmp_path, '[databases.main]\nuse = "thing"\n[databases.gone]\nuse = "gone"\n[modules.users]\nsecrets = ["A"]\n[extra]\n'
    )
    paths = registry.secret_paths(settings)
    assert paths["databases.main.password"] is True
    assert paths["databases.main.path"] is False
    assert paths["modules.users.secrets"] is False
    assert paths["extra.run"] is False
    assert "databases.gone.password" not in paths
    assert settings.redacted(paths)["modules"]["users"]["secrets"]["value"] == ["A"]


def test_values_of_the_source_memory_are_hidden_and_warned_about(tmp_path: Path, registry: Registry) -> None:
    settings = loaded(tmp_path, '[secrets.memory]\nvalues = { PIN = "inner-canary-6", OTHER = "secret:PIN" }\n')
    assert settings.redacted(registry.secret_paths(settings))["secrets"]["memory"]["values"] == {
        "PIN": {"value": "[REDACTED]", "source": "pywatt.toml:2"},
        "OTHER": {"value": "secret:PIN", "source": "pywatt.toml:2"},
    }
    (warning,) = registry.check(settings)
    assert warning.startswith("secrets.memory.values.PIN (pywatt.toml:2) is a secret in plain text")
    assert redact("inner-canary-6") == "[REDACTED]"


def test_secrets_inside_tables_lists_and_overlays_are_hidden_and_warned_about(tmp_path: Path, registry: Registry) -> None:
    text = """\
[databases.main]
use = "thing"
replica = { host = "a", key = "inner-canary-1" }
replicas = [{ host = "b", key = "inner-canary-2" }]
pins = ["inner-canary-3"]
[modules.users.databases.main]
replica = { key = "inner-canary-4" }
pins = ["inner-canary-5"]
"""
    settings = loaded(tmp_path, text)
    shown = settings.redacted(registry.secret_paths(settings))
    assert "canary" not in str(shown)
    assert shown["databases"]["main"]["replica"]["host"]["value"] == "a"
    assert shown["databases"]["main"]["replicas"]["value"] == [{"host": "b", "key": "[REDACTED]"}]
    warnings = " ".join(registry.check(settings))
    for path in ("databases.main.replica.key", "databases.main.replicas.key", "databases.main.pins"):
        assert f"{path} (pywatt.toml:" in warnings
    assert redact("inner-canary-1 inner-canary-2 inner-canary-3") == "[REDACTED] [REDACTED] [REDACTED]"


def test_discovering_checks_and_logs_warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = loaded(tmp_path, '[plugins]\ndisable = ["no-such-plugin"]\n')
    with caplog.at_level(logging.WARNING):
        Registry.discover(settings)
    assert "[plugins] disable names 'no-such-plugin', which is not installed" in caplog.text
    with pytest.raises(ConfigError, match="unknown cache provider 'nothing'"):
        Registry.discover(loaded(tmp_path, '[caches.main]\nuse = "nothing"\n'))


def test_a_format_for_frames_needs_the_section_that_brings_it(tmp_path: Path, registry: Registry) -> None:
    wanted = '[module]\nframes = "cbor"\n'
    with pytest.raises(ConfigError, match=r"module.frames \(pywatt.toml:2\): 'cbor' is what no \[serializers.NAME\] brings"):
        registry.check(loaded(tmp_path, wanted))
    with pytest.raises(ConfigError, match="(?s)^(?!.*module.frames).*pip install pywatt-cbor"):
        registry.check(loaded(tmp_path, wanted + '[serializers.compact]\nuse = "cbor"\n'))


def test_a_serializer_of_a_cache_needs_the_section_that_brings_it(tmp_path: Path, registry: Registry) -> None:
    wanted = '[caches.main]\nuse = "memory"\nserializer = "small"\n'
    with pytest.raises(ConfigError, match=r"caches.main.serializer \(pywatt.toml:3\): 'small' is what no \[serializers.NAME\] brings"):
        registry.check(loaded(tmp_path, wanted))
    registry.check(loaded(tmp_path, wanted + '[serializers.small]\nuse = "json"\n'))
    registry.check(loaded(tmp_path, wanted.replace("small", "json")))
    with pytest.raises(ConfigError, match=r"caches.main.serializer \(pywatt.toml:3\): is text, not int"):
        registry.check(loaded(tmp_path, wanted.replace('"small"', "1")))


def test_what_nobody_here_reads_is_told_by_a_check_of_the_whole(registry: Registry, tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[gateway]\nprot = 1\n[services.tokens]\nmodules = ["users"]\n')
    problems, warnings = registry.problems(settings)
    assert problems == []
    assert warnings == [
        f"[{name}] is for pywatt-orchestrator, which is not at work here: nothing in it was checked (pip install pywatt-orchestrator)"
        for name in ("gateway", "services")
    ]
    assert registry.check(settings) == [], "a module that runs alone leaves it in peace"
