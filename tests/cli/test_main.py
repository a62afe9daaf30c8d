"""The command itself: what it imports, its exit codes, its errors. Real processes with real distributions on their path."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest

COMMAND = """
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Command

@hookimpl
def pywatt_register_commands():
    return [
        Command("fly", "Fly somewhere.", "pywatt_flying:fly"),
        Command("fall", "Fall.", "pywatt_flying:fall"),
        Command("odd", "No command at all.", "pywatt_flying:odd"),
        Command("gone", "Not there.", "pywatt_flying:gone"),
    ]
"""

FLYING = """
import rich_click as click
from pywatt_core.errors import ConfigError, PluginError

@click.command()
@click.argument("where")
@click.option("--code", default=0)
def fly(where, code):
    "Fly somewhere."
    if where == "nowhere":
        raise ConfigError("nowhere is no place")
    if where == "down":
        raise PluginError("the plugin 'x' fell")
    if where == "wrong":
        raise ZeroDivisionError("by zero")
    if where == "interrupted":
        raise KeyboardInterrupt
    print("flown", where)
    return code

@click.command()
def fall():
    raise SystemExit(7)

odd = 5
"""


@pytest.fixture
def flying(fake_site: Any) -> Any:
    fake_site.install("pywatt-fly", COMMAND)
    (fake_site.folder / "pywatt_flying.py").write_text(FLYING)
    return fake_site


def test_a_plugins_command_runs_and_its_result_is_the_exit_code(flying: Any) -> None:
    done = flying.run("fly", "home")
    assert (done.returncode, done.stdout, done.stderr) == (0, "flown home\n", "")
    assert flying.run("fly", "home", "--code", "3").returncode == 3
    assert flying.run("fall").returncode == 7


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("fly", "nowhere"), 2, "pywatt: nowhere is no place\n"),
        (("fly", "down"), 1, "pywatt: the plugin 'x' fell\n"),
        (("fly", "wrong"), 1, "pywatt: unforeseen: ZeroDivisionError: by zero. Set PYWATT_TRACEBACK=1 to see where it comes from\n"),
        (("odd",), 1, "pywatt: `pywatt odd`: pywatt_flying:odd is an int, not a click command\n"),
        (("gone",), 1, "pywatt: `pywatt gone` cannot be loaded from pywatt_flying:gone: AttributeError: "),
        (("fly",), 2, "Missing argument"),
        (("flyy",), 2, "pywatt: there is no command 'flyy'. Did you mean 'fly'?\n"),
        (("--nonsense",), 2, "No such option"),
        (("config", "--set", "x"), 2, "pywatt: 'x' is not of the form section.option=value\n"),
    ],
)
def test_an_error_is_one_message_without_a_traceback(flying: Any, arguments: tuple[str, ...], code: int, complaint: str) -> None:
    done = flying.run(*arguments)
    assert done.returncode == code
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_traceback_is_shown_to_who_asks_for_it(flying: Any) -> None:
    done = flying.run("fly", "wrong", environ={"PYWATT_TRACEBACK": "1"})
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: by zero" in done.stderr


def test_an_interrupt_is_no_error(flying: Any) -> None:
    done = flying.run("fly", "interrupted")
    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_every_command_and_imports_none(flying: Any, arguments: tuple[str, ...]) -> None:
    (flying.folder / "pywatt_flying.py").write_text("raise SystemExit('imported')")
    done = flying.run(*arguments)
    assert done.returncode == 0, done.stderr
    for line in ("plugins", "config", "check", "fly", "Fly somewhere.", "pywatt check"):
        assert line in done.stdout


def test_help_works_beside_a_broken_configuration_and_a_broken_plugin(flying: Any) -> None:
    (flying.folder / "pywatt.toml").write_text("[broken")
    flying.install("pywatt-bad", "raise OSError('no disk')")
    assert flying.run("--help").returncode == 0
    done = flying.run("swim")
    assert "Broken plugins, which may bring it: pywatt-bad:bad raised OSError: no disk at import" in done.stderr


def test_a_disabled_plugin_brings_no_command(flying: Any) -> None:
    (flying.folder / "pywatt.toml").write_text('[plugins]\ndisable = ["fly"]\n')
    done = flying.run("fly", "home")
    assert done.returncode == 2
    assert "there is no command 'fly'" in done.stderr


WITHOUT_ORCHESTRATOR = """
import sys
from pywatt_core.registry import registry
scan = registry.scan
def without(path=None):
    found = scan(path)
    return found._replace(entry_points=[entry for entry in found.entry_points if "orchestrator" not in entry.distribution {extra}])
registry.scan = without
from pywatt_core.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("command", ["run", "up", "ps", "stop", "restart", "logs"])
def test_commands_of_the_orchestrator_say_what_to_install(command: str, tmp_path: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ORCHESTRATOR.format(extra=""), command, "x"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"pywatt: `pywatt {command}` comes with pywatt-orchestrator, which is not installed. Install it: pip install pywatt-orchestrator"
    )


def test_a_broken_orchestrator_is_named_where_its_commands_are_asked_for(fake_site: Any) -> None:
    fake_site.install("pywatt-orchestrator", "raise OSError('no disk')", module="fake_orchestrator", name="orchestrator")
    done = fake_site.run("up")
    assert done.returncode == 2
    assert "`pywatt up` comes with pywatt-orchestrator, which is broken: raised OSError: no disk at import" in done.stderr


def test_version_says_the_version(fake_site: Any) -> None:
    done = fake_site.run("--version")
    assert done.returncode == 0, done.stderr
    assert re.match(r"pywatt \d+\.\d+", done.stdout)
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in done.stdout


def test_a_reader_that_goes_away_is_no_error(fake_site: Any) -> None:
    for number in range(40):
        fake_site.install(f"pywatt-number{number}", "raise OSError('" + "x" * 250 + "')")
    program = subprocess.Popen(
        [sys.executable, "-m", "pywatt_core.cli.main", "plugins", "--json"],
        env={**os.environ, "PYTHONPATH": str(fake_site.folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    assert program.stderr.read() == ""
    assert program.wait(30) == 0
    program.stderr.close()


def test_on_a_terminal_the_table_is_drawn_by_rich(fake_site: Any) -> None:
    master, slave = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "160", "PYTHONPATH": str(fake_site.folder)}
    program = subprocess.Popen(
        [sys.executable, "-m", "pywatt_core.cli.main", "plugins"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environ,
        cwd=fake_site.folder,
    )
    os.close(slave)
    written = b""
    try:
        while chunk := os.read(master, 65536):
            written += chunk
    except OSError:  # the other end of a terminal closes with an error on Linux
        pass
    finally:
        os.close(master)
    assert program.wait(30) == 0
    assert b"\x1b[" in written
    assert b"pywatt-core" in written
    assert b"`pywatt plugins show NAME`" in written


def test_the_listing_needs_no_click_and_no_msgspec(fake_site: Any) -> None:
    program = """
import sys
from pywatt_core.cli.main import main
status = main(["plugins", "--json"])
heavy = ("click", "rich_click", "rich", "msgspec", "asyncio", "pydantic", "importlib.metadata", "logging", "tomllib")
print(*[name for name in heavy if name in sys.modules], file=sys.stderr)
sys.exit(status)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=fake_site.folder, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "\n")
    assert {"fastapi", "flask", "sqlite", "orchestrator", "builtin"} <= {row["name"] for row in json.loads(done.stdout)}
