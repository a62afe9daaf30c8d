"""What `pywatt plugins` is told: active, inactive, disabled or broken, and why."""

from __future__ import annotations

from typing import Any

from pywatt_core.config import PluginSelection
from pywatt_core.registry import Registry

PROVIDER = """
from dataclasses import dataclass
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Command, Provider, TopSection

@dataclass(frozen=True, kw_only=True)
class Options: ...

def open_it(options, context): ...

"""


def providing(hook: str, *names: str) -> str:
    listed = ", ".join(f"Provider({name!r}, Options, open_it)" for name in names)
    return f"{PROVIDER}@hookimpl\ndef pywatt_register_{hook}():\n    return [{listed}]\n"


def rows(site: Any, raw: dict[str, Any], selection: PluginSelection | None = None) -> dict[str, tuple[str, str]]:
    registry = Registry(selection, path=[str(site.folder)])
    return {row.name: (row.status, row.reason) for row in registry.status(raw)}


def test_a_plugin_is_active_where_a_section_uses_one_of_its_providers(fake_site: Any) -> None:
    fake_site.install("pywatt-db", providing("databases", "one", "two"))
    assert rows(fake_site, {})["db"] == ("inactive", "no section of the configuration uses one, two")
    used = {"databases": {"main": {"use": "two"}, "log": {"use": "two"}}}
    assert rows(fake_site, used)["db"] == ("active", "used by [databases.main], [databases.log]")


def test_a_modules_own_table_counts_and_its_list_of_secrets_does_not(fake_site: Any) -> None:
    fake_site.install("pywatt-db", providing("databases", "one"))
    fake_site.install("pywatt-safe", providing("secret_sources", "safe"))
    used = {"modules": {"users": {"secrets": ["safe"], "databases": {"main": {"use": "one"}}}, "odd": 5}}
    found = rows(fake_site, used)
    assert found["db"] == ("active", "used by [modules.users.databases.main]")
    assert found["safe"][0] == "inactive"


def test_what_an_orchestrator_hosts_counts(fake_site: Any) -> None:
    fake_site.install("pywatt-db", providing("databases", "one"))
    fake_site.install("pywatt-store", providing("caches", "two"))
    found = rows(
        fake_site, {"services": {"main": {"database": {"use": "one"}}, "short": {"cache": {"use": "two"}, "modules": []}, "odd": 5}}
    )
    assert found["db"] == ("active", "used by [services.main.database]")
    assert found["store"] == ("active", "used by [services.short.cache]")


def test_a_section_named_after_its_provider_uses_it(fake_site: Any) -> None:
    fake_site.install("pywatt-vault", providing("secret_sources", "vault"))
    fake_site.install("pywatt-radio", providing("channels", "radio"))
    found = rows(fake_site, {"secrets": {"vault": {}}, "channels": {"radio": {"reconnect": "none"}}})
    assert found["vault"] == ("active", "used by [secrets.vault]")
    assert found["radio"] == ("active", "used by [channels.radio]")
    assert found["builtin"][0] == "active"


def test_what_needs_no_name_is_active(fake_site: Any) -> None:
    fake_site.install("pywatt-serve", PROVIDER + "@hookimpl\ndef pywatt_make_server(app): ...\n@hookimpl\ndef pywatt_lifespan(): ...\n")
    commands = "@hookimpl\ndef pywatt_register_commands():\n    return [Command('fly', 'Fly.', 'a:b')]\n"
    fake_site.install("pywatt-fly", PROVIDER + commands)
    found = rows(fake_site, {})
    assert found["serve"] == ("active", "provides lifespan, servers, which need no name in the configuration")
    assert found["fly"] == ("active", "provides commands, which need no name in the configuration")


def test_disabled_and_broken_say_why(fake_site: Any) -> None:
    fake_site.install("pywatt-off", "raise OSError")
    fake_site.install("pywatt-bad", "raise OSError('no disk')")
    fake_site.install("pywatt-half", PROVIDER + "@hookimpl\ndef pywatt_register_caches():\n    return 5\n")
    found = rows(fake_site, {}, PluginSelection(disable=("off",)))
    assert found["off"] == ("disabled", "named under [plugins] disable")
    assert found["bad"] == ("broken", "raised OSError: no disk at import")
    assert found["half"] == ("broken", "pywatt_register_caches returned an int, not a list")


def test_plugins_in_conflict_are_both_broken(fake_site: Any) -> None:
    fake_site.install("pywatt-one", providing("databases", "same"))
    fake_site.install("pywatt-two", providing("databases", "same"))
    found = rows(fake_site, {"databases": {"main": {"use": "same"}}})
    assert found["one"] == ("broken", "the database 'same' is also provided by pywatt-two:two")
    assert found["two"] == ("broken", "the database 'same' is also provided by pywatt-one:one")


def test_a_row_tells_where_the_plugin_comes_from_and_what_it_provides(fake_site: Any) -> None:
    fake_site.install("pywatt-db", providing("databases", "one"), version="3.2")
    registry = Registry(path=[str(fake_site.folder)])
    row = next(row for row in registry.status({}) if row.name == "db")
    assert (row.distribution, row.version, row.entry_point, row.builtin) == ("pywatt-db", "3.2", "pywatt_db", False)
    assert row.location == str(fake_site.folder)
    assert row.provides == {"databases": ["one"]}
