"""Who comes in through a process's doors, and who is turned away."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import stat
import struct
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import ChannelClosed, ServerError
from pywatt_core.protocol.messages import MESSAGES, Heartbeat, HeartbeatAck, Identify, Message, Metadata, Role, Shutdown
from pywatt_core.protocol.session import Facts, Session, Wire
from pywatt_core.transports.link import Link, new_id
from pywatt_core.transports.tls import ClientTls, server_context
from pywatt_orchestrator import doors
from pywatt_orchestrator.doors import Door, DoorSession, Owner, TcpDoor, UnixDoor, owner_of_peer, peer_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tools.certificates import Authority

TOKEN = "door-canary-token-0123456789"


class House:
    """A door's owner, and what it was told."""

    def __init__(self, *, token: str = "", claimed: str | None = "users") -> None:
        self.token, self.claimed = token, claimed
        self.arrived: list[Message] = []
        self.lost: list[Exception | None] = []
        self.turned_away: list[str] = []
        self.problems: list[Any] = []

    def session(self, on_proved: Callable[[], None]) -> DoorSession:
        return DoorSession(
            facts=Facts(complete=True),
            module_id="users",
            claimed=self.claimed,
            limit=1 << 20,
            token=self.token,
            on_problem=self.problems.append,
            on_proved=on_proved,
        )

    @property
    def owner(self) -> Owner:
        return Owner(self.session, lambda message, link: self.arrived.append(message), self.lost.append, self.turned_away.append)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)


class Guest:
    """A module's end."""

    def __init__(self) -> None:
        self.arrived: list[Message] = []
        self.session = Session(Role.MODULE, Wire.CHANNEL, new_id=new_id)
        self.first: Metadata | None = None
        self.link: Any = None

    def make(self) -> Link:
        return Link(self.session, on_message=self.take)

    def take(self, message: Message, link: Link) -> None:
        self.arrived.append(message)
        if isinstance(message, Heartbeat):
            link.post(HeartbeatAck(), metadata=self.first)

    async def come(self, door: Door, tls: ssl.SSLContext | None = None) -> Guest:
        loop = asyncio.get_running_loop()
        if isinstance(door, UnixDoor):
            _, self.link = await loop.create_unix_connection(self.make, door.address)
        else:
            host, port = door.address.split(":")
            _, self.link = await loop.create_connection(self.make, host, int(port), ssl=tls, server_hostname=host if tls else None)
        return self

    async def is_let_in(self, house: House) -> None:
        before = len(house.arrived)
        await house.until(lambda: self.arrived or self.link.closed.done() or self.link.messages_sent == 0)
        self.link.post(Identify(module_id="users"))
        await house.until(lambda: len(house.arrived) > before)

    async def is_turned_away(self) -> None:
        async with asyncio.timeout(30):
            await self.link.closed


@asynccontextmanager
async def closing(door: Any) -> AsyncIterator[Any]:
    try:
        yield door
    finally:
        await door.close()


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("d") / "u.channel")


# ── Unix ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_process_itself_comes_in_by_a_socket_file_of_its_owner_alone(path: str) -> None:
    house = House()
    async with closing(UnixDoor(path, house.owner)) as door:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        door.pid = os.getpid()
        guest = await Guest().come(door)
        await guest.is_let_in(house)
        assert door.link is not None
        door.link.post(Shutdown())
        await house.until(lambda: guest.arrived)
        guest.link.abort(ConnectionError("the test is over"))
    assert not os.path.exists(path)
    assert house.turned_away == []


async def test_another_process_of_the_same_user_is_turned_away(path: str) -> None:
    house = House()
    async with closing(UnixDoor(path, house.owner)) as door:
        door.pid = os.getppid()
        guest = await Guest().come(door)
        await guest.is_turned_away()
        text = f"a connection to its channel was refused: it comes from process {os.getpid()}, and the channel is for process {door.pid}"
        assert house.turned_away == [text]
        assert door.link is None


async def test_nobody_comes_in_before_the_process_is_known(path: str) -> None:
    house = House()
    async with closing(UnixDoor(path, house.owner)) as door:
        await (await Guest().come(door)).is_turned_away()
        assert len(house.turned_away) == 1


async def test_the_process_at_the_other_end_is_the_one_that_connected(path: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_of(ours) == (os.getpid(), os.getuid())
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)"
        client = await asyncio.create_subprocess_exec(sys.executable, "-c", code, path)
        connection, _ = await asyncio.to_thread(listener.accept)
        with connection:
            assert peer_of(connection) == (client.pid, os.getuid())
        await client.wait()


