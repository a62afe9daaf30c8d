"""[serializers.NAME]: opened by name, offered to peers where the wire has a place for them, and taken back at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from pywatt_core.config import load
from pywatt_core.errors import ConfigError, PluginError
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Context, Provider, Serializer
from pywatt_core.protocol.formats import CODECS, agreed, offered_formats
from pywatt_core.registry import Registry
from pywatt_core.services.formats import open_serializers


@dataclass(frozen=True, kw_only=True)
class Options:
    limit: int = 5


class Plain:
    """A serializer of some format."""

    def __init__(self, format: str, options: Options) -> None:
        self.format, self.options = format, options

    def encode(self, value: object) -> bytes:
        return msgspec.msgpack.encode(value)

    def decode(self, data: bytes, type: Any) -> Any:
        return msgspec.msgpack.decode(data, type=type)


class Plugin:
    def __init__(self, format: str, *, name: str = "") -> None:
        self.format, self.name, self.closed = format, name or format, 0

    @hookimpl
    def pywatt_register_serializers(self) -> Iterable[Provider[Serializer]]:
        return [Provider(self.name, Options, self._open)]

    @asynccontextmanager
    async def _open(self, options: Options, context: Context) -> AsyncIterator[Plain]:
        try:
            yield Plain(self.format, options)
        finally:
            self.closed += 1


def registry_with(*plugins: Plugin) -> Registry:
    registry = Registry(discover=False)
    for plugin in plugins:
        registry.add(plugin, name=f"fake-{plugin.name}", distribution=f"pywatt-{plugin.name}")
    return registry


def settings(**tables: Any) -> Any:
    return load(decorator=tables, environ={})


async def test_without_a_section_nothing_is_opened_and_nothing_offered_but_messagepack() -> None:
    async with AsyncExitStack() as stack:
        assert await open_serializers(stack, registry_with(Plugin("cbor")), settings(), "m") == {}
        assert offered_formats() == ("msgpack",)


async def test_a_section_opens_its_serializer_with_its_options_and_offers_its_format_until_the_end() -> None:
    plugin = Plugin("cbor")
    async with AsyncExitStack() as stack:
        opened = await open_serializers(stack, registry_with(plugin), settings(serializers={"cbor": {"limit": 7}}), "m")
        assert opened["cbor"].options == Options(limit=7)  # type: ignore[attr-defined]
        assert offered_formats() == ("msgpack", "cbor")
        assert agreed(("cbor", "msgpack")) == "msgpack"
        assert CODECS["cbor"].decode(CODECS["cbor"].encode({"a": b"\xff"})) == {"a": b"\xff"}
    assert offered_formats() == ("msgpack",)
    assert plugin.closed == 1


async def test_frames_says_which_format_is_preferred() -> None:
    wanted = settings(module={"frames": "cbor"}, serializers={"compact": {"use": "cbor"}})
    async with AsyncExitStack() as stack:
        opened = await open_serializers(stack, registry_with(Plugin("cbor")), wanted, "m")
        assert list(opened) == ["compact"]
        assert agreed(("cbor", "msgpack")) == "cbor"
    assert agreed(("cbor", "msgpack")) == "msgpack"


async def test_a_preferred_format_without_its_section_is_an_error_of_the_configuration() -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match=r'module.frames = "cbor" \(.*\) needs \[serializers.cbor\], and pywatt-cbor installed'):
            await open_serializers(stack, registry_with(Plugin("cbor")), settings(module={"frames": "cbor"}), "m")


async def test_a_plugin_that_is_not_installed_is_named() -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(PluginError, match="pip install pywatt-cbor"):
            await open_serializers(stack, registry_with(), settings(serializers={"cbor": {}}), "m")


async def test_other_formats_are_opened_and_have_no_place_on_the_wire() -> None:
    sections = {"json": {}, "msgpack": {}, "bson": {}}
    async with AsyncExitStack() as stack:
        opened = await open_serializers(stack, registry_with(Plugin("msgpack"), Plugin("bson")), settings(serializers=sections), "m")
        assert [one.format for one in opened.values()] == ["json", "msgpack", "bson"]
        assert offered_formats() == ("msgpack",)
