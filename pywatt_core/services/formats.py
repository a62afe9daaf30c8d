"""The serializers that the configuration names, and which of them also have a place on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..interfaces import Context
from ..protocol.formats import CODES, Codec, install

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from ..config import Settings
    from ..interfaces import Serializer
    from ..registry import Registry


async def open_serializers(stack: AsyncExitStack, registry: Registry, settings: Settings, module_id: str) -> dict[str, Serializer]:
    """Open every ``[serializers.NAME]`` onto `stack`; from then on this process offers their formats to PyWatt peers, until it is closed.

    Raises `ConfigError` where ``[module] frames`` names a format that no section brings, and what `Registry.open` raises.
    """
    opened: dict[str, Serializer] = {}
    for name, section in settings.sections("serializers").items():
        context = Context(module_id=module_id, section=section.path, folder=settings.folder)
        opened[name] = serializer = await stack.enter_async_context(registry.open("serializers", section, context))
        if serializer.format in CODES and serializer.format not in ("json", "msgpack"):
            stack.callback(install(codec_from(serializer), preferred=serializer.format == settings.module.frames))
    wanted = settings.module.frames
    if wanted != "msgpack" and wanted not in {serializer.format for serializer in opened.values()}:
        raise ConfigError(
            f'module.frames = "{wanted}" ({settings.origin("module.frames")}) needs [serializers.{wanted}], and pywatt-{wanted} installed'
        )
    return opened


def codec_from(serializer: Serializer) -> Codec:
    """The serializer's own format for plain values."""
    return Codec(serializer.format, serializer.encode, lambda data: serializer.decode(data, Any))
