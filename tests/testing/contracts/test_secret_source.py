"""The contract of a secret source fails for sources that break it."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.access import SecretInfo
from pywatt_core.builtin.secrets import MemorySecrets
from pywatt_core.errors import SecretError
from pywatt_core.testing.contracts import SecretSourceContract, secret_changing, secret_values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping


pytest_plugins = ["pytester"]


class Contract(SecretSourceContract):
    lists = watches = writes = True
    removes = False


contract = Contract()


def opening(source: Callable[[Mapping[str, str]], Any]) -> Any:
    @asynccontextmanager
    async def opened(secrets: Mapping[str, str]) -> AsyncIterator[Any]:
        yield source(secrets)

    return opened


async def set_each(source: Any, secrets: Mapping[str, str]) -> None:
    for name, value in secrets.items():
        await source.set(name, value)


async def broken(test: str, source: Callable[[Mapping[str, str]], Any], *more: Any, match: str | None = None) -> None:
    """Assert that a test of the contract fails for this source, and does not for one that keeps the contract."""
    takes = [*more, *([set_each] if test in vars(secret_changing.SecretWatching) else [])]
    arguments = [opening(MemorySecrets), *sorted(takes, key=lambda each: each is not set_each)]
    patient_for(30.0)
    await getattr(contract, test)(*arguments)
    arguments[0] = opening(source)
    patient_for(0.2)
    with pytest.raises((AssertionError, pytest.fail.Exception), match=match):
        await getattr(contract, test)(*arguments)


def patient_for(seconds: float) -> None:
    """How long the contract waits for what happens by itself."""
    for module in (secret_values, secret_changing):
        vars(module)["PATIENCE"] = seconds


@pytest.fixture(autouse=True)
def patient_again() -> Iterator[None]:
    yield
    patient_for(30.0)


class Generous(MemorySecrets):
    """Finds what was not asked for."""

    async def get(self, name: str) -> str | None:
        wanted = name.strip(" \n\0./*").upper()
        return next((value for key, value in self._values.items() if wanted and key.startswith(wanted.split("=")[0])), None)

    async def describe(self, name: str) -> SecretInfo | None:
        return await super().describe(name.strip().upper())


@pytest.mark.parametrize("name", ["plain", "PLAIN ", "PLAIN\n", "PLAIN\x00", "PLAIN=x", "PLAIN.", "../PLAIN", "P*"])
async def test_a_source_that_finds_too_much_is_seen(name: str) -> None:
    await broken("test_an_odd_name_finds_nothing_or_is_refused", Generous, name)


async def test_a_source_that_describes_too_much_is_seen() -> None:
    await broken("test_nothing_is_told_about_what_is_not_there", Generous, "PLAIN ")


class Chatty(MemorySecrets):
    """Says what it holds, to whoever asks for anything."""

    async def get(self, name: str) -> str | None:
        value = await super().get(name)
        if value is None:
            raise SecretError(f"{name!r} is none of {self._values}")
        return value

    def __repr__(self) -> str:
        return f"Chatty({self._values})"

    async def describe(self, name: str) -> SecretInfo | None:
        value = self._values.get(name)
        return SecretInfo(value or "", None, {"value": value or ""}) if value is not None else None


class Hinting(MemorySecrets):
    """The version of a value is its digest, which anybody can try."""

    async def describe(self, name: str) -> SecretInfo | None:
        value = self._values.get(name)
        return SecretInfo(hashlib.sha256(value.encode()).hexdigest()) if value is not None else None


class Revealing(MemorySecrets):
    async def describe(self, name: str) -> SecretInfo | None:
        return SecretInfo(self._values[name].encode().hex()) if name in self._values else None


async def test_a_source_that_shows_values_is_seen() -> None:
    await broken("test_an_odd_name_finds_nothing_or_is_refused", Chatty, "P*", match="can be read")
    await broken("test_nothing_about_the_source_shows_a_value", Chatty, match="can be read")
    await broken("test_what_is_told_about_a_secret_tells_nothing_of_its_value", Chatty)
    await broken("test_what_is_told_about_a_secret_tells_nothing_of_its_value", Revealing, match="can be read")
    await broken("test_two_secrets_of_one_value_do_not_show_that_they_are_the_same", Hinting)


class Trimming(MemorySecrets):
    """Takes blanks for decoration."""

    async def get(self, name: str) -> str | None:
        value = await super().get(name)
        return value.strip() if value is not None else None


class Mixing(MemorySecrets):
    """Has one place for all questions that are under way."""

    name = ""

    async def get(self, name: str) -> str | None:
        self.name = name
        await asyncio.sleep(0)
        return await super().get(self.name)


class Fickle(MemorySecrets):
    """Somebody who gives up takes the source along."""

    async def get(self, name: str) -> str | None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._values = {}
            raise
        return await super().get(name)


async def test_a_source_that_gives_other_values_is_seen() -> None:
    await broken("test_every_secret_comes_back_as_it_was_stored", Trimming)
    await broken("test_many_at_once_do_not_mix", Mixing)
    await broken("test_a_caller_that_gives_up_spoils_nothing", Fickle)
    await broken("test_a_secret_that_is_not_there_is_not_found", Inventive)


class Inventive(MemorySecrets):
    """Has something for everybody, and lists what it thinks of."""

    async def get(self, name: str) -> str | None:
        return self._values.get(name, "invented")

    async def names(self) -> frozenset[str]:
        return frozenset({*self._values, "INVENTED"})


async def test_a_source_that_lists_what_it_has_not_is_seen() -> None:
    await broken("test_the_names_are_those_that_are_there", Inventive)


class Plain:
    """Does less than it declares."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    async def get(self, name: str) -> str | None:
        return self.values.get(name)


