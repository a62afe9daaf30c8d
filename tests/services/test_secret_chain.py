"""Several sources as one: who wins, who ends the search, what is told about all of them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core import redaction
from pywatt_core.access import ListedSource, SecretInfo, SecretSource, WatchedSource, WritableSource
from pywatt_core.builtin.secrets import EnvironmentSecrets, MemorySecrets
from pywatt_core.errors import ConfigError, SecretError, SecretNotFound
from pywatt_core.services.secret_chain import SecretChain, following, place_of
from pywatt_core.services.secret_versions import version_of
from pywatt_core.testing import assert_no_secret_in
from pywatt_core.testing.contracts import SecretSourceContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pywatt_core.testing.contracts.secret_source import OpenWith, Replace


class Plain:
    """The least that a source can be."""

    def __init__(self, **values: str) -> None:
        self.values = values
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def get(self, name: str) -> str | None:
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.values.get(name)


def chain_of(*sources: SecretSource, timeout: float = 30.0) -> SecretChain:
    return SecretChain(zip("abcdef", sources, strict=False), timeout=timeout)


class TestChain(SecretSourceContract):
    """A chain of which a middle part can do everything is a source that can."""

    lists = watches = writes = True
    removes = False

    @pytest.fixture
    def open_with(self) -> OpenWith:
        @asynccontextmanager
        async def opened(secrets: Mapping[str, str]) -> AsyncIterator[SecretChain]:
            yield chain_of(Plain(), MemorySecrets(secrets), Plain())

        return opened

    @pytest.fixture
    def replace(self) -> Replace:
        async def replaced(source: SecretChain, secrets: Mapping[str, str]) -> None:
            for name, value in secrets.items():
                await source.set(name, value)

        return replaced


async def test_the_first_that_knows_a_name_wins() -> None:
    chain = chain_of(Plain(A="first", EMPTY=""), Plain(A="second", B="second", EMPTY="full"))
    assert (await chain.get("A"), await chain.get("B"), await chain.get("EMPTY"), await chain.get("C")) == ("first", "second", "", None)
    assert [label for label, _ in chain] == ["a", "b"]
    assert (len(chain), repr(chain), chain.labels) == (2, "SecretChain(a, b)", "a, b")


async def test_a_source_that_fails_ends_the_search() -> None:
    """A later source must not stand in for one that cannot answer: it may hold an older value."""
    failing = Plain()
    chain = chain_of(Plain(A="first"), failing, Plain(B="third"))
    failing.error = SecretError("the vault is sealed")
    assert await chain.get("A") == "first"
    for asking in (chain.get, chain.fetch, chain.describe):
        with pytest.raises(SecretError, match=r"^\[secrets.b\]: the vault is sealed$") as caught:
            await asking("B")
        assert not isinstance(caught.value, SecretNotFound)
    failing.error = ConfigError("badly configured")
    with pytest.raises(ConfigError, match="badly configured"):
        await chain.get("B")


async def test_a_source_that_does_not_know_may_say_why() -> None:
    silent, place = Plain(), Plain()
    silent.error = SecretNotFound("the orchestrator refused the secret 'C': ask somebody else")
    place.place = "/etc/secrets.toml"  # type: ignore[attr-defined]
    chain = SecretChain([("orchestrator", silent), ("file", place), ("env", EnvironmentSecrets({}, "APP_")), ("plain", Plain(B="found"))])
    assert (await chain.get("B"), await chain.fetch("B"), await chain.get("C")) == ("found", "found", None)
    with pytest.raises(SecretNotFound) as caught:
        await chain.fetch("C")
    assert str(caught.value) == (
        "no source knows the secret 'C' (asked: orchestrator: the orchestrator refused the secret 'C': ask somebody else, "
        "file: /etc/secrets.toml, env: the variable APP_C, plain)"
    )
    with pytest.raises(SecretNotFound, match="^the orchestrator refused the secret 'C': ask somebody else$"):
        await SecretChain([("orchestrator", silent)]).fetch("C")


async def test_the_usual_sources_come_with_the_usual_remedy() -> None:
    with pytest.raises(SecretNotFound, match="; set it in the environment or in the .env file beside pywatt.toml$"):
        await SecretChain([("env", Plain()), ("dotenv", Plain())]).fetch("A")
    with pytest.raises(SecretNotFound, match=r"^no source knows the secret 'A' \(asked: none configured\)$"):
        await SecretChain().fetch("A")


async def test_each_source_has_its_time() -> None:
    slow = Plain(A="late")
    slow.gate = asyncio.Event()
    chain = chain_of(Plain(), slow, timeout=0.01)
    with pytest.raises(SecretError, match=r"^\[secrets.b\]: it did not answer within 0.01 s$"):
        await chain.get("A")
    slow.gate.set()
    assert await chain.get("A") == "late"


async def test_a_sources_own_timeout_is_not_the_chains() -> None:
    failing = Plain()
    failing.error = TimeoutError("somebody else's")
    with pytest.raises(TimeoutError, match="somebody else's"):
        await chain_of(failing).get("A")


@pytest.mark.parametrize(
    "value", [b"chain-canary", bytearray(b"chain-canary"), ["chain-canary"], 4711], ids=lambda value: type(value).__name__
)
async def test_an_answer_that_is_no_text_is_a_fault_of_the_source_and_is_not_repeated(value: object) -> None:
    plain: Any = Plain(A=value)  # type: ignore[arg-type]
    for chain in (chain_of(plain), chain_of(Plain(), plain, Plain(A="a later one"))):
        for asking in (chain.get, chain.fetch, chain.describe):
            with pytest.raises(
                SecretError, match=rf"^\[secrets\.[ab]\]: its answer for 'A' is not text but {type(value).__name__}$"
            ) as caught:
                await asking("A")
            assert_no_secret_in(caught.value, secrets={"A": "chain-canary"})


async def test_names_are_those_of_all_that_can_tell() -> None:
    chain = chain_of(MemorySecrets({"A": "one", "B": "two"}), Plain(C="hidden"), MemorySecrets({"B": "three", "D": "four"}))
    assert await chain.names() == {"A", "B", "D"}
    assert isinstance(chain, ListedSource)
    assert isinstance(chain, WatchedSource)
    assert isinstance(chain, WritableSource)


async def test_a_secret_is_described_by_the_source_that_has_it() -> None:
    class Described(Plain):
        async def names(self) -> set[str]:
            return set(self.values)

        async def describe(self, name: str) -> SecretInfo | None:
            return SecretInfo("7", datetime(2026, 1, 2, tzinfo=UTC), {"owner": "shop"}) if name in self.values else None

    chain = chain_of(Plain(A="plain"), Described(A="shadowed", B="described"))
    assert await chain.describe("A") == SecretInfo(version_of("A", "plain"), None, {"source": "a"})
    assert await chain.describe("B") == SecretInfo("7", datetime(2026, 1, 2, tzinfo=UTC), {"owner": "shop", "source": "b"})
    assert await chain.describe("C") is None


async def test_the_first_that_can_be_set_is_set() -> None:
    first, second = MemorySecrets({}), MemorySecrets({})
    chain = chain_of(Plain(A="fixed"), first, second)
    await chain.set("B", "a-value-to-set")
    assert (await first.get("B"), await second.get("B"), await chain.get("B")) == ("a-value-to-set", None, "a-value-to-set")
    with pytest.raises(SecretError, match=r"^the secret 'A' comes from \[secrets.a\], which cannot be set: change it there$"):
        await chain.set("A", "chain-set-canary")
    assert await first.get("A") is None
    with pytest.raises(SecretError, match=r"^no source can be set \(asked: a\): add one that can, such as \[secrets.memory\]$") as caught:
        await chain_of(Plain()).set("B", "chain-set-canary")
    assert_no_secret_in(str(caught.value), redaction.redact("chain-set-canary"), secrets="chain-set-canary")
    with pytest.raises(SecretError, match=r"^\[secrets.b\]: '' is no name of a secret"):
        await chain.set("", "chain-set-canary")


async def test_refreshing_reaches_those_that_keep_what_they_read() -> None:
    class Kept(Plain):
        refreshed = 0

        async def refresh(self) -> None:
            self.refreshed += 1

    kept = Kept()
    await chain_of(Plain(), kept).refresh()
    assert kept.refreshed == 1


def test_the_place_of_a_source_is_what_it_says() -> None:
    class Odd(Plain):
        def place(self, name: str) -> str:
            return f"drawer {name}"

    assert (place_of(Plain(), "A"), place_of(Odd(), "A"), place_of(MemorySecrets({}), "A")) == ("", "drawer A", "memory")


async def test_following_closes_what_it_opened() -> None:
    class Closing:
        closed = False

        def __aiter__(self) -> Closing:
            return self

        async def __anext__(self) -> frozenset[str]:
            return frozenset({"A"})

        async def aclose(self) -> None:
            self.closed = True

    class Watched(Plain):
        made: Any = None

        def changes(self) -> AsyncIterator[frozenset[str]]:
            self.made = Closing()
            return self.made  # type: ignore[no-any-return]

    source = Watched()
    with pytest.raises(KeyError):
        async with following(source) as changes:
            assert await anext(changes) == {"A"}
            raise KeyError
    assert source.made.closed
