"""Which keys there are now: those of the configuration, of a file that may change, of a server (`remote`), and of all together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Protocol

from pywatt_core.errors import ConfigError

from .errors import ProxyError
from .keys import Key, hmac_key, is_structured, read_keys
from .options import JwtOptions

log = logging.getLogger(__name__)

MOST_TRIED: Final = 8
"""Keys that are tried for one token: it costs us what each of them costs."""

LARGEST_FILE: Final = 1 << 20

Clock = Callable[[], float]


class KeySet:
    """Keys at one moment; never changed, only replaced as a whole.

    It remembers the digests of tokens whose signatures held, two generations of `remembered` / 2 each: what is known to hold under these
    keys holds as long as these are the keys. Safe for any number of threads: all it does are single steps on dictionaries.
    """

    __slots__ = ("_by_name", "_half", "_older", "_unnamed", "_younger", "keys")

    def __init__(self, keys: Iterable[Key], *, remembered: int = 0) -> None:
        self.keys: tuple[Key, ...] = tuple(keys)
        self._by_name: dict[str, tuple[Key, ...]] = {}
        for key in self.keys:
            if key.kid is not None:
                self._by_name[key.kid] = (*self._by_name.get(key.kid, ()), key)
        self._unnamed = tuple(key for key in self.keys if key.kid is None)
        self._half = remembered // 2
        self._younger: dict[bytes, None] = {}
        self._older: dict[bytes, None] = {}

    def candidates(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """The keys that may have signed a token: those of its name, else those without one; all where the token names none. At most 8."""
        keys = self.keys if kid is None else self._by_name.get(kid, self._unnamed)
        if len(keys) == 1 and algorithm in keys[0].algorithms:
            return keys
        return [key for key in keys if algorithm in key.algorithms][:MOST_TRIED]

    def knows(self, kid: str) -> bool:
        """Whether a key has this name."""
        return kid in self._by_name

    def remembers(self, digest: bytes) -> bool:
        """Whether the signature of the token with this digest held."""
        if digest in self._younger:
            return True
        if digest in self._older:
            self.remember(digest)
            return True
        return False

    def remember(self, digest: bytes) -> None:
        """The signature of the token with this digest holds."""
        if not self._half:
            return
        if len(self._younger) >= self._half:
            self._older, self._younger = self._younger, {}
        self._younger[digest] = None

    def __repr__(self) -> str:
        return f"KeySet({len(self.keys)} keys)"


class Source(Protocol):
    """Somewhere that keys come from."""

    def current(self) -> KeySet:
        """The keys now, without waiting. Raises `ProxyError` where there are none that may still be used."""
        ...

    def refetch(self) -> Future[None] | None:
        """Something that is done when newer keys are there, or have failed to come; None where none are to be had now."""
        ...


class FixedKeys:
    """A `Source` whose keys stay as they are."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    def current(self) -> KeySet:
        """The keys."""
        return self._keys

    def refetch(self) -> Future[None] | None:
        """None: there are no others."""
        return None


class FileKeys:
    """A `Source` that reads a file anew when it has changed. What cannot be read leaves the last good keys in use, and is logged once."""

    def __init__(
        self, path: Path, where: str, allowed: tuple[str, ...], *, poll: float, remembered: int, clock: Clock = time.monotonic
    ) -> None:
        self._path, self._where, self._allowed, self._remembered = path, where, allowed, remembered
        self._poll, self._clock = poll, clock
        self._seen = self._stamp()
        self._keys = self._read()
        self._complained = ""
        self._next = clock() + poll
        self._looking = threading.Lock()

    def current(self) -> KeySet:
        """The keys of the file, looked at no more often than every `poll` seconds."""
        if self._clock() >= self._next and self._looking.acquire(blocking=False):  # who comes second goes on with what is here
            try:
                self._look()
            finally:
                self._looking.release()
        return self._keys

    def refetch(self) -> Future[None] | None:
        """None: `current` has looked."""
        return None

    def _look(self) -> None:
        self._next = self._clock() + self._poll
        stamp = self._stamp()
        if stamp == self._seen and not self._complained:
            return
        self._seen = stamp
        try:
            self._keys = self._read()
        except ConfigError as error:
            if str(error) != self._complained:
                log.warning("%s; the keys from before stay in use", error)
            self._complained = str(error)
        else:
            self._complained = ""
            log.info("%s: there are new keys", self._where, extra={"keys": len(self._keys.keys)})

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)

    def _read(self) -> KeySet:
        try:
            with self._path.open("rb") as file:
                data = file.read(LARGEST_FILE + 1)
        except OSError as error:
            raise ConfigError(f"{self._where} cannot be read: {error.strerror or type(error).__name__}: {self._path}") from None
        if len(data) > LARGEST_FILE:
            raise ConfigError(f"{self._where} is longer than {LARGEST_FILE} bytes: {self._path}")
        try:
            return KeySet(read_keys(data.decode(), self._where, self._allowed), remembered=self._remembered)
        except ValueError as error:
            said = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error).removeprefix(self._where).lstrip(" ,")
            raise ConfigError(f"{self._where} {said}: {self._path}") from None


