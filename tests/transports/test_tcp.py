import socket

import pytest

from pywatt_core.errors import ServerError
from pywatt_core.transports.tcp import bind_tcp, tune


def test_port_zero_takes_a_free_port():
    with bind_tcp("127.0.0.1", 0) as first, bind_tcp("127.0.0.1", 0) as second:
        assert first.getsockname()[1] != second.getsockname()[1]


def test_a_port_in_use_is_named_with_the_way_out():
    with bind_tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"127.0.0.1:{port} is in use: stop the process that listens there, or choose another port"):
            bind_tcp("127.0.0.1", port)


def test_an_address_that_is_not_this_machines_is_named():
    with pytest.raises(ServerError, match=r"cannot listen on 192\.0\.2\.1:0: "):
        bind_tcp("192.0.2.1", 0)


def test_small_frames_leave_at_once_and_a_vanished_peer_is_noticed():
    with bind_tcp("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as connection:
        tune(connection)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
