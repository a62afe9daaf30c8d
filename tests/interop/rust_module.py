"""A stand-in for a module built on the reference SDK 0.5.3, with its defects: a program that a real supervisor starts.

It knows the wire from `rust_wire` alone. Arguments are deeds, ``NAME`` or ``NAME=VALUE``; without any it lives the ordinary life
of a module with a TCP channel: secrets, channels, announce, and only then a server on its port.
"""

from __future__ import annotations

import http.server
import os
import queue
import re
import socket
import sys
import threading
import time
import uuid
from typing import Any, NoReturn

import rust_wire as wire  # type: ignore[import-not-found]  # this file is a program, which finds what stands beside it

DEEDS = [deed.partition("=")[::2] for deed in sys.argv[1:]]
NAMES = {name for name, _ in DEEDS}
LAG = 100
"""Requests over standard input that may wait for the one consumer."""


def values(name: str) -> list[str]:
    return [value for deed, value in DEEDS if deed == name]


def log(text: str, level: str = "INFO") -> None:
    event = {"timestamp": "2026-01-01T00:00:00.000000Z", "level": level, "fields": {"message": text}, "target": "demo"}
    os.write(2, wire.compact(event).encode() + b"\n")


def log_raw(line: bytes | None) -> None:
    """As the reference does before it has looked at a line, or knows that there is a secret in it."""
    if "raw_log" in NAMES and line is not None:
        log("received line: " + line.decode(errors="replace"))


def end(code: int, why: str) -> NoReturn:
    """The first task that ends ends the module."""
    log(f"ends with {code}: {why}")
    os._exit(code)


def emit(message: Any) -> None:
    """One of several writers of standard output, none of which knows of the others."""
    os.write(1, wire.compact(message).encode() + b"\n")


# ── standard input: several readers, each with a buffer of its own ──────────────────────────────────────────────────


class Lines:
    """One of the competing readers. What is in its buffer nobody else will ever see."""

    def __init__(self, size: int) -> None:
        self.size, self.buffer = size, bytearray()

    def next(self) -> bytes | None:
        while b"\n" not in self.buffer:
            data = os.read(0, self.size)
            if not data:
                return None
            self.buffer += data
        line, _, rest = bytes(self.buffer).partition(b"\n")
        self.buffer = bytearray(rest)
        return line


HANDSHAKE = Lines(1)  # byte by byte, so that nothing after the line is taken
GET_SECRET = Lines(1)
BACKGROUND = Lines(1)
LOOP = Lines(8192)


def read_init() -> dict[str, Any]:
    line = HANDSHAKE.next()
    if line is None:
        end(1, "handshake failed: stdin closed unexpectedly during handshake")
    try:
        init: dict[str, Any] = wire.parse(line)
        wire.INIT(init, "init")
    except wire.Rejected as error:
        end(1, f"handshake failed: failed to parse Init JSON: {error}")
    log("init " + wire.compact({key: value for key, value in init.items() if key not in ("env", "auth_token", "pywatt")}, sort=True))
    return init


def get_secret(name: str) -> str | None:
    """The next line has to be the answer: anything else is an error, and swallowed."""
    emit({"op": "get_secret", "name": name})
    line = GET_SECRET.next()
    if line is None:
        end(1, "secret client error: io error")
    try:
        answer = wire.tagged(wire.parse(line), wire.TO_MODULE)
    except wire.Rejected as error:
        end(1, f"secret client error: json error: {error}")
    if answer["op"] != "secret" or answer["name"] != name:
        log(f"secret client error: unexpected: {answer['op']}")
        return None
    return str(answer["value"])


def swallow() -> None:
    """The secret client's background reader holds the lock: the line is dropped."""
    line = BACKGROUND.next()
    log_raw(line)
    log("swallowed " + (wire.parse(line)["op"] if line is not None else "the end"))


def fetch_secrets() -> None:
    for name in values("secret"):
        value = get_secret(name)
        if value is None:
            end(1, "secret client error: unexpected")
        swallow()
        log(f"secret {name} of {len(value)} characters")
    for name in values("lost_secret"):
        # The background reader takes the answer; the user's code asks again until it has one.
        emit({"op": "get_secret", "name": name})
        swallow()
        attempts = 1
        while (value := get_secret(name)) is None:
            attempts += 1
        log(f"secret {name} of {len(value)} characters after {attempts} more attempts")


# ── channels: one lock around the socket ────────────────────────────────────────────────────────────────────────────


