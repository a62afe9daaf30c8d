"""Plugins that are installed, chosen, broken and in conflict: real distributions in a folder on the path."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest

from pywatt_core.builtin.serializers import JsonOptions, open_json
from pywatt_core.config import PluginSelection, Section
from pywatt_core.errors import PluginError
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Provider
from pywatt_core.registry import Registry
from pywatt_core.registry.kinds import DISTRIBUTIONS, KINDS

GOOD = """
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Provider

@dataclass(frozen=True, kw_only=True)
class Options:
    path: str = "x"

@asynccontextmanager
async def open_thing(options, context):
    yield options

@hookimpl
def pywatt_register_databases():
    return [Provider("thing", Options, open_thing)]
"""

HEAD = "from pywatt_core.hookspecs import hookimpl\nfrom pywatt_core.interfaces import *\n"


def databases(registry: Registry) -> dict[str, Any]:
    """Those of plugins: the core itself has one, ``orchestrator``."""
    return {name: provider for name, provider in registry.databases().items() if name != "orchestrator"}


def discovered(site: Any, selection: PluginSelection | None = None, budget: float = 5.0) -> Registry:
    return Registry(selection, path=[str(site.folder)], budget=budget)


def broken(registry: Registry) -> dict[str, str]:
    return {plugin.name: plugin.broken for plugin in registry.plugins if plugin.broken}


def test_a_plugin_is_found_by_its_entry_point_and_its_provider_by_name(fake_site: Any) -> None:
    fake_site.install("pywatt-good", GOOD)
    registry = discovered(fake_site)
    assert registry.databases()["thing"].options.__name__ == "Options"
    plugin, provider, options = registry.claim("databases", "thing")
    assert options is provider.options
    assert (plugin.identity, plugin.version, provider.name) == ("pywatt-good:good", "1.0", "thing")


PARTS = """
from contextlib import asynccontextmanager
from dataclasses import dataclass

@dataclass(frozen=True, kw_only=True)
class Options:
    path: str = "x"

class Source:
    def __init__(self, path):
        self.path = path

    async def get(self, name):
        return f"{self.path} of {name}"

@asynccontextmanager
async def open_thing(options, context):
    yield Source(options.path)
"""

LATE = """
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Provider

@hookimpl
def pywatt_register_secret_sources():
    return [Provider("late", "{module}_parts:Options", "{module}_parts:open_thing")]
