"""A server that publishes keys over real sockets, and does whatever a test makes it do."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .making import public_jwk


class KeyServer:
    """What it answers, and what it was asked. `gate` holds every answer back while it is not set."""

    def __init__(self, address: str) -> None:
        self.pages: dict[str, Any] = {"/keys": {"keys": [public_jwk("RSA", kid="first")]}}
        """By path: JSON, text or bytes; a function gets the handler and does it all itself."""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        self._heard = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()
        kind = type("Server", (ThreadingHTTPServer,), {"address_family": socket.AF_INET6 if ":" in address else socket.AF_INET})
        self._http: ThreadingHTTPServer = kind((address, 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{self._http.server_address[1]}"

    def wait_for(self, number: int) -> None:
        """Until so many questions have come."""
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.asked) >= number, 20), "nobody asked within 20 s"

    def publish(self, *keys: dict[str, Any]) -> None:
        """From now on these are the keys."""
        self.pages["/keys"] = {"keys": list(keys)}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with server._heard:
                    server.asked.append(self.path)
                    server._heard.notify_all()
                server.gate.wait(30)
                page = server.pages.get(self.path.partition("?")[0])
                if callable(page):
                    page(self)
                    return
                data = page if isinstance(page, bytes) else (page if isinstance(page, str) else json.dumps(page)).encode()
                self.send_response(404 if page is None else server.status)
                for name, value in {"content-type": "application/json", "content-length": str(len(data)), **server.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                return

        return Handler

    def run(self) -> None:
        self._http.serve_forever(poll_interval=0.02)

    def close(self) -> None:
        self.gate.set()
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def serving(address: str = "127.0.0.1") -> Iterator[KeyServer]:
    server = KeyServer(address)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)


# ── answers that are no good ────────────────────────────────────────────────────────────────────────────────────────


def drip(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(1000):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.02)
    except OSError:
        return


def redirect(handler: Any) -> None:
    handler.send_response(302)
    handler.send_header("location", "/other")
    handler.send_header("content-length", "0")
    handler.end_headers()


def compressed(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("content-encoding", "gzip")
    handler.send_header("content-length", "2")
    handler.end_headers()
    handler.wfile.write(b"{}")


def endless(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(100_000):
            handler.wfile.write(b" " * 65536)
    except OSError:
        return


def cut_off(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")
