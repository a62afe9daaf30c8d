"""Commands whose streams or folder were taken away: one clear sentence, whatever the shell did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMANDS = ["plugins", "plugins --json", "plugins show sqlite", "config", "config --schema", "check", "--help", "--version"]


def shell(script: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a line of sh in which ``pywatt`` is the command."""
    command = f'pywatt() {{ "{sys.executable}" -m pywatt_core.cli.main "$@"; }}; {script}'
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYWATT") and name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=variables | environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_standard_output_is_named(command: str, tmp_path: Path) -> None:
    done = shell(f"pywatt {command} >&-", tmp_path)
    assert (done.returncode, done.stderr) == (1, "pywatt: standard output cannot be written to: it is closed\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["plugins", "config --schema", "--help"])
def test_a_full_disk_is_named(command: str, unbuffered: str, tmp_path: Path) -> None:
    done = shell(f"pywatt {command} >/dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (1, "pywatt: standard output cannot be written to: No space left on device\n")


def test_with_every_stream_closed_only_the_exit_code_is_left(tmp_path: Path) -> None:
    assert shell("pywatt plugins <&- >&- 2>&-; exit $?", tmp_path).returncode == 1
    assert shell("pywatt nonsense <&- >&- 2>&-; exit $?", tmp_path).returncode == 2


def test_a_closed_standard_error_takes_nothing_from_the_answer(tmp_path: Path) -> None:
    done = shell("pywatt plugins --json 2>&-", tmp_path)
    assert done.returncode == 0
    assert done.stdout == shell("pywatt plugins --json", tmp_path).stdout


@pytest.mark.parametrize("command", ["plugins", "config", "check", "config --config x.toml", "check --config x.toml"])
def test_a_folder_that_was_deleted_is_named(command: str, tmp_path: Path) -> None:
    done = shell(f'mkdir gone && cd gone && rmdir "$PWD" && pywatt {command}', tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("pywatt: the current folder ")
    assert "hange to another one" in done.stderr
    assert "unforeseen" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_error_that_is_not_of_the_surroundings_stays_what_it_is(fake_site: Any) -> None:
    fake_site.install(
        "pywatt-fly",
        """
        from pywatt_core.hookspecs import hookimpl
        from pywatt_core.interfaces import Command

        @hookimpl
        def pywatt_register_commands():
            return [Command("fly", "Fly.", "pywatt_flying:fly")]
        """,
    )
    (fake_site.folder / "pywatt_flying.py").write_text(
        "import errno, rich_click as click\n@click.command()\ndef fly():\n    raise OSError(errno.ENOSPC, 'the tank is empty')\n"
    )
    done = fake_site.run("fly")
    assert (done.returncode, done.stdout.strip()) == (1, "")
    assert done.stderr.startswith("pywatt: unforeseen: OSError: [Errno 28] the tank is empty. Set PYWATT_TRACEBACK=1")
