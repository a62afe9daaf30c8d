"""The parts of the contract of secret sources that are about changes: those that are noticed, and those that are made."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from pywatt_core.errors import SecretError
from pywatt_core.services.secret_chain import following

from ..leaks import assert_no_secret_in
from .secret_values import (
    ODD_NAMES,
    PATIENCE,
    SECRETS,
    OpenWith,
    Replace,
    SourceUnderTest,
    found,
    found_or_refused,
    replaced,
    told_by,
    until,
)

CHANGED = "another-contract-value"


class SecretWatching(SourceUnderTest):
    """`WatchedSource`."""

    async def test_what_is_added_changed_or_removed_is_told_by_name(self, open_with: OpenWith, replace: Replace) -> None:
        async with open_with(SECRETS) as source, told_by(source) as told:
            await replaced(replace, source, now := {**SECRETS, "ADDED": "an-added-contract-value"})
            await told.of({"ADDED"})
            assert await source.get("ADDED") == "an-added-contract-value"
            await replaced(replace, source, now := {**now, "PLAIN": CHANGED})
            await told.of({"ADDED", "PLAIN"})
            assert await source.get("PLAIN") == CHANGED, "get has the answer that was told"
            if self.removes:
                del now["EQUALS"]
                await replaced(replace, source, now)
                await told.of({"ADDED", "PLAIN", "EQUALS"})
                assert await found(source, "EQUALS") is None
            assert {name: await found(source, name) for name in now} == now
            assert told.names == {"ADDED", "PLAIN"} | ({"EQUALS"} if self.removes else set()), "what stays the same is not told"

    async def test_everything_can_change_at_once(self, open_with: OpenWith, replace: Replace) -> None:
        others = {name: value + ", changed" for name, value in SECRETS.items()}
        async with open_with(SECRETS) as source, told_by(source) as told:
            await replaced(replace, source, others)
            await told.of(set(SECRETS))
            assert {name: await source.get(name) for name in others} == others

    async def test_a_value_that_changes_often_ends_with_the_last(self, open_with: OpenWith, replace: Replace) -> None:
        async with open_with(SECRETS) as source, told_by(source) as told:
            for number in range(20):
                await replaced(replace, source, {**SECRETS, "PLAIN": f"{number}-contract-value"})

            async def last() -> bool:
                return bool(await source.get("PLAIN") == "19-contract-value")

            await until(last, "the last of twenty values has not been noticed")
            await told.of({"PLAIN"})
            assert told.names == {"PLAIN"}

    async def test_everybody_who_follows_is_told(self, open_with: OpenWith, replace: Replace) -> None:
        async with open_with(SECRETS) as source, told_by(source) as one:
            async with told_by(source) as other:
                await replaced(replace, source, {**SECRETS, "PLAIN": CHANGED})
                await asyncio.gather(one.of({"PLAIN"}), other.of({"PLAIN"}))
            await replaced(replace, source, {**SECRETS, "PLAIN": CHANGED, "NUMBER": CHANGED})
            await one.of({"NUMBER"})

    async def test_a_change_before_the_first_wait_is_told(self, open_with: OpenWith, replace: Replace) -> None:
        async with open_with(SECRETS) as source, following(source) as changes:
            await replaced(replace, source, {**SECRETS, "PLAIN": CHANGED})

            async def noticed() -> bool:
                return bool(await source.get("PLAIN") == CHANGED)

            await until(noticed, "the change has not been noticed")
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    assert await anext(aiter(changes)) == {"PLAIN"}
                    return
            pytest.fail("a change before the first wait was not told: changes() counts from the call")

    async def test_a_changed_secret_has_another_version(self, open_with: OpenWith, replace: Replace) -> None:
        if not self.lists:
            return
        async with open_with(SECRETS) as source, told_by(source) as told:
            plain, number = await source.describe("PLAIN"), await source.describe("NUMBER")
            await replaced(replace, source, {**SECRETS, "PLAIN": CHANGED})
            await told.of({"PLAIN"})
            after = await source.describe("PLAIN")
            assert not after.version or after.version != plain.version
            assert (await source.describe("NUMBER")).version == number.version


class SecretWriting(SourceUnderTest):
    """`WritableSource`."""

    async def test_what_was_set_is_there(self, open_with: OpenWith) -> None:
        async with open_with({"PLAIN": "the-contract-value-before"}) as source:
            for name, value in self.secrets().items():
                await source.set(name, value)
                assert await source.get(name) == value
            assert {name: await source.get(name) for name in self.secrets()} == self.secrets()

    async def test_a_long_value_can_be_set(self, open_with: OpenWith) -> None:
        value = ("0123456789abcdef" * (self.longest // 16 + 1))[: self.longest]
        async with open_with(SECRETS) as source:
            await source.set("LONG", value)
            assert await source.get("LONG") == value

    async def test_many_set_at_once_are_all_there(self, open_with: OpenWith) -> None:
        secrets = {f"NAME_{number}": f"contract value {number}" for number in range(20)}
        async with open_with(SECRETS) as source:
            await asyncio.gather(*(source.set(name, value) for name, value in secrets.items()))
            assert {name: await source.get(name) for name in secrets} == secrets
            assert await source.get("PLAIN") == SECRETS["PLAIN"]

    @pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: ascii(name[:12]))
    async def test_an_odd_name_is_refused_or_is_the_name_of_that_secret_alone(self, open_with: OpenWith, name: str) -> None:
        async with open_with(SECRETS) as source:
            try:
                await source.set(name, CHANGED)
            except SecretError as error:
                assert_no_secret_in(str(error), repr(error), repr(error.__cause__), secrets=CHANGED)
                assert await found_or_refused(source, name) is None
            else:
                assert await source.get(name) == CHANGED
            assert {each: await source.get(each) for each in SECRETS} == SECRETS

    async def test_who_follows_is_told_what_was_set(self, open_with: OpenWith) -> None:
        if not self.watches:
            return
        async with open_with(SECRETS) as source, told_by(source) as told:
            await source.set("PLAIN", CHANGED)
            await source.set("ADDED", CHANGED)
            await source.set("NUMBER", SECRETS["NUMBER"])
            await told.of({"PLAIN", "ADDED"})
            assert told.names == {"PLAIN", "ADDED"}
