"""Secrets are handed out one by one, to the module that may have them, each hidden from every log before it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pywatt_core.errors import SecretError, SecretNotFound
from pywatt_core.protocol.messages import Secret
from pywatt_core.redaction import register

from .ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from .ledger import Holder
    from .project import ModulePlan
    from .sources import SecretSources


class Note(Protocol):
    """Writes a line about the module that asks."""

    def __call__(self, text: str, *, level: str) -> None: ...


class SecretDesk:
    """Answers `get_secret` from the configured sources. A value that was handed out stays in force for everybody until it is rotated."""

    def __init__(self, sources: SecretSources, *, way_out: str) -> None:
        self._sources = sources
        self._way_out = way_out
        """How to provide a missing secret, with ``{name}`` and ``{module}`` in it."""
        self.ledger = Ledger()
        self.on_doubt: Callable[[str], None] = lambda _name: None
        """Called with a name whose source changed while it was asked."""

    async def refresh(self) -> None:
        """Read the sources again, for a process that starts."""
        await self._sources.refresh()

    async def value(self, holder: Holder, name: str) -> str:
        """The value of one secret for one that is entitled to it. Raises `SecretNotFound`, or `SecretError` where a source fails."""
        value = self.ledger.value(name)
        if value is not None:
            return self.ledger.give(holder, name, value)
        changes = self._sources.changes
        found = await self._sources.fetch(name)
        register(found, name=name)
        value = self.ledger.give(holder, name, found)
        if changes != self._sources.changes or value != found:
            self.on_doubt(name)
        return value

    async def answer(self, holder: Holder, plan: ModulePlan, name: str, *, asked: set[str], starting: bool, note: Note) -> Secret:
        """The secret for a process of the module, or why there is none to be had, which `note` is told too.

        `asked` are the names that this process asked for while it started.
        """
        if (refusal := self._refusal(plan, name, asked, starting)) is not None:
            note(refusal, level="error")
            return Secret(name=name, error=refusal)
        if starting:
            asked.add(name)
        try:
            return Secret(name=name, value=await self.value(holder, name))
        except SecretNotFound:
            way_out = self._way_out.format(name=name, module=plan.name)
            note(f"it asks for the secret {name!r}, which no source knows: {way_out}", level="error")
            return Secret(name=name, error=f"no source knows it ({self._sources.places(name)})")  # in its report of all that is missing
        except SecretError as error:
            text = f"the secret {name!r} could not be read: {error}"
        note(text, level="error")
        return Secret(name=name, error=text)

    def gone(self, holder: Holder) -> None:
        """It uses its secrets no more."""
        self.ledger.gone(holder)

    def _refusal(self, plan: ModulePlan, name: str, asked: set[str], starting: bool) -> str | None:
        if plan.secret_names is None and name not in plan.kept_secrets:
            if starting or name in asked:
                return None
            return f"it may not have the secret {name!r}, which it did not ask for while it started: name it in secrets= of its decorator"
        if plan.secret_names is not None and name in plan.secret_names:
            return None
        return f'it may not have the secret {name!r}: add "{name}" to secrets in [modules.{plan.name}]'