async def test_a_source_that_is_not_what_it_declares_is_seen() -> None:
    await broken("test_it_is_what_it_declares", Plain)

    class Modest(SecretSourceContract):
        pass

    await Modest().test_it_is_what_it_declares(opening(Plain))
    with pytest.raises(AssertionError, match="lists, watches, writes say what the source can do"):
        await Modest().test_it_is_what_it_declares(opening(MemorySecrets))


class Silent(MemorySecrets):
    """Notices nothing by itself."""

    async def changes(self) -> AsyncIterator[frozenset[str]]:
        await asyncio.Event().wait()
        yield frozenset()


class Crying(MemorySecrets):
    """Whatever happens, everything has changed."""

    def changes(self) -> AsyncIterator[frozenset[str]]:
        return self._all(super().changes())

    async def _all(self, changes: AsyncIterator[frozenset[str]]) -> AsyncIterator[frozenset[str]]:
        async for _ in changes:
            yield frozenset(self._values)


class Keeping(MemorySecrets):
    """What goes is not told."""

    def changes(self) -> AsyncIterator[frozenset[str]]:
        return self._kept(super().changes())

    async def _kept(self, changes: AsyncIterator[frozenset[str]]) -> AsyncIterator[frozenset[str]]:
        async for names in changes:
            if names := names & self._values.keys():
                yield names


class Ending(MemorySecrets):
    """Tells one change and believes to be done."""

    async def changes(self) -> AsyncIterator[frozenset[str]]:
        async for names in super().changes():
            yield names
            return


class Late(MemorySecrets):
    """Counts from the first wait."""

    async def changes(self) -> AsyncIterator[frozenset[str]]:
        async for names in super().changes():
            yield names