"""


async def test_options_and_opener_that_are_named_are_imported_when_a_section_uses_them(fake_site: Any) -> None:
    fake_site.install("pywatt-late", LATE.format(module="pywatt_late"))
    fake_site.folder.joinpath("pywatt_late_parts.py").write_text(PARTS)
    registry = discovered(fake_site)
    assert "late" in registry.secret_sources()
    assert "pywatt_late_parts" not in sys.modules
    async with registry.open("secrets", Section("late", {"path": "y"}, "secrets.main")) as opened:
        assert await opened.get("A") == "y of A"
    assert registry.claim("secrets", "late").options.__name__ == "Options"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ("raise OSError('no disk')", "raised OSError: no disk while"),
        ("", "has no attribute 'Options'"),
        ("Options = dict\nopen_thing = print", "the provider 'late', whose options are the class dict, not a dataclass"),
        (PARTS + "\nopen_thing = 5", "the provider 'late', whose open is an int, not a function"),
    ],
)
async def test_a_part_that_cannot_be_imported_is_told_with_the_plugin(fake_site: Any, parts: str, reason: str) -> None:
    fake_site.install("pywatt-late", LATE.format(module="pywatt_late"))
    fake_site.folder.joinpath("pywatt_late_parts.py").write_text(parts)
    with pytest.raises(PluginError, match="'late' of pywatt-late 1.0") as told:
        async with discovered(fake_site).open("secrets", Section("late", {}, "secrets.main")):
            raise AssertionError
    assert reason in str(told.value)


def test_built_ins_come_through_the_same_door() -> None:
    registry = Registry(discover=False)
    assert sorted(registry.secret_sources()) == ["dotenv", "env", "file", "folder", "memory", "orchestrator"]
    assert list(registry.serializers()) == ["json"]
    assert sorted(registry.caches()) == ["file", "memory", "orchestrator"]
    assert sorted(registry.databases()) == ["orchestrator"]
    assert sorted(registry.channels()) == ["tcp", "unix"]
    assert list(registry.authenticators()) == ["orchestrator"]
    assert databases(registry) == {}
    assert registry.plugins[0].builtin


@pytest.mark.parametrize(
    ("hook", "method"),
    [
        ("pywatt_register_databases", "databases"),
        ("pywatt_register_caches", "caches"),
        ("pywatt_register_secret_sources", "secret_sources"),
        ("pywatt_register_serializers", "serializers"),
        ("pywatt_register_channels", "channels"),
        ("pywatt_register_authenticators", "authenticators"),
    ],
)
def test_each_kind_has_its_hook_and_its_method(fake_site: Any, hook: str, method: str) -> None:
    fake_site.install("pywatt-good", GOOD.replace("pywatt_register_databases", hook))
    registry = discovered(fake_site)
    assert getattr(registry, method)()["thing"].name == "thing"
    assert registry.plugins[-1].hooks == (hook,)


def test_an_object_may_be_added_without_being_installed() -> None:
    class Plugin:
        @hookimpl
        def pywatt_register_databases(self) -> list[Provider[Any]]:
            return [Provider("held", JsonOptions, open_json)]

    registry = Registry(discover=False)
    registry.databases()
    assert registry.add(Plugin(), name="held").broken == ""
    assert list(databases(registry)) == ["held"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_library", "raised ModuleNotFoundError: No module named 'no_such_library' at import"),
        ("raise SystemExit(3)", "called sys.exit(3) at import"),
        ("1 +", "raised SyntaxError: invalid syntax"),
        ("while True: pass", "took longer than 0.3 s at import and was interrupted"),
        ("", "implements no hook: decorate its functions with pywatt_core.hookspecs.hookimpl"),
        ("def pywatt_register_databases(): return []", "has 'pywatt_register_databases', but not as a hook: decorate it"),
        (
            HEAD + "@hookimpl\ndef pywatt_register_database(): return []",
            "implements the unknown hook 'pywatt_register_database'. Did you mean 'pywatt_register_databases'?",
        ),
        (HEAD + "@hookimpl\ndef pywatt_register_databases(settings): return []", "Argument(s) {'settings'} are declared in the hookimpl"),
        (HEAD + "@hookimpl(wrapper=True)\ndef pywatt_register_databases():\n    return (yield)", "wraps the hook"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named_with_its_reason(fake_site: Any, code: str, reason: str) -> None:
    fake_site.install("pywatt-bad", code)
    fake_site.install("pywatt-good", GOOD)
    registry = discovered(fake_site, budget=0.3)
    assert reason in broken(registry)["bad"]
    assert list(databases(registry)) == ["thing"]


RETURNS = """
from dataclasses import dataclass
from itertools import count, repeat
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Provider

@dataclass(frozen=True, kw_only=True)
class Options: ...

@dataclass
class Loose:
    x: int = 1

@dataclass(frozen=True)
class Positional:
    x: int = 1

def open_it(options, context): ...

@hookimpl
def pywatt_register_databases():
    {body}

@hookimpl
def pywatt_register_caches():
    return [Provider("still-there", Options, open_it)]
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise OSError('no disk')", "raised OSError: no disk in pywatt_register_databases"),
        ("raise SystemExit", "called sys.exit(None) in pywatt_register_databases"),
        ("while True: pass", "took longer than 0.3 s in pywatt_register_databases"),
        ("return None", "pywatt_register_databases returned nothing, not a list"),
        ("return Provider('x', Options, open_it)", "pywatt_register_databases returned a Provider, not a list"),
        ("return 'sqlite'", "returned a str, not a list"),
        ("return [Options]", "returned a list that holds the class Options, not only Provider(name, Options, open)"),
        ("return repeat(Provider('x', Options, open_it))", "returns more than 1000 answers"),
        ("yield Provider('x', Options, open_it); raise OSError('later')", "raised OSError: later in pywatt_register_databases"),
        ("return [Provider('X Y', Options, open_it)]", "a provider whose name is 'X Y'"),
        ("return [Provider(5, Options, open_it)]", "a provider whose name is 5"),
        ("return [Provider('x', dict, open_it)]", "the provider 'x', whose options are the class dict, not a dataclass"),
        ("return [Provider('x', Loose, open_it)]", "not declared with @dataclass(frozen=True, kw_only=True)"),
        ("return [Provider('x', Positional, open_it)]", "not declared with @dataclass(frozen=True, kw_only=True)"),
        ("return [Provider('x', Options, 5)]", "the provider 'x', whose open is an int, not a function"),
        ("return [Provider('x', Options, 'open')]", "whose open is 'open', which is not of the form 'package.module:open_it'"),
        ("return [Provider('x', 'options', open_it)]", "whose options is 'options', which is not of the form 'package.module:Options'"),
    ],
)
def test_a_hook_that_fails_costs_its_own_answers_only(fake_site: Any, body: str, reason: str) -> None:
    fake_site.install("pywatt-bad", RETURNS.format(body=body))
    fake_site.install("pywatt-good", GOOD)
    registry = discovered(fake_site, budget=0.3)
    assert list(databases(registry)) == ["thing"]
    assert reason in broken(registry)["bad"]
    assert "still-there" in registry.caches()


