"""Those that take part in a rotation: processes of modules, which are told, and services that we host, which are opened anew."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from pywatt_core.errors import PyWattError, RequestTimeout
from pywatt_core.redaction import redact

from .lines import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pywatt_core.protocol.messages import RotationAck

_log = logging.getLogger(__name__)

ACK_TIMEOUT: Final = 10.0
"""Seconds that a process has to acknowledge, and a service to be opened anew."""
LONGEST_REASON: Final = 500
"""Characters of a reason that are repeated."""


class Process(Protocol):
    """A process that holds secrets: `Run` is one."""

    @property
    def module_id(self) -> str: ...
    @property
    def start_patience(self) -> float | None:
        """None once it has announced itself; until then it has no vote, and this is how many seconds its start may take."""
        ...

    async def rotate(self, names: Sequence[str], rotation_id: str, *, timeout: float) -> RotationAck | None:
        """Tell it that these secrets have other values; its acknowledgement, or None where it has ended or is about to.

        Raises `RequestTimeout`, or another `PyWattError` where it lives and cannot be told.
        """
        ...


class Service(ABC):
    """A service that we host: it is opened anew with the new values, and used once every process has taken them too."""

    module_id: str
    """Its section: ``[services.main]``."""

    @abstractmethod
    async def prepare(self, values: Mapping[str, str]) -> None:
        """Where it is open, open it with these values too, beside what is in use. Raises what that raises; nothing is left then."""

    @abstractmethod
    def commit(self) -> None:
        """Use what `prepare` has opened; the old one is closed after the last operation on it."""

    @abstractmethod
    def discard(self) -> None:
        """Close what `prepare` has opened, where it has."""


async def prepare(services: Iterable[Service], values: Mapping[str, str]) -> dict[str, str]:
    """Open these services anew; those that could not be opened, and why."""

    async def one(service: Service) -> str:
        try:
            async with asyncio.timeout(ACK_TIMEOUT) as limit:
                await service.prepare(values)
        except Exception as error:
            return f"it was not open within {ACK_TIMEOUT:g} s" if limit.expired() else plain(str(error)) or type(error).__name__
        return ""

    everything = list(services)
    outcomes = await asyncio.gather(*map(one, everything))
    return {service.module_id: reason for service, reason in zip(everything, outcomes, strict=True) if reason}


async def ask(holder: Process, names: Iterable[str], rotation_id: str) -> str:
    """Why it does not use the new values; empty where it does, or uses nothing any more."""
    timeout = ACK_TIMEOUT + (holder.start_patience or 0.0)
    try:
        acknowledged = await holder.rotate(sorted(names), rotation_id, timeout=timeout)
    except RequestTimeout:
        return f"it did not acknowledge within {timeout:g} s"
    except PyWattError as error:
        return plain(str(error))
    except Exception as error:  # A fault of ours: it must not keep the others from being told to go back.
        _log.exception("telling %s of a rotation failed", holder.module_id)
        return f"it could not be told: {type(error).__name__}"
    if acknowledged is None or acknowledged.status == "success":
        return ""
    return plain(acknowledged.message or "") or "it gave no reason"


def plain(text: str) -> str:
    """A reason as it may be shown: nothing secret, one line, not too long."""
    text = clean(redact(text))
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"
