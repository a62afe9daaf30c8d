"""The control API: what `pywatt ps`, `logs`, `restart` and `stop` do, as HTTP, for those who show the token.

It stands at ``/_pywatt/api`` of the front door, and only where ``[control] http`` says so. `gateway/inside.py` decides who comes in;
whoever does not learns nothing, not even which of these paths exist.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pywatt_core.config import Section, check_section, raise_problems, resolve
from pywatt_core.errors import ConfigError
from pywatt_core.http.api import json_response
from pywatt_core.http.failures import HttpError
from pywatt_core.http.router import HttpIpcRouter
from pywatt_core.redaction import Secret

from .logs import OURSELVES

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pywatt_core.config import Settings
    from pywatt_core.http.router import HttpIpcRequest
    from pywatt_core.protocol.messages import HttpResponse

    from .logs import Journal
    from .rotation import Rotator
    from .supervisor import Supervisor

PATH: Final = "/_pywatt/api"
SHORTEST_TOKEN: Final = 32
"""Characters of a token that somebody chooses."""
MOST_LINES: Final = 10_000
"""Log lines of one answer."""


@dataclass(frozen=True, kw_only=True)
class ControlOptions:
    """``[control]``: who may control the orchestrator over HTTP. The commands do not need it: they use a socket of your user's own."""

    http: Literal["off", "owner", "local"] = "off"
    """``owner``: programs of the user that the orchestrator runs as, and of root, on this machine; ``local``: every program on it.
    Both have to show the token, and are not let in through a proxy or from pages of other sites."""
    token: Secret | None = None
    """What they show, ``"secret:NAME"`` with at least 32 characters. By default one is drawn at each start, which `pywatt token` tells."""

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token.expose_secret()) < SHORTEST_TOKEN:
            raise ValueError(
                f"token has fewer than {SHORTEST_TOKEN} characters: python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
            )


async def read_control(settings: Settings, fetch: Callable[[str], Awaitable[str]]) -> tuple[ControlOptions, Secret]:
    """The options, and the token. Raises `ConfigError` or `SecretError`."""
    table = settings.extra.get("control")
    section = Section("", table if isinstance(table, Mapping) else {}, "control", merged=settings.merged)
    resolved = await resolve(section, fetch)
    options, problems = check_section(resolved.options, ControlOptions, "control", settings.origin)
    raise_problems(problems)
    assert options is not None
    return options, options.token or Secret(secrets.token_urlsafe(32), name="the control API's token")


class Route(NamedTuple):
    """One thing that can be asked for."""

    method: str
    path: str
    answer: Callable[[ControlApi, HttpIpcRequest], Awaitable[Any]]


class ControlApi:
    """Answers requests that have been let in. `stop_everything` ends the orchestrator."""

    def __init__(self, supervisor: Supervisor, journal: Journal, rotator: Rotator, *, stop_everything: Callable[[], None]) -> None:
        self._supervisor, self._journal, self._rotator, self._stop_everything = supervisor, journal, rotator, stop_everything
        self._router = HttpIpcRouter()
        for route in ROUTES:
            self._router.route(route.method, PATH + route.path, self._answering(route))

    async def handle(self, request: Any) -> HttpResponse:
        """The answer to one request."""
        return await self._router.handle(request)

    def _answering(self, route: Route) -> Callable[..., Any]:
        async def answer(request: HttpIpcRequest) -> HttpResponse:
            try:
                return json_response(await route.answer(self, request), headers={"Cache-Control": "no-store"})
            except ConfigError as error:
                raise HttpError.NotFound(str(error)) from error

        return answer

    async def modules(self, request: HttpIpcRequest) -> Any:
        """How all are."""
        return self._supervisor.status()

    async def module(self, request: HttpIpcRequest) -> Any:
        """How one is."""
        return self._supervisor.status(request.params["name"])

    async def restart(self, request: HttpIpcRequest) -> Any:
        """Restart one, and tell how it is then."""
        return await self._supervisor.restart_module(request.params["name"])

    async def stop(self, request: HttpIpcRequest) -> Any:
        """Stop one, and tell how it is then."""
        await self._supervisor.stop_module(request.params["name"])
        return self._supervisor.status(request.params["name"])

    async def logs(self, request: HttpIpcRequest) -> Any:
        """The last lines: ``?module=NAME&lines=50``."""
        name, lines = request.query.get("module"), request.query.get("lines", "50")
        if not (lines.isascii() and lines.isdecimal()) or not 1 <= int(lines[:9]) <= MOST_LINES:
            raise HttpError.InvalidRequest(f"lines is a number from 1 to {MOST_LINES}")
        names = {OURSELVES} if name == OURSELVES else {instance.module_id for instance in self._supervisor.instances(name)}
        return self._journal.last(names | ({OURSELVES} if name is None else set()), int(lines))

    async def rotate(self, request: HttpIpcRequest) -> Any:
        """Read the secret sources anew, and rotate what differs: ``?name=A&name=B``, or all that somebody holds."""
        return await self._rotator.rotate(tuple(value for key, value in request.query_list if key == "name"))

    async def end(self, request: HttpIpcRequest) -> Any:
        """End the orchestrator and everything that it runs."""
        self._stop_everything()
        return "stopping"


ROUTES: Final = (
    Route("GET", "/modules", ControlApi.modules),
    Route("GET", "/modules/{name}", ControlApi.module),
    Route("POST", "/modules/{name}/restart", ControlApi.restart),
    Route("POST", "/modules/{name}/stop", ControlApi.stop),
    Route("GET", "/logs", ControlApi.logs),
    Route("POST", "/rotate", ControlApi.rotate),
    Route("POST", "/stop", ControlApi.end),
)