async def test_a_newer_connection_of_the_same_process_replaces_the_one_before(path: str) -> None:
    house = House()
    async with closing(UnixDoor(path, house.owner)) as door:
        door.pid = os.getpid()
        first = await Guest().come(door)
        await first.is_let_in(house)
        second = await Guest().come(door)
        await first.is_turned_away()
        await second.is_let_in(house)
        assert [str(error) for error in house.lost] == ["a newer connection of the process took its place"]
        second.link.abort(ConnectionError("cut"))
        await house.until(lambda: len(house.lost) == 2)
        assert door.link is None
        third = await Guest().come(door)
        await third.is_let_in(house)
        third.link.abort(ConnectionError("the test is over"))


async def test_a_stale_socket_file_is_replaced_and_one_in_use_is_not(path: str) -> None:
    house = House()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    async with closing(UnixDoor(path, house.owner)):
        with pytest.raises(ServerError, match="another process listens on"):
            UnixDoor(path, house.owner)


async def test_a_socket_file_that_somebody_else_put_there_is_left_alone(path: str) -> None:
    async with closing(UnixDoor(path, House().owner)):
        os.unlink(path)
        Path(path).write_text("not ours")
    assert Path(path).read_text() == "not ours"


async def test_a_flood_of_strangers_does_not_flood_the_log(path: str) -> None:
    house = House()
    async with closing(UnixDoor(path, house.owner)) as door:
        for _ in range(30):
            await (await Guest().come(door)).is_turned_away()
    assert len(house.turned_away) == doors.TOLD
    assert house.turned_away[-1].endswith("; the log tells of no more for a minute")


# ── TCP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_connection_of_another_user_does_not_get_the_channel() -> None:
    house = House()
    async with closing(TcpDoor(house.owner, uid=os.getuid() + 1)) as door:
        await (await Guest().come(door)).is_turned_away()
        (text,) = house.turned_away
        assert text.startswith("a connection from 127.0.0.1:")
        assert text.endswith(f" to its channel was refused: it belongs to user {os.getuid()}")
    with pytest.raises(OSError):
        await Guest().come(door)


async def test_a_single_door_closes_behind_the_first() -> None:
    house = House()
    async with closing(TcpDoor(house.owner, single=True)) as door:
        guest = await Guest().come(door)
        await guest.is_let_in(house)
        await house.until(lambda: door._accepting.done())
        with pytest.raises(OSError):
            await Guest().come(door)
        guest.link.abort(ConnectionError("the test is over"))


async def test_the_owner_of_the_other_end_of_a_connection_is_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        connect = "s = socket.socket(); s.connect(('127.0.0.1', int(sys.argv[1]))); s.recv(1)"
        code = f"import os, socket, sys; os.setuid(int(sys.argv[2])); {connect}"
        users = [os.getuid()] if os.getuid() else [0, 65534]
        for uid in users:
            port = str(listener.getsockname()[1])
            client = await asyncio.create_subprocess_exec(sys.executable, "-c", code, port, str(uid))
            try:
                connection, _ = await asyncio.to_thread(listener.accept)
                with connection:
                    assert owner_of_peer(connection) == uid
                await client.wait()
            finally:
                if client.returncode is None:
                    client.kill()
                    await client.wait()


async def test_a_connection_whose_other_end_is_gone_belongs_to_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
        client.close()
        with connection:
            while owner_of_peer(connection) != -1:
                await asyncio.sleep(0.01)


# ── who it says it is ───────────────────────────────────────────────────────────────────────────────────────────────


def frame(text: str) -> bytes:
    return struct.pack(">IB", len(text), 1) + text.encode()


ACK = '{"id":"0b1c6a6e-0000-4000-8000-000000000001","content":{"op":"heartbeat_ack"},"metadata":{"source":"%s"}}'


