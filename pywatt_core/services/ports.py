"""Asking the orchestrator for a port (protocol 8). Serving never needs it: the init line says where to listen.

Three attempts with the same wish, then a port of one's own choice that was proven free by binding it. An orchestrator that
keeps failing is left alone for a while.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import ChannelClosed, RemoteError, RequestTimeout, ServerError
from ..policies import CircuitBreaker
from ..protocol.messages import Message, PortRequest, PortResponse, TcpAddress
from ..protocol.values import socket_address
from ..transports.link import new_id

log = logging.getLogger(__name__)

ATTEMPT_TIMEOUTS = (3.0, 4.0, 5.0)
"""Seconds for each attempt (protocol 8.2)."""

FALLBACK_PORTS = range(10000, 11000)


class Asks(Protocol):
    """What a port is asked over: a `Link`, a channel, or all channels of a module."""

    async def request(self, message: Message, *, timeout: float) -> Message: ...


@dataclass(frozen=True, kw_only=True)
class PortOptions:
    """How a port is negotiated. Times are in seconds."""

    timeouts: Sequence[float] = ATTEMPT_TIMEOUTS
    """For each attempt; their number is the number of attempts."""
    use_fallback: bool = True
    """Take a port without the orchestrator's word where it does not answer."""
    fallback_ports: Sequence[int] = FALLBACK_PORTS
    """Which, in this order; one port for a fixed one. The wished one is tried before them."""
    host: str = "127.0.0.1"
    """The address at which a fallback port has to be free."""
    failure_threshold: int = 5
    """Failures in a row, answers that refuse included, after which the orchestrator is not asked for a while."""
    reset_after: float = 60.0
    """That while."""

    def __post_init__(self) -> None:
        if not self.timeouts or not all(0 < seconds < float("inf") for seconds in self.timeouts):
            raise ValueError(f"timeouts is {self.timeouts!r}; it has a number of seconds above 0 for each attempt")
        if self.use_fallback and not self.fallback_ports:
            raise ValueError("fallback_ports is empty; name a port, or set use_fallback to False")


@dataclass(frozen=True)
class NegotiatedPort:
    """A port; `fallback`: taken without the orchestrator's word, for the reason given."""

    port: int
    fallback: bool = False
    reason: str = field(default="", repr=False)


