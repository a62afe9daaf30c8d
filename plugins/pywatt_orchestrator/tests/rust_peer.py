"""A stand-in for a module built on the Rust SDK: the golden lines as they are, and the reference's habits, the bad ones too.

It reads the init line byte by byte and refuses what the reference refuses; asks for one secret and swallows the line after
its answer; announces before it listens; sends on its channel only after a frame has come in; never acknowledges a heartbeat
on standard input; reads channel frames bare and writes them in envelopes; ends where a line is not UTF-8.
Arguments: the file with the golden vectors, then what to do beyond the ordinary life.
"""

import base64
import http.server
import json
import os
import queue
import socket
import struct
import sys
import threading
import time
from pathlib import Path

GOLDEN = {vector["name"]: vector["json"] for vector in json.loads(Path(sys.argv[1]).read_text())}
DEEDS = sys.argv[2:]
OUTGOING = queue.Queue()
HEADER = struct.Struct(">IB")


def log(text):
    event = {"timestamp": "2026-01-01T00:00:00.000000Z", "level": "INFO", "fields": {"message": text}, "target": "demo"}
    os.write(2, json.dumps(event, separators=(",", ":")).encode() + b"\n")


def emit(line):
    os.write(1, line.encode() + b"\n")


def read_line():
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return None
        line += byte
    return line.decode("utf-8", "strict")


def handshake():
    init = json.loads(read_line() or sys.exit(1))
    for name in ("orchestrator_api", "module_id", "listen"):
        assert isinstance(init[name], str), name
    assert all(isinstance(value, str) for value in init["env"].values())
    assert init.get("security_level", "None") in ("None", "Token", "Mtls")
    channel = init["tcp_channel"]
    assert channel.keys() == {"address", "tls_enabled", "required"}, channel
    host, port = channel["address"].rsplit(":", 1)
    socket.inet_aton(host)
    return init, (host, int(port))


def get_secret():
    emit(GOLDEN["get_secret"])
    answer = json.loads(read_line() or sys.exit(1))
    assert answer["op"] == "secret" and answer["name"] == "DATABASE_URL" and "value" in answer, answer["op"]
    swallowed = json.loads(read_line())
    log("swallowed " + swallowed["op"])
    log(f"secret of {len(answer['value'])} characters")


def receive_exactly(channel, size):
    data = b""
    while len(data) < size:
        more = channel.recv(size - len(data))
        if not more:
            log("channel closed")
            os._exit(1)
        data += more
    return data


def converse_on_channel(channel):
    """One lock around the socket: whoever wants to send waits for the next frame that comes in."""
    while True:
        size, code = HEADER.unpack(receive_exactly(channel, HEADER.size))
        payload = receive_exactly(channel, size)
        if code not in (1, 2, 3):
            log(f"a frame of format {code}")
            os._exit(1)
        message = json.loads(base64.b64decode(payload) if code == 3 else payload)
        if "op" not in message:
            log("missing field `op`")
            os._exit(1)
        if message["op"] == "heartbeat":
            send_frame(channel, GOLDEN["channel_heartbeat_ack_envelope"])
        elif message["op"] == "shutdown":
            log("shutdown on the channel")
        else:
            log("channel " + json.dumps(message, sort_keys=True, separators=(",", ":")))
        while not OUTGOING.empty():
            send_frame(channel, OUTGOING.get())


def send_frame(channel, text):
    channel.sendall(HEADER.pack(len(text.encode()), 1) + text.encode())


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        text = b"rust"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass


def main():
    init, address = handshake()
    if "secret" in DEEDS:
        get_secret()
    channel = socket.create_connection(address)
    threading.Thread(target=converse_on_channel, args=(channel,), daemon=True).start()
    if "second_connection" in DEEDS:
        try:
            second = socket.create_connection(address, timeout=10)
            log("let in twice" if second.recv(1) else "the door is closed")
        except (ConnectionRefusedError, ConnectionResetError):
            log("the door is closed")
    emit(GOLDEN["announce_full"].replace("127.0.0.1:4102", init["listen"]))
    time.sleep(0.3)  # The reference announces before it listens.
    host, port = init["listen"].rsplit(":", 1)
    server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    if "route" in DEEDS:
        OUTGOING.put(GOLDEN["channel_route_to_module_envelope"])
    for name in ("port_request_any", "service_request_database", "service_operation_db_query", "register_service_provider_minimal"):
        if name in DEEDS:
            emit(GOLDEN[name])
    while (line := read_line()) is not None:
        message = json.loads(line)
        if message["op"] == "shutdown":
            if "ignore_shutdown" not in DEEDS:
                log("shutdown")
                return
        elif message["op"] == "rotated":
            emit(json.dumps({"op": "rotation_ack", "rotation_id": message["rotation_id"], "status": "success"}))
            swallowed = json.loads(read_line())
            log(f"rotated {' '.join(message['keys'])}, swallowed {swallowed['op']}")
        elif message["op"] != "heartbeat":
            log("stdin " + json.dumps(message, sort_keys=True, separators=(",", ":")))
    if "ignore_shutdown" in DEEDS:
        log("standard input ended and nobody cares")
        threading.Event().wait()


main()
