"""Where modules serve: sockets that outlive processes, ports that stay free."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pywatt_core.protocol.messages import TcpAddress, UnixAddress
from pywatt_orchestrator.places import TcpPlace, UnixPlace, announced_address


@pytest.fixture
def unix_place(tmp_path: Path) -> UnixPlace:
    return UnixPlace(str(tmp_path / "u.sock"))


def test_a_connection_waits_in_the_backlog_while_no_process_is_there(unix_place: UnixPlace) -> None:
    unix_place.open()
    client = socket.socket(socket.AF_UNIX)
    client.connect(unix_place.listen)
    client.sendall(b"hello")
    unix_place.open()
    assert unix_place.fd is not None
    with socket.socket(fileno=os.dup(unix_place.fd)) as late:
        late.setblocking(True)
        connection, _ = late.accept()
        assert connection.recv(5) == b"hello"
        connection.close()
    client.close()
    assert os.stat(unix_place.listen).st_mode & 0o777 == 0o600
    unix_place.close()
    unix_place.close()
    assert not os.path.exists(unix_place.listen)


def test_a_socket_file_that_somebody_tidied_away_is_made_again(unix_place: UnixPlace) -> None:
    unix_place.open()
    os.unlink(unix_place.listen)
    unix_place.open()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(unix_place.listen)
    unix_place.close()


def test_a_socket_file_of_somebody_else_is_not_removed(unix_place: UnixPlace) -> None:
    unix_place.open()
    os.unlink(unix_place.listen)
    Path(unix_place.listen).touch()
    unix_place.close()
    assert os.path.exists(unix_place.listen)


def test_a_reserved_port_is_given_to_nobody_but_the_module() -> None:
    place = TcpPlace()
    place.open()
    host, port = place.address
    assert place.listen == f"{host}:{port}"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port))
    with socket.create_server((host, port)), socket.create_connection((host, port)):
        pass
    listen = place.listen
    place.open()
    assert place.listen == listen
    place.close()


@pytest.mark.parametrize(
    ("announced", "address"),
    [
        ("127.0.0.1:80", TcpAddress("127.0.0.1", 80)),
        ("0.0.0.0:80", TcpAddress("127.0.0.1", 80)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("[::]:80", TcpAddress("::1", 80)),
    ],
)
def test_a_module_may_announce_another_port_of_this_machine(announced: str, address: TcpAddress) -> None:
    assert announced_address(announced, TcpPlace()) == address


@pytest.mark.parametrize("announced", ["10.0.0.1:80", "169.254.169.254:80", "/tmp/other.sock", "nonsense"])
def test_a_module_may_not_announce_what_belongs_to_others(announced: str, unix_place: UnixPlace) -> None:
    with pytest.raises(ValueError):
        announced_address(announced, unix_place)


def test_a_module_announces_the_socket_that_it_was_given(unix_place: UnixPlace) -> None:
    assert announced_address(unix_place.listen, unix_place) == UnixAddress(unix_place.listen)
