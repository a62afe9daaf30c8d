"""A scripted module for tests: it speaks the wire with nothing but the standard library, and misbehaves as it is told.

Every argument is one deed, done in the order given; ``serve`` answers HTTP until it is told to end. Run by the tests of the
orchestrator as ``command = ["python", "peer.py", …]``.
"""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

INIT = {}
LOCK = threading.Lock()
ENDED = threading.Event()
FEATURES = []
ENDPOINTS = [{"path": path, "methods": ["GET"]} for path in ("/health", "/pid", "/slow", "/env")]
HEALTH = [200]
RUNNING = []


def send(message):
    with LOCK:
        os.write(1, json.dumps(message).encode() + b"\n")


def receive():
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return None
        line += byte
    return json.loads(line)


def greet():
    INIT.update(receive() or sys.exit(3))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        RUNNING.append(self)
        try:
            self.answer()
        finally:
            RUNNING.remove(self)

    def answer(self):
        if self.path == "/slow":
            print("slow begun", file=sys.stderr, flush=True)
            time.sleep(1)
        status = HEALTH[0] if self.path == "/health" else 200
        text = {"/pid": str(os.getpid()), "/env": json.dumps(dict(os.environ))}.get(self.path, "ok").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def address_string(self):
        return "peer"

    def log_message(self, *arguments):
        pass


def listener():
    if "PYWATT_LISTEN_FD" in os.environ:
        found = socket.socket(fileno=int(os.environ["PYWATT_LISTEN_FD"]))
        found.setblocking(True)
        return found
    host, port = INIT["listen"].rsplit(":", 1)
    return socket.create_server((host, int(port)))


def serve_http():
    class Server(http.server.ThreadingHTTPServer):
        def __init__(self, sock):
            super().__init__(("", 0), Handler, bind_and_activate=False)
            self.socket.close()
            self.socket = sock

    server = Server(listener())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


def announce():
    message = {"op": "announce", "listen": INIT["listen"], "endpoints": ENDPOINTS}
    if FEATURES:
        message["pywatt"] = {"api": 1, "features": FEATURES}
    send(message)


def converse():
    """Answer the orchestrator until it says shutdown or closes standard input."""
    while (message := receive()) is not None and message["op"] != "shutdown":
        if message["op"] == "heartbeat" and "heartbeat" in FEATURES:
            send({"op": "heartbeat_ack"})
        elif message["op"] == "http_request":
            answer = {"request_id": message["request_id"], "status_code": 200, "headers": {"x": "ipc"}, "body": list(b"over the link")}
            send({"op": "http_response", **answer})
        else:
            print("received " + json.dumps(message, sort_keys=True), file=sys.stderr, flush=True)


def drain():
    while RUNNING:
        time.sleep(0.01)


def main():
    for deed in sys.argv[1:]:
        name, _, argument = deed.partition("=")
        match name:
            case "greet":
                greet()
            case "announce":
                announce()
            case "http":
                serve_http()
            case "serve":
                greet()
                serve_http()
                announce()
                converse()
                drain()
            case "converse":
                converse()
                drain()
            case "say":
                print(argument, file=sys.stderr, flush=True)
            case "linger":
                time.sleep(float(argument))
            case "print":
                os.write(1, argument.encode().decode("unicode_escape").encode("latin-1"))
            case "send":
                send(json.loads(argument.replace("LISTEN", INIT.get("listen", ""))))
            case "exit":
                os._exit(int(argument))
            case "features":
                FEATURES.extend(argument.split(","))
            case "unhealthy":
                HEALTH[0] = int(argument)
            case "ignore_sigterm":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case "child":
                subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({argument})"])
            case "orphan":
                # A grandchild in a session of its own, whose parent ends first: it becomes a child of PID 1.
                orphan = f"import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep({argument}); os.write(2, b'orphan ends\\n')"
                subprocess.run([sys.executable, "-c", orphan], check=True)
            case "block":
                while True:
                    signal.pause()
            case "ask":
                # Asks without ever reading an answer.
                for _ in range(int(argument)):
                    send({"op": "get_secret", "name": "X"})
            case "flood":
                line = (argument.encode() or b"junk ") * 200 + b"\n"
                for _ in range(100_000_000 // len(line)):
                    os.write(1, line)
            case "flood_stderr":
                line = b"noise " * 200 + b"\n"
                for _ in range(100_000_000 // len(line)):
                    os.write(2, line)
            case "once":
                # The first process does the rest, all later ones serve.
                try:
                    os.close(os.open(argument, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    sys.argv[1:] = ["serve"]
                    main()
                    return
            case _:
                raise SystemExit(f"no such deed: {deed}")


if __name__ == "__main__":
    main()
