"""The part of `pywatt secrets` that is about keys: `init`, `rotate`, `check`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from pywatt_core.errors import SecretError

from .command_options import config_option, key_file_option, passphrase_option, vault_option
from .locating import locate, short
from .prompting import asker, entered_passphrase

if TYPE_CHECKING:
    from .locating import Located
    from .vault import Vault


@click.command()
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
    from .files import LOCK_TIMEOUT, locked, write_whole
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
        store.create(key_lock(path, key=next(iter(read_keys(found.text, found.name).values()))).empty)
        print(f"{located.name}: made. It opens with the key in {found.name.replace(str(target), short(target))}")
        if found.kind == "file":
            _keep_out_of_git(target)
    else:
        lock = key_lock(path)
        with locked(target, LOCK_TIMEOUT):
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
    from pywatt_core.cli.output import warn

    from .git import ignore

    try:
        added = ignore(key_file)
    except OSError as error:
        warn(f"{short(key_file.parent / '.gitignore')}: cannot be written ({error.strerror}). Add /{key_file.name}* to it")
        return
    if added:
        print(f"{short(key_file.parent / '.gitignore')}: {key_file.name} added, so that Git passes the key over")


def _next_steps(located: Located, key_file: Path | None = None) -> None:
    """What is to be added to the configuration, if anything."""
    lines = []
    if not located.section:
        lines += [] if located.sources else ["[secrets.env]", "[secrets.dotenv]", "required = false"]
        lines += ["[secrets.NAME]", 'use = "vault"'] if "vault" in located.sources else ["[secrets.vault]"]
        if located.store.path != located.folder / "secrets.vault":
            lines.append(f'path = "{short(located.store.path, located.folder)}"')
    if key_file is not None and key_file != located.store.places.file:
        lines += [] if lines else [f"[{located.section}]"]
        lines.append(f'key_file = "{short(key_file, located.folder)}"')
    if lines:
        print("\nAdd to pywatt.toml:\n\n" + "\n".join(lines) + "\n")


@click.command()
@vault_option
@config_option
@key_file_option
@passphrase_option
def rotate(wanted: str | None, file: str | None, key_file: str | None, passphrase: bool) -> int:
    """Give the vault a new key, and seal every secret anew.

    The old key opens nothing that is written from now on. It still opens what it opened before: older versions of the
    file, in the history of the repository too. Where a key got into wrong hands, change the secrets themselves as well.

    The new key goes where the old one was, if that is a file, and the old one into a file beside it with the ending .old.
    Where the key is in a variable, name a file with --key-file and bring its content to the variable. A passphrase is
    asked for anew.

    \b
    Examples:
        pywatt secrets rotate
        pywatt secrets rotate --key-file new.key
        pywatt secrets rotate --passphrase
    """
    from .rotating import kept_beside, key_lock, passphrase_lock
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
    elif in_file and target == store.places.file:
        print(f"The old one is kept in {short(kept_beside(target))}, for older versions of the vault: remove it when nobody needs those")
    elif in_file:
        print(f"{short(store.places.file)} still holds the old one, which opens older versions of the vault only")
    if target is not None:
        _keep_out_of_git(target)
        _keep_out_of_git(kept_beside(target))
    if target is not None and target != store.places.file and (place is None or place.kind != "variable"):
        _next_steps(located, target)
    return 0


def _for_new_key(key_file: str | None, located: Located, vault: Vault) -> Path:
    """The file that the new key is written into: that of the old key, or one that is not there yet."""
    places, place = located.store.places, vault.key_from
    in_file = place is not None and place.kind == "file" and vault.header.scrypt is None
    if in_file and (key_file is None or Path(key_file).resolve() == places.file.resolve()):
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


@click.command()
@vault_option
@config_option
def check(wanted: str | None, file: str | None) -> int:
    """Check the vault and its key.

    The key fits, nothing was changed without it, and Git does not take the key file along.
    Exit code 0: sound, 1: problems found. `pywatt check` tells which secrets the configuration refers to and nobody knows.
    """
    from pywatt_core.cli.output import complain

    from .rotating import kept_beside

    located = locate(wanted, file, asker())
    vault = located.store.load()
    key = located.store.places.file
    problems = [problem for one in (key, kept_beside(key)) if (problem := _taken_along(one))]
    for problem in problems:
        complain(problem)
    if problems:
        return 1
    place = vault.key_from
    opened = f"opened with {place.name.replace(str(key), short(key))}" if place is not None else ""
    print(f"{located.name}: sound. {_counted(vault)}, {opened}{_others(located, vault)}")
    return 0


def _taken_along(key: Path) -> str:
    """What is wrong with the key file as far as Git is concerned."""
    from pywatt_core.cli.output import warn

    from .git import in_repository, is_ignored, is_tracked

    if not os.path.lexists(key) or not in_repository(key):
        return ""
    tracked = is_tracked(key)
    if tracked is None:
        warn(f"{short(key)}: Git could not be asked whether it takes this key along")
    if tracked:
        return (
            f"{short(key)}: this key is under version control: whoever has the repository can read every secret. Take it out "
            f"(git rm --cached {short(key)}), then `pywatt secrets rotate` and change the secrets themselves"
        )
    if not is_ignored(key):
        return f"{short(key)}: Git would take this key along: add /{key.name}* to {short(key.parent / '.gitignore')}"
    return ""


def _others(located: Located, vault: Vault) -> str:
    """What else stands in the key file: prepared for a rotation, of another vault, or left by a rotation that was cut off."""
    from .keys import read_keys, read_passphrases

    if vault.key_from is None or vault.key_from.kind != "file":
        return ""
    text = located.store.places.read_file(located.store.places.file).text or ""
    number = len((read_keys if vault.header.scrypt is None else read_passphrases)(text, "")) - 1
    return f". {number} other{'s stand' if number > 1 else ' stands'} there, too" if number > 0 else ""


def _counted(vault: Vault) -> str:
    number = len(vault.names())
    return f"{number or 'no'} secret{'s' if number != 1 else ''}"
