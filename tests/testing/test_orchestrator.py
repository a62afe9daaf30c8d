"""What a `FakeOrchestrator` answers by itself, so that a test need not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pywatt_core.protocol.messages import ProviderInfo, RegisterServiceProvider, ServiceType
from pywatt_core.testing import ModuleRunner

MODULE = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import RemoteError, pywatt_module

@pywatt_module
async def app(state):
    await state.register_service_provider("search", "main", "127.0.0.1:7700", version="1", capabilities=["fuzzy"])
    brief = await state.register_service_provider("search", "brief", "a:1")

    async def find(request):
        return JSONResponse([[one.module_id, one.name] for one in await state.discover_service_providers("search")])

    async def withdraw(request):
        return JSONResponse([await brief.unregister(), await brief.unregister()])

    async def watch(request):
        try:
            async for event in state.discovery.watch("search"):
                pass
        except RemoteError as error:
            return JSONResponse([error.code, str(error)])

    return Starlette(routes=[Route("/find", find), Route("/withdraw", withdraw), Route("/watch", watch)])
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "offers.py").write_text(MODULE)
    return tmp_path / "offers.py"


async def test_services_are_offered_found_and_taken_back(file: Path) -> None:
    async with ModuleRunner(file, config={}, module_id="offers") as module:
        offer = await module.orchestrator.expect(RegisterServiceProvider)
        assert (offer.name, offer.metadata) == ("main", {"capabilities": "fuzzy"})
        kind = ServiceType.custom("search")
        others = ProviderInfo(provider_id="x", module_id="others", service_type=kind, name="o", address="b:1", is_healthy=True)
        module.orchestrator.providers.append(others)
        assert (await module.http("GET", "/find")).json() == [["offers", "main"], ["offers", "brief"], ["others", "o"]]
        assert (await module.http("GET", "/withdraw")).json() == [True, False]
        assert [one.name for one in module.orchestrator.providers] == ["main", "o"]
        await module.assert_clean_exit()
        assert [one.name for one in module.orchestrator.providers] == ["o"], "a module that ends takes its offers back"


async def test_what_it_does_not_know_it_says_at_once(file: Path) -> None:
    async with ModuleRunner(file, config={}) as module:
        assert (await module.http("GET", "/watch")).json() == ["endpoint_not_found", "a test's orchestrator does not know 'watch'"]


async def test_a_module_whose_orchestrator_is_not_pywatts_offers_and_finds_and_is_told_that_it_cannot_watch(file: Path) -> None:
    async with ModuleRunner(file, config=None, pywatt=False) as module:
        assert len((await module.http("GET", "/find")).json()) == 2
        wanted = ["unsupported", "the orchestrator is not PyWatt's: it cannot be asked for 'watch'"]
        assert (await module.http("GET", "/watch")).json() == wanted
