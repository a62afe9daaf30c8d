"""The contract of a secret source."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import pytest

from pywatt_core.errors import SecretError
from pywatt_core.interfaces import SecretSource

OpenWith: TypeAlias = Callable[[Mapping[str, str]], AbstractAsyncContextManager[SecretSource]]

SECRETS = {
    "PLAIN": "plain-contract-value",
    "SPACES": "  inside and around  ",
    "QUOTES": "a'b\"c`d\\e$HOME ${HOME} #no comment",
    "EQUALS": "key=value=more",
    "UNICODE": "Grüße 😀",
    "LOOKS_LIKE_A_REFERENCE": "secret:PLAIN",
    "NUMBER": "0123",
}
EMPTY = {"EMPTY": ""}
MULTILINE = {"MULTILINE": "-----BEGIN-----\nline one\nline two\r\n\ttabbed\n-----END-----\n"}

ODD_NAMES = [
    "",
    " ",
    "plain",
    "PLAIN ",
    " PLAIN",
    "PLAIN\n",
    "PLAIN\x00",
    "PLAIN=x",
    "../PLAIN",
    "a/b",
    "*",
    "P*",
    "P_AIN",
    "ü",
    "A" * 10_000,
]


class SecretSourceContract:
    """Everything that `pywatt_core.interfaces.SecretSource` promises. A plugin's test file holds::

        class TestMySource(SecretSourceContract):
            @pytest.fixture
            def open_with(self, server):
                def opened(secrets):
                    server.fill(secrets)
                    return open_mine(Options(…), Context(module_id="test", section="secrets.mine"))
                return opened

    `open_with` takes the secrets that are to be there and gives an async context manager that opens the source.
    """

    holds_empty = True
    """Whether a secret may be the empty text. If not, the source says None for it."""
    holds_several_lines = True
    """Whether a secret may have several lines."""
    longest = 64 * 1024
    """Characters that one secret may have."""

    def _secrets(self) -> dict[str, str]:
        return {**SECRETS, **(EMPTY if self.holds_empty else {}), **(MULTILINE if self.holds_several_lines else {})}

    async def test_every_secret_comes_back_as_it_was_stored(self, open_with: OpenWith) -> None:
        secrets = self._secrets()
        async with open_with(secrets) as source:
            assert {name: await source.get(name) for name in secrets} == secrets

    async def test_a_long_secret_comes_back_whole(self, open_with: OpenWith) -> None:
        value = ("0123456789abcdef" * (self.longest // 16 + 1))[: self.longest]
        async with open_with({"LONG": value}) as source:
            assert await source.get("LONG") == value

    async def test_a_secret_that_is_not_there_is_none(self, open_with: OpenWith) -> None:
        async with open_with(SECRETS) as source:
            assert await source.get("PYWATT_CONTRACT_ABSENT") is None

    @pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: repr(name[:12]))
    async def test_an_odd_name_finds_nothing_or_is_refused(self, open_with: OpenWith, name: str) -> None:
        async with open_with(SECRETS) as source:
            try:
                assert await source.get(name) is None
            except SecretError as error:
                assert not any(value in str(error) for value in SECRETS.values())

    async def test_many_at_once_do_not_mix(self, open_with: OpenWith) -> None:
        secrets = {f"NAME_{number}": f"contract value {number}" for number in range(100)}
        async with open_with(secrets) as source:
            values = await asyncio.gather(*(source.get(name) for name in secrets))
        assert values == list(secrets.values())

    async def test_a_caller_that_gives_up_spoils_nothing(self, open_with: OpenWith) -> None:
        async with open_with(SECRETS) as source:
            for _ in range(20):
                asking = asyncio.ensure_future(source.get("PLAIN"))
                await asyncio.sleep(0)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            assert await source.get("PLAIN") == SECRETS["PLAIN"]

    async def test_nothing_about_the_source_shows_a_value(self, open_with: OpenWith) -> None:
        async with open_with(SECRETS) as source:
            await source.get("PLAIN")
            assert SECRETS["PLAIN"] not in f"{source!r} {source} {vars(type(source))}"

    async def test_it_can_be_opened_again(self, open_with: OpenWith) -> None:
        for _ in range(2):
            async with open_with(SECRETS) as source:
                assert await source.get("PLAIN") == SECRETS["PLAIN"]

    async def test_two_may_be_open_at_once_and_one_may_close_first(self, open_with: OpenWith) -> None:
        async with open_with(SECRETS) as first:
            async with open_with(SECRETS) as second:
                assert await second.get("PLAIN") == await first.get("PLAIN")
            assert await first.get("PLAIN") == SECRETS["PLAIN"]
