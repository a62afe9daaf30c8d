"""Secrets are handed out one by one, to the module that may have them, each hidden from every log before it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pywatt_core.errors import SecretError, SecretNotFound
from pywatt_core.protocol.messages import Secret
from pywatt_core.redaction import register

if TYPE_CHECKING:
    from .project import ModulePlan
    from .sources import SecretSources


class Note(Protocol):
    """Writes a line about the module that asks."""

    def __call__(self, text: str, *, level: str) -> None: ...


class SecretDesk:
    """Answers `get_secret` from the configured sources."""

    def __init__(self, sources: SecretSources, *, way_out: str) -> None:
        self._sources = sources
        self._way_out = way_out
        """How to provide a missing secret, with ``{name}`` and ``{module}`` in it."""

    async def refresh(self) -> None:
        """Read the sources again, for a process that starts."""
        await self._sources.refresh()

    async def answer(self, plan: ModulePlan, name: str, *, asked: set[str], starting: bool, note: Note) -> Secret:
        """The secret, or why there is none to be had, which `note` is told too.

        `asked` are the names that this process asked for while it started.
        """
        if (refusal := self._refusal(plan, name, asked, starting)) is not None:
            note(refusal, level="error")
            return Secret(name=name, error=refusal)
        if starting:
            asked.add(name)
        try:
            value = await self._sources.fetch(name)
        except SecretNotFound:
            text = f"it asks for the secret {name!r}, which no source knows: {self._way_out.format(name=name, module=plan.name)}"
        except SecretError as error:
            text = f"the secret {name!r} could not be read: {error}"
        else:
            register(value, name=name)
            return Secret(name=name, value=value)
        note(text, level="error")
        return Secret(name=name, error=text)

    def _refusal(self, plan: ModulePlan, name: str, asked: set[str], starting: bool) -> str | None:
        if plan.secret_names is None and name not in plan.kept_secrets:
            if starting or name in asked:
                return None
            return f"it may not have the secret {name!r}, which it did not ask for while it started: name it in secrets= of its decorator"
        if plan.secret_names is not None and name in plan.secret_names:
            return None
        return f'it may not have the secret {name!r}: add "{name}" to secrets in [modules.{plan.name}]'
