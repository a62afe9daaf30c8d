"""`pywatt secrets init | set | get | edit | list | remove | rotate | check`. What a command does not need is not imported."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from pywatt_core.errors import SecretError, SecretNotFound

from .command_options import config_option, json_option, vault_option
from .key_commands import check, init, rotate
from .locating import locate
from .prompting import asker, entered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .vault import Vault


@click.group(invoke_without_command=True)
@click.pass_context
def secrets(ctx: click.Context) -> None:
    """Secrets in an encrypted file that is committed with the project.

    The file, secrets.vault, shows the names of the secrets, when they changed and roughly how long they are; the values
    need the key. Whoever has the key can read and change all of them; without it any change, down to one byte, is noticed.

    The key is looked for in the variable PYWATT_VAULT_KEY, then in the file secrets.key beside the vault, which is not
    committed. Keep a copy of it elsewhere: without the key the secrets are lost.

    \b
    A first vault:
        pywatt secrets init                 make secrets.vault and its key
        pywatt secrets set DB_PASSWORD      asks for the value
        git add secrets.vault               the key is ignored by Git

    \b
    In pywatt.toml:
        [secrets.env]                       asked first: deployments can override
        [secrets.vault]                     then the vault
        [databases.main]
        password = "secret:DB_PASSWORD"

    \b
    Where it runs:
        PYWATT_VAULT_KEY=... pywatt up      the key of secrets.key

    Modules that run are told of a change: no restart is needed.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (init, rotate, check):
    secrets.add_command(command)


@secrets.command("set")
@click.argument("names", nargs=-1, metavar="NAME")
@click.option("--keep-newline", is_flag=True, help="Keep the end of line that standard input ends with.")
@click.option("--empty", is_flag=True, help="An empty value is meant.")
@vault_option
@config_option
def set_(names: Sequence[str], keep_newline: bool, empty: bool, wanted: str | None, file: str | None) -> int:
    """Set one secret.

    The value is asked for, or read from standard input. It is never an argument: others could see those.

    \b
    Examples:
        pywatt secrets set DB_PASSWORD
        openssl rand -base64 48 | pywatt secrets set JWT_KEY
        pywatt secrets set TLS_KEY --keep-newline < server.key
    """
    name = _one_name(names, "The value is typed in or read from standard input: arguments are seen by other users and kept by shells")
    from .vault import check_name

    check_name(name)
    located = locate(wanted, file, asker())
    located.store.load()  # before somebody types a value for nothing
    value = entered(f"Value of {name}", keep_newline=keep_newline)
    if not value and not empty:
        raise SecretError(
            f"{name}: the value is empty. Nothing was set; --empty sets it, `pywatt secrets remove {name}` removes the secret"
        )
    _, changed = located.store.change({name: value})
    print(f"{located.name}: {name} {'set' if changed else 'has this value already'}")
    return 0


@secrets.command()
@click.argument("names", nargs=-1, metavar="NAME")
@click.option("--show", is_flag=True, help="Show it on the terminal.")
@vault_option
@config_option
def get(names: Sequence[str], show: bool, wanted: str | None, file: str | None) -> int:
    """Write one secret to standard output.

    It is written exactly as it was set, into a pipe or a file. On a terminal --show is needed.

    \b
    Examples:
        pywatt secrets get TLS_KEY > server.key
        pywatt secrets get DB_PASSWORD --show
    """
    name = _one_name(names)
    if sys.stdout.isatty() and not show:
        raise SecretError(f"{name} would be shown on this terminal: add --show, or send it on: pywatt secrets get {name} | …")
    vault = locate(wanted, file, asker()).store.load()
    value = vault.get(name)
    if value is None:
        raise _unknown(vault, name)
    sys.stdout.buffer.write(value.encode() + (b"\n" if sys.stdout.isatty() else b""))
    sys.stdout.buffer.flush()
    return 0


@secrets.command("list")
@json_option
@vault_option
@config_option
def list_(as_json: bool, wanted: str | None, file: str | None) -> int:
    """List names, versions and times; no values.

    Without the key the names can be listed too, and a warning says that nobody has checked them.
    """
    from pywatt_core.cli.output import print_json, print_table, warn

    from .document import parse
    from .keys import NoKey

    located = locate(wanted, file, asker())
    checked = True
    try:
        vault = located.store.load()
        rows = [(name, info.version, _when(info.changed)) for name in vault.names() if (info := vault.describe(name))]
    except NoKey as error:
        warn(f"{error}. The list is not checked: anybody may have changed it")
        entries = parse(located.store.data(), located.name).entries
        rows, checked = [(name, entry.version, entry.changed) for name, entry in sorted(entries.items())], False
    if as_json:
        listed = [{"name": name, "version": version, "changed": changed} for name, version, changed in rows]
        print_json({"vault": str(located.store.path), "checked": checked, "secrets": listed})
    else:
        print_table(("NAME", "VERSION", "CHANGED"), rows)
    return 0


def _when(changed: Any) -> str:
    return f"{changed:%Y-%m-%dT%H:%M:%SZ}"


@secrets.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@vault_option
@config_option
def remove(names: Sequence[str], wanted: str | None, file: str | None) -> int:
    """Remove secrets.

    Their old values stay in the history of the file: change them where they are used, too.
    """
    if not names:
        raise click.UsageError("name the secrets to remove")
    located = locate(wanted, file, asker())
    vault = located.store.load()
    for name in names:
        if name not in vault:
            raise _unknown(vault, name)
    located.store.change({}, remove=names)
    print(f"{located.name}: {', '.join(sorted(set(names)))} removed")
    return 0


@secrets.command()
@vault_option
@config_option
def edit(wanted: str | None, file: str | None) -> int:
    """Edit all secrets in $VISUAL or $EDITOR.

    They stand there as NAME = "value" lines; only those that you change are sealed anew. The file can be read by you only,
    is in memory where the system offers that, and is overwritten and removed afterwards. Keep your editor from making
    copies elsewhere: vim -n -i NONE, or no folders for undo and backup.
    """
    from .editing import edit_session

    located = locate(wanted, file, asker())
    changed = edit_session(located.store, os.environ)
    print(f"{located.name}: {'; '.join(changed) if changed else 'nothing changed'}")
    return 0


def _one_name(names: Sequence[str], more: str = "") -> str:
    """The only name. What else was typed may be a secret: it is not repeated."""
    if len(names) == 1 and "=" not in names[0]:
        return names[0]
    if not names:
        raise click.UsageError("name the secret")
    raise click.UsageError(f"one NAME is wanted, and nothing else. {more}".strip())


def _unknown(vault: Vault, name: str) -> SecretNotFound:
    from pywatt_core.config import nearest

    guess = nearest(name, {known.lower(): known for known in vault.names()})
    known = next((one for one in vault.names() if one.lower() == guess), None)
    hint = f". Did you mean {known}?" if known else "; `pywatt secrets list` shows what is there"
    return SecretNotFound(f"{vault.file}: there is no secret {name!r}{hint}")
