"""`FakeOrchestrator`: the orchestrator's end of a link, driven by a test. The Session and the Link are the real ones."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

from ..errors import ChannelClosed
from ..protocol import failures
from ..protocol.failures import Failure, failure_reply, success_reply
from ..protocol.messages import (
    ORCHESTRATOR,
    Announce,
    DiscoverServiceProviders,
    DiscoverServiceProvidersResponse,
    EncodedMessage,
    Extension,
    GetSecret,
    HttpRequest,
    HttpResponse,
    Init,
    Message,
    PortRequest,
    PortResponse,
    ProviderInfo,
    RegisterServiceProvider,
    RegisterServiceProviderResponse,
    Rotated,
    RotationAck,
    RoutedModuleResponse,
    RouteToModule,
    Secret,
    Shutdown,
)
from ..protocol.payloads import read_payload
from ..protocol.session import Problem, Role, Session
from ..transports.link import Link, new_id
from ..transports.stdio import open_pipes
from .client import Response, of_message

M = TypeVar("M", bound=Message)

DEADLINE = 30.0
"""Seconds that a test waits for what has to come."""


class FakeOrchestrator:
    """Sends init, answers `get_secret` from `secrets`, keeps everything else that arrives in `received`, in order.

    What the module offers is added to `providers`, in which it finds services; a test may put others' there.

    `problems` holds what the module wrote that is no message. With `config` the module is told that its orchestrator is
    a PyWatt one, which has read the configuration for it.
    """

    def __init__(self, *, secrets: Mapping[str, str] | None = None, answer_secrets: bool = True) -> None:
        self.secrets = dict(secrets or {})
        self.answer_secrets = answer_secrets
        self.received: list[Message] = []
        self.providers: list[ProviderInfo] = []
        self.problems: list[Problem] = []
        self.link: Link | None = None
        self.module_id = ""
        self._arrived = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def attach(self, incoming: int, outgoing: int) -> None:
        """Speak over two descriptors, which now belong to the link."""
        session = Session(Role.ORCHESTRATOR, new_id=new_id, on_problem=self.problems.append)
        self.link = await open_pipes(session, incoming, outgoing, on_message=self._take, on_close=self._closed)

    async def start(
        self,
        *,
        module_id: str = "test_module",
        listen: str = "127.0.0.1:0",
        env: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        pywatt: bool = True,
        formats: tuple[str, ...] = (),
        **members: Any,
    ) -> None:
        """Send the init line; `formats` are those of frames on channels, `members` further ones of the line: ``ipc_channel``, say."""
        self.module_id = module_id
        extension = Extension(formats=formats, features=("heartbeat",), config=dict(config or {})) if pywatt else None
        api = "http://127.0.0.1:9900"
        await self.send(Init(orchestrator_api=api, module_id=module_id, env=dict(env or {}), listen=listen, pywatt=extension, **members))

    async def send(self, message: Message) -> None:
        """Send any message that is legal now."""
        await self._open().send(message)

    async def expect(self, kind: type[M], *, deadline: float = DEADLINE) -> M:
        """The first message of `kind` that has not been taken yet; waits for it. Raises `ChannelClosed` or `TimeoutError`."""
        async with asyncio.timeout(deadline), self._arrived:
            while True:
                for index, message in enumerate(self.received):
                    if isinstance(message, kind):
                        del self.received[index]
                        return message
                if self.link is not None and self.link.closed.done():
                    raise ChannelClosed(
                        f"the module is gone and never sent {kind.__name__}; it sent {[type(m).__name__ for m in self.received]}"
                    )
                await self._arrived.wait()

    async def announced(self) -> Announce:
        """The module's announce."""
        return await self.expect(Announce)

    async def http(
        self, method: str, uri: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None, deadline: float = DEADLINE
    ) -> Response:
        """One HTTP request over the link."""
        request = HttpRequest(request_id=str(uuid.uuid4()), method=method, uri=uri, headers=dict(headers or {}), body=body)
        answer = await self._open().request(request, timeout=deadline)
        assert isinstance(answer, HttpResponse)
        return of_message(answer)

    async def rotate(self, values: Mapping[str, str], rotation_id: str | None = None, *, deadline: float = DEADLINE) -> RotationAck:
        """Change secrets and wait for the module's acknowledgement."""
        self.secrets.update(values)
        answer = await self._open().request(Rotated(keys=list(values), rotation_id=rotation_id or new_id()), timeout=deadline)
        assert isinstance(answer, RotationAck)
        return answer

    async def shutdown(self) -> None:
        """Ask the module to end."""
        await self.send(Shutdown())

    def hang_up(self) -> None:
        """Close the module's standard input, as an orchestrator that died would."""
        self._open().close_writing()

    async def close(self) -> None:
        """Close both pipes."""
        if self.link is not None:
            await self.link.close()

    def _open(self) -> Link:
        if self.link is None:
            raise RuntimeError("attach() first")
        return self.link

    def _take(self, message: Message, link: Link) -> None:
        if isinstance(message, GetSecret) and self.answer_secrets:
            value = self.secrets.get(message.name)
            error = None if value is not None else "unknown secret"
            link.post(Secret(name=message.name, value=value, error=error))
        elif isinstance(message, PortRequest):
            link.post(PortResponse(request_id=message.request_id, success=False, port=0, error_message="no ports in a test"))
        elif isinstance(message, RegisterServiceProvider):
            self.providers.append(self._provider(message))
            link.post(RegisterServiceProviderResponse(success=True, provider_id=self.providers[-1].provider_id))
        elif isinstance(message, DiscoverServiceProviders):
            found = [one for one in self.providers if one.service_type == message.service_type]
            link.post(DiscoverServiceProvidersResponse(success=True, providers=found))
        elif isinstance(message, RouteToModule) and message.target_module_id == ORCHESTRATOR:
            link.post(RoutedModuleResponse(ORCHESTRATOR, message.request_id, self._answer(message)))
        self.received.append(message)
        self._notify()

    def _answer(self, question: RouteToModule) -> EncodedMessage:
        """What is asked of the orchestrator itself: offers are taken back, everything else is not known here."""
        payload = read_payload(question.payload)
        said = payload.metadata.properties or {}
        if question.target_endpoint != "unregister":
            failure = Failure(failures.NO_ENDPOINT, f"a test's orchestrator does not know {question.target_endpoint!r}", executed="no")
            return failure_reply(failure, said, id=new_id(), source=ORCHESTRATOR, destination=self.module_id)
        content: dict[str, Any] = payload.decode(dict)
        left = [one for one in self.providers if one.provider_id != content.get("provider_id")]
        found, self.providers = len(left) < len(self.providers), left
        return success_reply(found, said, id=new_id(), source=ORCHESTRATOR, destination=self.module_id)

    def _provider(self, offer: RegisterServiceProvider) -> ProviderInfo:
        return ProviderInfo(
            provider_id=new_id(),
            module_id=self.module_id,
            service_type=offer.service_type,
            name=offer.name,
            version=offer.version,
            address=offer.address,
            metadata=dict(offer.metadata or {}),
            is_healthy=True,
        )

    def _closed(self, _link: Link, _error: Exception | None) -> None:
        self._notify()

    def _notify(self) -> None:
        async def notify() -> None:
            async with self._arrived:
                self._arrived.notify_all()

        task = asyncio.get_running_loop().create_task(notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
