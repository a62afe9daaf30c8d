import os
import socket

import pytest

from pywatt_core.config import load
from pywatt_core.definition import Definition
from pywatt_core.errors import ConfigError, ServerError
from pywatt_core.listening import listen
from pywatt_core.protocol.messages import Init
from pywatt_core.transports.tcp import bind_tcp
from pywatt_core.transports.unix import bind_unix


def definition(**arguments):
    return Definition(build=lambda state: None, **arguments)


def settings(**module):
    return load(init={"module": module})


def init(address):
    return Init(orchestrator_api="http://127.0.0.1:1", module_id="m", env={}, listen=address)


def test_alone_the_port_and_address_of_the_decorator_count_and_the_configuration_wins():
    place = listen(definition(specific_port=0, listen_addr="127.0.0.1"), None, {}, settings())
    try:
        assert place.address.startswith("127.0.0.1:")
        assert not place.inherited
    finally:
        place.close()
    place = listen(definition(listen_addr="127.0.0.1:1"), None, {}, settings(listen="localhost:0"))
    try:
        assert place.address.startswith("127.0.0.1:")
        assert place.address != "127.0.0.1:1"
    finally:
        place.close()


def test_an_unreadable_address_is_refused_with_the_forms_that_are_not():
    with pytest.raises(ConfigError, match=r"listen='one:two:three' is no address: write HOST, HOST:PORT"):
        listen(definition(listen_addr="one:two:three"), None, {}, settings())


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "[::1]:65536", "localhost:70000"])
def test_a_port_that_does_not_exist_is_refused(address):
    with pytest.raises(ConfigError, match="a port is from 0 to 65535"):
        listen(definition(listen_addr=address), None, {}, settings())
    with pytest.raises(ConfigError, match="a port is from 0 to 65535"):
        listen(definition(), None, {}, settings(listen=address))


def test_a_socket_file_of_our_own_goes_with_the_server(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("s") / "alone.sock")
    place = listen(definition(listen_addr=path), None, {}, settings())
    assert (place.address, os.path.exists(path)) == (path, True)
    place.close()
    assert not os.path.exists(path)


def test_port_zero_of_the_orchestrator_becomes_the_port_really_bound():
    place = listen(definition(), init("127.0.0.1:0"), {}, settings())
    try:
        assert place.socket is not None
        assert place.address == f"127.0.0.1:{place.socket.getsockname()[1]}"
        assert place.address != "127.0.0.1:0"
    finally:
        place.close()


def test_a_socket_that_was_handed_over_is_used_and_its_file_left_to_its_owner(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("s") / "m.sock")
    with bind_unix(path) as owner:
        copy = os.dup(owner.fileno())
        place = listen(definition(), init(path), {"PYWATT_LISTEN_FD": str(copy)}, settings())
        assert (place.address, place.inherited) == (path, True)
        place.close()
        assert os.path.exists(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


def test_a_handed_socket_that_is_bound_elsewhere_is_refused(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("s") / "m.sock")
    with bind_unix(path) as owner:
        copy = os.dup(owner.fileno())
        with pytest.raises(ServerError, match="but the init line says '/somewhere/else.sock'"):
            listen(definition(), init("/somewhere/else.sock"), {"PYWATT_LISTEN_FD": str(copy)}, settings())


def test_a_descriptor_that_is_no_socket_is_refused():
    with pytest.raises(ServerError, match="PYWATT_LISTEN_FD='none' is not a listening socket's descriptor"):
        listen(definition(), init("/x.sock"), {"PYWATT_LISTEN_FD": "none"}, settings())


def test_a_unit_with_two_sockets_is_refused():
    with pytest.raises(ConfigError, match="a module serves exactly one socket"):
        listen(definition(), None, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}, settings())


def test_a_port_in_use_is_a_server_error():
    with bind_tcp("127.0.0.1", 0) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServerError, match="is in use"):
            listen(definition(), init(address), {}, settings())
