"""Paths written in every other way: whatever a framework takes for a guarded view, the gateway has asked for a token before.

The views here carry the mark of one that needs a token and check none: each of them that answers has been let in by the gateway.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

FASTAPI = """
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.responses import PlainTextResponse
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from pywatt_core import pywatt_module
from pywatt_core.http import AUTH_MARK

def marked(view):
    setattr(view, AUTH_MARK, "jwt")
    return view

@pywatt_module()
async def app(state):
    app = FastAPI(default_response_class=PlainTextResponse)

    @app.get("/admin")
    @marked
    async def admin():
        return "RAN"

    @app.api_route("/items/{id}", methods=["GET", "PUT", "DELETE"])
    @marked
    async def item(id: str):
        return "RAN"

    @app.api_route("/asked", methods=["GET", "OPTIONS"])
    @marked
    async def asked():
        return "RAN"

    @app.get("/files/{path:path}")
    @marked
    async def files(path: str):
        return "RAN"

    @app.get("/Größe/über uns")
    @marked
    async def umlaut():
        return "RAN"

    @app.post("/both")
    @marked
    async def write():
        return "RAN"

    @app.get("/both")
    async def read():
        return "open"

    @marked
    async def inner(request):
        return PlainTextResponse("RAN")

    app.mount("/sub", Starlette(routes=[Route("/inner", inner), Mount("/deep", routes=[Route("/inner", inner)])]))

    @app.get("/items/public/open")
    async def public():
        return "open"

    @app.get("/{rest:path}")
    async def everything(rest: str):
        return "open"

    return app
"""

FLASK = """
from flask import Blueprint, Flask, Response
from pywatt_core import pywatt_module
from pywatt_core.http import AUTH_MARK

def marked(view):
    setattr(view, AUTH_MARK, "jwt")
    return view

@pywatt_module()
def app(state):
    app = Flask(__name__)
    app.url_map.strict_slashes = False
    inner = Blueprint("inner", __name__)

    @app.route("/admin", strict_slashes=False)
    @marked
    def admin():
        return "RAN"

    @app.route("/items/<int:id>", methods=["GET", "PUT", "DELETE"])
    @marked
    def item(id):
        return "RAN"

    @app.route("/files/<path:path>")
    @marked
    def files(path):
        return "RAN"

    @app.route("/Größe/über uns")
    @marked
    def umlaut():
        return "RAN"

    @app.post("/both")
    @marked
    def write():
        return "RAN"

    @app.get("/both")
    def read():
        return "open"

    @app.route("/asked", methods=["GET", "OPTIONS"])
    @marked
    def asked():
        return "RAN"

    @inner.route("/inner/", methods=["GET", "OPTIONS"])
    @marked
    def within():
        return "RAN"

    app.register_blueprint(inner, url_prefix="/sub")
    app.register_blueprint(inner, url_prefix="/sub/deep", name="deep")

    @app.route("/<path:rest>")
    @app.route("/")
    def everything(rest=""):
        return "open"

    return app
"""

CONFIG = """
[gateway]
authenticate = "tokens"

[services.tokens]
modules = []
auth = {{ use = "jwt", secret_key = "secret:JWT_KEY" }}

