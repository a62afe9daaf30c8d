"""What secret sources and authenticators provide: who may know what, and who is who. Only Protocols and values, as in `interfaces`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from datetime import datetime


class SecretInfo(NamedTuple):
    """What a source tells about a secret beside its value; nothing in here is secret."""

    version: str = ""
    """Another value has another version; empty where the source knows none. It tells nothing about the value."""
    changed: datetime | None = None
    """When this value was set, with its time zone."""
    attributes: Mapping[str, str] = {}
    """Whatever else the source keeps: a description, an owner, an expiry."""


@runtime_checkable
class SecretSource(Protocol):
    """One place that secrets come from; the chain of sources is asked in order."""

    async def get(self, name: str) -> str | None:
        """The secret's value, or None where this source does not know it; one that can say why raises `SecretNotFound` instead.

        Failing to reach the source is another `SecretError`. Where it looks it may tell in a member `place`: a text, or a
        function of the name. If it keeps what it has read, it should have ``async def refresh()``, which looks again now.
        """
        ...


@runtime_checkable
class ListedSource(SecretSource, Protocol):
    """A source that knows what it holds."""

    async def names(self) -> Collection[str]:
        """The secrets that it has now."""
        ...

    async def describe(self, name: str) -> SecretInfo | None:
        """What is known about one, None where this source does not have it."""
        ...


@runtime_checkable
class WatchedSource(SecretSource, Protocol):
    """A source that notices changes by itself."""

    def changes(self) -> AsyncIterator[frozenset[str]]:
        """Each time something changed, the names for which `get` has another answer from now on: added, removed, another value.

        It never ends by itself; closing it gives back what it uses. A source that cannot be read for a while is tried again,
        and its last good values stay in use.
        """
        ...


@runtime_checkable
class WritableSource(SecretSource, Protocol):
    """A source whose secrets can be set."""

    async def set(self, name: str, value: str) -> None:
        """Store the value under the name; it is there when this returns. Raises `SecretError`."""
        ...


@runtime_checkable
class Authenticator(Protocol):
    """Turns a bearer token into the claims it proves."""

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        """The claims. Raises `InvalidToken`, `ExpiredToken` or `Forbidden`; `Unavailable` where it cannot be told now."""
        ...


@runtime_checkable
class PromptAuthenticator(Authenticator, Protocol):
    """An authenticator that can tell most tokens without a loop: views in threads then need not wait for one."""

    def authenticate_now(self, token: str) -> Mapping[str, Any] | None:
        """As `authenticate`, in any thread; None where something has to be awaited first. It may block the thread that asks."""
        ...


@runtime_checkable
class TokenIssuer(Authenticator, Protocol):
    """An authenticator that also makes tokens."""

    async def issue(self, claims: Mapping[str, Any]) -> str:
        """A token that proves `claims`, with the times that the configuration adds. Raises `AuthError`."""
        ...
