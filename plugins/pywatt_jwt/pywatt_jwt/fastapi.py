"""Endpoints of FastAPI that need a token: ``Depends(JwtBearer())``, ``Depends(require("admin"))``.

The dependency is a security scheme in the sense of OpenAPI, so ``/docs`` has its button, and PyWatt announces the endpoint with
``auth="jwt"``. Errors look as FastAPI's do: ``{"detail": "Unauthorized: ExpiredSignature"}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

try:
    from fastapi import FastAPI, HTTPException, WebSocketException
    from fastapi.openapi.models import HTTPBearer
    from fastapi.security import SecurityScopes
    from fastapi.security.base import SecurityBase
    from starlette.requests import HTTPConnection
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{__name__} needs FastAPI: pip install 'pywatt-jwt[fastapi]' ({error})", name=error.name) from error

from pywatt_core.http.arrival import AUTH_MARK
from pywatt_core.http.asgi_front import POLICY_VIOLATION
from pywatt_core.http.bearer import CLAIMS_KEY, text_of
from pywatt_core.http.guarding import refused

from . import requirements
from .middleware import Checker, Source
from .requirements import NOTHING_MORE, Requirement

SCHEME: Final = "jwt"
"""The name of the security scheme in ``openapi.json``."""

REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {
        "description": "There is no token, or it is not good here.",
        "headers": {"WWW-Authenticate": {"description": "How to ask", "schema": {"type": "string", "example": "Bearer"}}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
    },
    403: {
        "description": "The token is good, and does not allow this.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
    },
}
"""What guarded endpoints may answer, for OpenAPI; `document_refusals` adds it."""

REFUSAL_SCHEMA: Final = {
    "type": "object",
    "title": "Refusal",
    "required": ["detail"],
    "properties": {"detail": {"type": "string", "examples": ["Unauthorized: ExpiredSignature"]}},
}


class TokenRefused(HTTPException):
    """401, 403, or 503 where the authenticator cannot tell now. An application may answer it in its own way, as any HTTPException."""


class _NoSignature:
    """Stands where FastAPI looks for the parameters of a dependency: ``Depends(JwtBearer)`` would make one, and ask nobody for a token."""

    def __init__(self, instead: str) -> None:
        self._instead = instead

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is not None:
            raise AttributeError("__signature__")
        raise TypeError(f"this dependency would guard nothing: write {self._instead}")

    def __repr__(self) -> str:
        return f"<this dependency would guard nothing: write {self._instead}>"


class JwtBearer(SecurityBase):
    """A dependency that lets requests and WebSockets with a good token pass, and gives their claims.

    `claims_type` is what the claims are given as: a dataclass, Struct, pydantic model or TypedDict; None: a mapping. `source` says who
    checks: the NAME of a section ``[auth.NAME]``, a `JwtConfig`, an authenticator, or None for ``state.authenticator``. `require` is
    what else has to hold. Scopes of ``Security(JwtBearer(), scopes=["read"])`` are required too.
    """

    __signature__ = _NoSignature("Depends(JwtBearer()), with parentheses")

    def __init__(self, claims_type: Any = None, *, source: Source = None, require: Requirement = NOTHING_MORE) -> None:
        self._checker = Checker(source, into=claims_type, require=require)
        self.model = HTTPBearer(bearerFormat="JWT")
        self.scheme_name = SCHEME if self._checker.announced == "jwt" else self._checker.announced
        setattr(self, AUTH_MARK, self._checker.announced)

    async def __call__(self, connection: HTTPConnection, security_scopes: SecurityScopes) -> Any:
        """The claims. Raises `TokenRefused`, or closes a WebSocket with 1008 before it is accepted."""
        try:
            claims = await self._checker.check(connection.scope, connection.headers.getlist("authorization"))
            if security_scopes.scopes:
                requirements.require_scopes(*security_scopes.scopes).check(connection.scope[CLAIMS_KEY])
        except Exception as error:
            refusal = refused(error)
        else:
            return claims
        if connection.scope["type"] == "websocket":
            raise WebSocketException(POLICY_VIOLATION)
        raise TokenRefused(refusal.status, text_of(refusal), {name: value for name, value in refusal.headers if name != "content-type"})


def require(
    *roles: str, claims_type: Any = None, source: Source = None, claim: str | Iterable[str] = requirements.ROLE_CLAIMS
) -> JwtBearer:
    """A dependency for callers with one of `roles`: ``Depends(require("admin"))``. It gives the claims, as `JwtBearer` does."""
    return JwtBearer(claims_type, source=source, require=requirements.require(*roles, claim=claim))


def require_scopes(
    *scopes: str, claims_type: Any = None, source: Source = None, claim: str | Iterable[str] = requirements.SCOPE_CLAIMS
) -> JwtBearer:
    """A dependency for callers whose token has all of `scopes`: ``Depends(require_scopes("read", "write"))``."""
    return JwtBearer(claims_type, source=source, require=requirements.require_scopes(*scopes, claim=claim))


require.__dict__["__signature__"] = _NoSignature('Depends(require("admin")), with a role')
require_scopes.__dict__["__signature__"] = _NoSignature('Depends(require_scopes("read")), with a scope')


def document_refusals(app: FastAPI) -> FastAPI:
    """Let the application's ``openapi.json`` say that endpoints which need a token may answer 401 and 403. Endpoints may come later."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        fresh = app.openapi_schema is None
        schema = make()
        if fresh:
            _add_refusals(schema)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _add_refusals(schema: dict[str, Any]) -> None:
    components = schema.get("components", {})
    bearers = {name for name, scheme in components.get("securitySchemes", {}).items() if scheme.get("bearerFormat") == "JWT"}
    for path in schema.get("paths", {}).values():
        for operation in path.values():
            wanted = operation.get("security", ()) if isinstance(operation, dict) else ()
            if any(bearers.intersection(cast("Mapping[str, Any]", scheme)) for scheme in wanted):
                for status, response in REFUSALS.items():
                    operation.setdefault("responses", {}).setdefault(str(status), response)
                components.setdefault("schemas", {}).setdefault("Refusal", REFUSAL_SCHEMA)