[modules.m]
run = "app.py"
mount = "{mount}"
mount_all = {mount_all}
"""

KEY = "a key of more than thirty-two bytes, for tests"

GUARDED = (
    "/admin", "/items/7", "/files/a/b", "/Gr%C3%B6%C3%9Fe/%C3%BCber%20uns", "/both", "/asked", "/sub/inner", "/sub/inner/",
    "/sub/deep/inner",
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "QUERY", "get", "Get")


def token() -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, {"sub": "ada", "exp": int(time.time()) + 600})]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (signed + b"." + base64.urlsafe_b64encode(hmac.digest(KEY.encode(), signed, "sha256")).rstrip(b"=")).decode()


def rewritten(path: str) -> list[str]:
    """The path as others might write it, and come to the same view."""
    first, *rest = path[1:].split("/")
    behind = "".join("/" + segment for segment in rest)
    found = [
        path, path + "/", path + "//", "/" + path, path + "/.", path + "/./", path + "/..", path + "/x/..", "/x/.." + path, "/." + path,
        path + "%2f", path + "%2F", "/%2e" + path, path + "/%2e%2e", "%2f" + path, "/%2f" + path, path.replace("/", "%2f"),
        "/" + path.replace("/", "\\"), path.replace("/", "%5c"), path + "?", path + "?x=/open", path + "#", path + "%23", path + "%3f",
        path + ";", path + ";x=y", f"/{first};x=y{behind}", path + "%3b", path + "%00", path + "%0a", path + "%0d%0a", path + "%20",
        path + ".", path + ".json", path + "%ff", path + "%c0%af", path + "\x85", path + "é", path.upper(), path.lower(), path.title(),
        path.swapcase(), path.replace("i", "%C4%B1"), path.replace("a", "%61"), path.replace("a", "%2561"), path.replace("n", "%6E"),
        path.replace("n", "%6e"), "".join(f"%{ord(one):02x}" if one not in "/%" else one for one in path), "/m" + path, "/sub/.." + path,
        "http://front.test" + path, "http://front.test/" + path, f"/{first}/{behind}", f"/{first}//{behind.lstrip('/')}", path[1:],
        "*" + path, path + "+",
        f"/both{path}", f"/open/..{path}", f"{path}/../open", f"{path}%2f..%2fopen", f"/items/public/open/../..{path}",
    ]  # fmt: skip
    return list(dict.fromkeys(found))


async def answer(address: str, head: bytes) -> bytes:
    """Everything that comes back on a connection of its own."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(30):
            writer.write(head)
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(("mount", "mount_all"), [("/", "false"), ("/m", "false"), ("/", "true")])
@pytest.mark.parametrize("application", ["fastapi", "flask"])
async def test_no_other_way_to_write_a_path_leads_to_a_guarded_view(
    running: Callable[[], Any], application: str, mount: str, mount_all: str
) -> None:
    async with running() as project:
        project.write(FASTAPI if application == "fastapi" else FLASK, "app.py")
        project.write(CONFIG.format(mount=mount, mount_all=mount_all))
        project.write(f"JWT_KEY={KEY}\n", ".env")
        await project.start()
        await project.ready("m")
        below = mount.rstrip("/")
        places = asyncio.Semaphore(16)
        ran: list[str] = []
        let_in = []

        async def ask(method: str, path: str, *lines: str) -> bytes:
            whole = below + path if path.startswith("/") else path.replace("front.test", "front.test" + below)
            said = "\r\n".join((f"{method} {whole} HTTP/1.1", "Host: front.test", "Connection: close", *lines, "", ""))
            async with places:
                return await answer(project.address, said.encode("latin-1", "replace"))

        async def without_token(method: str, path: str, *lines: str) -> None:
            found = await ask(method, path, *lines)
            if b"RAN" in found or (
                method == "HEAD" and b" 200 " in found.partition(b"\r\n")[0] and b"content-length: 3\r\n" in found.lower()
            ):
                ran.append(f"{method} {path} {lines}")

        for path in GUARDED:
            for method in ("GET", "POST"):
                if b"RAN" in await ask(method, path, f"Authorization: Bearer {token()}"):
                    let_in.append(path)
        assert {path.rstrip("/") for path in let_in} == {path.rstrip("/") for path in GUARDED}, "these views can be reached"
        everything = [(method, path) for guarded in GUARDED for path in rewritten(guarded) for method in ("GET", "POST", "HEAD")]
        everything += [(method, path) for path in GUARDED for method in METHODS]
        await asyncio.gather(*(without_token(method, path) for method, path in everything))
        overriding = ("X-HTTP-Method-Override: POST", "X-HTTP-Method: PUT", "X-Method-Override: GET", "Origin: x", "X-Original-URL: /admin")
        lines = (*overriding, "X-Rewrite-URL: /admin", "X-Forwarded-Prefix: /admin", "X_Forwarded_Prefix: /admin", "SCRIPT_NAME: /admin")
        await asyncio.gather(
            *(without_token(method, path, line) for path in (*GUARDED, "/open") for line in lines for method in ("GET", "POST"))
        )
        preflight = ("Origin: http://elsewhere.test", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization")
        await asyncio.gather(*(without_token("OPTIONS", path, *preflight) for path in GUARDED))
        assert ran == []
        assert b"open" in await ask("GET", "/anything/else"), "what is open stays so"
        assert b"open" in await ask("GET", "/both")