class Stale(MemorySecrets):
    """Tells of values that `get` does not have."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self._first = dict(values)

    async def get(self, name: str) -> str | None:
        return self._first.get(name, self._values.get(name))


class Greedy(MemorySecrets):
    """Who is told first is told alone."""

    _shared: Any = None

    def changes(self) -> AsyncIterator[frozenset[str]]:
        self._shared = self._shared or super().changes()
        return self._each()

    async def _each(self) -> AsyncIterator[frozenset[str]]:
        while True:
            yield await anext(self._shared)


class Forgetful(MemorySecrets):
    """Of several changes in a row only the first counts."""

    async def set(self, name: str, value: str) -> None:
        if self._values.get(name, "").endswith("-contract-value") and value.startswith("19"):
            return
        await super().set(name, value)


class Unversioned(MemorySecrets):
    """The version is the number of secrets."""

    async def describe(self, name: str) -> SecretInfo | None:
        return SecretInfo(f"{name} of {len(self._values)}") if name in self._values else None


async def test_a_source_that_tells_changes_wrongly_is_seen() -> None:
    by_name = "test_what_is_added_changed_or_removed_is_told_by_name"
    await broken(by_name, Silent, match="nobody was told of")
    await broken(by_name, Crying, match="what stays the same is not told")
    await broken(by_name, Stale, match="get has the answer that was told")
    await broken(by_name, Ending)

    class Removing(Contract):
        removes = True

    async def all_of(source: MemorySecrets, secrets: Mapping[str, str]) -> None:
        source.replace(dict(secrets), {})

    patient_for(30.0)
    await getattr(Removing(), by_name)(opening(MemorySecrets), all_of)
    patient_for(0.2)
    with pytest.raises(pytest.fail.Exception, match=r"nobody was told of \['EQUALS'\]"):
        await getattr(Removing(), by_name)(opening(Keeping), all_of)
    await broken("test_everything_can_change_at_once", Stale)
    await broken("test_a_change_before_the_first_wait_is_told", Late)
    await broken("test_everybody_who_follows_is_told", Greedy)
    await broken("test_a_value_that_changes_often_ends_with_the_last", Forgetful, match="has not been noticed")
    await broken("test_a_changed_secret_has_another_version", Unversioned)


class Ignoring(MemorySecrets):
    async def set(self, name: str, value: str) -> None:
        pass


class Tidying(MemorySecrets):
    """Makes a name of everything."""

    async def set(self, name: str, value: str) -> None:
        await super().set("".join(each for each in name.upper() if each.isascii() and each.isalnum()) or "X", value)


class Racing(MemorySecrets):
    """Reads, waits, and writes what it read."""

    async def set(self, name: str, value: str) -> None:
        before = dict(self._values)
        await asyncio.sleep(0)
        self.replace({**before, name: value}, {})


class Echoing(MemorySecrets):
    """Says what it refuses."""

    async def set(self, name: str, value: str) -> None:
        raise SecretError(f"{name!r} cannot be {value!r}")


class Quiet(Silent):
    """What it was told to store it tells nobody."""


@pytest.mark.parametrize("name", ["plain", "PLAIN ", "PLAIN\n", "../PLAIN", "P*"])
async def test_a_source_that_stores_under_another_name_is_seen(name: str) -> None:
    await broken("test_an_odd_name_is_refused_or_is_the_name_of_that_secret_alone", Tidying, name)


async def test_a_source_that_stores_wrongly_is_seen() -> None:
    await broken("test_what_was_set_is_there", Ignoring)
    await broken("test_a_long_value_can_be_set", Ignoring)
    await broken("test_many_set_at_once_are_all_there", Racing)
    await broken("test_an_odd_name_is_refused_or_is_the_name_of_that_secret_alone", Echoing, "", match="can be read")
    await broken("test_who_follows_is_told_what_was_set", Quiet, match="nobody was told of")
    await broken("test_who_follows_is_told_what_was_set", Crying)


def declared_by(contract: type) -> set[str]:
    return {name for name in dir(contract) if name.startswith("test_") and getattr(contract, name) is not None}


def test_only_what_is_declared_is_tested() -> None:
    class Modest(SecretSourceContract):
        pass

    class More(Modest):
        lists = True

    class Less(Contract):
        writes = False

    listing = declared_by(More) - declared_by(Modest)
    assert listing == {
        "test_the_names_are_those_that_are_there",
        "test_what_is_told_about_a_secret_tells_nothing_of_its_value",
        "test_two_secrets_of_one_value_do_not_show_that_they_are_the_same",
        "test_nothing_is_told_about_what_is_not_there",
    }
    assert "test_what_was_set_is_there" not in declared_by(Less)
    assert declared_by(More) < declared_by(Less) < declared_by(Contract)


def test_a_source_that_watches_needs_somebody_who_changes_something(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from pywatt_core.testing.contracts import SecretSourceContract

        class TestMine(SecretSourceContract):
            watches = True

            @pytest.fixture
            def open_with(self):
                return None
        """
    )
    done = pytester.runpytest_subprocess("-q", "-k", "everybody_who_follows", "-p", "no:cacheprovider")
    done.stdout.fnmatch_lines(["*Failed: TestMine says that it watches: it needs a fixture `replace`*"])
