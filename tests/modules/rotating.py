"""A module whose secrets change while it serves: what it uses, and what it was told, are routes away."""

import os
from typing import Any

from pywatt_core import AppState, HttpIpcRouter, Secret, pywatt_module
from pywatt_core.errors import SecretError

TOLD: list[list[str]] = []


def user_state(_init: Any, secrets: list[Secret]) -> list[Secret]:
    return secrets


def told(name: str, secret: Secret) -> None:
    """Takes every value but those that begin with "bad"."""
    if secret.expose_secret().startswith("bad"):
        raise SecretError(f"{secret.expose_secret()} cannot be used")
    TOLD.append([name, secret.expose_secret()])


@pywatt_module(
    secrets=os.environ.get("ROTATING_SECRETS", "").split(),
    rotate="ROTATING_NOT" not in os.environ,
    state_builder=user_state,
    bind_http=False,
)
async def rotating(state: AppState[list[Secret]]) -> Any:
    router: Any = HttpIpcRouter()
    state.secrets.subscribe(["KEY", "OTHER"], told)

    @router.get("/values")
    async def values(_request: Any) -> dict[str, str]:
        return {name: state.secrets[name].expose_secret() for name in state.secrets}

    @router.get("/given")
    async def given(_request: Any) -> list[str]:
        return [secret.expose_secret() for secret in state.user_state]

    @router.get("/told")
    async def what_was_told(_request: Any) -> list[list[str]]:
        return TOLD

    @router.get("/secret/{name}")
    async def secret(_request: Any, name: str) -> str:
        return (await state.get_secret(name)).expose_secret()

    @router.get("/place")
    async def place(_request: Any) -> str:
        rows = await state.database.fetch_all("PRAGMA database_list")
        return os.path.basename(rows[0]["file"])

    return router
