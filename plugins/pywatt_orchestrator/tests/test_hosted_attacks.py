"""Every bad token of pywatt-jwt's corpus, sent to an authenticator that the orchestrator hosts, and to the gateway: none passes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.errors import InvalidToken
from pywatt_core.http.bearer import refusal_of
from pywatt_core.protocol.messages import AnnouncedEndpoint
from pywatt_core.redaction import Secret
from pywatt_core.services.hosted_auth import MOST_CHARACTERS, open_hosted_auth
from pywatt_core.services.hosted_options import HostedAuthOptions
from pywatt_orchestrator.gateway import Gateway, GatewayOptions, Instance, ModuleRoutes, RouteTable

from .host import module, running

CORPUS = import_module("plugins.pywatt_jwt.tests.attacks.bad_tokens")  # another plugin's tests, which are no package of ours
VICTIMS = import_module("plugins.pywatt_jwt.tests.attacks.victims")
forged, unfit, victims, SECRET = CORPUS.forged, CORPUS.unfit, VICTIMS.victims, VICTIMS.SECRET

OPTIONS = ("secret_key", "public_key", "jwks", "algorithms", "issuer", "audience", "required_claims")
WAIT = 30.0


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("h")) as path:
        yield path


def hosted(victim: Any) -> dict[str, Any]:
    """``[services.*]`` with the victim's own options."""
    said = {name: getattr(victim.config, name) for name in OPTIONS}
    options = {name: value.expose_secret() if isinstance(value, Secret) else value for name, value in said.items() if value}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {"tokens": {"modules": ["users"], "auth": {"use": "jwt", **plain}}}


@pytest.mark.parametrize("name", list(victims()))
async def test_no_bad_token_is_accepted_by_a_hosted_authenticator(host: str, tmp_path: Path, name: str) -> None:
    victim = victims()[name]
    async with module(host, hosted(victim), tmp_path) as context, open_hosted_auth(HostedAuthOptions(service="tokens"), context) as ours:
        assert (await ours.authenticate(victim.token()))["sub"] == "mallory"
        for bad, forgery in ((forged, True), (unfit, False)):
            for what, token in bad(victim):
                with pytest.raises(InvalidToken) as caught:
                    pytest.fail(f"{what} was accepted: {await ours.authenticate(token)}")
                assert refusal_of(caught.value).status == 401
                assert not forgery or caught.value.reason == "", f"{what}: a client would learn {caught.value.reason}"
                assert SECRET not in str(caught.value) and not any(
                    part in str(caught.value) for part in token.split(".") if len(part) > 16
                ), what
        assert (await ours.authenticate(victim.token()))["sub"] == "mallory"


@pytest.mark.parametrize("name", ["hmac", "set", "strict"])
async def test_no_bad_token_passes_the_gateway(host: str, tmp_path: Path, name: str) -> None:
    victim = victims()[name]
    asked = []

    async def http_request(request: Any) -> Any:
        asked.append(request)
        raise ConnectionError

    routes = ModuleRoutes(
        name="m",
        mount="/",
        endpoints=[AnnouncedEndpoint("/x", ["GET"], "jwt")],
        instances=(Instance("m", None, ready=True, http_request=http_request),),
    )
    gateway = Gateway(GatewayOptions(port=0, metrics="off", authenticate="tokens"))
    async with module(host, hosted(victim), tmp_path) as context, open_hosted_auth(HostedAuthOptions(service="tokens"), context) as ours:
        gateway.authenticate = ours.authenticate
        await gateway.start()
        gateway.update(RouteTable([routes]))
        try:
            address = gateway.address
            assert address is not None
            reader, writer = await asyncio.open_connection(*address, limit=2**20)

            async def status(token: str) -> tuple[int, bytes]:
                nonlocal reader, writer
                if reader.at_eof() or writer.is_closing():
                    reader, writer = await asyncio.open_connection(*address, limit=2**20)
                writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token.encode("utf-8", "surrogatepass") + b"\r\n\r\n")
                async with asyncio.timeout(WAIT):
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                    body = await reader.readexactly(length)
                    if b"\r\nConnection: close" in head:
                        writer.close()
                return int(head.split(b" ")[1]), body

            for bad, forgery in ((forged, True), (unfit, False)):
                for what, token in bad(victim):
                    if len(token) > MOST_CHARACTERS or "\n" in token or "\r" in token or token.strip(" \t") != token:
                        continue  # no header, or one whose blanks mean nothing
                    code, body = await status(token)
                    assert code in (400, 401, 431), (what, code)
                    assert (
                        code != 401
                        or not forgery
                        or body
                        in (
                            b'{"error":"Unauthorized: InvalidToken"}',
                            b'{"error":"Missing Authorization header"}',
                        )
                    ), (what, body)
            assert asked == []
            assert (await status(victim.token()))[0] != 401 and len(asked) == 1
            writer.close()
        finally:
            await gateway.close()
