"""Accounts on FastAPI: who signs in gets a token with roles; what needs one says so in its signature."""

import hmac
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel

from pywatt_core import AppState, pywatt_module
from pywatt_core.access import TokenIssuer
from pywatt_jwt.fastapi import JwtBearer, document_refusals, require

PEOPLE = {"ada": ["member", "admin"], "bob": ["member"]}


@dataclass
class Member:
    """What a token of ours says."""

    sub: str
    roles: list[str] = field(default_factory=list)


class SignIn(BaseModel):
    name: str
    code: str


@pywatt_module(secrets=["SIGN_IN_CODE"])
async def accounts(state: AppState[None]) -> FastAPI:
    people, issuer = dict(PEOPLE), state.authenticator
    assert isinstance(issuer, TokenIssuer), "[auth.main] has a key that signs, or [services.tokens] issue names this module"
    code = (await state.get_secret("SIGN_IN_CODE")).expose_secret().encode()
    app = document_refusals(FastAPI(title="Accounts"))

    @app.post("/login")
    async def login(wanted: SignIn) -> dict[str, str]:
        right = hmac.compare_digest(wanted.code.encode(), code)
        if not right or wanted.name not in people:
            raise HTTPException(403, "this name and this code do not belong together")
        return {"token": await issuer.issue({"sub": wanted.name, "roles": people[wanted.name]})}

    @app.get("/me")
    async def me(member: Annotated[Member, Depends(JwtBearer(Member))]) -> Member:
        return member

    @app.delete("/people/{name}", dependencies=[Depends(require("admin"))])
    async def remove(name: str) -> list[str]:
        people.pop(name, None)
        return sorted(people)

    return app


if __name__ == "__main__":
    accounts.run()