def test_an_entry_point_that_names_nothing_is_broken(fake_site: Any) -> None:
    fake_site.install("pywatt-empty", groups={"pywatt": {"empty": ""}})
    assert broken(discovered(fake_site)) == {
        "empty": "names nothing to load: its line in entry_points.txt has to be empty = package.module"
    }


def test_a_hook_that_is_a_coroutine_function_is_a_fault_and_warns_of_nothing_else(fake_site: Any, recwarn: pytest.WarningsRecorder) -> None:
    fake_site.install("pywatt-later", HEAD + "@hookimpl\nasync def pywatt_register_databases():\n    return []\n")
    registry = discovered(fake_site)
    assert databases(registry) == {}
    assert broken(registry)["later"] == (
        "pywatt_register_databases is a coroutine function: hooks are plain functions, which return at once"
    )
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


def test_a_hook_is_asked_once(fake_site: Any) -> None:
    fake_site.install("pywatt-counting", "calls = []\n" + GOOD.replace("    return [", "    calls.append(1)\n    return ["))
    registry = discovered(fake_site)
    registry.databases()
    registry.claim("databases", "thing")
    import pywatt_counting  # type: ignore[import-not-found]

    assert pywatt_counting.calls == [1]


def test_two_plugins_with_one_provider_are_both_named_where_it_is_asked_for(fake_site: Any) -> None:
    fake_site.install("pywatt-good", GOOD)
    fake_site.install("pywatt-twin", GOOD)
    registry = discovered(fake_site)
    assert databases(registry) == {}
    with pytest.raises(PluginError) as caught:
        registry.claim("databases", "thing")
    assert str(caught.value) == (
        "the plugin 'good' of pywatt-good 1.0 and the plugin 'twin' of pywatt-twin 1.0 both provide the database 'thing'; "
        'disable one: [plugins] disable = ["good"] or [plugins] disable = ["twin"]'
    )
    assert discovered(fake_site, PluginSelection(disable=("twin",))).claim("databases", "thing")


def test_a_provider_that_a_built_in_has_already_is_a_conflict_that_names_the_newcomer(fake_site: Any) -> None:
    fake_site.install("pywatt-mine", GOOD.replace("pywatt_register_databases", "pywatt_register_caches").replace('"thing"', '"memory"'))
    with pytest.raises(PluginError, match=r'pywatt-core.*and the plugin \'mine\'.*disable one: \[plugins\] disable = \["mine"\]$'):
        discovered(fake_site).claim("caches", "memory")


def test_two_distributions_may_use_one_entry_point_name(fake_site: Any) -> None:
    fake_site.install("pywatt-good", GOOD, name="same")
    fake_site.install("pywatt-twin", GOOD.replace('"thing"', '"other"'), name="same")
    registry = discovered(fake_site)
    assert broken(registry) == {}
    assert sorted(databases(registry)) == ["other", "thing"]


def test_one_object_behind_two_entry_points_counts_once(fake_site: Any) -> None:
    fake_site.install("pywatt-good", GOOD, groups={"pywatt": {"first": "pywatt_good", "second": "pywatt_good"}})
    registry = discovered(fake_site)
    assert broken(registry) == {"second": "loads the very object that pywatt-good:first has loaded"}
    assert list(databases(registry)) == ["thing"]


