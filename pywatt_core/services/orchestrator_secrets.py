"""Secrets that a module's orchestrator hands out, one question each (protocol 9.1)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..errors import ChannelClosed, RequestTimeout, SecretError, SecretNotFound
from ..protocol.messages import GetSecret, Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..builtin.secret_options import OrchestratorSecretOptions
    from ..interfaces import Context
    from ..transports.link import Link
    from .channels import Channels

ANSWER_TIMEOUT = 5.0
"""Seconds to wait for one secret (protocol 9.1)."""

LONGEST_NAME = 1024
"""Characters of a name that are sent; no longer one is the name of a secret."""


class OrchestratorSecretProvider:
    """The secrets of the orchestrator at the other end of `way`; a secret source, and the whole chain of a module that it starts.

    `timeout` is in seconds. `refuses` tells whether this orchestrator says so when it does not know a name. One that speaks the
    inherited protocol has no words for that: it stays silent, and `refuses=False` takes silence for "not known" instead of for a fault.
    Without a `way` there is no orchestrator, and so no secret.

    What the orchestrator pushes, new values and rotations, is told to the module's `SecretClient`, not through here.
    """

    place = "the orchestrator"

    def __init__(self, way: Link | Channels | None, *, timeout: float = ANSWER_TIMEOUT, refuses: bool = True) -> None:
        self._way, self._timeout, self._refuses = way, timeout, refuses

    async def get(self, name: str) -> str:
        """The value. Raises `SecretNotFound` with what the orchestrator said, `SecretError` where it does not answer or is gone."""
        if self._way is None:
            raise SecretNotFound("this process runs without an orchestrator")
        if not name or len(name) > LONGEST_NAME or any("\ud800" <= character <= "\udfff" for character in name):
            raise SecretNotFound(f"the orchestrator is not asked for {name[:80]!r}, which is no name of a secret")
        try:
            answer = await self._way.request(GetSecret(name=name), timeout=self._timeout)
        except RequestTimeout as error:
            silence = f"the orchestrator did not answer for the secret {name!r} within {self._timeout:g} s; does it know that name?"
            raise (SecretError if self._refuses else SecretNotFound)(silence) from error
        except ChannelClosed as error:
            raise SecretError(f"the orchestrator went away before it delivered the secret {name!r}") from error
        assert isinstance(answer, Secret)
        if answer.error is not None or answer.value is None:
            raise SecretNotFound(f"the orchestrator refused the secret {name!r}: {answer.error or 'no value'}")
        return answer.value

    def __repr__(self) -> str:
        return f"OrchestratorSecretProvider(timeout={self._timeout:g})"


@asynccontextmanager
async def open_orchestrator_secrets(options: OrchestratorSecretOptions, context: Context) -> AsyncIterator[OrchestratorSecretProvider]:
    """Without an orchestrator it is open all the same and knows nothing: one file serves a module that runs alone, too."""
    orchestrator = context.orchestrator
    yield OrchestratorSecretProvider(
        orchestrator.channels.stdio if orchestrator is not None else None,
        timeout=options.timeout,
        refuses=orchestrator is not None and orchestrator.extension is not None,
    )
