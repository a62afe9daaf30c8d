"""Secrets over a real link to the orchestrator's end: found, refused, unanswered, cut off."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.access import ListedSource, WatchedSource, WritableSource
from pywatt_core.builtin.secret_options import OrchestratorSecretOptions
from pywatt_core.config import check_section
from pywatt_core.errors import SecretError, SecretNotFound
from pywatt_core.interfaces import Context, Orchestrator
from pywatt_core.protocol.messages import Extension, GetSecret, Secret
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.services.channels import Channels
from pywatt_core.services.orchestrator_secrets import LONGEST_NAME, OrchestratorSecretProvider, open_orchestrator_secrets
from pywatt_core.testing.contracts import SecretSourceContract
from pywatt_core.transports.link import Link, new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pywatt_core.protocol.messages import Message
    from pywatt_core.testing.contracts.secret_source import OpenWith


class Desk:
    """The orchestrator's end. It refuses what it does not know, or keeps silent about it, as the inherited protocol has it."""

    def __init__(self, secrets: Mapping[str, str], *, refuses: bool = True) -> None:
        self.secrets, self.refuses = secrets, refuses
        self.asked: list[str] = []
        self.cuts = False

    def take(self, message: Message, link: Link) -> None:
        assert isinstance(message, GetSecret)
        self.asked.append(message.name)
        if self.cuts:
            link.abort(ConnectionResetError("cut"))
        elif message.name in self.secrets:
            link.post(Secret(name=message.name, value=self.secrets[message.name]))
        elif self.refuses:
            link.post(Secret(name=message.name, error="it may not have it"))

    @asynccontextmanager
    async def linked(self) -> AsyncIterator[Link]:
        """The module's end."""
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()

        def end(role: Role, take: Any) -> Any:
            return lambda: Link(Session(role, Wire.CHANNEL, new_id=new_id), on_message=take)

        _, module = await loop.create_unix_connection(end(Role.MODULE, lambda message, link: None), sock=ours)
        _, orchestrator = await loop.create_unix_connection(end(Role.ORCHESTRATOR, self.take), sock=theirs)
        try:
            yield module
        finally:
            await asyncio.gather(module.close(), orchestrator.close())


class TestOrchestrator(SecretSourceContract):
    @pytest.fixture
    def open_with(self) -> OpenWith:
        @asynccontextmanager
        async def opened(secrets: Mapping[str, str]) -> AsyncIterator[OrchestratorSecretProvider]:
            async with Desk(secrets).linked() as link:
                yield OrchestratorSecretProvider(link, timeout=30.0)

        return opened


async def test_it_answers_and_nothing_more() -> None:
    """What the orchestrator pushes is told to the client."""
    provider = OrchestratorSecretProvider(None)
    assert not isinstance(provider, ListedSource | WatchedSource | WritableSource)
    assert provider.place == "the orchestrator"


async def test_a_refusal_is_told_in_the_orchestrators_words() -> None:
    async with Desk({}).linked() as link:
        with pytest.raises(SecretNotFound, match="^the orchestrator refused the secret 'KEY': it may not have it$"):
            await OrchestratorSecretProvider(link).get("KEY")


async def test_silence_is_a_fault_of_an_orchestrator_that_refuses_and_an_answer_of_one_that_cannot() -> None:
    silence = "^the orchestrator did not answer for the secret 'KEY' within 0.01 s; does it know that name"
    async with Desk({}, refuses=False).linked() as link:
        with pytest.raises(SecretError, match=silence) as caught:
            await OrchestratorSecretProvider(link, timeout=0.01).get("KEY")
        assert not isinstance(caught.value, SecretNotFound)
        with pytest.raises(SecretNotFound, match=silence):
            await OrchestratorSecretProvider(link, timeout=0.01, refuses=False).get("KEY")


async def test_an_orchestrator_that_goes_away_is_a_fault() -> None:
    desk = Desk({"KEY": "value"})
    desk.cuts = True
    async with desk.linked() as link:
        for _ in range(2):
            with pytest.raises(SecretError, match="went away before it delivered the secret 'KEY'") as caught:
                await OrchestratorSecretProvider(link).get("KEY")
            assert not isinstance(caught.value, SecretNotFound)


@pytest.mark.parametrize("name", ["", "\ud800", "A" * (LONGEST_NAME + 1)])
async def test_what_is_no_name_is_not_sent(name: str) -> None:
    desk = Desk({"KEY": "value"})
    async with desk.linked() as link:
        with pytest.raises(SecretNotFound, match="which is no name of a secret"):
            await OrchestratorSecretProvider(link).get(name)
        assert desk.asked == []


async def test_a_module_asks_its_orchestrator_over_standard_output() -> None:
    async with Desk({"KEY": "a delivered value"}, refuses=False).linked() as link:
        for extension, kind in ((Extension(), SecretError), (None, SecretNotFound)):
            orchestrator = Orchestrator(Channels(link), extension)
            context = Context(module_id="test", section="secrets.orchestrator", folder=Path(), orchestrator=orchestrator)
            async with open_orchestrator_secrets(OrchestratorSecretOptions(timeout=30.0), context) as source:
                assert await source.get("KEY") == "a delivered value"
            async with open_orchestrator_secrets(OrchestratorSecretOptions(timeout=0.01), context) as source:
                with pytest.raises(SecretError) as caught:
                    await source.get("OTHER")
                assert type(caught.value) is kind


async def test_without_an_orchestrator_it_knows_nothing() -> None:
    context = Context(module_id="test", section="secrets.orchestrator")
    async with open_orchestrator_secrets(OrchestratorSecretOptions(), context) as source:
        with pytest.raises(SecretNotFound, match="this process runs without an orchestrator"):
            await source.get("KEY")


def test_a_time_that_is_none_is_refused() -> None:
    for timeout in (0.0, -1.0, float("inf"), float("nan")):
        _, problems = check_section({"timeout": timeout}, OrchestratorSecretOptions, "secrets.orchestrator", str)
        assert [problem.message for problem in problems] == [f"timeout is {timeout}: more than 0 seconds are needed, and an end"]