def test_an_entry_point_may_name_an_object_inside_a_module(fake_site: Any) -> None:
    code = (
        GOOD
        + "\nclass Plugin:\n    @hookimpl\n    def pywatt_register_databases(self):\n"
        + "        return [Provider('inner', Options, open_thing)]\n"
    )
    fake_site.install("pywatt-good", code + "plugin = Plugin()\n", groups={"pywatt": {"good": "pywatt_good:plugin"}})
    assert list(databases(discovered(fake_site))) == ["inner"]


def test_a_plugin_of_another_api_is_reported_and_not_imported(fake_site: Any) -> None:
    fake_site.install("pywatt-future", "raise AssertionError('imported')", groups={"pywatt2": {"future": "pywatt_future"}})
    fake_site.install("pywatt-both", GOOD, groups={"pywatt2": {"both": "no.such"}, "pywatt": {"both": "pywatt_both"}})
    registry = discovered(fake_site)
    assert broken(registry) == {
        "future": "is written for the plugin API 'pywatt2', and this core reads 'pywatt': install versions of both that fit"
    }
    assert list(databases(registry)) == ["thing"]


def test_what_is_disabled_or_not_allowed_is_not_imported(fake_site: Any) -> None:
    fake_site.install("pywatt-good", GOOD)
    fake_site.install("pywatt-never", "raise AssertionError('imported')")
    assert broken(discovered(fake_site, PluginSelection(disable=("never",)))) == {}
    only = discovered(fake_site, PluginSelection(allow=("good",)))
    assert {plugin.name: plugin.disabled for plugin in only.plugins} == {"builtin": "", "good": "", "never": "not in [plugins] allow"}
    assert databases(discovered(fake_site, PluginSelection(allow=("good",), disable=("good",)))) == {}
    assert "memory" in discovered(fake_site, PluginSelection(allow=())).caches()


def test_a_misspelt_name_under_plugins_is_a_warning(fake_site: Any) -> None:
    fake_site.install("pywatt-good", GOOD)
    registry = discovered(fake_site, PluginSelection(disable=("god",), allow=("good", "elsewhere")))
    assert registry.warnings == [
        "[plugins] allow names 'elsewhere', which is not installed",
        "[plugins] disable names 'god', which is not installed; did you mean 'good'?",
    ]


@pytest.mark.parametrize(
    ("selection", "code", "name", "complaint"),
    [
        (None, GOOD, "thingy", "unknown database provider 'thingy'; installed: orchestrator, thing. Did you mean 'thing'?"),
        (
            None,
            GOOD,
            "postgres",
            "unknown database provider 'postgres'; installed: orchestrator, thing. Install it: pip install pywatt-postgres",
        ),
        (None, GOOD, "postgers", r"Did you mean 'postgres'? (pip install pywatt-postgres)"),
        (None, GOOD, "redis", "unknown database provider 'redis'; installed: orchestrator, thing. 'redis' is for [caches.NAME]"),
        (None, GOOD, "rediss", "Install the distribution that provides it, perhaps: pip install pywatt-rediss"),
        (None, GOOD, "zzz", "Install the distribution that provides it, perhaps: pip install pywatt-zzz"),
        (
            None,
            "raise OSError('x')",
            "good",
            "would come from the plugin 'good' of pywatt-good 1.0, which is broken: raised OSError: x at import",
        ),
        (None, "raise OSError('x')", "zzz", "Broken plugins, which may be what is missing: pywatt-good:good raised OSError: x at import"),
        (PluginSelection(disable=("good",)), GOOD, "good", "which is disabled: named under [plugins] disable"),
    ],
)
def test_a_provider_that_is_missing_says_what_would_bring_it(
    fake_site: Any, selection: PluginSelection | None, code: str, name: str, complaint: str
) -> None:
    fake_site.install("pywatt-good", code)
    with pytest.raises(PluginError) as caught:
        discovered(fake_site, selection).claim("databases", name)
    assert complaint in str(caught.value)


def test_what_is_said_to_bring_a_provider_brings_it() -> None:
    installed = Registry()
    told = {kind: names for kind, names in DISTRIBUTIONS.items() if names}
    for kind, names in told.items():
        assert {name: installed.claim(kind, name).plugin.distribution for name in names} == names
    assert DISTRIBUTIONS.keys() == KINDS.keys()
