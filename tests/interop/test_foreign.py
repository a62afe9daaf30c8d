"""What is PyWatt's own has no counterpart in an orchestrator built on the reference: a module that uses it lives there all the same."""

from __future__ import annotations

from pathlib import Path

from .rust_orchestrator import RustOrchestrator, open_rust_door

MODULE = """
from pywatt_core import HttpIpcRouter, pywatt_module
from pywatt_core.errors import PyWattError

@pywatt_module(metrics=True)
def own(state):
    router = HttpIpcRouter()

    async def told(work):
        try:
            return await work
        except PyWattError as error:
            return f"{type(error).__name__}: {error}"

    @router.get("/publish")
    async def publish(request):
        return await told(state.publish("orders.created", {"id": 1}))

    @router.get("/heard")
    async def heard(request):
        return HEARD

    @router.get("/watch")
    async def watch(request):
        async def first():
            async for event in state.discovery.watch("database"):
                return "an event"
        return await told(first())

    return router

HEARD = []

@own.on_topic("orders.*")
async def on_order(payload):
    HEARD.append(payload)

@own.on_stream("upload")
async def on_upload(stream):
    return None
"""


async def test_topics_stay_within_the_module_and_watches_are_refused_at_once(tmp_path: Path) -> None:
    """protocol 13.6 and 13.7: nothing of it is written to a peer that cannot read it, and each use says so at once"""
    (tmp_path / "own.py").write_text(MODULE)
    door, offer = await open_rust_door()
    async with RustOrchestrator(tmp_path / "own.py", init=offer) as peer:
        await peer.announced()
        connection = await door.connection()
        await peer.logged("carries no topics: they stay within this module")
        assert await peer.json("/publish") == 1
        assert await peer.json("/heard") == [{"id": 1}]
        assert "the orchestrator is not PyWatt's: it cannot be asked for 'watch'" in await peer.json("/watch")
        connection.say({"op": "heartbeat"})
        await connection.take("heartbeat_ack")
        assert connection.messages == connection.rejected == []
        await peer.ends_well()
        assert peer.messages == []
    await door.close()
