"""Keys that a server publishes: fetched before they are needed, kept while the server is away, never asked for more often than promised.

A fetch runs in a thread of its own with a loop of its own: whoever waits may be a coroutine of any loop or a thread of a WSGI server,
all wait for the same fetch, and its deadline counts for the whole of it, however slowly the server drips.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import re
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from pywatt_core.errors import ConfigError, PyWattError

from .errors import ProxyError
from .key_sets import Clock, KeySet
from .keys import UnusableKey, set_of_text
from .options import is_loopback

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from pathlib import Path

    from .options import JwtOptions

log = logging.getLogger(__name__)

FRESH: Final = (60.0, 86_400.0)
"""Seconds that keys count as fresh at least and at most, whatever the server says."""

AHEAD: Final = 0.8
"""New keys are fetched after this part of the time that the old ones are fresh."""

HEADERS: Final = {"accept": "application/jwk-set+json, application/json", "accept-encoding": "identity", "user-agent": "pywatt-jwt"}

MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,10})\"?(?=$|[,\s])", re.IGNORECASE)


class FetchError(PyWattError):
    """What was asked for did not come; the text says what came instead."""


class Document(NamedTuple):
    """What a server answered."""

    text: str
    lifetime: float | None
    """Seconds that it says it may be kept, None where it says nothing."""


class Fetcher:
    """Small documents within bounds: no redirect is followed, no byte too many is read.

    A proxy that the environment names is used for other machines, and never for this one, which is asked without TLS too.
    """

    def __init__(self, tls: ssl.SSLContext, seconds: float, most: int) -> None:
        self._tls, self._seconds, self._most = tls, seconds, most

    async def get(self, url: str) -> Document:
        """Raises `FetchError`, which names the address without what stands behind its ``?``."""
        import httpx

        parts = urlsplit(url)
        shown, proxies = parts._replace(query="").geturl(), not is_loopback(parts.hostname or "")
        try:
            client = httpx.AsyncClient(verify=self._tls, headers=HEADERS, timeout=self._seconds, trust_env=proxies)
        except (ValueError, httpx.InvalidURL, ImportError) as error:  # the first two may quote a password, the last names what to install
            why = f": {error}" if isinstance(error, ImportError) else ""
            raise FetchError(f"{shown} cannot be fetched: the proxy that the environment names cannot be used{why}") from None
        try:
            async with client, client.stream("GET", url) as response:
                if response.status_code != 200:
                    what = (
                        "redirects, which is refused: name the address itself"
                        if response.is_redirect
                        else f"answered {response.status_code}"
                    )
                    raise FetchError(f"{shown} {what}")
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise FetchError(f"{shown} answered in an encoding that nobody asked for")
                data = bytearray()
                async for piece in response.aiter_raw():
                    data += piece
                    if len(data) > self._most:
                        raise FetchError(f"{shown} answered with more than {self._most} bytes")
                return Document(data.decode(), lifetime_of(response.headers))
        except httpx.HTTPError as error:
            raise FetchError(f"{shown} cannot be reached: {type(error).__name__}{f': {error}' if str(error) else ''}") from error
        except UnicodeDecodeError:
            raise FetchError(f"{shown} answered what is not UTF-8") from None


def lifetime_of(headers: Mapping[str, str]) -> float | None:
    """How long a response says that it may be kept (RFC 9111), in seconds from now."""
    control = headers.get("cache-control", "")
    if re.search(r"(?:^|[,\s])no-(?:store|cache)(?:$|[,\s=])", control, re.IGNORECASE):
        return 0.0
    found = MAX_AGE.search(control)
    if found is None:
        return None
    age = headers.get("age", "0")
    return max(0.0, float(found[1]) - (float(age) if age.isascii() and age.isdecimal() and len(age) < 10 else 0.0))


Find: TypeAlias = "Callable[[Fetcher], Awaitable[str]]"
"""Says where the keys are; it may ask the server. Raises `FetchError`."""


def at(url: str) -> Find:
    """Finds the keys at `url`, always."""

    async def found(fetcher: Fetcher) -> str:
        return url

    return found


def trusting(authorities: Path | None) -> ssl.SSLContext:
    """What checks certificates, by these authorities or those of the system. Raises `ConfigError` that names the file."""
    import ssl

    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:  # OpenSSL's errors are some too
        raise ConfigError(f"ca_cert cannot be read as certificates: {error.strerror or type(error).__name__}: {authorities}") from None


def _awaited(fetch: Coroutine[Any, Any, Document]) -> Document:
    """What `asyncio.run` does, but for the wait for threads: one that looks up a name may take longer than the fetch."""
    loop = asyncio.SelectorEventLoop()
    try:
        return loop.run_until_complete(fetch)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class RemoteKeys:
    """A `Source` whose keys are published at a URL. `where` is what messages call it, `find` says the URL each time.

    Raises `ConfigError` where `ca_cert` cannot be read.
    """

    def __init__(self, where: str, find: Find, options: JwtOptions, folder: Path, *, clock: Clock = time.monotonic) -> None:
        self._where, self._find, self._options, self._clock = where, find, options, clock
        self._lock = threading.Lock()
        self._fetching: Future[None] | None = None
        self._begun = 0.0
        self._may_begin = -1.0
        self._keys: KeySet | None = None
        self._text = b""
        self._refresh_at = 0.0
        self._usable_until = 0.0
        self._failure: str = "they have not been fetched yet"
        self._failing = False
        self._tls = None if options.ca_cert is None else trusting(folder / options.ca_cert)

    def current(self) -> KeySet:
        """The keys that were fetched last; new ones are fetched meanwhile where it is time. Raises `ProxyError` where there are none."""
        now = self._clock()
        if now >= self._refresh_at:
            self.refetch()
        if self._keys is None or now >= self._usable_until:
            raise ProxyError(f"{self._where}: there are no keys to check tokens with: {self._failure}")
        return self._keys

    def refetch(self) -> Future[None] | None:
        """The fetch that is under way, or a new one; None where the last is too short a time ago."""
        with self._lock:
            now = self._clock()
            if self._fetching is not None and now < self._begun + 2 * self._options.fetch_timeout:  # else its thread is gone: a fork
                return self._fetching
            if now < self._may_begin:
                return None
            future: Future[None] = Future()
            future.set_running_or_notify_cancel()  # who waits may give up, and ends nothing by that
            self._fetching, self._begun, self._may_begin = future, now, now + self._options.refetch_interval
        try:
            threading.Thread(target=self._run, args=(future,), name=f"keys of {self._where}", daemon=True).start()
        except RuntimeError as error:  # no thread can be had, or the interpreter is ending
            self._done(future, str(error))
        return future

    def _run(self, future: Future[None]) -> None:
        try:
            document = _awaited(self._fetch())
            self._take(document)
        except TimeoutError:
            self._done(future, f"they did not come within {self._options.fetch_timeout:g} s")
        except (FetchError, UnusableKey) as error:
            self._done(future, str(error))
        except BaseException as error:
            self._done(future, f"fetching them failed: {type(error).__name__}")
            log.exception("%s: fetching keys failed", self._where)
        else:
            self._done(future, "")

    async def _fetch(self) -> Document:
        if self._tls is None:
            self._tls = trusting(None)
        seconds = self._options.fetch_timeout
        fetcher = Fetcher(self._tls, seconds, self._options.max_jwks)
        async with asyncio.timeout(seconds):
            return await fetcher.get(await self._find(fetcher))

    def _take(self, document: Document) -> None:
        """The keys that came are the keys from now on."""
        unusable: list[str] = []
        keys = set_of_text(document.text, self._where, self._options.algorithms, unusable.append)
        lifetime = self._options.jwks_lifetime if document.lifetime is None else document.lifetime
        lifetime = min(max(lifetime, FRESH[0]), FRESH[1])
        now = self._clock()
        digest = hashlib.sha256(document.text.encode()).digest()
        if digest != self._text:  # the same keys go on remembering what they have checked
            self._text = digest
            self._keys = KeySet(keys, remembered=self._options.remembered)
            for text in unusable:
                log.log(logging.WARNING if "only public ones" in text else logging.DEBUG, "%s; it is passed over", text)
            if not keys:
                log.warning("%s: the server publishes no key that can be used: no token is accepted", self._where)
            else:
                log.info("%s: there are new keys", self._where, extra={"keys": len(keys)})
        self._usable_until = now + lifetime + self._options.stale
        self._refresh_at = now + lifetime * (AHEAD - random.random() * 0.1)  # not all processes at once

    def _done(self, future: Future[None], failure: str) -> None:
        if failure:
            self._failure = failure
            self._refresh_at = self._clock() + self._options.refetch_interval
            if not self._failing:  # once, however long it lasts
                still = "the keys from before stay in use" if self._keys is not None else "no token can be checked"
                log.warning("%s: %s; %s", self._where, failure, still)
        elif self._failing:
            log.info("%s: keys can be fetched again", self._where)
        self._failing = bool(failure)
        with self._lock:
            if self._fetching is future:
                self._fetching = None
        future.set_result(None)
