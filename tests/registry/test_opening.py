"""From a section to an open resource, and everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.config import Section, load
from pywatt_core.errors import ConfigError, PluginError, SecretError, SecretNotFound, Unavailable
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import CacheStats, Context, Provider
from pywatt_core.redaction import Secret, redact
from pywatt_core.registry import Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    password: Secret | None = None
    size: int = 1
    names: list[str] = field(default_factory=list)


class Source:
    """A secret source that knows everything."""

    def __init__(self, options: Options, context: Context) -> None:
        self.options, self.context = options, context
        self.closed = False

    async def get(self, name: str) -> str | None:
        return f"value of {name}"


@asynccontextmanager
async def open_source(options: Options, context: Context) -> AsyncIterator[Source]:
    source = Source(options, context)
    try:
        yield source
    finally:
        source.closed = True


def registry_of(open_: Any = open_source, kind: str = "secret_sources") -> Registry:
    class Plugin:
        pass

    def register(self: object) -> list[Provider[Any]]:
        return [Provider("x", Options, open_)]

    register.__name__ = f"pywatt_register_{kind}"
    setattr(Plugin, register.__name__, hookimpl(register))
    registry = Registry(discover=False)
    assert registry.add(Plugin(), name="x", distribution="pywatt-x", version="1.0").broken == ""
    return registry


async def test_a_section_is_opened_with_checked_options_and_closed_on_leaving() -> None:
    context = Context(module_id="users", section="secrets.a")
    async with registry_of().open("secrets", Section("x", {"size": 3}, "secrets.a"), context) as source:
        assert (source.options, source.context, source.closed) == (Options(size=3), context, False)
    assert source.closed


async def test_an_error_inside_reaches_the_resource_and_passes() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with registry_of().open("secrets", Section("x", {}, "secrets.a")) as source:
            raise KeyError("mine")
    assert source.closed


async def test_references_are_resolved_first_and_never_shown() -> None:
    async def known(name: str) -> str | None:
        return {"PASSWORD": "opening-canary", "SIZE": "7"}.get(name)

    section = Section("x", {"password": "secret:PASSWORD", "size": "secret:SIZE"}, "secrets.a")
    async with registry_of().open("secrets", section, secrets=known) as source:
        assert (source.options.password.expose_secret(), source.options.size) == ("opening-canary", 7)
    assert redact("opening-canary") == "[REDACTED]"
    with pytest.raises(SecretNotFound, match="secrets.a.password .*: no secret source knows 'GONE'"):
        async with registry_of().open("secrets", Section("x", {"password": "secret:GONE"}, "secrets.a"), secrets=known):
            pass
    with pytest.raises(ConfigError, match="secrets.a: its secrets have to be resolved"):
        async with registry_of().open("secrets", section):
            pass


async def test_a_secret_that_does_not_fit_its_option_is_not_quoted() -> None:
    async def known(name: str) -> str | None:
        return "misfit-canary"

    with pytest.raises(ConfigError) as caught:
        async with registry_of().open("secrets", Section("x", {"size": "secret:SIZE"}, "secrets.a"), secrets=known):
            pass
    assert "secrets.a.size" in str(caught.value)
    assert "misfit-canary" not in str(caught.value)


async def test_wrong_options_are_all_reported() -> None:
    with pytest.raises(ConfigError, match=r"(?s)2 problems.*secrets.a.sise.*Did you mean 'size'.*secrets.a.names"):
        async with registry_of().open("secrets", Section("x", {"sise": 3, "names": 5}, "secrets.a")):
            pass


@asynccontextmanager
async def hanging(options: Options, context: Context) -> AsyncIterator[None]:
    await asyncio.Event().wait()
    yield


@asynccontextmanager
async def timing_out(options: Options, context: Context) -> AsyncIterator[None]:
    raise TimeoutError("the backend's own")
    yield


@asynccontextmanager
async def lacking(options: Options, context: Context) -> AsyncIterator[None]:
    import no_such_library  # type: ignore[import-not-found]  # noqa: F401

    yield


@asynccontextmanager
async def opening_nothing(options: Options, context: Context) -> AsyncIterator[object]:
    yield object()


async def coroutine(options: Options, context: Context) -> None: ...


async def generator(options: Options, context: Context) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("open_", "error", "complaint"),
    [
        (hanging, Unavailable, "secrets.a: the provider 'x' of pywatt-x did not open within 0.05 s"),
        (timing_out, TimeoutError, "the backend's own"),
        (
            lacking,
            PluginError,
            "cannot open secrets.a: ModuleNotFoundError: No module named 'no_such_library'. Its dependencies are not all",
        ),
        (opening_nothing, PluginError, "opened an object for secrets.a that lacks get"),
        (coroutine, PluginError, "open for secrets.a returned a coroutine; decorate it with contextlib.asynccontextmanager"),
        (generator, PluginError, "returned an async_generator; decorate it"),
        (lambda options, context: None, PluginError, "returned nothing; decorate it"),
    ],
)
async def test_a_provider_that_breaks_its_contract_is_named(open_: Any, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        async with registry_of(open_).open(
            "secrets", Section("x", {}, "secrets.a"), Context(module_id="m", section="secrets.a"), timeout=0.05
        ):
            pass


async def test_the_configuration_says_how_long_opening_may_take() -> None:
    settings = load(start="/", environ={"PYWATT__MODULE__OPEN_TIMEOUT": "0.05"})
    registry = registry_of(hanging)
    registry.open_timeout = Registry.discover(settings).open_timeout
    with pytest.raises(Unavailable, match="did not open within 0.05 s"):
        async with registry.open("secrets", Section("x", {}, "secrets.a")):
            pass


async def test_what_a_cache_lacks_is_listed() -> None:
    class Half:
        async def get(self, key: str) -> None: ...
        async def stats(self) -> CacheStats:
            return CacheStats()

    @asynccontextmanager
    async def open_half(options: Options, context: Context) -> AsyncIterator[Half]:
        yield Half()

    with pytest.raises(PluginError, match="opened a Half for caches.main that lacks clear, decrement, delete"):
        async with registry_of(open_half, "caches").open("caches", Section("x", {}, "caches.main")):
            pass


async def test_a_chain_of_secret_sources_is_opened_in_order_and_may_build_on_itself(tmp_path: Path) -> None:
    (tmp_path / "first.env").write_text("PASSWORD=chain-canary\n")
    (tmp_path / "pywatt.toml").write_text(
        '[secrets.first]\nuse = "dotenv"\npath = "first.env"\n[secrets.second]\nuse = "x"\npassword = "secret:PASSWORD"\n[secrets.env]\n'
    )
    settings = load(start=tmp_path, environ={})
    async with AsyncExitStack() as stack:
        chain = await registry_of().open_secret_sources(stack, settings)
        assert [name for name, _ in chain] == ["first", "second", "env"]
        source: Any = chain[1][1]
        assert source.options.password.expose_secret() == "chain-canary"
    assert source.closed


async def test_a_source_that_needs_a_later_ones_secret_is_named_with_those_before_it(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text('[secrets.env]\n[secrets.second]\nuse = "x"\npassword = "secret:ABSENT_SECRET"\n')
    async with AsyncExitStack() as stack:
        with pytest.raises(SecretNotFound, match=r"secrets.second.password \(pywatt.toml:4\).*sources before it: env"):
            await registry_of().open_secret_sources(stack, load(start=tmp_path, environ={}))


async def test_a_source_that_fails_while_it_is_asked_is_named(tmp_path: Path) -> None:
    class Sealed:
        async def get(self, name: str) -> str | None:
            raise SecretError("the vault is sealed")

    @asynccontextmanager
    async def open_sealed(options: Options, context: Context) -> AsyncIterator[Sealed]:
        yield Sealed()

    (tmp_path / "pywatt.toml").write_text('[secrets.vault]\nuse = "x"\n[secrets.after]\nuse = "x"\npassword = "secret:A"\n')
    async with AsyncExitStack() as stack:
        with pytest.raises(SecretError, match=r"\[secrets.vault\]: the vault is sealed"):
            await registry_of(open_sealed).open_secret_sources(stack, load(start=tmp_path, environ={}))
