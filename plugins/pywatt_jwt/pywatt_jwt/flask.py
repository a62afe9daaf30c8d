"""Views of Flask that need a token: ``@jwt_required()``, ``@require("admin")``, ``@require_scopes("read")``.

Views run in threads: a token is checked in the view's own thread where all that takes is there, else on the module's loop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar, overload

try:
    from flask import Response, current_app, request
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{__name__} needs Flask: pip install 'pywatt-jwt[flask]' ({error})", name=error.name) from error

from pywatt_core.http.arrival import AUTH_MARK, BARE_MARK
from pywatt_core.http.guarding import refused

from . import requirements
from .middleware import Checker, Source, extract_jwt_claims, said_in
from .requirements import NOTHING_MORE, Requirement

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class jwt_required:
    """A decorator for views, below ``@app.get(…)``; `claims` then gives what the token proved.

    Above it, the route would have the view without its guard: such an application is not served.

    `source` says who checks: the NAME of a section ``[auth.NAME]``, a `JwtConfig`, an authenticator, or None for ``state.authenticator``.
    `claims_type` is tried on the claims of each request, so that `claims` cannot fail.

    All views of a blueprint: ``blueprint.before_request(jwt_required().refusal)``. Such views are not announced as guarded.
    """

    def __init__(self, *, source: Source = None, claims_type: Any = None, require: Requirement = NOTHING_MORE) -> None:
        self._checker = Checker(source, into=claims_type, require=require)

    def __call__(self, view: F) -> F:
        @functools.wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            refusal = self.refusal()
            return current_app.ensure_sync(view)(*args, **kwargs) if refusal is None else refusal

        setattr(guarded, AUTH_MARK, self._checker.announced)
        with suppress(AttributeError):  # of what takes no attributes, such as a method
            setattr(view, BARE_MARK, True)
        return guarded  # type: ignore[return-value]  # what was decorated, behind a check

    def refusal(self) -> Response | None:
        """What to answer to the request that is being answered; None where it may pass."""
        try:
            self._checker.check_blocking(request.environ, said_in(request.environ))
        except Exception as error:
            answer = refused(error)
            return Response(answer.body, answer.status, answer.headers)
        return None


def require(
    *roles: str, source: Source = None, claims_type: Any = None, claim: str | Iterable[str] = requirements.ROLE_CLAIMS
) -> jwt_required:
    """A decorator for views that only callers with one of `roles` may use."""
    return jwt_required(source=source, claims_type=claims_type, require=requirements.require(*roles, claim=claim))


def require_scopes(
    *scopes: str, source: Source = None, claims_type: Any = None, claim: str | Iterable[str] = requirements.SCOPE_CLAIMS
) -> jwt_required:
    """A decorator for views that only callers may use whose token has all of `scopes`."""
    return jwt_required(source=source, claims_type=claims_type, require=requirements.require_scopes(*scopes, claim=claim))


@overload
def claims() -> Mapping[str, Any]: ...
@overload
def claims(kind: type[T]) -> T: ...
def claims(kind: Any = None) -> Any:
    """What the token of the request that is being answered proved, as `kind`. Raises `MissingToken` where nothing has checked it."""
    return extract_jwt_claims(request, "flask", kind)
