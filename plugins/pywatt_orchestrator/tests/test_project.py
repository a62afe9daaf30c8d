"""What the orchestrator makes of a configuration file, and what it says about a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.config import load, override
from pywatt_core.errors import ConfigError
from pywatt_orchestrator.project import Project, cycles, read_project

Read = Callable[..., Project]


@pytest.fixture
def project_of(tmp_path: Path) -> Read:
    """Write pywatt.toml beside two module files and read it."""

    def read(text: str, **options: Any) -> Project:
        (tmp_path / "users.py").touch()
        (tmp_path / "orders.py").touch()
        (tmp_path / "pywatt.toml").write_text(text)
        return read_project(load(start=tmp_path, environ={}, defer=True), **options)

    return read


def problems_of(project_of: Read, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        project_of(text)
    return str(caught.value)


def test_a_module_is_mounted_at_its_name_and_runs_in_the_folder_of_the_file(project_of: Read, tmp_path: Path) -> None:
    plan = project_of('[modules.users]\nrun = "users.py"').modules["users"]
    assert (plan.mount, plan.cwd, plan.unix, plan.rust) == ("/users", tmp_path, True, False)
    assert plan.command_line("python3") == ["python3", "-X", "faulthandler", "-m", "pywatt_core.launch", "users.py"]
    assert plan.module_ids() == ["users"]


def test_a_command_gets_a_tcp_address_and_counts_as_built_on_the_rust_sdk(project_of: Read) -> None:
    plan = project_of('[modules.billing]\ncommand = ["./billing", "--fast"]\nargs = ["-v"]').modules["billing"]
    assert (plan.unix, plan.rust) == (False, True)
    assert plan.command_line("python3") == ["./billing", "--fast", "-v"]


def test_several_instances_are_numbered(project_of: Read) -> None:
    assert project_of('[modules.users]\nrun = "users.py"\ninstances = 3').module_ids() == ["users.1", "users.2", "users.3"]


def test_every_problem_is_reported_at_once_with_its_path_its_line_and_the_way_out(project_of: Read) -> None:
    text = problems_of(
        project_of,
        """[gateway]
prot = 8000
[modules.Users]
run = "users.py"
[modules.orders]
run = "order.py"
depends_on = ["user"]
restart = "sometimes"
[modules.billing]
mount = "/_pywatt/x"
""",
    )
    assert "gateway.prot (pywatt.toml:2): unknown option. Did you mean 'port'?" in text
    assert "modules.Users (pywatt.toml:3): is not a module's name" in text
    assert "modules.orders.restart (pywatt.toml:8)" in text
    assert "modules.billing (pywatt.toml:9): does not say what to start" in text
    assert "modules.billing.mount (pywatt.toml:10): /_pywatt is reserved" in text


def test_an_option_of_the_wrong_shape_hides_nothing_else_that_is_wrong_with_its_module(project_of: Read) -> None:
    text = problems_of(
        project_of,
        """[modules.users]
