"""The servers of the tests start, keep what they store over a restart, and leave nothing behind."""

import os
import socket

import pytest

from tools.running_servers import MariadbServer, MemcachedServer, PostgresServer, RedisServer


@pytest.mark.parametrize("kind", [PostgresServer, MariadbServer, RedisServer, MemcachedServer], ids=lambda kind: kind.name)
def test_a_server_answers_stops_comes_back_on_its_port_and_leaves_nothing(kind, start_server):
    with start_server(kind) as server:
        assert server.answers()
        port = server.port
        server.kill()
        assert not server.answers()
        server.start()
        assert server.answers()
        assert server.port == port
        server.restart()
        assert server.answers()
        pid, folder = server._process.pid, server.folder
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_cannot_start_says_what_it_wrote(start_server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(RuntimeError, match=r"memcached does not answer on port \d+:\n.*option"):
            start_server(MemcachedServer, "--no-such-option")
