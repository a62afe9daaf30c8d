"""The contract of a secret source: `SecretSourceContract`, made of the groups of tests beside this file, and of what all sources do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pywatt_core.access import ListedSource, WatchedSource, WritableSource

from ..leaks import assert_no_secret_in
from .secret_changing import SecretWatching, SecretWriting
from .secret_listing import SecretListing
from .secret_values import ODD_NAMES, SECRETS, found, found_or_refused
from .secret_values import OpenWith as OpenWith
from .secret_values import Replace as Replace


class SecretSourceContract(SecretListing, SecretWatching, SecretWriting):
    """Everything that `pywatt_core.interfaces.SecretSource` promises, and what `access` says of sources that can more. A plugin's
    test file holds::

        class TestMySource(SecretSourceContract):
            lists = True

            @pytest.fixture
            def open_with(self, server):
                def opened(secrets):
                    server.fill(secrets)
                    return open_mine(Options(…), Context(module_id="test", section="secrets.mine"))
                return opened

    `open_with` takes the secrets that are to be there and gives an async context manager that opens the source. The attributes
    that say what the source can do, and the fixture `replace` for one that notices changes, are those of `SourceUnderTest`.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Of the groups of tests only those are there that the source declares to pass."""
        super().__init_subclass__(**options)
        for declared, group in ((cls.lists, SecretListing), (cls.watches, SecretWatching), (cls.writes, SecretWriting)):
            for name in [name for name in vars(group) if name.startswith("test_")]:
                if not declared:
                    setattr(cls, name, None)
                elif getattr(cls, name) is None:
                    setattr(cls, name, vars(group)[name])

    async def test_it_is_what_it_declares(self, open_with: OpenWith) -> None:
        async with open_with(SECRETS) as source:
            kinds = (isinstance(source, ListedSource), isinstance(source, WatchedSource), isinstance(source, WritableSource))
        assert kinds == (self.lists, self.watches, self.writes), "lists, watches, writes say what the source can do"

    async def test_every_secret_comes_back_as_it_was_stored(self, open_with: OpenWith) -> None:
        async with open_with(self.secrets()) as source:
            assert {name: await source.get(name) for name in self.secrets()} == self.secrets()

    async def test_a_long_secret_comes_back_whole(self, open_with: OpenWith) -> None:
        value = ("0123456789abcdef" * (self.longest // 16 + 1))[: self.longest]
        async with open_with({"LONG": value}) as source:
            assert await source.get("LONG") == value

    async def test_a_secret_that_is_not_there_is_not_found(self, open_with: OpenWith) -> None:
        async with open_with(SECRETS) as source:
            assert await found(source, "PYWATT_CONTRACT_ABSENT") is None

    @pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: ascii(name[:12]))
    async def test_an_odd_name_finds_nothing_or_is_refused(self, open_with: OpenWith, name: str) -> None:
        async with open_with(SECRETS) as source:
            assert await found_or_refused(source, name) is None
            assert await source.get("PLAIN") == SECRETS["PLAIN"]

    async def test_many_at_once_do_not_mix(self, open_with: OpenWith) -> None:
        secrets = {f"NAME_{number}": f"contract value {number}" for number in range(100)}
        async with open_with(secrets) as source:
            values = await asyncio.gather(*(source.get(name) for name in secrets))
        assert values == list(secrets.values())

    async def test_many_may_ask_for_one(self, open_with: OpenWith) -> None:
        async with open_with(SECRETS) as source:
            assert set(await asyncio.gather(*(source.get("PLAIN") for _ in range(100)))) == {SECRETS["PLAIN"]}

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
            place = getattr(source, "place", "")
            shown = [repr(source), str(source), f"{source}", repr(vars(type(source))), place("PLAIN") if callable(place) else place]
            assert_no_secret_in(shown, secrets={name: value for name, value in SECRETS.items() if len(value) > 4})

    async def test_it_can_be_opened_again(self, open_with: OpenWith) -> None:
        for _ in range(2):
            async with open_with(SECRETS) as source:
                assert await source.get("PLAIN") == SECRETS["PLAIN"]

    async def test_two_may_be_open_at_once_and_one_may_close_first(self, open_with: OpenWith) -> None:
        async with open_with(SECRETS) as first:
            async with open_with(SECRETS) as second:
                assert await second.get("PLAIN") == await first.get("PLAIN")
            assert await first.get("PLAIN") == SECRETS["PLAIN"]