class Keyring:
    """The keys of all sources of one configuration as one set."""

    def __init__(self, sources: Sequence[Source], *, remembered: int) -> None:
        self._sources, self._remembered = tuple(sources), remembered
        self._joint: tuple[tuple[KeySet, ...], KeySet] = ((), KeySet(()))
        """What the whole was made of, and the whole: one attribute, so that no thread sees two that do not belong together."""
        self.missing: ProxyError | None = None
        """What is wrong with a source that has no keys, while others have: a token that none of these made cannot be judged."""
        self.current = self._sources[0].current if len(self._sources) == 1 else self._joined
        """The keys now. Raises `ProxyError` where there are none."""

    def _joined(self) -> KeySet:
        parts, failed = [], None
        for source in self._sources:
            try:
                parts.append(source.current())
            except ProxyError as error:  # keys that stand here do not wait for those that do not
                failed = error
        self.missing = failed
        if failed is not None and not any(part.keys for part in parts):
            raise failed
        made_of, whole = self._joint
        if len(parts) != len(made_of) or any(one is not other for one, other in zip(parts, made_of, strict=True)):
            whole = KeySet([key for part in parts for key in part.keys], remembered=self._remembered)
            self._joint = (tuple(parts), whole)
        return whole

    def refetches(self) -> list[Future[None]]:
        """What to wait for before the keys are asked again for one that they do not have; empty where nothing is on its way."""
        return [future for source in self._sources if (future := source.refetch()) is not None]


def fixed_keys(options: JwtOptions) -> list[Key]:
    """The keys that stand in the configuration itself. Raises `ValueError` that names the option."""
    allowed, name = options.algorithms, options.kid or None
    found: list[Key] = []
    if options.secret_key is not None:
        found.append(hmac_key(_bytes(options.secret_key.expose_secret()), "secret_key", allowed, kid=name))
    if options.private_key is not None:
        password = options.private_key_password.expose_secret() if options.private_key_password is not None else None
        keys = read_keys(options.private_key.expose_secret(), "private_key", allowed, password=password, kid=name)
        if not any(key.signs and not key.is_shared for key in keys):
            raise ValueError("private_key holds no private key: a public one belongs into public_key, one of HMAC into secret_key")
        found += keys
    if options.key is not None:
        found += read_keys(options.key.expose_secret(), "key", allowed, kid=name)
    if options.public_key:
        found += read_keys(options.public_key, "public_key", allowed, public_only=True)
    if options.jwks:
        found += read_keys(options.jwks, "jwks", allowed, public_only=True)
    for number, previous in enumerate(options.previous_keys, 1):
        text, where = previous.expose_secret(), f"previous_keys, entry {number},"
        keys = read_keys(text, where, allowed) if is_structured(_bytes(text)) else [hmac_key(_bytes(text), where, allowed)]
        found += [key.checking() for key in keys]
        if name is not None:  # what they signed says this name where it was theirs, and another where it is new
            found += [key.checking(name) for key in keys if key.kid is None]
    return found


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
