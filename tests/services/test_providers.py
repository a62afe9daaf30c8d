"""Providers: built, checked, matched, and brought on the wire and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.protocol.values import ProviderInfo, ServiceType
from pywatt_core.services.providers import ServiceProvider, ServiceProviderBuilder, service_type_of


def test_a_builder_builds_what_was_said_step_by_step() -> None:
    builder = ServiceProviderBuilder(ServiceType.DATABASE, "main", "db:5432").version("15").metadata("region", "eu").metadata("tier", "a")
    provider = builder.capability("sql", "json").capability("sql").build()
    assert provider == ServiceProvider(
        service_type=ServiceType.DATABASE,
        name="main",
        address="db:5432",
        version="15",
        metadata={"region": "eu", "tier": "a"},
        capabilities=frozenset({"sql", "json"}),
    )
    assert provider.wire_metadata == {"region": "eu", "tier": "a", "capabilities": "json,sql"}
    assert ServiceProviderBuilder("search", "s", "a:1").build().wire_metadata is None


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("database", ServiceType.DATABASE),
        ("JWT", ServiceType.JWT),
        ("user_management", ServiceType.USER_MANAGEMENT),
        ("analytics", ServiceType.ANALYTICS),
        ("search", ServiceType.custom("search")),
        (ServiceType.CACHE, ServiceType.CACHE),
    ],
)
def test_a_service_type_may_be_named(kind: ServiceType | str, wanted: ServiceType) -> None:
    assert service_type_of(kind) == wanted
    assert ServiceProvider(service_type=kind, name="n", address="a").service_type == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["", None, 5, {"Custom": "x"}])
def test_what_is_no_service_type_is_a_type_error(kind: object) -> None:
    with pytest.raises(TypeError, match="a service type is a ServiceType or a name"):
        service_type_of(kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"name": " "}, "a provider has no name"),
        ({"address": ""}, "a provider has no address"),
        ({"capabilities": frozenset({"a,b"})}, "a word without commas, not 'a,b'"),
        ({"capabilities": frozenset({" a"})}, "a word without commas, not ' a'"),
        ({"metadata": {"capabilities": "x"}}, "name them as capabilities"),
        ({"metadata": {"size": 5}}, "metadata is made of texts, and 'size' is 5"),
    ],
)
def test_what_cannot_be_offered_is_refused(part: dict[str, object], reason: str) -> None:
    provider = ServiceProvider(**{"service_type": "search", "name": "n", "address": "a", **part})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=reason):
        provider.check()


def test_a_provider_matches_where_it_has_everything_that_is_wanted() -> None:
    provider = ServiceProviderBuilder("search", "s", "a:1").metadata("region", "eu").metadata("tier", "a").capability("x", "y").build()
    assert provider.matches()
    assert provider.matches({"region": "eu"}, ["x"])
    assert provider.matches({"region": "eu", "tier": "a"}, ("x", "y"))
    assert provider.matches(capabilities="x")
    assert not provider.matches({"region": "us"})
    assert not provider.matches({"zone": "eu"})
    assert not provider.matches({"region": "eu"}, ["x", "z"])


def test_a_foreign_offer_is_found_however_odd_it_is() -> None:
    said = {"capabilities": " a ,,b"}
    info = ProviderInfo(
        provider_id="p", module_id="m", service_type=ServiceType.CACHE, name="", address=" ", metadata=said, is_healthy=False
    )
    found = ServiceProvider.found(info)
    assert (found.provider_id, found.module_id, found.is_healthy) == ("p", "m", False)
    assert (found.capabilities, found.metadata) == (frozenset({"a", "b"}), {})


WORD = st.text(st.characters(exclude_characters=",", exclude_categories=["Cs"]), min_size=1).filter(lambda word: word == word.strip())


@given(
    capabilities=st.frozensets(WORD),
    metadata=st.dictionaries(st.text().filter(lambda key: key != "capabilities"), st.text()),
    version=st.none() | st.text(),
)
def test_what_is_offered_is_what_is_found(capabilities: frozenset[str], metadata: dict[str, str], version: str | None) -> None:
    offered = ServiceProvider(
        service_type=ServiceType.JWT, name="n", address="a", version=version, metadata=metadata, capabilities=capabilities
    )
    offered.check()
    info = ProviderInfo(
        provider_id="p",
        module_id="m",
        service_type=ServiceType.JWT,
        name="n",
        version=version,
        address="a",
        metadata=offered.wire_metadata or {},
        is_healthy=True,
    )
    found = ServiceProvider.found(info)
    assert (found.capabilities, found.metadata, found.version) == (capabilities, metadata, version)
