"""`pywatt run | up | ps | stop | restart | logs`. What a command does not need is not imported."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from pywatt_core.errors import ConfigError

if TYPE_CHECKING:
    from pywatt_core.config import Settings

    from .instance import Status
    from .project import Project

Decorator = Callable[[Any], Any]

config_option: Decorator = click.option(
    "--config", "file", metavar="FILE", type=click.Path(), help="The configuration file, instead of the nearest pywatt.toml."
)
set_option: Decorator = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one option, such as modules.users.instances=2."
)
port_option: Decorator = click.option(
    "--port", type=click.IntRange(0, 65535), help="The front door's port; 0 takes a free one. [default: 8000]"
)
bind_option: Decorator = click.option(
    "--bind", metavar="ADDRESS", help="The front door's address; 0.0.0.0 opens it to the network. [default: 127.0.0.1]"
)
json_log_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Log lines as JSON, one object a line.")
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
project_option: Decorator = click.option(
    "--project",
    metavar="PATH",
    type=click.Path(),
    help="The configuration file or folder of the orchestrator that is meant, or the file given to `pywatt run`.",
)


@click.command()
@click.argument("target", metavar="FILE[:NAME]")
@port_option
@bind_option
@json_log_option
@config_option
@set_option
def run(target: str, port: int | None, bind: str | None, as_json: bool, file: str | None, overrides: Sequence[str]) -> int:
    """Run one module, supervised, behind a front door of its own at http://127.0.0.1:8000/.

    FILE holds a function decorated with @pywatt_module, or a plain application called app or application; NAME says which
    where there are several. Without a pywatt.toml the module finds a SQLite database in .pywatt/ and a memory cache, both
    opened at first use. Secrets come from the environment and from .env.

    \b
    Examples:
        pywatt run users.py
        pywatt run users.py:app --port 9000
        pywatt run users.py --set databases.main.path=test.db
    """
    refuse_windows()
    path, _, name = target.partition(":")
    module = Path(path).resolve()
    if not module.is_file():
        raise ConfigError(f"there is no file {path!r} here ({Path.cwd()}); `pywatt run FILE.py` takes a Python file")
    from pywatt_core.config import find_file, load

    from .checking import Reading
    from .project import read_project
    from .up import orchestrate

    label = module_name(module)
    entry = {"run": f"{module}:{name}" if name else str(module), "mount": "/"}
    tables = _overrides(overrides, port, bind, {"modules": {label: entry}})
    offers = None
    if file is None and find_file() is None:
        offers = {"databases": {"main": {"use": "sqlite", "path": f".pywatt/{label}/main.db"}}, "caches": {"main": {"use": "memory"}}}

    def plan(settings: Settings) -> Project:
        return read_project(settings, only=label, offers=offers)

    reading = Reading(lambda: load(file=file, overrides=tables, defer=True), plan, only=label)
    return orchestrate(reading, identity=Path(entry["run"]), command="run", json=as_json)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@port_option
@bind_option
@json_log_option
@config_option
@set_option
def up(names: Sequence[str], port: int | None, bind: str | None, as_json: bool, file: str | None, overrides: Sequence[str]) -> int:
    """Run the modules of pywatt.toml behind one front door, each at /NAME, until Ctrl-C or `pywatt stop`.

    With NAMEs: only these and what they depend on. A module that ends is started again, one that hangs is replaced; Ctrl-C
    lets running requests finish, Ctrl-C again ends everything at once.

    \b
    Examples:
        pywatt up
        pywatt up users orders --port 9000
        pywatt up --json > log.jsonl
    """
    refuse_windows()
    from pywatt_core.config import find_file, load

    from .checking import Reading
    from .project import read_project
    from .up import orchestrate

    tables = _overrides(overrides, port, bind, {})
    found = Path(file) if file is not None else find_file()
    if found is None:
        raise ConfigError(
            'there is no pywatt.toml in this folder or above it. Make one:\n\n[modules.users]\nrun = "users.py"\n\n'
            "or run a single module with `pywatt run FILE.py`"
        )

    def plan(settings: Settings) -> Project:
        project = read_project(settings)
        return project.with_dependencies(names) if names else project

    reading = Reading(lambda: load(file=found, overrides=tables, defer=True), plan)
    return orchestrate(reading, identity=found.resolve(), command="up", json=as_json)


@click.command()
@click.argument("name", required=False)
@json_option
@project_option
def ps(name: str | None, as_json: bool, project: str | None) -> int:
    """List the modules that run: instance, pid, state, restarts, address, uptime; and why, where one does not.

    \b
    Examples:
        pywatt ps
        pywatt ps users --json
    """
    refuse_windows()
    from .client import ask, find_running
    from .control import Ps, RefusedLine, StatusLine

    folder, _holder = find_running(project)
    answers = list(ask(folder, Ps(name), timeout=ANSWER_TIMEOUT))
    statuses = [answer.status for answer in answers if isinstance(answer, StatusLine)]
    if as_json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(statuses), indent=2).decode())
        return 0
    print_statuses(statuses)
    for one in (answer for answer in answers if isinstance(answer, RefusedLine)):
        for who, reason in one.reasons.items():
            if who.startswith("["):  # a process says so itself
                print(f"\n{who}: it refused a new value of the secret {one.name!r}: {reason}")
    return 0


@click.command()
@click.argument("name", required=False)
@project_option
def stop(name: str | None, project: str | None) -> int:
    """Stop the module NAME until it is restarted; without NAME, stop the orchestrator and everything that it runs.

    Running requests finish first. Returns when the processes are gone.

    \b
    Examples:
        pywatt stop users
        pywatt stop
    """
    refuse_windows()
    from .control import Stop

    if name is not None:
        print_statuses(_ask_for_statuses(project, Stop(name)))
        return 0
    from .client import ask, find_running

    folder, holder = find_running(project)
    for _answer in ask(folder, Stop(), timeout=WORK_TIMEOUT):
        pass
    print(f"stopped {holder.project}")
    return 0


@click.command()
@click.argument("name")
@project_option
def restart(name: str, project: str | None) -> int:
    """Restart the module or instance NAME. Requests that come meanwhile wait; several instances are restarted in turn.

    The configuration and the secrets are read again for it.

    Exit code 1 where it is not ready afterwards.

    \b
    Examples:
        pywatt restart users
        pywatt restart users.2
    """
    refuse_windows()
    from .control import Restart

    statuses = _ask_for_statuses(project, Restart(name))
    print_statuses(statuses)
    return 0 if all(status.state == "ready" for status in statuses) else 1


@click.command()
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with every line that comes, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(0, 10_000), default=50, show_default=True, help="How many lines to begin with.")
@json_option
@project_option
def logs(name: str | None, follow: bool, lines: int, as_json: bool, project: str | None) -> int:
    """Show the last lines that the module or instance NAME has logged; without NAME, those of all of them.

    \b
    Examples:
        pywatt logs users
        pywatt logs users -f
        pywatt logs -n 200 --json
    """
    refuse_windows()
    from .client import ask, find_running
    from .control import Logs, RecordLine
    from .rendering import as_json as render_json
    from .rendering import as_text

    folder, _holder = find_running(project)
    colour = _colourful()
    try:
        for answer in ask(folder, Logs(name, lines, follow), timeout=None if follow else ANSWER_TIMEOUT):
            if isinstance(answer, RecordLine):
                print(render_json(answer.record) if as_json else as_text(answer.record, colour=colour), flush=follow)
    except KeyboardInterrupt:
        return 0
    return 0


ANSWER_TIMEOUT = 30.0
"""Seconds that the orchestrator may take to answer where it has nothing to wait for."""
WORK_TIMEOUT = 600.0
"""Seconds for what takes as long as modules need to stop and to start."""


# ── shared ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def module_name(file: Path) -> str:
    """The name of the module in `file`: its stem, as `[modules.NAME]` allows it."""
    name = re.sub(r"[^a-z0-9_]+", "_", file.stem.lower()).strip("_")
    return name if re.match(r"[a-z]", name) and name != "pywatt" else f"module_{name}".rstrip("_")


def print_statuses(statuses: Sequence[Status]) -> None:
    """A table, and below it why a module does not run, with its last lines."""
    headers = ("MODULE", "INSTANCE", "PID", "STATE", "RESTARTS", "UPTIME", "ADDRESS")
    rows = [
        (
            status.module,
            status.instance,
            str(status.pid or "-"),
            status.state,
            str(status.restarts),
            duration(status.uptime),
            status.address or "-",
        )
        for status in statuses
    ]
    if _colourful():
        _rich_table(headers, rows)
    else:
        widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
        for row in (headers, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    from .rendering import as_text

    for status in statuses:
        for text in filter(None, (status.why, status.secrets)):
            print(f"\n{status.instance}: {text}")
        for record in status.log:
            print(f"    {as_text(record, colour=False)}")


STYLES = {"ready": "green", "failed": "bold red", "backoff": "yellow", "stopped": "dim"}


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(table)


def duration(seconds: float | None) -> str:
    """``12s``, ``3m 04s``, ``5h 06m``, ``2d 07h``; ``-`` where there is none."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600:02d}h"


def _ask_for_statuses(project: str | None, command: Any) -> list[Status]:
    from .client import ask, find_running
    from .control import StatusLine

    folder, _holder = find_running(project)
    return [answer.status for answer in ask(folder, command, timeout=WORK_TIMEOUT) if isinstance(answer, StatusLine)]


def _overrides(texts: Sequence[str], port: int | None, bind: str | None, below: Mapping[str, Any]) -> dict[str, Any]:
    """The command line as nested tables; `below` is what a `--set` may still change."""
    from pywatt_core.config import override

    tables: dict[str, Any] = {key: {name: dict(entry) for name, entry in value.items()} for key, value in below.items()}
    for key, table in override(texts).items():
        _lay(tables.setdefault(key, {}), table)
    gateway = {key: value for key, value in (("port", port), ("bind", bind)) if value is not None}
    if gateway:
        tables.setdefault("gateway", {}).update(gateway)
    return tables


def _lay(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, Mapping):
            _lay(below.setdefault(key, {}), value)
        else:
            below[key] = value


def _colourful() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


def refuse_windows() -> None:
    if sys.platform == "win32":
        raise ConfigError("pywatt supervises modules on Linux and macOS; on Windows, use it inside WSL")
