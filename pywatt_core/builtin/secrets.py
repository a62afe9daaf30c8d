"""Secret sources that every installation has: the environment, a ``.env`` file, a TOML file, and a fixed mapping."""

from __future__ import annotations

import os
import stat
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import ConfigError, SecretError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from ..interfaces import Context


@dataclass(frozen=True, kw_only=True)
class EnvOptions:
    """``use = "env"``: the environment of the process."""

    prefix: str = ""
    """Put before a secret's name: with ``APP_``, the secret ``KEY`` is the variable ``APP_KEY``."""


@dataclass(frozen=True, kw_only=True)
class DotenvOptions:
    """``use = "dotenv"``: a file of ``NAME=value`` lines, read once; nothing of it gets into the environment."""

    path: str = ".env"
    """Relative to the folder of the configuration file."""
    required: bool = True
    """False: a file that is not there is empty."""


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """``use = "file"``: a flat TOML table of texts, read once."""

    path: str
    """Relative to the folder of the configuration file. Nobody else may be able to read it (``chmod 600``)."""
    any_mode: bool = False
    """True accepts a file that others can read, for file systems without permissions."""


@dataclass(frozen=True, kw_only=True)
class MemorySecretsOptions:
    """``use = "memory"``: fixed values, for tests."""

    values: dict[str, str] = field(default_factory=dict, repr=False)


class FixedSecrets:
    """Secrets that are known from the start."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    async def get(self, name: str) -> str | None:
        return self._values.get(name)

    def __repr__(self) -> str:
        return f"FixedSecrets({len(self._values)} secrets)"


class EnvironmentSecrets:
    """Secrets from environment variables, read when they are asked for. An empty variable is a secret that is empty."""

    def __init__(self, environ: Mapping[str, str], prefix: str = "") -> None:
        self._environ, self._prefix = environ, prefix

    async def get(self, name: str) -> str | None:
        value = self._environ.get(self._prefix + name)
        if value is not None and any("\udc80" <= character <= "\udcff" for character in value):
            raise SecretError(f"the environment variable {self._prefix}{name} is not valid UTF-8")
        return value

    def __repr__(self) -> str:
        return f"EnvironmentSecrets(prefix={self._prefix!r})"


@asynccontextmanager
async def open_env(options: EnvOptions, context: Context) -> AsyncIterator[EnvironmentSecrets]:
    yield EnvironmentSecrets(os.environ, options.prefix)


@asynccontextmanager
async def open_dotenv(options: DotenvOptions, context: Context) -> AsyncIterator[FixedSecrets]:
    """Raises `SecretError` that names file and line where the file cannot be read or parsed; never with a value in it."""
    from .dotenv import parse_dotenv

    path = context.folder / options.path
    text = _read(path, missing_is_empty=not options.required)
    yield FixedSecrets(parse_dotenv(text, str(path)))


@asynccontextmanager
async def open_file(options: FileOptions, context: Context) -> AsyncIterator[FixedSecrets]:
    """Raises `SecretError` for a file that cannot be read or that others may read, `ConfigError` for a malformed one (protocol 9.7)."""
    path = context.folder / options.path
    text = _read(path)
    _refuse_public(path, options)
    yield FixedSecrets(_parse_toml(text, path))


@asynccontextmanager
async def open_memory_secrets(options: MemorySecretsOptions, context: Context) -> AsyncIterator[FixedSecrets]:
    from ..redaction import register

    for name, value in options.values.items():
        register(value, name=name)
    yield FixedSecrets(options.values)


def _read(path: Path, *, missing_is_empty: bool = False) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        if missing_is_empty:
            return ""
        raise SecretError(f"{path}: there is no such file of secrets") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SecretError(f"{path}:{line}: not UTF-8") from None
    except OSError as error:
        raise SecretError(f"{path}: cannot be read ({error.strerror})") from None


def _refuse_public(path: Path, options: FileOptions) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 and not options.any_mode:
        raise SecretError(f"{path}: others may read it (mode {mode:o}): chmod 600 {path}, or set any_mode = true")


def _parse_toml(text: str, path: Path) -> dict[str, str]:
    """The table; the parser's own message may quote the line, so only the place of it is repeated."""
    import re
    import tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))
        line = place.group(1) if place else str(text.count("\n") + 1)
        raise ConfigError(f'{path}:{line}: not valid TOML. A file of secrets is a flat table: NAME = "value"') from None
    for name, value in table.items():
        if not isinstance(value, str):
            raise ConfigError(f'{path}: {name} is not text. A file of secrets is a flat table: NAME = "value"')
    return table
