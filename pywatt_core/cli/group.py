"""The command group: help from static texts, each command imported only when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import rich_click as click

from ..config.problems import nearest
from ..errors import ConfigError, PluginError
from ..interfaces import Command
from ..registry.kinds import described
from .output import complain, shielded_stdout

if TYPE_CHECKING:
    from ..registry import Registry

OWN = {
    command.name: command
    for command in (
        Command("plugins", "List the installed plugins: what each provides, and whether it is used.", "pywatt_core.cli.plugins:plugins"),
        Command("config", "Print the effective configuration with the source of each value.", "pywatt_core.cli.config:config"),
        Command("check", "Check the project: file, sections, options, providers, secrets.", "pywatt_core.cli.check:check"),
    )
}

ELSEWHERE = {**dict.fromkeys(("run", "up", "ps", "stop", "restart", "logs"), "pywatt-orchestrator"), "secrets": "pywatt-vault"}
"""Commands that other distributions bring."""

HELP = """Ordinary FastAPI, Flask and Starlette applications as supervised modules of one product.

\b
Examples:
    pywatt plugins         what is installed, and what it provides
    pywatt check           is the project in this folder sound?
    pywatt config          every value, and where it comes from
    pywatt run users.py    start one module
    pywatt up              start all modules of pywatt.toml

\b
run, up and what belongs to them come with: pip install pywatt-orchestrator
secrets comes with: pip install pywatt-vault
"""


class LazyGroup(click.RichGroup):
    """Lists commands with the help that they were registered with; loads one where it is resolved to be run."""

    _registry: Registry | None = None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*OWN, *(name for name in self._foreign() if name not in OWN)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = OWN.get(cmd_name) or self._foreign().get(cmd_name)
        return click.RichCommand(name=known.name, help=known.help, short_help=known.help) if known is not None else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        known = OWN.get(name)
        if known is None and not name.startswith("-"):
            known = self._foreign().get(name)
            if known is None:
                raise click.UsageError(self._unknown(name), ctx)
        if known is None:
            return super().resolve_command(ctx, args)
        return name, load(known), args[1:]

    def registry(self) -> Registry:
        """The installed plugins, with ``[plugins]`` of the nearest configuration taken into account where it can be read."""
        if LazyGroup._registry is None:
            from ..registry import Registry
            from .listing import raw_configuration

            try:
                selection = raw_configuration(None)[1]
            except ConfigError:
                selection = None  # help and commands work beside a broken file; who needs the file says what is wrong with it
            with shielded_stdout():
                LazyGroup._registry = Registry(selection)
        return LazyGroup._registry

    def _foreign(self) -> dict[str, Command]:
        registry = self.registry()
        with shielded_stdout():
            return registry.commands()

    def _unknown(self, name: str) -> str:
        registry = self.registry()
        if name in ELSEWHERE:
            for plugin in registry.plugins:
                if plugin.distribution == ELSEWHERE[name] and (plugin.broken or plugin.disabled):
                    state = f"disabled: {plugin.disabled}" if plugin.disabled else f"broken: {plugin.broken}"
                    return f"`pywatt {name}` comes with {plugin.distribution}, which is {state}"
            return f"`pywatt {name}` comes with {ELSEWHERE[name]}, which is not installed. Install it: pip install {ELSEWHERE[name]}"
        names = [*OWN, *self._foreign(), *ELSEWHERE]
        guess = nearest(name, names)
        broken = [f"{plugin.identity} {plugin.broken}" for plugin in registry.plugins if plugin.broken]
        text = f"there is no command {name!r}." + (f" Did you mean {guess!r}?" if guess else " `pywatt --help` lists what there is.")
        return f"{text} Broken plugins, which may bring it: {'; '.join(broken)}" if broken else text


def load(command: Command) -> click.Command:
    """Import a command. Raises `PluginError` that names its target."""
    module, _, attribute = command.target.partition(":")
    try:
        loaded: Any = getattr(import_module(module), attribute)
    except Exception as error:
        raise PluginError(f"`pywatt {command.name}` cannot be loaded from {command.target}: {type(error).__name__}: {error}") from error
    if not isinstance(loaded, click.Command):
        raise PluginError(f"`pywatt {command.name}`: {command.target} is {described(loaded)}, not a click command")
    return loaded


def version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from ..build_info import get_build_info

        click.echo(f"pywatt {get_build_info()}")
        ctx.exit()


@click.group(cls=LazyGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=version, help="Print version and build, and exit.")
def pywatt() -> None:
    """The group itself does nothing."""


def run(arguments: list[str]) -> int:
    """Run the group. Errors of usage are printed here, all others are the caller's."""
    try:
        result = pywatt.main(args=arguments or ["--help"], prog_name="pywatt", standalone_mode=False)
    except click.UsageError as error:
        if error.ctx is not None:
            click.echo(f"{error.ctx.get_usage().strip()}\nTry `{error.ctx.command_path} --help`", err=True)
        complain(error.format_message())
        return 2
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except click.Abort:
        return 130
    return result if isinstance(result, int) else 0
