import os
import socket
import stat

import pytest

from pywatt_core.errors import ConfigError, ServerError
from pywatt_core.transports.unix import MAX_PATH, bind_unix


@pytest.fixture
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("s")


def test_only_the_owner_can_open_the_socket_file(folder):
    before = os.umask(0)
    try:
        with bind_unix(str(folder / "a.sock")):
            assert stat.S_IMODE((folder / "a.sock").stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_stale_socket_file_is_replaced(folder):
    path = str(folder / "a.sock")
    bind_unix(path).close()
    assert os.path.exists(path)
    with bind_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_socket_that_somebody_listens_on_is_left_alone(folder):
    path = str(folder / "a.sock")
    with bind_unix(path):
        with pytest.raises(ServerError, match="another process listens on .*: stop it or listen elsewhere"):
            bind_unix(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


def test_a_file_that_is_no_socket_is_left_alone(folder):
    (folder / "a.sock").write_text("precious")
    with pytest.raises(ServerError, match="exists and is not a socket: remove it"):
        bind_unix(str(folder / "a.sock"))
    assert (folder / "a.sock").read_text() == "precious"


def test_a_path_that_is_too_long_for_the_kernel_is_refused_with_its_length(folder):
    path = str(folder / ("x" * MAX_PATH))
    with pytest.raises(ConfigError, match=f"has {len(path)} bytes, {MAX_PATH} is the most: choose a shorter folder"):
        bind_unix(path)


def test_a_folder_that_does_not_exist_is_named(folder):
    with pytest.raises(ServerError, match="cannot bind the socket .*nowhere.*No such file"):
        bind_unix(str(folder / "nowhere" / "a.sock"))
