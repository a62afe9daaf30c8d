"""Addresses, identifiers, service types, byte strings: every spelling that is accepted, and those that are not."""

from __future__ import annotations

import copy
import pickle
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.protocol.values import (
    EncodedMessage,
    Extension,
    Metadata,
    ServiceType,
    TcpAddress,
    UnixAddress,
    canonical_uuid,
    listen_address,
    octets,
    socket_address,
)

UUID = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:4102", TcpAddress("127.0.0.1", 4102)),
        ("0.0.0.0:0", TcpAddress("0.0.0.0", 0)),
        ("255.255.255.255:65535", TcpAddress("255.255.255.255", 65535)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("[0:0:0:0:0:0:0:1]:80", TcpAddress("::1", 80)),
        ("[::FFFF:1.2.3.4]:80", TcpAddress(str(IPv6Address("::ffff:102:304")), 80)),
        ("[fe80::1%1]:80", TcpAddress("fe80::1%1", 80)),
        ("[fe80::1%0]:80", TcpAddress("fe80::1", 80)),
        ("/run/m.sock", UnixAddress("/run/m.sock")),
        ("@abstract", UnixAddress("@abstract")),
        ("m.sock", UnixAddress("m.sock")),
        ("./localhost:80", UnixAddress("./localhost:80")),
    ],
)
def test_a_listen_address_is_ip_and_port_or_plainly_a_path(text: str, address: TcpAddress | UnixAddress) -> None:
    assert listen_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["localhost:8080", "127.0.0.1", "127.0.0.1:70000", "::1:80", "127.0.0.01:80", " 127.0.0.1:80", "127.0.0.1:80\n", "", "1.2.3:80",
     "1.2.3.256:80", "[::1]", "[::g]:80", "[fe80::1%eth0]:80", "[::1%4294967296]:80",
     "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:٨٠", "[1.2.3.4]:80"],
)  # fmt: skip
def test_what_is_neither_is_refused_as_the_typo_that_it_is(text: str) -> None:
    assert socket_address(text) is None
    with pytest.raises(ValueError, match="Expected IP:PORT, "):
        listen_address(text)


@given(st.integers(0, 2**32 - 1), st.integers(0, 65535))
def test_an_address_is_written_as_it_is_read(number: int, port: int) -> None:
    text = f"{'.'.join(map(str, number.to_bytes(4, 'big')))}:{port}"
    assert str(listen_address(text)) == text
    assert str(listen_address("[fe80::1%3]:80")) == "[fe80::1%3]:80"
    assert str(listen_address("/run/m.sock")) == "/run/m.sock"


@pytest.mark.parametrize(
    "text", [UUID, UUID.upper(), UUID.replace("-", ""), UUID.replace("-", "").upper(), f"urn:uuid:{UUID}", f"{{{UUID.upper()}}}"]
)
def test_a_uuid_is_read_in_four_spellings_and_kept_in_one(text: str) -> None:
    assert canonical_uuid(text) == UUID


@pytest.mark.parametrize(
    "text", ["", "req-1", UUID + "\n", UUID[:-1], UUID + "0", f"{{{UUID}", f"urn:uuid:{{{UUID}}}", f"{{{UUID.replace('-', '')}}}",
             UUID.replace("a", "g"), "urn:uuid:" + UUID.replace("-", ""), UUID.replace("a", "\u0661"), None, 5, b"x"]
)  # fmt: skip
def test_all_else_is_no_uuid(text: object) -> None:
    with pytest.raises(ValueError, match=r"^Expected a UUID$"):
        canonical_uuid(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spelling", "kind"),
    [
        ("Database", ServiceType.DATABASE),
        ("database", ServiceType.DATABASE),
        ("JWT", ServiceType.JWT),
        ({"Cache": None}, ServiceType.CACHE),
        ({"Custom": "search"}, ServiceType.custom("search")),
        ({"Custom": "Database"}, ServiceType.custom("Database")),
        ("Custom(search)", ServiceType.custom("search")),
        ("grpc", ServiceType.custom("grpc")),
        (ServiceType.CACHE, ServiceType.CACHE),
    ],
)
def test_a_service_type_is_read_in_every_spelling(spelling: object, kind: ServiceType) -> None:
    assert ServiceType.parse(spelling) == kind


@pytest.mark.parametrize(
    "spelling", ["Custom", "Databse", {"Custom": None}, {"Custom": "x", "Cache": None}, {}, {"Cache": 1}, None, 3, ["Cache"]]
)
def test_a_misspelt_service_type_is_refused(spelling: object) -> None:
    with pytest.raises(ValueError, match='Expected "Database", "Cache", "Jwt" or'):
        ServiceType.parse(spelling)


def test_a_service_type_is_a_value() -> None:
    assert ServiceType.custom("x") == ServiceType("x")
    assert ServiceType.custom("Cache") != ServiceType.CACHE
    assert len({ServiceType.CACHE, ServiceType.parse("cache"), ServiceType.USER_MANAGEMENT, ServiceType.custom("user_management")}) == 2
    assert [str(kind) for kind in (ServiceType.JWT, ServiceType.ANALYTICS)] == ["jwt", "custom:analytics"]
    assert [repr(kind) for kind in (ServiceType.JWT, ServiceType.ANALYTICS)] == ["ServiceType.JWT", "ServiceType.custom('analytics')"]
    with pytest.raises(AttributeError, match="cannot be changed"):
        ServiceType.JWT.name = "x"
    for kind in (ServiceType.JWT, ServiceType.ANALYTICS):
        assert pickle.loads(pickle.dumps(kind)) == kind == copy.deepcopy(kind)


@pytest.mark.parametrize("value", [[], [0, 255], bytearray(b"\x00\xff"), memoryview(b"ab")])
def test_bytes_are_read_from_an_array_of_their_numbers(value: object) -> None:
    assert octets(value, "body") == bytes(value)  # type: ignore[call-overload]


@pytest.mark.parametrize("value", [[256], [-1], [1.0], [True], ["1"], [None], [[1]], "aGk=", 5, {}, [2**70]])
def test_what_is_no_array_of_bytes_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^Expected an array of integers 0 to 255 in `body`$"):
        octets(value, "body")


def test_a_repr_tells_how_much_it_hides() -> None:
    assert repr(EncodedMessage(b"secret", "Json")) == "EncodedMessage(data=<6 hidden>, format='Json')"
    assert repr(Metadata(source="m", properties={"auth_token": "hush"})).endswith("destination=None, properties=<1 hidden>)")
    assert "hush" not in repr(Extension(config={"password": "hush"}))
    assert dict(Extension(config={"password": "hush"}).__rich_repr__())["config"].__repr__() == "<1 hidden>"