@pytest.mark.parametrize(
    ("claimed", "texts", "reason", "let_through"),
    [
        ("users", [ACK % "users", ACK % "orders"], "it calls itself 'orders', and it is 'users'", 1),
        ("users", ['{"op":"identify","module_id":"orders"}'], "it calls itself 'orders', and it is 'users'", 0),
        ("users", ['{"op":"identify","identify":"users"}', ACK % "users", '{"op":"heartbeat_ack"}'], "", 3),
        (None, [ACK % "a name of its own", ACK % "a name of its own"], "", 2),
        (None, [ACK % "first", ACK % "second"], "it calls itself 'second', and it is 'first'", 1),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_connection_keeps_to_one_name(claimed: str | None, texts: list[str], reason: str, let_through: int, at_once: bool) -> None:
    house = House(claimed=claimed)
    async with closing(TcpDoor(house.owner)) as door:
        host, port = door.address.split(":")
        _reader, writer = await asyncio.open_connection(host, int(port))
        await house.until(lambda: door.link)
        door.link.post(Heartbeat())  # an acknowledgement is illegal before
        if at_once:
            writer.write(b"".join(map(frame, texts)))
        else:
            for text in texts:
                writer.write(frame(text))
                await asyncio.sleep(0)
        if reason:
            await house.until(lambda: house.lost)
            assert [str(error) for error in house.lost] == [reason]
        await house.until(lambda: len(house.arrived) == let_through)
        writer.close()


# ── the token ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_process_that_shows_its_token_comes_in_and_is_asked_once() -> None:
    house = House(token=TOKEN)
    async with closing(TcpDoor(house.owner, proof=True)) as door:
        guest = Guest()
        guest.first = Metadata(properties={"auth_token": TOKEN})
        await guest.come(door)
        await house.until(lambda: door.link)
        guest.first = None
        door.link.post(Heartbeat())
        await house.until(lambda: len(house.arrived) == 2)
        assert house.turned_away == []
        guest.link.abort(ConnectionError("the test is over"))


@pytest.mark.parametrize(
    "properties", [None, {}, {"auth_token": TOKEN[:-1]}, {"auth_token": ""}, {"auth_token": None}, {"auth_token": [TOKEN]}]
)
async def test_whoever_shows_another_token_or_none_is_turned_away(properties: Any) -> None:
    house = House(token=TOKEN)
    async with closing(TcpDoor(house.owner, proof=True)) as door:
        guest = Guest()
        guest.first = Metadata(properties=properties)
        await guest.come(door)
        await guest.is_turned_away()
        assert door.link is None and house.arrived == []
        assert house.turned_away == ["a connection to its channel was refused: its first message did not carry the token of this channel"]
        assert TOKEN not in str(house.turned_away)


ID = "0b1c6a6e-0000-4000-8000-000000000001"
EVERY_MESSAGE: dict[str, dict[str, Any]] = {
    "announce": {"listen": "127.0.0.1:1", "endpoints": []},
    "discover_service_providers": {"service_type": "Cache"},
    "get_secret": {"name": "API_KEY"},
    "heartbeat_ack": {},
    "http_request_credit": {"request_id": ID, "amount": 1},
    "http_response": {"request_id": ID, "status_code": 200, "headers": {}},
    "http_response_abort": {"request_id": ID},
    "http_response_piece": {"request_id": ID},
    "http_response_start": {"request_id": ID, "status_code": 200, "headers": []},
    "identify": {"module_id": "users"},
    "port_request": {"request_id": ID},
    "register_service_provider": {"service_type": "Cache", "name": "store", "address": "127.0.0.1:1"},
    "rotation_ack": {"rotation_id": ID, "status": "success"},
    "route_to_module": {"target_module_id": "b", "target_endpoint": "e", "request_id": ID, "payload": {"data": "", "format": "Json"}},
    "service_operation": {"connection_id": "c", "service_type": "Jwt", "operation": "validate", "params": {}},
    "service_request": {"id": ID, "service_type": "Jwt", "config": {}},
}


def test_every_message_of_a_module_is_tried_without_the_token() -> None:
    assert set(EVERY_MESSAGE) == set(MESSAGES[Role.MODULE])


@pytest.mark.parametrize("shape", ["bare", "enveloped", "with another token", "malformed"])
@pytest.mark.parametrize("op", EVERY_MESSAGE)
async def test_nothing_that_a_module_says_is_heard_before_its_token(op: str, shape: str) -> None:
    content = {"op": op, **(EVERY_MESSAGE[op] if shape != "malformed" else {name: [[]] for name in EVERY_MESSAGE[op]})}
    metadata = {"source": "users", "properties": {"auth_token": TOKEN[::-1]} if shape == "with another token" else {}}
    said = frame(json.dumps(content if shape in ("bare", "malformed") else {"id": ID, "content": content, "metadata": metadata}))
    proof = {"id": ID, "content": {"op": "heartbeat_ack"}, "metadata": {"source": "users", "properties": {"auth_token": TOKEN}}}
    house = House(token=TOKEN)
    async with closing(TcpDoor(house.owner, proof=True)) as door:
        host, port = door.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(said)
        async with asyncio.timeout(20):
            assert b"".join([part async for part in reader]).count(b'"op"') <= 1, "it hears the greeting and nothing else"
        writer.write(frame(json.dumps(proof)))
        assert door.link is None and house.arrived == house.problems == []
        assert house.turned_away == ["a connection to its channel was refused: its first message did not carry the token of this channel"]
        writer.close()


async def test_mistakes_of_who_shows_the_token_with_them_are_reported() -> None:
    proof = {"id": ID, "content": {"op": "heartbeat_ack"}, "metadata": {"source": "users", "properties": {"auth_token": TOKEN}}}
    house = House(token=TOKEN)
    async with closing(TcpDoor(house.owner, proof=True)) as door:
        host, port = door.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await asyncio.wait_for(reader.readuntil(b"}"), 20)  # an acknowledgement is illegal before the greeting
        writer.write(frame('{"op":"dance"}') + frame(json.dumps(proof)) + frame('{"op":"sing"}'))
        await house.until(lambda: door.link)
        await house.until(lambda: len(house.problems) == 2)
        assert [problem.kind for problem in house.problems] == ["unknown", "unknown"] and len(house.arrived) == 1
        writer.close()


async def test_whoever_shows_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "ENTRY_TIME", 0.05)
    house = House(token=TOKEN)
    async with closing(TcpDoor(house.owner, proof=True)) as door:
        host, port = door.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await house.until(lambda: house.turned_away)
        assert house.turned_away == ["a connection to its channel was refused: it did not show the token of this channel within 0.05 s"]
        assert (await reader.read())[5:] == b'{"op":"heartbeat"}'
        writer.close()


async def test_who_comes_in_and_says_nothing_makes_room_for_the_next() -> None:
    house = House(token=TOKEN)
    async with closing(TcpDoor(house.owner, proof=True)) as door:
        host, port = door.address.split(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(3 * doors.KNOCKING)]
        await house.until(lambda: len(door._entering) == doors.KNOCKING and len(house.turned_away) == 2 * doors.KNOCKING)
        assert house.turned_away[0].endswith("it said nothing, and too many others are on their way in")
        for reader, _ in silent[: 2 * doors.KNOCKING]:
            assert (await reader.read())[5:] == b'{"op":"heartbeat"}'
        guest = Guest()
        guest.first = Metadata(source="users", properties={"auth_token": TOKEN})
        await guest.come(door)
        await house.until(lambda: door.link is not None)
        guest.link.abort(ConnectionError("the test is over"))
        for _, one in silent:
            one.close()


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def mutual(authorities: Callable[[str], Authority]) -> ssl.SSLContext:
    ours = authorities("ours")
    server = ours.issue("door")
    return server_context(server.cert, server.key, ours.cert)


async def test_a_process_with_a_certificate_of_the_authority_comes_in(mutual: ssl.SSLContext, authorities: Any) -> None:
    house, ours = House(), authorities("ours")
    client = ours.issue("client")
    async with closing(TcpDoor(house.owner, tls=mutual)) as door:
        guest = await Guest().come(door, ClientTls(ours.cert, client.cert, client.key).context())
        await house.until(lambda: guest.arrived)
        assert isinstance(guest.arrived[0], Heartbeat)
        await guest.is_let_in(house)
        guest.link.abort(ConnectionError("the test is over"))


async def refused_by(door: Any, house: House, tls: ssl.SSLContext | None) -> str:
    guest = Guest()
    try:
        await guest.come(door, tls)
    except OSError:
        pass
    else:
        await guest.is_turned_away()
    await house.until(lambda: house.turned_away)
    assert door.link is None and house.arrived == []
    return house.turned_away[0]


async def test_who_shows_no_certificate_or_a_wrong_one_is_turned_away_with_the_reason(mutual: ssl.SSLContext, authorities: Any) -> None:
    ours, theirs = authorities("ours"), authorities("theirs")
    stranger, old = theirs.issue("client"), ours.issue("old", expired=True)
    for tls, reason in (
        (ClientTls(ours.cert), "the peer: it showed no client certificate, which is required here"),
        (ClientTls(ours.cert, stranger.cert, stranger.key), "the peer: its certificate is not signed by an authority that is trusted here"),
        (ClientTls(ours.cert, stranger.cert, stranger.key), ": set client_ca"),
        (ClientTls(ours.cert, old.cert, old.key), "the peer: its certificate has expired"),
        (ClientTls(theirs.cert), "the peer: it broke the TLS handshake off, perhaps because it does not trust this end's certificate"),
    ):
        house = House()
        async with closing(TcpDoor(house.owner, tls=mutual)) as door:
            assert reason in await refused_by(door, house, tls.context())


async def test_who_speaks_an_old_tls_or_none_is_turned_away(mutual: ssl.SSLContext, authorities: Any) -> None:
    old = ClientTls(authorities("ours").cert).context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    house = House()
    async with closing(TcpDoor(house.owner, tls=mutual)) as door:
        assert "it speaks no TLS version that is safe" in await refused_by(door, house, old)
    house = House()
    async with closing(TcpDoor(house.owner, tls=mutual)) as door:
        host, port = door.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(frame('{"op":"heartbeat_ack"}'))
        assert b"heartbeat" not in await reader.read()
        await house.until(lambda: house.turned_away)
        assert "it does not seem to speak TLS" in house.turned_away[0]
        writer.close()


async def test_closing_leaves_nobody_inside_and_nothing_running(path: str) -> None:
    house = House()
    door = UnixDoor(path, house.owner)
    door.pid = os.getpid()
    guest = await Guest().come(door)
    await guest.is_let_in(house)
    await door.close()
    await door.close()
    await guest.is_turned_away()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(ChannelClosed):
        guest.link.post(Identify(module_id="users"))
