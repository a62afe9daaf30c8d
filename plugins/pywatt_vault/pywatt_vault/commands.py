"""`pywatt secrets init | set | get | edit | list | remove | rotate | check`. What a command does not need is not imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from pywatt_core.errors import SecretError, SecretNotFound

from .locating import locate, short
from .prompting import asker, entered, entered_passphrase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .locating import Located
    from .vault import Vault

Decorator = Callable[[Any], Any]

vault_option: Decorator = click.option(
    "--vault", "wanted", metavar="NAME", help="Which vault: NAME of [secrets.NAME], or a path. [default: the only one configured]"
)
config_option: Decorator = click.option(
    "--config", "file", metavar="FILE", type=click.Path(), help="The configuration file, instead of the nearest pywatt.toml."
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
key_file_option: Decorator = click.option("--key-file", metavar="FILE", type=click.Path(), help="A new file, for the new key.")
passphrase_option: Decorator = click.option(
    "--passphrase",
    is_flag=True,
    help="A passphrase opens the vault, instead of a key: asked for twice, or the first line of standard input.",
)


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


@secrets.command()
@vault_option
@config_option
@click.option("--key-file", metavar="FILE", type=click.Path(), help="The file of the key: made unless it exists.")
@passphrase_option
def init(wanted: str | None, file: str | None, key_file: str | None, passphrase: bool) -> int:
    """Make an empty vault and its key.

    A key that stands in PYWATT_VAULT_KEY or in the key file already is used. With --passphrase no key is written:
    everybody who is to open the vault has to know the passphrase, and whoever gets the file can try to guess it.

    \b
    Examples:
        pywatt secrets init
        pywatt secrets init --key-file ~/keys/shop.key
        pywatt secrets init --vault production.vault --passphrase
    """
    from .files import write_whole
    from .keys import read_keys
    from .rotating import key_lock, passphrase_lock

    if passphrase and key_file is not None:
        raise click.UsageError("--passphrase and --key-file exclude each other")
    located = locate(wanted, file)
    store, path = located.store, str(located.store.path)
    if os.path.lexists(path):
        raise SecretError(f"{located.name}: there is a file already; `pywatt secrets list` shows what is in it")
    if passphrase:
        store.create(passphrase_lock(path, entered_passphrase()).empty)
        print(f"{located.name}: made. The passphrase opens it; nobody can tell it to you again")
        _next_steps(located)
        return 0
    target = Path(key_file).absolute() if key_file is not None else store.places.file
    places = store.places.read(wanted=False) if key_file is None else [store.places.read_file(target)]
    found = next((place for place in places if place.text), None)
    if found is not None and found.text:
        store.create(key_lock(path, key=read_keys(found.text, found.name)[0]).empty)
        print(f"{located.name}: made. It opens with the key in {found.name.replace(str(target), short(target))}")
    else:
        lock = key_lock(path)
        write_whole(target, f"{lock.text}\n", mode=0o600, exclusive=True)
        try:
            store.create(lock.empty)
        except BaseException:
            target.unlink()
            raise
        print(f"{located.name}: made. Its key is in {short(target)}: keep a copy elsewhere, without it the secrets are lost")
        _keep_out_of_git(target)
    _next_steps(located, target)
    return 0


def _keep_out_of_git(key_file: Path) -> None:
    from .git import ignore

    if ignore(key_file):
        print(f"{short(key_file.parent / '.gitignore')}: {key_file.name} added, so that Git passes the key over")


def _next_steps(located: Located, key_file: Path | None = None) -> None:
    """What is to be added to the configuration, if anything."""
    lines = []
    if not located.section:
        lines += [] if located.configured else ["[secrets.env]", "[secrets.dotenv]", "required = false"]
        lines += ["[secrets.vault]"]
        if located.store.path != located.folder / "secrets.vault":
            lines.append(f'path = "{short(located.store.path, located.folder)}"')
    if key_file is not None and key_file != located.store.places.file:
        lines += [] if lines else [f"[{located.section}]"]
        lines.append(f'key_file = "{short(key_file, located.folder)}"')
    if lines:
        print("\nAdd to pywatt.toml:\n\n" + "\n".join(lines) + "\n")


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


@secrets.command()
@vault_option
@config_option
@key_file_option
@passphrase_option
def rotate(wanted: str | None, file: str | None, key_file: str | None, passphrase: bool) -> int:
    """Give the vault a new key, and seal every secret anew.

    The old key opens nothing that is written from now on. It still opens what it opened before: older versions of the
    file, in the history of the repository too. Where a key got into wrong hands, change the secrets themselves as well.

    The new key goes where the old one was, if that is a file; where it is a variable, name a file with --key-file and
    bring its content to the variable. A passphrase is asked for anew.

    \b
    Examples:
        pywatt secrets rotate
        pywatt secrets rotate --key-file new.key
        pywatt secrets rotate --passphrase
    """
    from .rotating import key_lock, passphrase_lock
    from .rotating import rotate as rotated

    if passphrase and key_file is not None:
        raise click.UsageError("--passphrase and --key-file exclude each other")
    located = locate(wanted, file, asker())
    store, path = located.store, str(located.store.path)
    vault = store.load()
    place = vault.key_from
    in_file = place is not None and place.kind == "file"
    if passphrase or (vault.header.scrypt is not None and key_file is None):
        lock = passphrase_lock(path, entered_passphrase(), id=vault.header.id)
        target = store.places.file if in_file and vault.header.scrypt is not None else None
    else:
        target = _for_new_key(key_file, located, vault)
        lock = key_lock(path, id=vault.header.id)
    after = rotated(store, lock, file=target)
    where = f"The new one is in {short(target)}" if target is not None else "The new passphrase opens it"
    print(f"{located.name}: {_counted(after)} sealed anew. {where}")
    if place is not None and place.kind == "variable":
        print(f"{place.name} still holds the old one: change it wherever the vault is read")
    elif in_file and target != store.places.file:
        print(f"{short(store.places.file)} still holds the old key, which opens nothing any more: remove it")
    if target is not None:
        _keep_out_of_git(target)
    return 0


def _for_new_key(key_file: str | None, located: Located, vault: Vault) -> Path:
    """The file that the new key is written into."""
    places, place = located.store.places, vault.key_from
    if place is not None and place.kind == "file" and (key_file is None or Path(key_file).resolve() == places.file.resolve()):
        return places.file
    if key_file is None:
        where = place.name if place is not None else "what was typed"
        raise SecretError(
            f"{located.name}: the key stands in {where}, which this command cannot change. Name a file for the new one with --key-file, "
            "and bring its content there afterwards"
        )
    if os.path.lexists(key_file):
        raise SecretError(f"{key_file}: there is a file already; name a new one")
    return Path(key_file).absolute()


@secrets.command()
@vault_option
@config_option
def check(wanted: str | None, file: str | None) -> int:
    """Check the vault and its key.

    The key fits, nothing was changed without it, and Git does not take the key file along.
    Exit code 0: sound, 1: problems found. `pywatt check` tells which secrets the project refers to and nobody knows.
    """
    from pywatt_core.cli.output import complain

    from .git import in_repository, is_ignored, is_tracked

    located = locate(wanted, file, asker())
    vault = located.store.load()
    key = located.store.places.file
    problems = []
    if key.exists() and in_repository(key):
        if is_tracked(key):
            problems.append(
                f"{short(key)}: this key is under version control: whoever has the repository can read every secret. Take it out "
                f"(git rm --cached {short(key)}), then `pywatt secrets rotate` and change the secrets themselves"
            )
        elif not is_ignored(key):
            problems.append(f"{short(key)}: Git would take this key along: add /{key.name} to {short(key.parent / '.gitignore')}")
    for problem in problems:
        complain(problem)
    if problems:
        return 1
    place = vault.key_from
    opened = f"opened with {place.name.replace(str(key), short(key))}" if place is not None else ""
    print(f"{located.name}: sound. {_counted(vault)}, {opened}")
    return 0


def _counted(vault: Vault) -> str:
    number = len(vault.names())
    return f"{number or 'no'} secret{'s' if number != 1 else ''}"


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
