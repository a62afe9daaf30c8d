"""Which value of each secret is in force, who was given which, and which new ones were refused. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol


class Holder(Protocol):
    """Whoever is given secrets: a process of a module, or a service that the orchestrator hosts. Compared by identity."""

    @property
    def module_id(self) -> str:
        """``users.1``; of a service its section, ``[services.main]``."""
        ...


class Refusal(NamedTuple):
    """A new value that was not taken: the one before stays in force until there is yet another one, or a person insists."""

    value: str
    reasons: Mapping[str, str]
    """Who refused it, and why."""

    def __repr__(self) -> str:
        return f"Refusal({', '.join(self.reasons)})"


class Ledger:
    """One value of a secret is in force for everybody. Another one is proposed, then committed or withdrawn."""

    def __init__(self) -> None:
        self._in_force: dict[str, str] = {}
        self._proposed: dict[str, str] = {}
        self._missing: set[str] = set()
        """Names that no source knows any more: who holds them keeps them, nobody else is given them."""
        self._held: dict[Holder, dict[str, str | None]] = {}
        """None where it is not known which value somebody uses."""
        self.refused: dict[str, Refusal] = {}

    def __repr__(self) -> str:
        return f"Ledger({', '.join(sorted(self._in_force))})"

    # ── what there is ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def names(self) -> frozenset[str]:
        """The secrets that somebody has been given."""
        return frozenset(self._in_force)

    def value(self, name: str) -> str | None:
        """What to answer who asks; None where a source has to be asked first."""
        return None if name in self._missing else self._proposed.get(name, self._in_force.get(name))

    def holders(self, name: str) -> list[Holder]:
        """Who has been given it."""
        return [holder for holder, held in self._held.items() if name in held]

    def behind(self, holder: Holder) -> list[str]:
        """The secrets of which it may use another value than the one in force, those apart that are being rotated."""
        held = self._held.get(holder, {})
        return sorted(name for name, value in held.items() if name not in self._proposed and value != self._in_force.get(name))

    def changes(self, values: Mapping[str, str]) -> dict[str, str]:
        """What is in force of these now, where that is something else."""
        return {name: before for name, value in values.items() if (before := self._in_force.get(name, value)) != value}

    def trouble(self, module_id: str, holder: Holder | None) -> str:
        """What is wrong with the secrets of an instance, for a person; empty where nothing is. `holder` is its process, if any."""
        words = []
        held = self._held.get(holder, {}) if holder is not None else {}
        for name, refusal in self.refused.items():
            if (reason := refusal.reasons.get(module_id)) is not None:
                words.append(f"it refused a new value of the secret {name!r}: {reason}")
            elif name in held:
                words.append(f"the secret {name!r} keeps its value, because {' and '.join(refusal.reasons)} refused the new one")
        if holder is not None and (names := self.behind(holder)):
            words.append(f"it may not use the value in force of {', '.join(map(repr, names))}: `pywatt rotate` tells it again")
        return "; ".join(words)

    # ── who comes and goes ──────────────────────────────────────────────────────────────────────────────────────────

    def give(self, holder: Holder, name: str, found: str) -> str:
        """Note that `holder` gets the secret, of which a source says that it is `found`; the value to give, which may be an older one."""
        self._missing.discard(name)
        value = self._proposed.get(name)
        if value is None:
            value = self._in_force.setdefault(name, found)
        self._held.setdefault(holder, {})[name] = value
        return value

    def hold(self, holder: Holder, names: Iterable[str], *, known: bool = True) -> None:
        """It uses the value that is proposed, or in force; `known` is False where nobody can tell what it uses."""
        held = self._held.get(holder, {})
        for name in held.keys() & names:
            held[name] = self._proposed.get(name, self._in_force[name]) if known else None

    def gone(self, holder: Holder) -> None:
        """It uses nothing any more."""
        for name in self._held.pop(holder, {}):
            self._forget(name)

    def _forget(self, name: str) -> None:
        """A secret that nobody holds is no concern of ours, unless its new value was refused: that stays so."""
        if name not in self._proposed and name not in self.refused and not self.holders(name):
            self._in_force.pop(name, None)
            self._missing.discard(name)

    # ── new values ──────────────────────────────────────────────────────────────────────────────────────────────────

    def vanished(self, name: str) -> bool:
        """No source knows it any more; True where that is news."""
        self.refused.pop(name, None)
        news = name not in self._missing
        self._missing.add(name)
        return news

    def wants(self, name: str, found: str, *, insist: bool = False) -> bool:
        """Whether somebody has to be told of the value that a source gives now. `insist`: also if it was refused before."""
        self._missing.discard(name)
        if found == self._in_force.get(name):
            self.refused.pop(name, None)
            return any(held.get(name, found) != found for held in self._held.values())
        refusal = self.refused.get(name)
        return insist or refusal is None or refusal.value != found

    def refused_beside(self, names: Collection[str]) -> frozenset[str]:
        """Other secrets with a refused value that somebody holds together with one of these."""
        together = (held.keys() for held in self._held.values() if not held.keys().isdisjoint(names))
        return frozenset(name for held in together for name in held if name in self.refused and name not in names)

    def groups(self, names: Iterable[str]) -> list[frozenset[str]]:
        """`names` apart, but those together that somebody holds together: each group is rotated as a whole, or not at all."""
        groups = [{name} for name in sorted(names)]
        for held in self._held.values():
            joined = [group for group in groups if not group.isdisjoint(held)]
            if len(joined) > 1:
                groups = [group for group in groups if group not in joined]
                groups.append(set().union(*joined))
        return [frozenset(group) for group in groups]

    def propose(self, values: Mapping[str, str]) -> dict[Holder, frozenset[str]]:
        """From now on everybody who asks is given these; who has to be told, and of which."""
        self._proposed.update(values)
        told = {
            holder: frozenset(name for name in values if name in held and held[name] != values[name]) for holder, held in self._held.items()
        }
        return {holder: names for holder, names in told.items() if names}

    def commit(self, names: Iterable[str]) -> None:
        """What was proposed is in force."""
        for name in names:
            self._in_force[name] = self._proposed.pop(name)
            self.refused.pop(name, None)
            self._forget(name)

    def withdraw(self, names: Iterable[str], reasons: Mapping[str, str] | None) -> dict[Holder, frozenset[str]]:
        """What was in force before stays so; who has been given something else meanwhile, and what.

        `reasons` say who refused and why; None where nobody did, so that the same values may be proposed again.
        """
        mine = frozenset(names)
        for name in mine:
            value = self._proposed.pop(name)
            if reasons is not None and value != self._in_force.get(name):
                self.refused[name] = Refusal(value, reasons)
        astray = {holder: mine.intersection(self.behind(holder)) for holder in self._held}
        return {holder: found for holder, found in astray.items() if found}
