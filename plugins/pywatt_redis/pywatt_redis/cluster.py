"""A cluster: each key belongs to one of 16,384 slots, each slot to a node, and to each node there is a pipeline.

redis-py's own client for clusters asks one question at a time on each connection, and repeats a command of which it does not know
whether it was executed, a count as well; so that only its arithmetic of slots and its reading of errors are used here.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.crc import key_slot

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.services.caching import CLOSED

from .failures import Lost, Moved
from .pipeline import looked_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .pipeline import Command, Pipeline, Several

REDIRECTIONS = 5
"""How often a question is sent on before it is given up."""

Place = tuple[str, int]
"""A node's host and port."""


class Cluster:
    """The way to a cluster. `open_node` makes the way to one node, `seeds` are the nodes that were named."""

    def __init__(self, seeds: Sequence[Place], open_node: Callable[[Place], Pipeline | Several], *, pause: float = 0.05) -> None:
        self._seeds = tuple(seeds)
        self._open_node = open_node
        self._pause = pause
        self._nodes: dict[Place, Pipeline | Several] = {}
        self._slots: list[Place | None] = []
        """The primary of each slot; empty until somebody was asked."""
        self._asking: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def execute(self, *command: Any, again: bool = False) -> Any:
        """The reply of the node that has the key; see `Pipeline.execute`."""
        place = await self._place(command)
        asking = False
        for _ in range(REDIRECTIONS):
            try:
                node = self._node(place)
                if asking:
                    return (await self._answers(node, [("ASKING",), command], again))[1]
                return await node.execute(*command, again=again)
            except Moved as moved:
                place, asking = (moved.host or place[0], moved.port), moved.asking
                if not asking:
                    await self._refresh(place)
            except Lost as lost:
                if not (again or lost.executed == "no"):
                    raise
                with suppress(Unavailable):
                    await self._refresh()  # another node may be the primary by now
                following, asking = await self._place(command), False
                if following == place:
                    raise
                place = following
        raise Unavailable(f"the cluster sent the question on {REDIRECTIONS} times: it is being changed; try again")

    async def execute_many(self, commands: Sequence[Command], *, again: bool = False) -> list[Any]:
        """The replies, in order, an error in place of a reply that is one. Those for one node travel together."""
        there: dict[Place, list[int]] = {}
        for number, command in enumerate(commands):
            there.setdefault(await self._place(command), []).append(number)
        found: list[Any] = [None] * len(commands)

        async def ask(place: Place, numbers: list[int]) -> None:
            replies: list[Any]
            try:
                replies = await self._node(place).execute_many([commands[number] for number in numbers], again=again)
            except Lost as lost:
                replies = [lost] * len(numbers)
            for number, reply in zip(numbers, replies, strict=True):
                found[number] = reply

        await asyncio.gather(*[ask(place, numbers) for place, numbers in there.items()])
        for number, reply in enumerate(found):
            if isinstance(reply, Moved) or (isinstance(reply, Lost) and (again or reply.executed == "no")):
                found[number] = await self.execute(*commands[number], again=again)
        return found

    async def each(self) -> list[Pipeline | Several]:
        """The primaries, which hold other keys each."""
        await self._refresh()
        return [self._node(place) for place in sorted({place for place in self._slots if place is not None})]

    async def close(self, patience: float) -> None:
        """Wait for what is under way, `patience` seconds at most, and close every connection."""
        self._closed = True
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        await asyncio.gather(*[node.close(patience) for node in self._nodes.values()])
        if self._closing:
            await asyncio.wait(self._closing)

    @staticmethod
    async def _answers(node: Pipeline | Several, commands: list[Command], again: bool) -> list[Any]:
        found = await node.execute_many(commands, again=again)
        for reply in found:
            if isinstance(reply, BaseException):
                raise reply
        return found

    def _node(self, place: Place) -> Pipeline | Several:
        if self._closed:
            raise StorageError(CLOSED)
        node = self._nodes.get(place)
        if node is None:
            node = self._nodes[place] = self._open_node(place)
        return node

    async def _place(self, command: Command) -> Place:
        """The node that has the command's key."""
        if self._closed:
            raise StorageError(CLOSED)
        if not self._slots:
            await self._refresh()
        key = command[3] if command[0].startswith("EVAL") else command[1]
        place = self._slots[key_slot(key)]
        if place is None:
            await self._refresh()
            place = self._slots[key_slot(key)]
        if place is None:
            raise Unavailable("the cluster has no node for the slot of this key")
        return place

    async def _refresh(self, first: Place | None = None) -> None:
        """Ask which node has which slots, `first` before others, once for all who want to know. Raises `Unavailable` where none answers."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(first))
            self._asking.add_done_callback(looked_at)
        asking = self._asking
        try:
            await asyncio.shield(asking)
        except asyncio.CancelledError:
            if self._closed and asking.cancelled():
                raise StorageError(CLOSED) from None
            raise

    async def _ask(self, first: Place | None) -> None:
        try:
            failure: StorageError = Unavailable("the cluster has no nodes")
            for place in dict.fromkeys([*([first] if first else []), *self._nodes, *self._seeds]):
                try:
                    self._take(await self._node(place).execute("CLUSTER", "SLOTS", again=True), place)
                    return
                except StorageError as error:
                    failure = error
            raise failure
        finally:
            self._asking = None

    def _take(self, ranges: list[Any], asked: Place) -> None:
        """Note the answer of the node `asked`, and close what is part of the cluster no more."""
        slots: list[Place | None] = [None] * 16_384
        members: set[Place] = set(self._seeds)
        for first, last, primary, *replicas in ranges:
            places = [((host.decode() if host else asked[0]), port) for host, port, *_ in (primary, *replicas)]
            slots[first : last + 1] = [places[0]] * (last - first + 1)
            members.update(places)
        if not ranges:
            raise Unavailable(f"{asked[0]}:{asked[1]} is not part of a cluster that has slots")
        self._slots = slots
        for place in [place for place in self._nodes if place not in members]:
            closing = asyncio.create_task(self._nodes.pop(place).close(self._pause))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
