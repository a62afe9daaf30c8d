"""One request to a module that serves no port, its bodies in pieces: what is held in memory is bounded by credit both ways."""

from __future__ import annotations

import asyncio
import logging
from email.utils import formatdate
from typing import TYPE_CHECKING

from pywatt_core.protocol.http_pieces import MAX_PIECE
from pywatt_core.protocol.messages import HttpResponseStart

from .bodies import LAST_CHUNK, chunk
from .lines import header_lines
from .linked import SET_BY_US, NotReady, OverLink
from .replies import PHRASES
from .response import NO_BODY

if TYPE_CHECKING:
    from ..carrying import Carried
    from .client import ClientConnection
    from .routing import Match
    from .upstream import Instance

logger = logging.getLogger("pywatt.gateway")

HELD = 65_536
"""Bytes of a request that wait for the module to take them before the client has to wait, and that can be sent again."""

LONGEST = 86_400.0
"""Seconds for a request and the head of its response; the gateway's own limits, which see how it goes on, end it earlier."""

SET_HERE = SET_BY_US - {"content-length"}


class StreamedExchange(OverLink[HttpResponseStart]):
    """Relays one request and its response piece by piece. It ends with exactly one of `answered`, `problem`, `reset` of the client."""

    def __init__(self, client: ClientConnection, match: Match) -> None:
        super().__init__(client, match)
        self._held = bytearray()
        """What the module has not taken yet."""
        self._sent: bytearray | None = bytearray()
        """What it has taken, as long as it could have to be sent again."""
        self._complete = False
        self._carried: Carried | None = None
        self._counted = False
        self._begun = False
        self._missing: int | None = None
        """Bytes of the response that were announced and have not come."""
        self._chunked = self._bodiless = False
        self._owed = 0
        """Bytes that the module gets credit for once the client has taken them."""
        self._silence = 0.0

    def start(self) -> None:
        """Find an instance; what the client sends meanwhile is held."""
        self._complete = self._client.request.empty
        self._client.expect_nothing()
        self._task = asyncio.create_task(self._answer())

    # ── towards the module ──────────────────────────────────────────────────────────────────────────────────────────

    def body_received(self, payload: bytes) -> None:
        """A part of the request's body."""
        self._held += payload
        self._pump()

    def body_finished(self) -> None:
        """The request is complete."""
        self._complete = True
        self._pump()

    def credit_received(self) -> None:
        """The module takes more."""
        self._pump()

    def _pump(self) -> None:
        """Pass on what the module takes, and hold the client back while that is little."""
        if self._carried is not None:
            sent = self._carried.send(bytes(self._held), more=not self._complete)
            self._note_sent(sent)
        if len(self._held) > HELD:
            self._client.pause_reading()
        elif len(self._held) < HELD // 2:
            self._client.resume_reading()
        self._watch()

    def _note_sent(self, amount: int) -> None:
        if self._sent is not None:
            self._sent += self._held[:amount]
            if len(self._sent) > HELD:
                self._sent = None
        del self._held[:amount]

    def _watch(self) -> None:
        """Say what has to happen next, and until when."""
        client = self._client
        if self._carried is None:
            client.expect_nothing()  # `_ready` has a limit of its own
        elif self._begun:
            client.expect_within(self._silence)
        elif self._complete or client.reading_paused:
            client.expect_within(client.options.response_timeout)
        else:
            client.expect_body()

    def _can_repeat(self) -> bool:
        return self._sent is not None

    async def _ask(self, instance: Instance) -> HttpResponseStart:
        if instance.http_stream is None:
            raise NotReady(f"module {self._module.name} is reached in another way now; ask again")
        assert self._sent is not None
        self._held[:0], self._sent = self._sent, bytearray()
        self.instance = instance
        carried = instance.http_stream(self)
        instance.in_flight += 1
        self._counted = True
        first = bytes(self._held[:MAX_PIECE])
        self._note_sent(len(first))
        request = self._client.request
        headers = self._headers()
        more = bool(self._held) or not self._complete
        self._carried = carried
        self._watch()
        try:
            return await carried.ask(request.method.decode(), self._uri(), headers, first, more=more, timeout=LONGEST)
        except BaseException:
            self._drop()
            raise

    # ── towards the client ──────────────────────────────────────────────────────────────────────────────────────────

    def _respond(self, response: HttpResponseStart) -> None:
        """Send the head, with the framing that the client understands, and the beginning of the body."""
        client, status, carried = self._client, response.status_code, self._carried
        assert carried is not None
        if not 200 <= status <= 599:
            self._fail(502, f"module {self._module.name} answered with the status {status}")
            return
        kept = [(name, value) for name, value in response.headers if name.lower() not in SET_HERE]
        lengths = {value for name, value in kept if name.lower() == "content-length"}
        self._bodiless = status in NO_BODY or client.request.method == b"HEAD"
        lines = [(name, value) for name, value in kept if name.lower() != "content-length"]
        if lengths and not (len(lengths) == 1 and (length := min(lengths)).isascii() and length.isdigit() and len(length) < 19):
            self._fail(502, f"module {self._module.name} sent a response that cannot be forwarded")
            return
        if lengths:
            self._missing = int(min(lengths))
        elif not response.more and not self._bodiless:
            self._missing = len(response.body)
        if self._missing is not None and status not in NO_BODY:
            lines.append(("Content-Length", str(self._missing)))
        head = self._head(status, lines)
        self._begun = True
        events = any(name.lower() == "content-type" and value.startswith("text/event-stream") for name, value in kept)
        self._silence = client.options.tunnel_timeout if events else client.options.stream_timeout
        client.respond(status, head + client.last_lines())
        self.piece_received(response.body, response.more)
        if self._carried is not None:
            carried.flow()

    def _head(self, status: int, lines: list[tuple[str, str]]) -> bytes:
        head = b"HTTP/1.1 %d %b" % (status, PHRASES.get(status, "Unknown").encode()) + header_lines(lines)
        if b"\r\ndate:" not in head.lower():
            head += b"\r\nDate: " + formatdate(usegmt=True).encode()
        if self._missing is None and not self._bodiless:
            if self._client.request.http10:
                self._client.keep_alive = False
            else:
                self._chunked = True
                head += b"\r\nTransfer-Encoding: chunked"
        return head

    def piece_received(self, body: bytes, more: bool) -> None:
        """A part of the response's body."""
        client = self._client
        if body and not self._bodiless:
            if self._missing is not None:
                self._missing -= len(body)
                if self._missing < 0:
                    self._break_off("it is longer than it said")
                    return
            client.write(chunk(body) if self._chunked else body)
        if not more:
            self._finish()
        elif client.writing_paused:
            self._owed += len(body)
        else:
            self._pay(len(body))

    def _pay(self, amount: int) -> None:
        if self._carried is not None:
            self._carried.consumed(amount)
            self._client.expect_within(self._silence)

    def _finish(self) -> None:
        """The response is complete."""
        if self._missing and not self._bodiless:
            self._break_off(f"it is {self._missing} bytes shorter than it said")
            return
        if self._chunked:
            self._client.write(LAST_CHUNK)
        self._drop()
        self._client.answered()

    # ── what can go wrong ───────────────────────────────────────────────────────────────────────────────────────────

    def broken(self, reason: str) -> None:
        """The module cannot complete its response."""
        self._break_off(reason)

    def _break_off(self, reason: str) -> None:
        """The response has begun and cannot be completed: the client must not take it for complete."""
        logger.warning("module %s sent a response that cannot be forwarded to its end: %s", self._module.name, reason)
        self._drop()
        self._client.reset()

    def _fail(self, status: int, detail: str) -> None:
        """Answer in the module's place; nothing of its response has been forwarded."""
        self._drop()
        self._begun = True
        self._client.problem(status, detail, module=self._module.name)

    def _drop(self) -> None:
        """Nothing more is wanted of the module."""
        carried, self._carried = self._carried, None
        if carried is not None:
            carried.close()
        if self._counted and self.instance is not None:
            self._counted = False
            self.instance.in_flight -= 1

    def client_lost(self) -> None:
        """The client is gone: the module is told so."""
        self._drop()
        if self._task is not None:
            self._task.cancel()

    def client_paused(self) -> None:
        """The client reads more slowly than the module sends, which gets no credit meanwhile."""

    def client_resumed(self) -> None:
        """The client has caught up."""
        owed, self._owed = self._owed, 0
        if self._begun:
            self._pay(owed)
        else:
            self._watch()

    def timed_out(self) -> None:
        """The deadline that was set last has passed."""
        client, name = self._client, self._module.name
        if self._begun:
            self._break_off(f"nothing of it came for {self._silence:g} s")
            return
        if self._task is not None:
            self._task.cancel()
        if self._complete or client.reading_paused:
            self._fail(504, f"module {name} did not answer within {client.options.response_timeout:g} s")
        else:
            self._fail(408, f"the body of the request stopped arriving for {client.options.body_timeout:g} s")
