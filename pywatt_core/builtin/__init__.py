"""The default providers, registered through the same hooks as any plugin's: secrets, JSON, the core's message handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..hookspecs import hookimpl
from ..interfaces import Provider, SecretSource, Serializer
from .secrets import DotenvOptions, EnvOptions, FileOptions, MemoryOptions, open_dotenv, open_env, open_file, open_memory
from .serializers import JsonOptions, open_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..interfaces import Handler
    from ..protocol.messages import Message


@hookimpl
def pywatt_register_secret_sources() -> Iterable[Provider[SecretSource]]:
    return [
        Provider("env", EnvOptions, open_env),
        Provider("dotenv", DotenvOptions, open_dotenv),
        Provider("file", FileOptions, open_file),
        Provider("memory", MemoryOptions, open_memory),
    ]


@hookimpl
def pywatt_register_serializers() -> Iterable[Provider[Serializer]]:
    return [Provider("json", JsonOptions, open_json)]


@hookimpl
def pywatt_register_handlers(state: Any) -> Mapping[type[Message], Handler]:
    from .handlers import handlers

    return handlers(state)
