"""The intake: the same requests, however the bytes were cut."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_orchestrator.gateway.intake import Intake
from pywatt_orchestrator.gateway.options import GatewayOptions
from pywatt_orchestrator.gateway.request import RequestParser

if TYPE_CHECKING:
    from pywatt_orchestrator.gateway.request import Refused

OPTIONS = GatewayOptions(max_head_bytes=400, max_body_bytes=64, max_target_bytes=100, max_headers=8)


class Noting(Intake):
    """Notes what it is told, and answers each request at once or, with `slowly`, when the test says so."""

    def __init__(self, *, slowly: bool = False) -> None:
        super().__init__(OPTIONS, RequestParser(OPTIONS).heads)
        self.slowly = slowly
        self.seen: list[tuple[bytes, bytes, bytes]] = []
        self.refused: int | None = None
        self._payload = b""
        self._waiting = False

    def head_begun(self) -> None: ...

    def held_too_much(self) -> None: ...

    def request_begun(self) -> bool:
        assert not self._waiting
        self._waiting = True
        self._payload = b""
        if self.complete and self.request.empty:
            self._answer()
        return True

    def body_part(self, payload: bytes) -> bool:
        self._payload += payload
        return True

    def body_ended(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.seen.append((self.request.method, self.request.path, self._payload))
        if not self.slowly:
            self.answer_now()

    def answer_now(self) -> None:
        self._waiting = False
        if self.refused is None:
            self.take_held()

    def refuse(self, refused: Refused) -> None:
        self.refused = refused.status
        self.pass_all_to(lambda _: None)

    def feed(self, *parts: bytes) -> tuple[list[tuple[bytes, bytes, bytes]], int | None]:
        for part in filter(None, parts):
            self._receive(part)
        while self.slowly and self._waiting and self.complete and self.refused is None:
            self.answer_now()
        return self.seen, self.refused


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *lines, "", "")).encode()


good = st.one_of(
    st.builds(lambda n: head("GET", f"/{n}"), st.integers(0, 99)),
    st.builds(lambda body: head("POST", "/length", f"Content-Length: {len(body)}") + body, st.binary(max_size=20)),
    st.builds(
        lambda parts: (
            head("PUT", "/chunks", "Transfer-Encoding: chunked")
            + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts if p)
            + b"0\r\n\r\n"
        ),
        st.lists(st.binary(max_size=8), max_size=3),
    ),
    st.just(b"\r\n" + head("GET", "/after-an-empty-line")),
)
bad = st.sampled_from(
    [
        b"GET / HTTP/1.1\nHost: x\n\n",
        head("GET", "/", "A : b"),
        head("POST", "/", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head("POST", "/", "Transfer-Encoding: chunked") + b"3\r\nabcd\r\n0\r\n\r\n",
        head("POST", "/", "Transfer-Encoding: chunked") + b"g\r\n",
        head("POST", "/", "Content-Length: 65") + b"a" * 65,
        head("POST", "/", "Transfer-Encoding: chunked") + b"41\r\n" + b"a" * 65 + b"\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100,
        b"GET /" + b"a" * 500,
    ]
)
streams = st.builds(lambda requests, last: b"".join([*requests, *last]), st.lists(good, max_size=4), st.lists(bad, max_size=1))


@given(streams, st.lists(st.integers(0, 10_000), max_size=8), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_stream_cut_anywhere_gives_the_same_requests(data: bytes, places: list[int], slowly: bool) -> None:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(edges) if a < b]
    assert Noting(slowly=slowly).feed(*parts) == Noting().feed(data)


@given(st.lists(good, max_size=4))
@settings(deadline=None)
def test_every_good_request_arrives_once_and_in_order(requests: list[bytes]) -> None:
    seen, refused = Noting().feed(b"".join(requests))
    assert refused is None
    assert [(method, path) for method, path, _ in seen] == [tuple(data.strip().split(b" ")[:2]) for data in requests]


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_arbitrary_bytes_are_waited_for_or_refused(data: bytes) -> None:
    seen, refused = Noting().feed(data)
    assert not seen
    assert refused in (None, 400, 414, 431, 505)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 500, 414),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100, 431),
        (head("GET", "/", "A: " + "b" * 500), 431),
        (head("GET", "/" + "a" * 101), 414),
        (head("GET", "/", *["A: b"] * 9), 431),
        (head("POST", "/", "Content-Length: 65"), 413),
        (head("POST", "/", "Transfer-Encoding: chunked") + b"41\r\n" + b"a" * 65, 413),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/1.1\nHost: x\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\n", 400),
        (b"\n", 400),
        (b" GET / HTTP/1.1\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
def test_what_can_no_longer_become_a_request_is_refused_at_once(data: bytes, status: int) -> None:
    assert Noting().feed(data)[1] == status
    assert Noting().feed(*(data[at : at + 1] for at in range(len(data))))[1] == status


def test_what_comes_behind_a_request_waits_for_its_answer() -> None:
    intake = Noting(slowly=True)
    intake._receive(head("GET", "/1") + head("GET", "/2"))
    intake._receive(head("GET", "/3"))
    assert [path for _, path, _ in intake.seen] == [b"/1"]
    intake.answer_now()
    assert [path for _, path, _ in intake.seen] == [b"/1", b"/2"]
    intake.answer_now()
    assert [path for _, path, _ in intake.seen] == [b"/1", b"/2", b"/3"]


def test_after_a_change_of_protocol_everything_is_passed_on() -> None:
    passed: list[bytes] = []
    intake = Noting(slowly=True)
    intake._receive(head("GET", "/") + b"early")
    intake.pass_all_to(passed.append)
    intake._receive(b"GET / HTTP/1.1\r\n\r\n")
    assert passed == [b"early", b"GET / HTTP/1.1\r\n\r\n"]