class Channel:
    """Half-duplex: what is to be sent waits until a frame has come in."""

    def __init__(self, name: str, sock: socket.socket) -> None:
        self.name, self.sock = name, sock
        self.beats = 0
        self.outgoing: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def send(self, content: dict[str, Any]) -> None:
        self.outgoing.put(wire.frame(wire.envelope(content)))

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise ConnectionError("closed")
            data += more
        return data

    def read(self) -> None:
        try:
            while True:
                size, code = wire.HEADER.unpack(self.exactly(wire.HEADER.size))
                payload = self.exactly(size)
                try:
                    text = wire.frame_text(code, payload)
                except wire.Rejected as error:
                    end(1, f"the reader of {self.name} ended: {error}")
                if code != wire.JSON:
                    log(f"got format {code} on {self.name}")
                self.take(text)
                while not self.outgoing.empty():
                    self.sock.sendall(self.outgoing.get())
        except OSError as error:
            end(1, f"the reader of {self.name} ended: {error}")

    def take(self, text: bytes) -> None:
        try:
            message = wire.tagged(wire.parse(text), wire.TO_MODULE)
        except wire.Rejected as error:
            log(f"could not read a frame on {self.name}: {error}", "ERROR")
            return
        match message["op"]:
            case "heartbeat":
                self.beats += 1
                log(f"heartbeat {self.beats} on {self.name}")
                self.send({"op": "heartbeat_ack"})
            case "shutdown":
                end(0, f"shutdown on {self.name}")
            case "routed_module_response":
                log(f"response {message['request_id']} from {message['source_module_id']}: {bytes(message['payload']['data']).decode()}")
            case "routed_module_message":
                log(f"no handler for messages from {message['source_module_id']}")
            case "http_request":
                self.send(canned(message, self.name))
            case op:
                log(f"{self.name} ignores {op}", "TRACE")


def canned(request: dict[str, Any], name: str) -> dict[str, Any]:
    """The application is never asked."""
    uri, method = request["uri"], request["method"]
    body = '{"status":"healthy","module_id":"'
    if uri != "/health":
        text = f"API endpoint {uri} processed" if uri.startswith("/api/") else "HTTP request received"
        middle = "" if uri.startswith("/api/") else f'"uri":"{uri}",'
        body = f'{{"message":"{text}",{middle}"method":"{method}","correlation_id":"{uuid.uuid4()}","channel":"{name}"}}'
    headers = {"content-type": "application/json"}
    return {"op": "http_response", "request_id": request["request_id"], "status_code": 200, "headers": headers, "body": list(body.encode())}


def open_channels(init: dict[str, Any]) -> list[Channel]:
    found = []
    if offer := init.get("tcp_channel"):
        host, port = offer["address"].rsplit(":", 1)
        try:
            found.append(Channel("TCP", socket.create_connection((host, int(port)), timeout=30)))
            found[0].sock.settimeout(None)
        except OSError as error:
            if offer["required"]:
                end(1, f"required channel failed to initialize: TCP - {error}")
        log("could not send identify: cannot serialize tagged newtype variant", "WARN")
    if offer := init.get("ipc_channel"):
        pause = 0.1
        while True:  # For ever, required or not.
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(offer["socket_path"])
                break
            except OSError as error:
                log(f"the socket is not there: {error}")
                time.sleep(pause)
                pause = min(pause * 2, 30.0)
        found.append(Channel("IPC", sock))
    return found


