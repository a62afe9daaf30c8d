"""Carries messages from one module to another, and the replies back (protocol 12.4).

What is carried is not read: the payload of a request is looked into only where it cannot simply be handed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pywatt_core.errors import ChannelClosed, LocalProtocolError, PyWattError
from pywatt_core.protocol import failures
from pywatt_core.protocol.failures import Failure, failure_reply
from pywatt_core.protocol.messages import (
    ORCHESTRATOR,
    RESPONSE_ENDPOINT,
    EncodedMessage,
    Metadata,
    RoutedModuleMessage,
    RoutedModuleResponse,
)
from pywatt_core.protocol.payloads import read_payload, write_payload
from pywatt_core.transports.link import new_id

from .addressing import addressed, asks_for_an_envelope
from .counter import Counter, Service
from .ongoing import is_part, other_end
from .sides import Pending, Side
from .waiting_room import Guest, WaitingRoom

if TYPE_CHECKING:
    from pywatt_core.protocol.messages import RouteToModule
    from pywatt_core.transports.link import Link

    from .hub import Hub, Peer

CANCEL: Final = "__cancel__"
"""The endpoint of the notification that nobody waits any more for the request that ``properties.request_id`` names."""

MOST_PENDING: Final = 10_000
"""Requests of one process that wait for their answers; more are refused."""

STALLED_AFTER: Final = 10.0
"""Seconds after which a process that does not read what it is sent is sent no more until it does."""

CROWDED: Final = 16 * 2**20
"""Bytes that wait for one process; beyond them each sender has to wait with its next message, so that no crowd of them is too much."""

OFFERED_AS: Final = {"MessagePack": "msgpack", "Cbor": "cbor"}
"""Formats of payloads that not everybody reads, and the names under which they are offered."""

Work: TypeAlias = "Coroutine[Any, Any, None]"


class Broker:
    """Routes `route_to_module`. Nothing here waits while a link is being read."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._sides: dict[Peer, Side] = {}
        self._ready: dict[str, list[Side]] = {}
        """Who may be sent new messages, by the module's name and by the instance's."""
        self._room = WaitingRoom(self._kept_waiting)
        self._counter = Counter()
        self.crowded = False
        """Whether so much waits for whoever the last message was for that its sender must not send another."""
        self.routed = 0
        """Messages and replies carried so far."""

    def serve(self, endpoint: str, function: Service) -> None:
        """Answer what modules ask of the orchestrator itself: ``await function(peer, payload, properties)``, plain JSON values.

        A `RemoteError` that it raises keeps its code. Raises `TypeError` for an endpoint that is taken.
        """
        self._counter.serve(endpoint, function)

    @property
    def pending(self) -> int:
        """Requests whose reply has not come."""
        return sum(len(side.serving) for side in self._sides.values())

    @property
    def waiting(self) -> int:
        """Messages for modules that are not ready yet."""
        return self._room.count

    # ── carrying ────────────────────────────────────────────────────────────────────────────────────────────────────

    def route(self, sender: Peer, message: RouteToModule, link: Link) -> Work | None:
        """Carry one message, or a reply; what goes wrong is answered to the sender on `link`.

        What is returned is to be awaited, with no other message of this sender held up but by the number of such waits.
        """
        side = self._sides.get(sender) or self._join(sender)
        endpoint = message.target_endpoint
        if endpoint == RESPONSE_ENDPOINT:
            return self._reply(side, message)
        if message.target_module_id == ORCHESTRATOR:
            return self._counter.answer(sender, message, link)
        if endpoint == CANCEL:
            self._call_off(side, message, link)
            return None
        if is_part(endpoint):
            if (other := other_end(side, endpoint)) is not None:
                return self._carry(side, other, message, link, part=True)
            link.session.waive(message)
            return None
        ready = self._ready.get(message.target_module_id)
        if ready:
            return self._carry(side, ready[0] if len(ready) == 1 else _least_busy(ready), message, link)
        self._absent(side, message, link)
        return None

    def _carry(self, side: Side, target: Side, message: RouteToModule, link: Link, *, part: bool = False) -> Work | None:
        """`part` of a request that is under way: nothing answers it by itself."""
        id, payload = message.request_id, message.payload
        enveloped = not part and not side.rust and asks_for_an_envelope(payload.data)
        wants_reply = enveloped or not (part or _is_notification(message))
        if not wants_reply:
            link.session.waive(message)
        if reason := self._objection(side, target, message, wants_reply):
            self._refuse(side, message, link, reason, wants_reply)
            return None
        try:
            way = target.peer.way()
            if target.stalled:
                self._check_stalled(way, target)
            if side.rust and not target.rust:
                payload = addressed(message, side.peer.module_id)
            way.post(RoutedModuleMessage(side.peer.module_id, id, payload))
        except _Stalled:
            reason = Failure(failures.OVERLOADED, f"module {message.target_module_id!r} does not read what it is sent", executed="no")
            self._refuse(side, message, link, reason, wants_reply)
            return None
        except ChannelClosed:  # Its process is about to be known as ended; the next one may be waited for.
            self._absent(side, message, link)
            return None
        except LocalProtocolError as error:
            text = f"module {message.target_module_id!r} cannot be sent this: {error}"
            self._refuse(side, message, link, Failure(failures.BAD_REQUEST, text, executed="no"), wants_reply)
            return None
        self.routed += 1
        if wants_reply:
            side.asked[id] = target.serving[id] = Pending(id, side, target, link, enveloped or _reads_envelopes(side, payload))
        return None if way.keeps_up else self._wait_for(way, target)

    def _objection(self, side: Side, target: Side, message: RouteToModule, wants_reply: bool) -> Failure | None:
        """Why a message is not handed on to a process that is there."""
        offer = OFFERED_AS.get(message.payload.format)
        if offer is not None and not target.peer.reads(offer):
            text = f"module {message.target_module_id!r} does not read {message.payload.format}"
            return Failure(failures.UNSUPPORTED_FORMAT, text, executed="no")
        if not wants_reply:
            return None
        if message.request_id in side.asked or message.request_id in target.serving:
            return Failure(failures.BAD_REQUEST, "a request with this request_id is under way already", executed="no")
        if len(side.asked) >= MOST_PENDING and not self._forgets(side):
            return Failure(failures.OVERLOADED, f"{MOST_PENDING} requests of {side.peer.module_id} wait for their answers", executed="no")
        return None

    def _forgets(self, side: Side) -> bool:
        """Give up the oldest request of a peer that tells nobody when it does so itself, as the Rust SDK (protocol 12.1)."""
        if not side.rust:
            return False
        pending = next(iter(side.asked.values()))
        del side.asked[pending.id]
        pending.target.serving.pop(pending.id, None)
        text = f"{pending.target.peer.module_id} has not answered while {MOST_PENDING} other requests were made"
        self._answer(pending, self._failure(pending, Failure(failures.TIMEOUT, text)))
        return True

    def _reply(self, side: Side, message: RouteToModule) -> Work | None:
        pending = side.serving.pop(message.request_id, None)
        if pending is None:
            text = f"a reply for {message.target_module_id} was dropped: that request is answered, given up or of an earlier process"
            side.peer.note(text, level="debug")
            return None
        requester, link, payload = pending.requester, pending.link, message.payload
        requester.asked.pop(pending.id, None)
        offer = OFFERED_AS.get(payload.format)
        if offer is not None and not requester.peer.reads(offer):
            text = f"{side.peer.module_id} answered in {payload.format}, which {requester.peer.module_id} does not read"
            side.peer.note(text, level="error")
            payload = self._failure(pending, Failure(failures.UNSUPPORTED_FORMAT, text, executed="yes"))
        try:
            if requester.stalled:
                self._check_stalled(link, requester)
            link.post(RoutedModuleResponse(side.peer.module_id, pending.id, payload))
        except _Stalled:
            side.complain(f"a reply for {requester.peer.module_id} was dropped: it does not read what it is sent")
            return None
        except ChannelClosed as error:
            side.peer.note(f"a reply for {requester.peer.module_id} was dropped: {error}", level="debug")
            return None
        except LocalProtocolError as error:
            text = f"the reply of {side.peer.module_id} cannot be carried: {error}"
            self._answer(pending, self._failure(pending, Failure(failures.APPLICATION, text, executed="yes")))
            return None
        self.routed += 1
        return None if link.keeps_up else self._wait_for(link, requester)

    # ── back-pressure ───────────────────────────────────────────────────────────────────────────────────────────────

    def _wait_for(self, way: Link, side: Side) -> Work:
        self.crowded = way.unwritten > CROWDED
        return self._until_read(way, side)

    async def _until_read(self, way: Link, side: Side) -> None:
        """Whoever sends to a process that does not keep up waits for it; but not for one that has stopped to read."""
        try:
            async with asyncio.timeout(STALLED_AFTER):
                await way.caught_up()
        except TimeoutError:
            if way not in side.stalled:
                side.stalled = {way, *(link for link in side.stalled if not link.closed.done())}
                text = f"it has not read what it is sent for {STALLED_AFTER:g} s: other modules' messages are refused until it does"
                side.peer.note(text, level="warning")

    def _check_stalled(self, way: Link, side: Side) -> None:
        if way not in side.stalled:
            return
        if not way.keeps_up:
            raise _Stalled
        side.stalled.discard(way)
        side.peer.note("it reads what it is sent again")

    # ── who is not there ────────────────────────────────────────────────────────────────────────────────────────────

    def _absent(self, side: Side, message: RouteToModule, link: Link) -> None:
        """A message for a module that is not ready waits for it, where it may be expected."""
        name = message.target_module_id
        wants_reply = not _is_notification(message)
        if not wants_reply:
            link.session.waive(message)
        if not self._hub.expects(name):
            self._refuse(side, message, link, self._not_there(name), wants_reply)
            return
        if wants_reply and (message.request_id in side.asked or message.request_id in side.waiting):
            reason = Failure(failures.BAD_REQUEST, "a request with this request_id is under way already", executed="no")
            self._refuse(side, message, link, reason, wants_reply)
            return
        guest = self._room.enter(side, message, link, wants_reply)
        if guest is None:
            text = f"module {name!r} is not ready, and too many messages wait already"
            self._refuse(side, message, link, Failure(failures.OVERLOADED, text, executed="no"), wants_reply)
        elif wants_reply:
            side.waiting[message.request_id] = guest

    def _not_there(self, name: str) -> Failure:
        if self._hub.knows(name):
            text = f"module {name!r} is not running, and is not started again by itself: `pywatt restart {name}` starts it"
            return Failure(failures.UNAVAILABLE, text, executed="no")
        return Failure(failures.NO_MODULE, f"module {name!r} not found", executed="no")

    def _kept_waiting(self, guest: Guest) -> None:
        """Its time is over."""
        guest.side.waiting.pop(guest.message.request_id, None)
        text = f"module {guest.message.target_module_id!r} was not ready within {guest.seconds:.3g} s"
        self._refuse(guest.side, guest.message, guest.link, Failure(failures.UNAVAILABLE, text, executed="no"), guest.wants_reply)

    def ready(self, peer: Peer) -> None:
        """What waited for this module goes to it now."""
        side = self._sides.get(peer) or self._join(peer)
        for name in {peer.module, peer.module_id}:
            self._ready.setdefault(name, []).append(side)
        for name in (peer.module_id, peer.module):
            for guest in self._room.leave(name):
                guest.side.waiting.pop(guest.message.request_id, None)
                held_up = self._carry(guest.side, side, guest.message, guest.link)
                if held_up is not None:
                    held_up.close()  # What waited is bounded, and in its buffer now.

    def look_again(self) -> None:
        """Something has changed: whoever waits for a module that is not coming back is told so."""
        for name in self._room.names():
            if not self._hub.expects(name):
                for guest in self._room.leave(name):
                    guest.side.waiting.pop(guest.message.request_id, None)
                    self._refuse(guest.side, guest.message, guest.link, self._not_there(name), guest.wants_reply)

    # ── who goes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def leaving(self, peer: Peer) -> None:
        """It gets no new messages."""
        side = self._sides.get(peer)
        for name in {peer.module, peer.module_id}:
            known = self._ready.get(name, [])
            if side in known:
                known.remove(side)
                if not known:
                    del self._ready[name]

    def gone(self, peer: Peer) -> None:
        """Whoever waits for it is told so; what it asked for itself is cancelled."""
        self.leaving(peer)
        side = self._sides.pop(peer, None)
        if side is None:
            return
        for pending in side.serving.values():
            pending.requester.asked.pop(pending.id, None)
            text = f"the process of {peer.module_id} ended before it answered; it may or may not have acted"
            self._answer(pending, self._failure(pending, Failure(failures.DISCONNECTED, text)))
        for pending in side.asked.values():
            pending.target.serving.pop(pending.id, None)
            self._tell_called_off(pending)
        for guest in side.waiting.values():
            self._room.remove(guest)

    def close(self) -> None:
        """The orchestrator ends."""
        self._room.close()

    def _join(self, peer: Peer) -> Side:
        side = self._sides[peer] = Side(peer)
        return side

    # ── what nobody waits for ───────────────────────────────────────────────────────────────────────────────────────

    def _call_off(self, side: Side, message: RouteToModule, link: Link) -> None:
        """The sender waits no more for one of its requests."""
        link.session.waive(message)
        id = _properties(message.payload).get("request_id")
        if not isinstance(id, str):
            return
        done = Failure(failures.CANCELLED, "it was called off")
        if (guest := side.waiting.pop(id, None)) is not None:
            self._room.remove(guest)
            self._refuse(side, guest.message, guest.link, done, wants_reply=True)
        elif (pending := side.asked.pop(id, None)) is not None:
            pending.target.serving.pop(id, None)
            self._answer(pending, self._failure(pending, done))  # Nobody waits for it; but now nothing is owed any more.
            self._tell_called_off(pending)

    def _tell_called_off(self, pending: Pending) -> None:
        """Whoever works on a request that nobody waits for may stop."""
        source, target = pending.requester.peer.module_id, pending.target.peer
        if target.rust:
            return
        said = {"endpoint": CANCEL, "notification": True, "request_id": pending.id}
        payload = write_payload(None, Metadata(source=source, destination=target.module_id, properties=said), id=(id := new_id()))
        try:
            target.way().post(RoutedModuleMessage(source, id, payload))
        except PyWattError as error:
            target.note(f"it could not be told that a request was called off: {error}", level="debug")

    # ── answering for others ────────────────────────────────────────────────────────────────────────────────────────

    def _failure(self, pending: Pending, failure: Failure) -> EncodedMessage:
        properties = {"reply": failures.ENVELOPE} if pending.enveloped else {}
        destination = pending.requester.peer.module_id
        return failure_reply(failure, properties, id=pending.id, source=pending.target.peer.module_id, destination=destination)

    def _answer(self, pending: Pending, payload: EncodedMessage) -> None:
        try:
            pending.link.post(RoutedModuleResponse(pending.target.peer.module_id, pending.id, payload))
        except PyWattError as error:
            pending.requester.peer.note(f"it could not be told what became of a request: {error}", level="debug")

    def _refuse(self, side: Side, message: RouteToModule, link: Link, failure: Failure, wants_reply: bool) -> None:
        """The answer to a request that goes nowhere; a line in the log for a message that wants none."""
        target, id = message.target_module_id, message.request_id
        if not wants_reply:
            side.complain(f"a message for {target}:{message.target_endpoint} was dropped: {failure.message}")
            return
        payload = failure_reply(failure, _properties(message.payload), id=id, source=target, destination=side.peer.module_id)
        try:
            link.post(RoutedModuleResponse(target, id, payload))
        except PyWattError as error:
            side.peer.note(f"it could not be told that {failure.message}: {error}", level="debug")


class _Stalled(Exception):
    """The other end has stopped to read."""


def _least_busy(ready: list[Side]) -> Side:
    """The one with the fewest requests under way, each in its turn; one that hangs only where all do."""
    ready.append(ready.pop(0))
    return min(ready, key=lambda side: (side.peer.hangs, len(side.serving)))


def _is_notification(message: RouteToModule) -> bool:
    """Whether no reply is wanted. Most payloads need not be read for that: they do not hold the word."""
    return b"notification" in message.payload.data and _properties(message.payload).get("notification") is True


def _reads_envelopes(side: Side, payload: EncodedMessage) -> bool:
    """Whether the sender reads replies in envelopes, as far as that shows without reading its payload."""
    if payload.format == "Base64":
        return failures.wants_envelope(_properties(payload))
    return not side.rust and payload.data.rfind(b"envelope") >= 0  # it stands behind the content, mostly


def _properties(payload: EncodedMessage) -> dict[str, Any]:
    try:
        return read_payload(payload).metadata.properties or {}
    except PyWattError:
        return {}