@dataclass
class PortNegotiation:
    """Everything about ports that one process remembers: the port that it was given, and how the orchestrator fared."""

    options: PortOptions = field(default_factory=PortOptions)
    port: int | None = None
    """The port that every later negotiation returns at once."""

    def __post_init__(self) -> None:
        threshold, wait = self.options.failure_threshold, self.options.reset_after
        self._breaker = CircuitBreaker(
            failure_threshold=threshold, minimum_requests=threshold, success_threshold=1, timeout=wait, window_size=float("inf")
        )

    async def negotiate(self, link: Asks, specific: int | None = None) -> NegotiatedPort:
        """What `negotiate_port` promises."""
        if self.port is not None:
            return NegotiatedPort(self.port)
        if specific is not None and not 0 < specific <= 65_535:
            raise ValueError(f"a port is from 1 to 65535, not {specific!r}")
        if self.options.use_fallback and getattr(link, "names", None) == ():
            return self._without(specific, "this module runs without an orchestrator")
        loop = asyncio.get_running_loop()
        began = loop.time()
        diagnostics: list[str] = []
        for timeout in self.options.timeouts:
            if not self._breaker.allow(loop.time()):
                diagnostics.append(f"not asked for {self._breaker.retry_after(loop.time()):.0f} s more, after it failed repeatedly")
                break
            answer = await self._attempt(link, specific, timeout)
            if isinstance(answer, PortResponse):
                if self.port is None:  # else another negotiation at the same time was quicker
                    self.port = answer.port
                return NegotiatedPort(self.port)
            diagnostics.append(answer)
        if self.port is not None:
            return NegotiatedPort(self.port)
        reason = f"the orchestrator did not answer a port request: {'; '.join(diagnostics)}"
        if not self.options.use_fallback:
            raise RequestTimeout(f"{reason} ({loop.time() - began:.1f} s in all)")
        return self._without(specific, reason)

    async def _attempt(self, link: Asks, specific: int | None, timeout: float) -> PortResponse | str:
        """The port, or why this attempt came to nothing. Raises what ends the negotiation."""
        loop = asyncio.get_running_loop()
        id = new_id()
        try:
            answer = await link.request(PortRequest(request_id=id, specific_port=specific), timeout=timeout)
        except RequestTimeout:
            self._breaker.failed(loop.time())
            log.warning("the orchestrator did not answer a port request", extra={"seconds": timeout, "id": id})
            return f"no answer to {id} within {timeout:g} s"
        except ChannelClosed:
            self._breaker.failed(loop.time())
            raise
        except BaseException:
            self._breaker.abandoned(loop.time())
            raise
        assert isinstance(answer, PortResponse)
        if not answer.success or answer.port == 0:
            self._breaker.failed(loop.time())
            reason = answer.error_message or ("it named port 0" if answer.success else "it named no reason")
            raise RemoteError(f"the orchestrator refused the port: {reason}", code="port_refused")
        self._breaker.succeeded(loop.time())
        return answer

    def _without(self, specific: int | None, reason: str) -> NegotiatedPort:
        found = self._fallback(specific, reason)
        self.port = found.port
        log.warning("a port was taken without the orchestrator's word", extra={"port": found.port, "reason": reason})
        return found

    def _fallback(self, specific: int | None, reason: str) -> NegotiatedPort:
        for port in (*(() if specific is None else (specific,)), *self.options.fallback_ports):
            if is_free(port, self.options.host):
                return NegotiatedPort(port, fallback=True, reason=reason)
        first, last = self.options.fallback_ports[0], self.options.fallback_ports[-1]
        tried = f"port {first}" if first == last else f"no port from {first} to {last}"
        raise ServerError(f"{tried} is {'not ' if first == last else ''}free, and {reason}")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could be bound there now, proven by binding one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def validate_address(text: str) -> TcpAddress:
    """``ip:port`` or ``[v6]:port`` at which somebody can be reached. Raises `ValueError` that says what is wrong.

    Host names, addresses that stand for all of them (``0.0.0.0``, ``::``), the broadcast address and port 0 are refused.
    """
    from ipaddress import ip_address

    address = socket_address(text)
    if address is None:
        raise ValueError(f"an address is IP:PORT or [IPv6]:PORT, without a name, not {text!r}")
    if ip_address(address.host.partition("%")[0]).is_unspecified:
        raise ValueError(f"{text!r} stands for every address of a machine: name one")
    if address.host == "255.255.255.255":
        raise ValueError(f"{text!r} is the broadcast address, at which nobody listens")
    if address.port == 0:
        raise ValueError(f"{text!r} has port 0, which stands for any port: name one")
    return address


_here = PortNegotiation()


def set_pre_allocated_port(port: int | None) -> None:
    """Remember the port that `negotiate_port` returns without asking; None forgets it."""
    if port is not None and not 0 < port <= 65535:
        raise ValueError(f"a port is from 1 to 65535, not {port!r}")
    _here.port = port


def get_pre_allocated_port() -> int | None:
    """The port remembered by `set_pre_allocated_port` or by an earlier negotiation, or None."""
    return _here.port


async def negotiate_port(link: Asks, specific: int | None = None, *, negotiation: PortNegotiation | None = None) -> NegotiatedPort:
    """Ask for a port, `specific` or any; three attempts of 3, 4 and 5 s, each with the same wish.

    Where nobody answers, `specific` or a free port from 10000 to 10999 is taken, proven free by binding it; so after five
    failures in a row, for a minute without asking, and in a module that runs by itself. The port is remembered: later calls
    return it at once, whatever they wish.
    `negotiation` has options of its own, and remembers for itself.

    A refusal raises `RemoteError` with the orchestrator's reason at once (``code`` is ``"port_refused"``); `ServerError` where no
    fallback port is free; `RequestTimeout` where none may be taken; `ChannelClosed` where the orchestrator is gone.
    """
    return await (negotiation or _here).negotiate(link, specific)
