"""What a caller may do: roles and scopes, read from the claims that a token proved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pywatt_core.errors import Forbidden

ROLE_CLAIMS: Final = ("roles", "realm_access.roles")
"""Where roles are looked for: the usual claim, and Keycloak's. A dot leads into a claim that is an object."""

SCOPE_CLAIMS: Final = ("scope", "scp")
"""Where scopes are looked for: RFC 8693, and what Okta and Entra ID call it."""


@dataclass(frozen=True)
class Requirement:
    """One of the `roles`, where there are any, and all of the `scopes`. Several requirements are joined with ``&``: all of them count.

    Roles and scopes are compared as they are written, whole and in their case. What a claim says counts only in the form that it has to
    have: a list of texts, or one text (for scopes: texts with blanks between them).
    """

    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    role_claims: tuple[str, ...] = ROLE_CLAIMS
    scope_claims: tuple[str, ...] = SCOPE_CLAIMS
    also: tuple[Requirement, ...] = ()

    def check(self, claims: Mapping[str, Any]) -> None:
        """Raises `Forbidden`, which says what is missing (for the log; a client hears nothing of it)."""
        if self.roles and self.roles.isdisjoint(roles_of(claims, self.role_claims)):
            raise Forbidden(f"the caller has none of the roles {', '.join(sorted(self.roles))}")
        if missing := self.scopes.difference(scopes_of(claims, self.scope_claims)):
            raise Forbidden(f"the caller lacks the scopes {', '.join(sorted(missing))}")
        for other in self.also:
            other.check(claims)

    def __and__(self, other: Requirement) -> Requirement:
        return Requirement(self.roles, self.scopes, self.role_claims, self.scope_claims, (*self.also, other))

    @property
    def all_scopes(self) -> frozenset[str]:
        """Every scope that is required, for documentation."""
        return self.scopes.union(*(other.all_scopes for other in self.also))


def require(*roles: str, claim: str | Iterable[str] = ROLE_CLAIMS) -> Requirement:
    """Callers that have one of `roles`: ``require("admin")``, ``require("admin", "editor")``. `claim` says where they stand.

    Raises `ValueError` where no role is named: such a requirement would let everybody in.
    """
    return Requirement(roles=_named("role", roles), role_claims=_places(claim))


def require_scopes(*scopes: str, claim: str | Iterable[str] = SCOPE_CLAIMS) -> Requirement:
    """Callers whose token has all of `scopes`: ``require_scopes("read", "write")``. Raises `ValueError` where none is named."""
    named = _named("scope", scopes)
    for scope in named:
        if len(scope.split()) != 1 or scope.strip() != scope:
            raise ValueError(f"{scope!r} is not one scope: name several apart, require_scopes('read', 'write')")
    return Requirement(scopes=named, scope_claims=_places(claim))


NOTHING_MORE: Final = Requirement()
"""A good token is enough."""


def roles_of(claims: Mapping[str, Any], places: Iterable[str] = ROLE_CLAIMS) -> frozenset[str]:
    """The roles in all of `places`; one text is one role, blanks or not."""
    return frozenset(role for place in places for role in _texts(_at(claims, place)))


def scopes_of(claims: Mapping[str, Any], places: Iterable[str] = SCOPE_CLAIMS) -> frozenset[str]:
    """The scopes in all of `places`; a text holds several, with blanks between them (RFC 6749 3.3)."""
    return frozenset(scope for place in places for text in _texts(_at(claims, place)) for scope in text.split(" ") if scope)


def _at(claims: Mapping[str, Any], place: str) -> Any:
    """The claim of this name, else what its parts lead to: names such as ``https://shop.example/roles`` have dots of their own."""
    if place in claims:
        return claims[place]
    found: Any = claims
    for part in place.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)):
        return [text for text in value if isinstance(text, str)]
    return ()


def _named(what: str, names: tuple[str, ...]) -> frozenset[str]:
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"name at least one {what}, as text: without one everybody would be let in")
    return frozenset(names)


def _places(claim: str | Iterable[str]) -> tuple[str, ...]:
    places = (claim,) if isinstance(claim, str) else tuple(claim)
    if not places or not all(places):
        raise ValueError("claim= names a claim, or several")
    return places
