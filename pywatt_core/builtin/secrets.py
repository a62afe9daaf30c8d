"""Secret sources that every installation has and that read no file: the environment, and values held in memory."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from ..access import SecretInfo
from ..errors import SecretError
from ..redaction import register
from ..services.secret_versions import version_of
from .secret_values import SecretValues

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from ..interfaces import Context
    from .secret_options import EnvOptions, MemorySecretsOptions

LONGEST_NAME: Final = 256
"""Characters of a name under which memory keeps a secret."""

MOST_SECRETS: Final = 10_000
"""That memory keeps."""


class EnvironmentSecrets:
    """Secrets from environment variables, read when they are asked for. An empty variable is a secret that is empty.

    Which variables are secrets it cannot tell, so it lists none.
    """

    def __init__(self, environ: Mapping[str, str], prefix: str = "") -> None:
        self._environ, self._prefix = environ, prefix

    async def get(self, name: str) -> str | None:
        """The variable's value. Raises `SecretError` where it is not text."""
        if not name:
            return None
        try:
            value = self._environ.get(self._prefix + name)
        except UnicodeEncodeError:  # a name that the system has no bytes for
            return None
        if value is not None and not _is_text(value):
            value = None  # this frame goes out with the error
            raise SecretError(f"{self.place(name)} is not valid UTF-8")
        return value

    async def refresh(self) -> None:
        """Nothing is kept that would have to be read again."""

    def place(self, name: str) -> str:
        """The variable."""
        variable = self._prefix + name
        return f"the variable {variable if variable.isidentifier() else ascii(variable[:80])}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prefix={self._prefix!r})"


class PrefixedEnvironment(EnvironmentSecrets):
    """Secrets from the environment variables whose names begin alike: these can be listed."""

    async def names(self) -> frozenset[str]:
        """What follows the prefix in the names of variables."""
        names = (name.removeprefix(self._prefix) for name in list(self._environ) if name.startswith(self._prefix))
        return frozenset(name for name in names if name and _is_text(name))

    async def describe(self, name: str) -> SecretInfo | None:
        """Its version and the variable's name."""
        value = await self.get(name)
        return SecretInfo(version_of(name, value), None, {"variable": self._prefix + name}) if value is not None else None


class MemorySecrets(SecretValues):
    """Secrets that live in this process and can be set. Every value is hidden from logs from the moment it arrives."""

    place = "memory"

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__()
        for name, value in values.items():
            register(value, name=name)
        self._values = dict(values)
        self._changed = dict.fromkeys(values, time.time())

    async def set(self, name: str, value: str) -> None:
        """Store it. Raises `SecretError` for a name that no secret can have, and where no more can be kept."""
        register(value, name=name)
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
            raise SecretError(f"{name[:80]!r} is no name of a secret: 1 to {LONGEST_NAME} printable characters, no blanks around them")
        if not _is_text(value):
            raise SecretError(f"the value for {name!r} is no text that can be encoded")
        if name not in self._values and len(self._values) >= MOST_SECRETS:
            raise SecretError(f"memory keeps {MOST_SECRETS} secrets, and has them")
        self.replace({**self._values, name: value}, {**self._changed, name: time.time()})

    async def refresh(self) -> None:
        """Nothing stands anywhere else."""


@asynccontextmanager
async def open_env(options: EnvOptions, context: Context) -> AsyncIterator[EnvironmentSecrets]:
    """The environment of this process, as it is whenever it is asked."""
    yield (PrefixedEnvironment if options.prefix else EnvironmentSecrets)(os.environ, options.prefix)


@asynccontextmanager
async def open_memory_secrets(options: MemorySecretsOptions, context: Context) -> AsyncIterator[MemorySecrets]:
    """The values of the options, to begin with."""
    yield MemorySecrets({name: secret.expose_secret() for name, secret in options.values.items()})


def _is_text(text: str) -> bool:
    """Whether UTF-8 can say it; bytes that are none come as surrogates from the environment."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
