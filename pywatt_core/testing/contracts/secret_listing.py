"""The part of the contract of secret sources that is about what they know of their secrets."""

from __future__ import annotations

import pytest

from pywatt_core.access import SecretInfo

from ..leaks import assert_no_secret_in
from .secret_values import ODD_NAMES, SECRETS, OpenWith, SourceUnderTest


class SecretListing(SourceUnderTest):
    """`ListedSource`."""

    async def test_the_names_are_those_that_are_there(self, open_with: OpenWith) -> None:
        async with open_with(self.secrets()) as source:
            assert set(await source.names()) == set(self.secrets())

    async def test_what_is_told_about_a_secret_tells_nothing_of_its_value(self, open_with: OpenWith) -> None:
        async with open_with(SECRETS) as source:
            for name, value in SECRETS.items():
                info = await source.describe(name)
                assert isinstance(info, SecretInfo), name
                assert value not in repr(info) or len(value) <= 4, "four digits may stand in a version by chance"
                assert all(isinstance(key, str) and isinstance(text, str) for key, text in info.attributes.items())
                assert info.changed is None or info.changed.tzinfo is not None
                assert (await source.describe(name)).version == info.version, "the same value has the same version"
            told = [repr(await source.describe(name)) for name in SECRETS]
            assert_no_secret_in(told, secrets={name: value for name, value in SECRETS.items() if len(value) > 4})

    async def test_two_secrets_of_one_value_do_not_show_that_they_are_the_same(self, open_with: OpenWith) -> None:
        async with open_with({"ONE": "the same contract value", "OTHER": "the same contract value"}) as source:
            one, other = await source.describe("ONE"), await source.describe("OTHER")
            assert not one.version or one.version != other.version

    @pytest.mark.parametrize("name", [*ODD_NAMES, "PYWATT_CONTRACT_ABSENT"], ids=lambda name: ascii(name[:12]))
    async def test_nothing_is_told_about_what_is_not_there(self, open_with: OpenWith, name: str) -> None:
        async with open_with(SECRETS) as source:
            assert await source.describe(name) is None