run = "users.py"
restart = "sometimes"
instances = 0
mount = "users/"
stop_timeout = -1
expose = ["helth"]
depends_on = ["user"]
[modules.orders]
run = 3
stop_timeout = 0
""",
    )
    for words in ("users.restart", "users.instances", "users.mount", "users.stop_timeout", "users.expose", "users.depends_on"):
        assert f"modules.{words} (pywatt.toml:" in text
    assert "modules.orders.run" in text and "modules.orders.stop_timeout" in text
    assert "8 problems" in text


def test_a_missing_file_is_named_with_the_nearest_one(project_of: Read) -> None:
    assert "there is no file" in (text := problems_of(project_of, '[modules.orders]\nrun = "order.py"'))
    assert "Did you mean 'orders.py'?" in text


def test_an_unknown_dependency_is_named_with_the_nearest_module(project_of: Read) -> None:
    text = problems_of(project_of, '[modules.users]\nrun = "users.py"\n[modules.orders]\nrun = "orders.py"\ndepends_on = ["user"]')
    assert "modules.orders.depends_on (pywatt.toml:5): there is no module 'user'. Did you mean 'users'?" in text


def test_modules_that_wait_for_one_another_are_shown_as_a_ring(project_of: Read) -> None:
    text = problems_of(
        project_of,
        '[modules.users]\nrun = "users.py"\ndepends_on = ["orders"]\n[modules.orders]\nrun = "orders.py"\ndepends_on = ["users"]',
    )
    assert "each waits for the next for ever: orders → users → orders" in text


def test_two_modules_on_one_mount_are_refused_by_name(project_of: Read) -> None:
    text = problems_of(project_of, '[modules.users]\nrun = "users.py"\n[modules.orders]\nrun = "orders.py"\nmount = "/users"')
    assert "modules.orders.mount (pywatt.toml:5): /users is where modules.users is mounted already" in text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('env = { DATABASE_URL = "secret:DATABASE_URL" }', "a secret cannot be put into the environment"),
        ('secrets = ["API_KEY"]\nenv = { API_KEY = "abc" }', "is declared a secret of this module"),
        ('env = { PYWATT_STANDALONE = "1" }', "belongs to the orchestrator"),
        ('listen = "unix"\nrust = true', "cannot serve on a Unix socket"),
        ('command = ["x"]', "has both run and command"),
        ("instances = 0", "It is between 1 and 256"),
        ("stop_timeout = 0", "a number of seconds above 0"),
        ('cwd = "nowhere"', "there is no folder"),
        ('expose = ["healthy"]', 'It takes "health", "metrics" or their paths'),
        ('mount = "users/"', "It is / or a path such as /users"),
        ('health = "up"', "a path that begins with /"),
        ('databses = { main = { use = "sqlite" } }', "Did you mean 'databases'?"),
        ('mount = "secret:X"', "cannot be a secret"),
    ],
)
def test_a_mistake_in_one_module_is_explained(project_of: Read, lines: str, words: str) -> None:
    text = problems_of(project_of, f'[modules.users]\nrun = "users.py"\n{lines}')
    assert words in text
    assert "modules.users" in text


def test_a_file_without_modules_says_which_lines_to_add(project_of: Read) -> None:
    assert '[modules.users]\nrun = "users.py"' in problems_of(project_of, "[gateway]\nport = 1")


def test_a_module_is_sent_the_top_level_tables_with_its_own_laid_over_them(project_of: Read, tmp_path: Path) -> None:
    plan = project_of(
        """[module]
