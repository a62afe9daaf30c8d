"""One request to a module that serves no port: it travels whole, as one message over the module's link."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from pywatt_core.errors import ChannelClosed, RequestTimeout
from pywatt_core.protocol.messages import HttpRequest
from pywatt_core.transports.link import new_id

from .lines import header_lines
from .request import IDEMPOTENT

if TYPE_CHECKING:
    from pywatt_core.protocol.messages import HttpResponse

    from .client import ClientConnection
    from .routing import Match
    from .upstream import Instance

RECONNECT_PAUSE = 0.05
"""Seconds between two attempts to reach a module whose process has just gone."""

R = TypeVar("R")

logger = logging.getLogger("pywatt.gateway")

OF_THE_CONNECTION = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"})
"""Headers that mean nothing in a message, and may not be set by one."""
SET_BY_US = OF_THE_CONNECTION | {"content-length", "server", "x-request-id"}
"""Headers of a response that the gateway sets itself."""


class OverLink(ABC, Generic[R]):
    """What requests over a link have in common: an instance that is ready, patience, and an answer whatever happens.

    `R` is what an instance answers with.
    """

    def __init__(self, client: ClientConnection, match: Match) -> None:
        self.instance: Instance | None = None
        self._client = client
        self._module = match.module
        self._match = match
        self._task: asyncio.Task[None] | None = None

    async def _answer(self) -> None:
        """Ask, and always answer the client."""
        name, options = self._module.name, self._client.options
        try:
            self._respond(await self._ask_patiently())
        except NotReady as error:
            self._client.problem(503, str(error), module=name)
        except (TimeoutError, RequestTimeout):
            self._client.problem(504, f"module {name} did not answer within {options.response_timeout:g} s", module=name)
        except Exception as error:
            logger.warning("module %s did not answer a request: %s: %s", name, type(error).__name__, error)
            self._client.problem(502, f"module {name} did not answer", module=name)

    async def _ask_patiently(self) -> R:
        """Ask again while nobody has got the request, and once more where somebody may have and that is harmless."""
        loop, retried = asyncio.get_running_loop(), False
        give_up = loop.time() + self._client.options.ready_timeout
        while True:
            try:
                return await self._ask(await self._ready())
            except ChannelClosed as error:
                if not self._can_repeat():
                    raise
                if error.executed != "no":
                    if retried or self._client.request.method not in IDEMPOTENT:
                        raise
                    retried = True
                elif loop.time() > give_up:
                    raise NotReady(f"module {self._module.name} has no instance ready") from error
            await asyncio.sleep(RECONNECT_PAUSE)

    async def _ready(self) -> Instance:
        client, name = self._client, self._module.name
        try:
            async with asyncio.timeout(client.options.ready_timeout):
                instance = await client.gateway.ready_instance(name)
        except TimeoutError:
            raise NotReady(f"module {name} has no instance ready") from None
        if instance is None:
            raise NotReady(f"module {name} is not running")
        if client.gateway.is_guarded_since(client.request, self._match):
            raise NotReady(f"module {name} wants a token for this path now; ask again")
        return instance

    def _can_repeat(self) -> bool:
        """Whether the request is still there to be sent again."""
        return True

    @abstractmethod
    async def _ask(self, instance: Instance) -> R:
        """Send the request, return what the instance answers. Raises what `Link.request` raises, and `NotReady`."""

    @abstractmethod
    def _respond(self, response: R) -> None:
        """Tell the client."""

    def _headers(self) -> list[tuple[str, str]]:
        """The request's headers, lower-case, with those that the gateway adds."""
        client, request = self._client, self._client.request
        lines = request.lines.kept + client.lines_for_module(self._match.prefix)
        pairs = (line.partition(":") for line in lines.decode("latin-1").split("\r\n")[1:])
        headers = [(name.lower(), value.strip(" \t")) for name, _, value in pairs]
        return [(name, value) for name, value in headers if name not in OF_THE_CONNECTION]

    def _uri(self) -> str:
        return (self._match.inner + self._client.request.query).decode("latin-1")


class LinkExchange(OverLink["HttpResponse"]):
    """Collects the request, hands it over, and sends the response, which comes whole as well."""

    def __init__(self, client: ClientConnection, match: Match) -> None:
        super().__init__(client, match)
        self._parts: list[bytes] = []
        self._size = 0

    def start(self) -> None:
        """Ask for the body, or go on at once where there is none."""
        length = self._client.request.lines.length
        if length and length > self._client.options.max_ipc_body_bytes:
            self._too_long()
        elif not self._client.request.empty:
            self._client.expect_body()
        else:
            self.body_finished()

    def body_received(self, payload: bytes) -> None:
        """A part of the request's body, which has to be held in memory."""
        self._size += len(payload)
        if self._size > self._client.options.max_ipc_body_bytes:
            self._too_long()
        else:
            self._parts.append(payload)

    def _too_long(self) -> None:
        limit = self._client.options.max_ipc_body_bytes
        self._client.problem(413, f"module {self._module.name} takes bodies of at most {limit} bytes", module=self._module.name)

    def body_finished(self) -> None:
        """The request is complete."""
        self._client.expect_nothing()
        self._task = asyncio.create_task(self._answer())

    async def _ask(self, instance: Instance) -> HttpResponse:
        carry = instance.http_request
        if carry is None:
            raise NotReady(f"module {self._module.name} has begun to serve a port; ask again")
        self.instance = instance
        instance.in_flight += 1
        try:
            async with asyncio.timeout(self._client.options.response_timeout):
                return await carry(self._message())
        finally:
            instance.in_flight -= 1

    def _message(self) -> HttpRequest:
        """One value a header: the wire cannot carry more, so that several become a list."""
        request = self._client.request
        headers: dict[str, str] = {}
        for name, value in self._headers():
            headers[name] = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}" if name in headers else value
        if request.lines.chunked:
            headers["content-length"] = str(self._size)
        return HttpRequest(
            request_id=new_id(),  # The client's own, in X-Request-ID, need not be unique.
            method=request.method.decode(),
            uri=self._uri(),
            headers=headers,
            body=b"".join(self._parts) if self._parts else None,
        )

    def _respond(self, response: HttpResponse) -> None:
        status, body = response.status_code, response.body or b""
        if not 200 <= status <= 599:
            self._client.problem(502, f"module {self._module.name} answered with the status {status}", module=self._module.name)
            return
        kept = [(name, value) for name, value in response.headers.items() if name.lower() not in SET_BY_US]
        self._client.answer(status, header_lines(kept), body)

    # ── what can go wrong ───────────────────────────────────────────────────────────────────────────────────────────

    def client_lost(self) -> None:
        """The client is gone; the module is not told, because the wire has no word for it."""
        if self._task is not None:
            self._task.cancel()

    def client_paused(self) -> None:
        """A response that is whole already cannot be held back."""

    def client_resumed(self) -> None:
        """As before."""

    def timed_out(self) -> None:
        """The body has stopped arriving; once it has arrived, the time limits are those of `_answer`."""
        limit = self._client.options.body_timeout
        self._client.problem(408, f"the body of the request stopped arriving for {limit:g} s", module=self._module.name)


class NotReady(Exception):
    """There is no instance to ask; the text says why."""
