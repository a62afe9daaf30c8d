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
from pywatt_core.errors import ConfigError, InvalidToken
from pywatt_core.http.api import json_response
from pywatt_core.http.bearer import MAX_TOKEN, token_of
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
        if self.token is not None and not _can_be_shown(self.token.expose_secret()):
            raise ValueError(
                "token can never be shown in an Authorization header: it has letters, digits and - . _ ~ + / alone, = at its end, and "
                f"at most {MAX_TOKEN} characters"
            )


def _can_be_shown(token: str) -> bool:
    try:
        return token_of([f"Bearer {token}"]) == token
    except InvalidToken:
        return False


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
    once: frozenset[str] = frozenset()
    """Parameters that its query may have."""
    often: frozenset[str] = frozenset()
    """Those that it may have several times."""


class ControlApi:
    """Answers requests that have been let in. `stop_everything` ends the orchestrator."""

    def __init__(self, supervisor: Supervisor, journal: Journal, rotator: Rotator, *, stop_everything: Callable[[], None]) -> None:
        self._supervisor, self._journal, self._rotator, self._stop_everything = supervisor, journal, rotator, stop_everything
        self._router = HttpIpcRouter()
        for route in ROUTES:
            self._router.route(route.method, PATH + route.path, self._answering(route))

    async def handle(self, request: Any) -> HttpResponse:
        """The answer to one request."""
        response = await self._router.handle(request)
        response.headers["Cache-Control"] = "no-store"
        return response

    def _answering(self, route: Route) -> Callable[..., Any]:
        async def answer(request: HttpIpcRequest) -> HttpResponse:
            _check_query(route, request)
            try:
                return json_response(await route.answer(self, request))
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


def _check_query(route: Route, request: HttpIpcRequest) -> None:
    """A parameter that is misspelt must not have a request do more than was asked for, such as rotating every secret."""
    seen: set[str] = set()
    for name, _ in request.query_list:
        if name not in route.once | route.often:
            known = ", ".join(sorted(route.once | route.often)) or "none"
            raise HttpError.InvalidRequest(f"there is no parameter {name!r} here. Known: {known}")
        if name in seen and name in route.once:
            raise HttpError.InvalidRequest(f"the parameter {name!r} is there twice")
        seen.add(name)


ROUTES: Final = (
    Route("GET", "/modules", ControlApi.modules),
    Route("GET", "/modules/{name}", ControlApi.module),
    Route("POST", "/modules/{name}/restart", ControlApi.restart),
    Route("POST", "/modules/{name}/stop", ControlApi.stop),
    Route("GET", "/logs", ControlApi.logs, once=frozenset({"module", "lines"})),
    Route("POST", "/rotate", ControlApi.rotate, often=frozenset({"name"})),
    Route("POST", "/stop", ControlApi.end),
)
