"""What the orchestrator answers itself at the front door: the page of metrics and the control API, to those who may have them.

Whoever may not is told what everybody is told of paths that are not there. What a browser sends on behalf of another site is refused:
a page can make it knock on any door of this machine, under whatever name it gives the door.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import re
from typing import TYPE_CHECKING, Literal

from pywatt_core.errors import InvalidToken
from pywatt_core.http.bearer import Refusal, refusal_of, token_of

from .lines import header_lines
from .linked import LinkExchange
from .routing import Match, ModuleRoutes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pywatt_core.protocol.messages import HttpRequest, HttpResponse
    from pywatt_core.redaction import Secret
    from pywatt_core.telemetry import Metrics

    from .client import ClientConnection
    from .request import RequestHead

logger = logging.getLogger("pywatt.gateway")

METRICS_PATH = b"/_pywatt/metrics"
API_PATH = b"/_pywatt/api"

HERE = re.compile(rb"(?i:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{0,5})?")
"""Names of this machine that no page of somebody else can give itself, in a ``Host`` header."""

_told: set[str] = set()
"""Reasons for which somebody was turned away, each logged once."""


def may_see(client: ClientConnection, request: RequestHead) -> bool:
    """Whether the client may see the page of metrics."""
    allowed = client.options.metrics
    return allowed == "open" or _is_near(client, request, allowed, "the page of metrics", f'[gateway] metrics = "{allowed}"')


class ControlDoor:
    """The control API at the front door. `handle` answers whoever is `allowed` to come and shows the `token`."""

    def __init__(self, handle: Callable[[HttpRequest], Awaitable[HttpResponse]], token: Secret, allowed: Literal["owner", "local"]) -> None:
        self._handle, self._token, self._allowed = handle, token, allowed
        self._module = ModuleRoutes(name="control API", mount="/_pywatt", endpoints=())

    def takes(self, client: ClientConnection, request: RequestHead) -> bool:
        """Whether a request is for the API, from somebody who may know that there is one."""
        if request.path != API_PATH and not request.path.startswith(API_PATH + b"/"):
            return False
        return _is_near(client, request, self._allowed, "the control API", f'[control] http = "{self._allowed}"')

    def answer(self, client: ClientConnection, request: RequestHead) -> None:
        """Answer, or refuse before anything of the body is read."""
        refusal = self._refusal(request)
        if refusal is not None:
            client.answer(refusal.status, header_lines(refusal.headers), refusal.body)
            return
        match = Match(self._module, request.path, None, b"", linked=True, streamed=False)
        client.converse(_Here(client, match, self._handle))

    def _refusal(self, request: RequestHead) -> Refusal | None:
        lines = request.lines
        if _of_another_site(lines.fields(b"origin"), lines.fields(b"sec-fetch-site"), lines.host or b""):
            return Refusal(403, [("content-type", "application/json")], b'{"error":"Requests of other sites are refused"}')
        try:
            shown = token_of([value.decode("latin-1") for value in lines.fields(b"authorization")])
            if not hmac.compare_digest(shown.encode(), self._token.expose_secret().encode()):
                raise InvalidToken("it is not the token of the control API")
        except InvalidToken as error:
            return refusal_of(error)
        return None


class _Here(LinkExchange):
    """A request that is answered in this process. The limits for modules' answers are not its own: a restart takes as long as it takes."""

    def __init__(self, client: ClientConnection, match: Match, handle: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> None:
        super().__init__(client, match)
        self._handle = handle

    async def _ask_patiently(self) -> HttpResponse:
        return await self._handle(self._message())


def _of_another_site(origins: list[bytes], sites: list[bytes], host: bytes) -> bool:
    """Whether a browser says that a page which is not ours makes it ask (Fetch, 3.2; Fetch Metadata, 2.4)."""
    own = {b"http://" + host.lower(), b"https://" + host.lower()}
    return any(origin.lower() not in own for origin in origins) or any(site not in (b"same-origin", b"none") for site in sites)


def _is_near(client: ClientConnection, request: RequestHead, allowed: str, what: str, option: str) -> bool:
    """Whether somebody asks from this machine, by one of its own names, and is its owner where `allowed` is ``owner``."""
    if not _from_here(client.peer) or request.lines.passed_on or HERE.fullmatch(request.lines.host or b"") is None:
        return _refuse(what, f"it was asked for from outside, or through a proxy ({option})")
    if allowed == "local":
        return True
    owner = _owner(client)
    if owner is None or owner in (os.getuid(), 0):
        return True
    return _refuse(
        what,
        f'user {owner} asked for it, and only user {os.getuid()} may ({option}): "local" admits all of this machine'
        if owner >= 0
        else f'the system does not tell who asks ({option}): "local" admits all of this machine',
    )


def show_metrics(client: ClientConnection, request: RequestHead, metrics: Metrics) -> None:
    """Answer with the page."""
    from pywatt_core.telemetry import CONTENT_TYPE

    if request.method in (b"GET", b"HEAD"):
        client.answer(200, header_lines([("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")]), metrics.render().encode())
    else:
        client.problem(405, "the path does not admit this method", lines=[("Allow", "GET, HEAD")])


def _from_here(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _owner(client: ClientConnection) -> int | None:
    """The user at the other end; -1 where the system does not tell, None where it never does."""
    from ..doors import owner_of_peer

    connection = client.transport.get_extra_info("socket")
    try:
        return owner_of_peer(connection)
    except (OSError, TypeError, AttributeError):  # no IPv4 addresses
        return -1


def _refuse(what: str, reason: str) -> bool:
    text = f"{what} was refused: {reason}"
    if text not in _told and len(_told) < 100:
        _told.add(text)
        logger.info("%s", text)
    return False