def register_over_stdio() -> None:
    """Deeds that write on standard output once the module runs, each by a writer of its own."""
    for text in values("emit"):
        os.write(1, text.encode() + b"\n")
    for text in values("torn"):
        # Two writers at once: the second line lands within the first.
        os.write(1, text[: len(text) // 2].encode())
        emit({"op": "port_request", "request_id": str(uuid.uuid4()), "specific_port": None})
        os.write(1, text[len(text) // 2 :].encode() + b"\n")


# ── HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        text = b"rust"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None:
        pass


def serve(listen: str) -> None:
    """On 127.0.0.1, whatever the address said."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(listen.rsplit(":", 1)[1])), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class Consumer:
    """HTTP over standard input: a queue that must not be full, one request at a time, and one bad request ends it all."""

    def __init__(self) -> None:
        self.queue: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self.run, daemon=True).start()

    def take(self, request: dict[str, Any]) -> None:
        if self.queue.qsize() >= LAG:
            end(1, "the consumer of http requests lagged")
        self.queue.put(request)

    def run(self) -> None:
        while True:
            request = self.queue.get()
            visible = all(" " <= letter <= "~" or letter == "\t" for value in request["headers"].values() for letter in value)
            uri = re.fullmatch(r"/[!\"$-;=?-_a-~]*", request["uri"])
            if not re.fullmatch(r"[!#-'*+.^_`|~0-9A-Za-z-]+", request["method"]) or uri is None or not visible:
                end(1, "serving ended: invalid request")
            if "slow" in NAMES:
                time.sleep(0.002)
            self.answer(request)

    def answer(self, request: dict[str, Any]) -> None:
        body = list(f"{request['method']} {request['uri']}".encode())
        answer: dict[str, Any] = {
            "request_id": request["request_id"],
            "status_code": 200,
            "headers": {"content-type": "text/plain"},
            "body": body,
        }
        answer |= wire.parse((values("answer") or ["{}"])[0].encode())
        form = (values("answers") or ["wrapper"])[0]
        if form == "tagged":
            emit({"op": "http_response", **answer})
        elif form == "enveloped":
            os.write(1, wire.envelope({"op": "http_response", **answer}).encode() + b"\n")
        else:
            source = os.environ.get("PYWATT_MODULE_ID", "unknown_module")
            metadata = {"id": str(uuid.uuid4()), "properties": {"correlation_id": request["request_id"]}, "source": source}
            os.write(1, wire.compact({"content": answer, "metadata": metadata}, sort=True).encode() + b"\n")


# ── its life ────────────────────────────────────────────────────────────────────────────────────────────────────────


def converse() -> None:
    """The stdin loop, which ends at the first line that is not UTF-8."""
    consumer = Consumer()
    while (line := LOOP.next()) is not None:
        log_raw(line)
        try:
            line.decode()
        except UnicodeDecodeError:
            end(1, "the stdin loop ended: stream did not contain valid UTF-8")
        try:
            message = wire.tagged(wire.parse(line), wire.TO_MODULE)
        except wire.Rejected as error:
            log(f"could not read a line: {error}", "ERROR")
            continue
        match message["op"]:
            case "shutdown":
                end(0, "shutdown")
            case "heartbeat":
                pass  # Not answered on standard output.
            case "http_request":
                consumer.take(message)
            case "rotated":
                emit({"op": "rotation_ack", "rotation_id": message["rotation_id"], "status": "success"})
                BACKGROUND.buffer, LOOP.buffer = LOOP.buffer, bytearray()
                swallow()  # It waits for an answer that never comes, and takes what does.
                LOOP.buffer, BACKGROUND.buffer = BACKGROUND.buffer, bytearray()
            case op:
                log(f"stdin {op} " + wire.compact(message, sort=True))
    end(0, "the end of stdin")


def macro_module(init: dict[str, Any]) -> NoReturn:
    """What the macro makes: no loop, no channels, no end."""
    if "/" in init["listen"]:
        announce("127.0.0.1:0")
        end(1, "configuration error: invalid configuration: Only TCP listen is supported")
    announce(init["listen"])
    serve(init["listen"])
    while True:
        time.sleep(3600)


def announce(listen: str) -> None:
    endpoints = [{"path": "/status", "methods": ["GET"]}, {"path": "/data", "methods": ["GET", "POST"], "auth": "jwt"}]
    message: dict[str, Any] = {"op": "announce", "listen": listen, "endpoints": endpoints}
    if "no_port" in NAMES:
        message["endpoints"].append({"path": "/{*rest}", "methods": ["GET"]})
        message["pywatt"] = {"api": 1, "features": ["http_ipc_only"]}
    for line in values("announce_line"):
        os.write(1, line.replace("LISTEN", listen).encode() + b"\n")
        return
    emit(message)


def main() -> None:
    init = read_init()
    for name in values("tell_env"):
        log(f"env {name} is {os.environ.get(name)!r}")
    if "macro" in NAMES:
        macro_module(init)
    fetch_secrets()
    channels = open_channels(init)
    announce((values("announce") or [init["listen"]])[0])
    if not any(channel.name == "TCP" for channel in channels):
        end(1, "cannot serialize tagged newtype variant ModuleToOrchestrator::Identify containing a string")
    if "no_port" not in NAMES:
        time.sleep(0.2)  # The reference announces before it listens.
        serve(init["listen"])
    register_over_stdio()
    for route in values("route"):
        target, endpoint, value = route.split(":", 2)
        payload = wire.encoded(wire.envelope(wire.parse(value.encode())))
        id = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
        content = {"op": "route_to_module", "target_module_id": target, "target_endpoint": endpoint, "request_id": id, "payload": payload}
        channels[0].send(content)
    for text in values("frame"):
        channels[0].outgoing.put(wire.frame(text))
    for text in values("raw_frame"):
        channels[0].outgoing.put(bytes.fromhex(text))
    converse()


if __name__ == "__main__":
    main()
