"""After a change of protocols (WebSocket and others): bytes are passed on unread, with back-pressure both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import ClientConnection
    from .upstream import Instance, UpstreamConnection


class Tunnel:
    """Joins a client's connection and a module's until either closes. What was received before that is still delivered."""

    def __init__(self, client: ClientConnection, connection: UpstreamConnection, instance: Instance) -> None:
        self._client = client
        self._connection: UpstreamConnection | None = connection
        self.instance = instance
        """Where the tunnel leads; it counts there as one request in flight, until it ends."""
        connection.user = self

    def start(self) -> None:
        """The deadline runs from now on."""
        self._client.expect_within(self._client.options.tunnel_timeout)

    def body_received(self, payload: bytes) -> None:
        """From the client."""
        if self._connection is not None:
            self._client.expect_within(self._client.options.tunnel_timeout)
            self._connection.transport.write(payload)

    def response_received(self, data: bytes) -> None:
        """From the module."""
        self._client.expect_within(self._client.options.tunnel_timeout)
        self._client.write(data)

    def upstream_lost(self, error: Exception | None) -> None:
        """The module closed: so do we, after what it sent."""
        self._connection = None
        self.instance.in_flight -= 1
        if error is None:
            self._client.keep_alive = False
            self._client.answered()
        else:
            self._client.reset()

    def upstream_paused(self) -> None:
        """The module reads more slowly than the client sends."""
        self._client.pause_reading()

    def upstream_resumed(self) -> None:
        """The module has caught up."""
        self._client.resume_reading()

    def client_paused(self) -> None:
        """The client reads more slowly than the module sends."""
        if self._connection is not None:
            self._connection.transport.pause_reading()

    def client_resumed(self) -> None:
        """The client has caught up."""
        if self._connection is not None:
            self._connection.transport.resume_reading()
            self._client.expect_within(self._client.options.tunnel_timeout)

    def client_lost(self) -> None:
        """The client closed: so do we, after what it sent."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.user = None
            connection.transport.close()
            self.instance.in_flight -= 1

    def body_finished(self) -> None:
        """A tunnel has no end but that of its connections."""

    def timed_out(self) -> None:
        """Nothing passed for too long."""
        self.client_lost()
        self._client.reset()
