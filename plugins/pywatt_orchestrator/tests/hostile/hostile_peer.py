"""A module that sends what it finds in a file, once nobody holds its lock, and asks an honest question after each piece.

``hostile_peer.py MODE FILE``: the file holds a JSON array of [name, Base64]. It knows nothing but the standard library.
MODE: ``stdout``, ``unix`` and ``tcp`` send each piece and then ask; ``unix_fatal`` and ``tcp_fatal`` expect to be cut off after each
and connect again; ``unix_deaf`` and the like send all pieces in a loop and never read.
"""

import base64
import fcntl
import json
import os
import socket
import struct
import sys

INIT = {}


def say(text):
    os.write(2, text.encode() + b"\n")


def write_all(data):
    while data:
        data = data[os.write(1, data[:1_000_000]) :]


def read_line():
    line = bytearray()
    while not line.endswith(b"\n"):
        line += os.read(0, 1) or sys.exit(0)
    return json.loads(line)


class Stdio:
    def send(self, data):
        write_all(data + b"\n")

    def receive(self):
        return read_line()


class Channel:
    def __init__(self, kind):
        if kind == "unix":
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(INIT["ipc_channel"]["socket_path"])
        else:
            host, port = INIT["tcp_channel"]["address"].rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)))
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def honest(self, data):
        return struct.pack(">IB", len(data), 1) + data

    def receive(self):
        head = self.file.read(5)
        if len(head) < 5:
            raise ConnectionError("closed")
        size, code = struct.unpack(">IB", head)
        payload = self.file.read(size)
        return json.loads(payload) if code == 1 else {"op": "frame", "text": payload}

    def drop(self):
        self.file.close()
        self.socket.close()


def ask(way, name):
    """An honest question, answered."""
    question = json.dumps({"op": "get_secret", "name": name}).encode()
    way.send(question if isinstance(way, Stdio) else way.honest(question))
    while True:
        found = way.receive()
        found = found.get("content", found)
        if found["op"] == "frame" and b"secret" in found["text"] and name.encode() in found["text"]:
            return
        if found["op"] == "secret" and found["name"] == name:
            return


def announce():
    features, formats = ["http_ipc_only"], ["msgpack", "cbor"]
    extension = {"api": 1, "features": features, "formats": formats}
    write_all(json.dumps({"op": "announce", "listen": INIT["listen"], "endpoints": [], "pywatt": extension}).encode() + b"\n")


def main():
    mode, file = sys.argv[1:]
    with open(file) as source:
        pieces = [(name, base64.b64decode(data)) for name, data in json.load(source)]
        INIT.update(read_line())
        announce()
        fcntl.flock(source, fcntl.LOCK_SH)
    kind, _, manner = mode.partition("_")
    way = Stdio() if kind == "stdout" else Channel(kind)
    for number, (name, data) in enumerate(pieces):
        if manner == "deaf":
            while True:
                way.send(data)
        way.send(data)
        if manner == "fatal":
            try:
                while True:
                    way.receive()
            except ConnectionError:
                way.drop()
                way = Channel(kind)
        ask(way, f"AFTER_{number}")
        say(f"survived {number} {name}")
    say("all survived")
    while read_line()["op"] != "shutdown":
        pass


if __name__ == "__main__":
    main()