drain = 3.0
[databases.main]
use = "sqlite"
path = "all.db"
[modules.users]
run = "users.py"
log_level = "debug"
[modules.users.databases.main]
path = "users.db"
"""
    ).modules["users"]
    assert plan.config == {
        "module": {"drain": 3.0, "log_level": "debug"},
        "databases": {"main": {"use": "sqlite", "path": "users.db"}},
        "folder": str(tmp_path),
    }


def test_a_module_may_ask_for_the_listed_secrets_and_those_its_configuration_refers_to(project_of: Read) -> None:
    text = '[databases.main]\nuse = "postgres"\ndsn = "secret:DATABASE_URL"\n[modules.users]\nrun = "users.py"\n'
    assert project_of(text).modules["users"].secret_names is None
    assert project_of(text + 'secrets = ["API_KEY"]').modules["users"].secret_names == frozenset({"API_KEY", "DATABASE_URL"})


def test_some_modules_can_be_chosen_and_bring_what_they_depend_on(project_of: Read) -> None:
    project = project_of(
        '[modules.users]\nrun = "users.py"\n[modules.orders]\nrun = "orders.py"\ndepends_on = ["users"]\n[modules.billing]\ncommand = ["x"]'
    )
    assert list(project.with_dependencies(["orders"]).modules) == ["users", "orders"]
    with pytest.raises(ConfigError, match="there is no module 'order'. Did you mean 'orders'"):
        project.with_dependencies(["order"])


def test_one_module_alone_is_checked_alone(project_of: Read) -> None:
    project = project_of('[modules.users]\nrun = "users.py"\n[modules.orders]\nrun = "gone.py"', only="users")
    assert list(project.modules) == ["users"]


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "users.py").touch()
    (tmp_path / "pywatt.toml").write_text('[gateway]\nport = 1\n[modules.users]\nrun = "users.py"')
    settings = load(start=tmp_path, environ={}, defer=True, overrides=override(["gateway.port=9000", "modules.users.instances=2"]))
    project = read_project(settings)
    assert project.gateway.port == 9000
    assert project.module_ids() == ["users.1", "users.2"]


def test_each_ring_is_found_once() -> None:
    assert cycles({"a": ["b"], "b": ["a"], "c": ["a"], "d": ["d"]}) == [("a", "b"), ("d",)]
    assert cycles({"a": ["b", "c"], "b": ["c"], "c": []}) == []


# ── channels ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lines", "channels"),
    [
        ('run = "users.py"', ("unix",)),
        ('command = ["./billing"]', ("tcp",)),
        ('run = "users.py"\nchannels = ["tcp", "unix"]', ("tcp", "unix")),
        ('run = "users.py"\nchannels = []', ()),
    ],
)
def test_a_module_is_offered_the_channels_that_suit_it_or_those_it_names(project_of: Read, lines: str, channels: tuple[str, ...]) -> None:
    assert project_of(f"[modules.users]\n{lines}").modules["users"].channels == channels


@pytest.mark.parametrize("channels", ["[]", '["unix"]'])
def test_a_module_built_on_the_rust_sdk_needs_a_tcp_channel(project_of: Read, channels: str) -> None:
    text = problems_of(project_of, f'[modules.billing]\ncommand = ["./billing"]\nchannels = {channels}')
    assert "modules.billing.channels" in text and "ends where it is offered no TCP channel" in text and "rust = false" in text
    assert project_of(f'[modules.billing]\ncommand = ["./billing"]\nrust = false\nchannels = {channels}').modules


def test_a_channel_that_there_is_not_is_refused(project_of: Read) -> None:
    assert "modules.users.channels" in problems_of(project_of, '[modules.users]\nrun = "users.py"\nchannels = ["udp"]')


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('tls_key = "key.pem"', "tls_key is there without tls_cert"),
        ('client_ca = "ca.pem"', "client_ca is there without tls_cert"),
        ('tls_cert = "absent.pem"', "cannot be read: No such file or directory"),
        ('tls_cert = "pywatt.toml"', "is no certificate in PEM form"),
        ('tls_certificate = "x"', "Did you mean"),
    ],
)
def test_what_is_wrong_with_the_channel_listener_is_told_before_anything_starts(project_of: Read, lines: str, complaint: str) -> None:
    text = problems_of(project_of, f'[channel_listener]\n{lines}\n[modules.users]\nrun = "users.py"')
    assert complaint in text and "channel_listener" in text


def test_the_files_of_the_channel_listener_stand_beside_the_configuration(project_of: Read, tmp_path: Path, authorities: Any) -> None:
    issued = authorities("ours").issue("door")
    (tmp_path / "door.pem").write_bytes(issued.cert.read_bytes() + issued.key.read_bytes())
    project = project_of('[channel_listener]\ntls_cert = "door.pem"\ntoken = true\n[modules.users]\nrun = "users.py"')
    assert (project.listener.tls_cert, project.listener.token) == (tmp_path / "door.pem", True)
    assert "channel_listener" not in project.modules["users"].config


def test_secrets_of_hosted_services_are_for_those_who_name_them(project_of: Read) -> None:
    text = """
        [services.main]
        modules = ["*"]
        database = { use = "postgres", url = "secret:HOSTED_URL" }
        [modules.users]
        command = ["./x"]
        [modules.direct]
        command = ["./x"]
        databases.main = { use = "postgres", url = "secret:HOSTED_URL" }
    """
    plans = project_of(text).modules
    assert (plans["users"].secret_names, plans["users"].kept_secrets) == (None, frozenset({"HOSTED_URL"}))
    assert plans["direct"].kept_secrets == frozenset()
