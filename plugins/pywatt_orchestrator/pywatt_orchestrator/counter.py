"""What modules ask of the orchestrator itself: requests for the target ``__orchestrator__``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pywatt_core.errors import PyWattError, RemoteError, RemoteProtocolError
from pywatt_core.protocol import failures
from pywatt_core.protocol.failures import Failure, failure_of, failure_reply, success_reply
from pywatt_core.protocol.messages import ORCHESTRATOR, EncodedMessage, RoutedModuleResponse
from pywatt_core.protocol.payloads import Payload, read_payload
from pywatt_core.protocol.volume import TOO_MANY, too_many

if TYPE_CHECKING:
    from pywatt_core.protocol.messages import RouteToModule
    from pywatt_core.transports.link import Link

    from .hub import Peer

_log = logging.getLogger(__name__)

LIMIT: Final = 60.0
"""Seconds that one answer may take."""

Service: TypeAlias = "Callable[[Peer, Any, Mapping[str, Any]], Awaitable[Any]]"


class Counter:
    """One function for each endpoint."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}

    def serve(self, endpoint: str, function: Service) -> None:
        """`function` answers `endpoint`. Raises `TypeError` where another one does."""
        if endpoint in self._services:
            raise TypeError(f"two functions answer {ORCHESTRATOR}:{endpoint}")
        self._services[endpoint] = function

    async def answer(self, peer: Peer, message: RouteToModule, link: Link) -> None:
        """Answer one request on the link that it came over; a notification gets no answer."""
        while not link.keeps_up:  # many requests may come at once, and who does not read answers gets no more of them
            await link.caught_up()
        properties: Mapping[str, Any] = {}
        id = message.request_id
        try:
            if too_many(message.payload.data, message.payload.format):
                raise RemoteProtocolError(f"the request holds {TOO_MANY}")
            payload = read_payload(message.payload)
            properties = payload.metadata.properties or {}
            value = await self._call(peer, message.target_endpoint, payload, properties)
            answer = success_reply(value, properties, id=id, source=ORCHESTRATOR, destination=peer.module_id)
        except RemoteError as error:
            answer = _failed(failure_of(error), properties, id, peer)
        except RemoteProtocolError as error:
            answer = _failed(Failure(failures.BAD_REQUEST, str(error), executed="no"), properties, id, peer)
        except TimeoutError:
            answer = _failed(Failure(failures.TIMEOUT, f"{message.target_endpoint} took longer than {LIMIT:g} s"), properties, id, peer)
        except Exception:
            _log.exception("answering %r of %s failed", message.target_endpoint, peer.module_id)
            answer = _failed(Failure(failures.APPLICATION, "the orchestrator failed; its log says why"), properties, id, peer)
        if properties.get("notification") is True:
            link.session.waive(message)
            return
        try:
            await link.send(RoutedModuleResponse(ORCHESTRATOR, id, answer))
        except PyWattError as error:
            peer.note(f"an answer of the orchestrator could not be sent: {error}", level="debug")

    async def _call(self, peer: Peer, endpoint: str, payload: Payload, properties: Mapping[str, Any]) -> Any:
        function = self._services.get(endpoint)
        if function is None:
            raise RemoteError(f"the orchestrator answers no {endpoint!r}", code=failures.NO_ENDPOINT, executed="no")
        async with asyncio.timeout(LIMIT):
            return await function(peer, payload.decode(), properties)


def _failed(failure: Failure, properties: Mapping[str, Any], id: str, peer: Peer) -> EncodedMessage:
    return failure_reply(failure, properties, id=id, source=ORCHESTRATOR, destination=peer.module_id)
