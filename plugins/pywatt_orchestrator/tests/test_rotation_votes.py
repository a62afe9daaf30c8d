"""Who is told of what, whose word counts, and what becomes of those that say nothing: the rules of rotation, with processes that do as they
are told. (Real processes are in test_rotation.py.)"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pywatt_core.builtin.secrets import MemorySecrets
from pywatt_core.errors import ChannelClosed, RequestTimeout, SecretError
from pywatt_core.protocol.messages import RotationAck
from pywatt_core.redaction import redact
from pywatt_orchestrator import parties
from pywatt_orchestrator.desk import SecretDesk
from pywatt_orchestrator.lines import Record
from pywatt_orchestrator.logs import Journal
from pywatt_orchestrator.parties import Service
from pywatt_orchestrator.rotation import Result, Rotator
from pywatt_orchestrator.sources import SecretSources

DEADLINE = 30.0


class World:
    """One orchestrator's secrets, in memory."""

    def __init__(self, **values: str) -> None:
        self.source: Any = MemorySecrets(values)
        self.records: list[Record] = []
        journal = Journal(self.records.append)
        self.sources = SecretSources(self._open, journal)
        self.desk = SecretDesk(self.sources, way_out="add {name} for {module}")
        self.rotator = Rotator(self.desk, self.sources, journal)

    async def _open(self, _stack: object) -> list[tuple[str, Any]]:
        return [("memory", self.source)]

    async def change(self, **values: str) -> None:
        for name, value in values.items():
            await self.source.set(name, value)

    def said(self, text: str, module: str = "pywatt") -> list[str]:
        return [record.message for record in self.records if record.module == module and text in record.message]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0)


class Process:
    """`says` is what it answers to each rotation in turn, `success` after the last; an event is waited for first."""

    def __init__(self, world: World, module_id: str, *says: str | Exception | asyncio.Event | None, starting: float | None = None) -> None:
        self._world, self.module_id, self._says = world, module_id, list(says)
        self.start_patience = starting
        self.uses: dict[str, str] = {}
        self.told: list[tuple[str, ...]] = []

    async def start(self, *names: str) -> None:
        for name in names:
            self.uses[name] = await self._world.desk.value(self, name)

    async def rotate(self, names: Sequence[str], rotation_id: str, *, timeout: float) -> RotationAck | None:
        self.told.append(tuple(names))
        found = {name: await self._world.desk.value(self, name) for name in names}
        says = self._says.pop(0) if self._says else "success"
        if isinstance(says, asyncio.Event):
            try:
                async with asyncio.timeout(timeout):
                    await says.wait()
            except TimeoutError:
                raise RequestTimeout("nothing") from None
            says = self._says.pop(0) if self._says else "success"
        if isinstance(says, Exception):
            raise says
        if not isinstance(says, str):
            return None
        if says == "success":
            self.uses |= found
        return RotationAck(rotation_id=rotation_id, status="success" if says == "success" else "error", message=says)


class Stores(Service):
    """A hosted service that keeps the values that it was opened with."""

    def __init__(self, world: World, *, fails: str = "") -> None:
        self.module_id = "[services.main]"
        self._world, self.fails = world, fails
        self.open: dict[str, str] = {}
        self._prepared: dict[str, str] | None = None

    async def start(self, *names: str) -> None:
        self.open = {name: await self._world.desk.value(self, name) for name in names}

    async def prepare(self, values: Mapping[str, str]) -> None:
        if self.fails:
            raise SecretError(self.fails)
        self._prepared = {name: values.get(name, value) for name, value in self.open.items()}

    def commit(self) -> None:
        assert self._prepared is not None
        self.open, self._prepared = self._prepared, None

    def discard(self) -> None:
        self._prepared = None


@asynccontextmanager
async def world(**values: str) -> AsyncIterator[World]:
    found = World(**values)
    await found.sources.open()
    found.sources.watch(found.rotator.look)
    try:
        yield found
    finally:
        await found.rotator.close()
        await found.sources.close()


async def by_command(world: World, *names: str) -> list[Result]:
    async with asyncio.timeout(DEADLINE):
        return await world.rotator.rotate(names)


async def test_all_take_the_new_value_and_the_service_last() -> None:
    async with world(KEY="old-value") as here:
        users, orders, store = Process(here, "users"), Process(here, "orders"), Stores(here)
        for one in (users, orders, store):
            await one.start("KEY")
        await here.change(KEY="new-value")
        await here.until(lambda: here.said("rotated"))
        assert here.said("") == ["the secret 'KEY' rotated: [services.main], orders, users"]
        assert users.uses == orders.uses == store.open == {"KEY": "new-value"}
        assert users.told == orders.told == [("KEY",)]
        assert (here.rotator.done, here.rotator.refused) == (1, 0)
        (result,) = await by_command(here)
        assert (result.result, result.used_by) == ("unchanged", ["[services.main]", "orders", "users"])
        assert users.told == [("KEY",)]


async def test_one_that_refuses_sends_everybody_back() -> None:
    async with world(KEY="old-value") as here:
        users, orders, store = Process(here, "users"), Process(here, "orders", "no server takes new-value"), Stores(here)
        for one in (users, orders, store):
            await one.start("KEY")
        await here.change(KEY="new-value")
        await here.until(lambda: here.said("not rotated"))
        assert users.uses == orders.uses == store.open == {"KEY": "old-value"}
        assert users.told == orders.told == [("KEY",), ("KEY",)]
        (text,) = here.said("not rotated")
        assert "orders: no server takes [REDACTED]. Once that is mended" in text
        assert here.rotator.refusals() == {"KEY": {"orders": "no server takes [REDACTED]"}}
        (result,) = await by_command(here, "KEY")
        assert (result.result, users.uses, orders.uses) == ("rotated", {"KEY": "new-value"}, {"KEY": "new-value"})
        assert here.rotator.refusals() == {}


async def test_a_service_that_cannot_be_opened_refuses_before_any_process_is_told() -> None:
    async with world(KEY="old-value") as here:
        users, store = Process(here, "users"), Stores(here, fails="password authentication failed")
        await users.start("KEY")
        await store.start("KEY")
        await here.change(KEY="new-value")
        await here.until(lambda: here.said("[services.main]: password authentication failed"))
        assert (users.told, store.open) == ([], {"KEY": "old-value"})


async def test_a_service_that_was_first_opened_with_what_is_withdrawn_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(KEY="old-value") as here:
        held, store = asyncio.Event(), Stores(here)
        users = Process(here, "users", held, "no")
        await users.start("KEY")
        await here.change(KEY="new-value")
        await here.until(lambda: users.told)
        await store.start("KEY")
        assert store.open == {"KEY": "new-value"}
        held.set()
        await here.until(lambda: store.open == {"KEY": "old-value"})
        await here.until(lambda: len(users.told) == 2)
        assert here.desk.ledger.trouble("users", store) == "it refused a new value of the secret 'KEY': no"


async def test_one_that_does_not_answer_in_time_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parties, "ACK_TIMEOUT", 0.05)
    async with world(KEY="old-value") as here:
        users, orders = Process(here, "users"), Process(here, "orders", asyncio.Event())
        for one in (users, orders):
            await one.start("KEY")
        await here.change(KEY="new-value")
        await here.until(lambda: here.said("not rotated"))
        assert "orders: it did not acknowledge within 0.05 s" in here.said("not rotated")[0]
        await here.until(lambda: users.uses == orders.uses == {"KEY": "old-value"})


async def test_one_that_does_not_go_back_either_is_named_and_told_again_by_the_next_rotation() -> None:
    async with world(KEY="old-value") as here:
        users, orders = Process(here, "users", "no", "success"), Process(here, "orders", "success", ChannelClosed("it is deaf"))
        for one in (users, orders):
            await one.start("KEY")
        await here.change(KEY="new-value")
        await here.until(lambda: here.said("nobody can tell which value of the secret 'KEY' it uses", "orders"))
        assert "it is deaf; `pywatt restart orders` gives it the one in force" in here.said("nobody can tell", "orders")[0]
        assert "it may not use the value in force of 'KEY'" in here.desk.ledger.trouble("orders", orders)
        assert orders.uses == {"KEY": "new-value"}
        await here.change(KEY="old-value")  # what is in force: only the one that is astray has to be told
        await here.until(lambda: orders.uses == {"KEY": "old-value"})
        assert (users.told, orders.told) == ([("KEY",)] * 2, [("KEY",)] * 3)
        assert here.desk.ledger.trouble("orders", orders) == ""


async def test_one_that_still_refuses_what_others_use_changes_nothing_for_them() -> None:
    async with world(KEY="old-value") as here:
        users = Process(here, "users", "no")
        orders = Process(here, "orders", "success", ChannelClosed("it is deaf"), ChannelClosed("it is deaf"))
        for one in (users, orders):
            await one.start("KEY")
        await here.change(KEY="new-value")
        await here.until(lambda: here.said("nobody can tell", "orders"))
        await here.change(KEY="old-value")
        await here.until(lambda: here.said("the secret 'KEY' refused, although others use this value. orders: it is deaf"))
        assert users.told == [("KEY",)] * 2
        assert here.rotator.refusals() == {}
        assert "it may not use the value in force" in here.desk.ledger.trouble("orders", orders)


async def test_a_fault_of_ours_while_one_is_told_sends_everybody_back_too() -> None:
    async with world(KEY="old-value") as here:
        users, orders = Process(here, "users"), Process(here, "orders", ZeroDivisionError())
        for one in (users, orders):
            await one.start("KEY")
        await here.change(KEY="new-value")
        await here.until(lambda: here.said("orders: it could not be told: ZeroDivisionError"))
        assert users.uses == orders.uses == {"KEY": "old-value"}


async def test_one_that_ends_meanwhile_has_no_vote() -> None:
    async with world(KEY="old-value") as here:
        users, orders = Process(here, "users"), Process(here, "orders", None)
        for one in (users, orders):
            await one.start("KEY")
        await here.change(KEY="new-value")
        await here.until(lambda: here.said("the secret 'KEY' rotated"))
        assert users.uses == {"KEY": "new-value"}


async def test_one_that_starts_is_told_and_not_waited_for_and_may_still_refuse_for_itself() -> None:
    async with world(KEY="old-value") as here:
        begun = asyncio.Event()
        users, orders = Process(here, "users"), Process(here, "orders", begun, "no", starting=DEADLINE)
        for one in (users, orders):
            await one.start("KEY")
        await here.change(KEY="new-value")
        await here.until(lambda: here.said("the secret 'KEY' rotated"))
        assert orders.told == [("KEY",)]
        begun.set()
        await here.until(lambda: here.said("it refused the secret 'KEY' as in force now: no", "orders"))
        assert users.uses == {"KEY": "new-value"}
        assert "it may not use the value in force" in here.desk.ledger.trouble("orders", orders)
        (result,) = await by_command(here)
        assert (result.result, orders.uses, users.told) == ("rotated", {"KEY": "new-value"}, [("KEY",)])


async def test_what_nobody_holds_together_is_rotated_apart() -> None:
    async with world(A="a-old-value", B="b-old-value", C="c-old-value") as here:
        users, orders, stock = Process(here, "users", "no"), Process(here, "orders"), Process(here, "stock")
        await users.start("A")
        await orders.start("A", "B")
        await stock.start("C")
        here.source.replace({"A": "a-new-value", "B": "b-new-value", "C": "c-new-value"}, {})
        await here.until(lambda: here.said("the secret 'C' rotated: stock"))
        await here.until(lambda: here.said("the secrets 'A', 'B' not rotated"))
        assert stock.uses == {"C": "c-new-value"}
        assert users.uses | orders.uses == {"A": "a-old-value", "B": "b-old-value"}
        assert orders.told == [("A", "B")] * 2
        assert "`pywatt rotate A B`" in here.said("the secrets 'A', 'B' not rotated")[0]


class Fitting(Process):
    """A process that takes a user and a password only where they end alike."""

    async def rotate(self, names: Sequence[str], rotation_id: str, *, timeout: float) -> RotationAck | None:
        self.told.append(tuple(names))
        wanted = self.uses | {name: await self._world.desk.value(self, name) for name in names}
        if wanted["USER"][-1] != wanted["PASSWORD"][-1]:
            return RotationAck(rotation_id=rotation_id, status="error", message="they do not fit")
        self.uses = wanted
        return RotationAck(rotation_id=rotation_id, status="success")


async def test_a_user_and_a_password_that_change_one_after_the_other_are_tried_together_in_the_end() -> None:
    async with world(USER="user-1", PASSWORD="password-1", OTHER="other-1") as here:
        users, orders = Fitting(here, "users"), Process(here, "orders", "never")
        await users.start("USER", "PASSWORD")
        await orders.start("OTHER")
        await here.change(PASSWORD="password-2", OTHER="other-2")
        await here.until(lambda: len(here.said("not rotated")) == 2)
        assert users.uses == {"USER": "user-1", "PASSWORD": "password-1"}
        await here.change(USER="user-2")
        await here.until(lambda: here.said("the secrets 'PASSWORD', 'USER' rotated: users"))
        assert users.uses == {"USER": "user-2", "PASSWORD": "password-2"}
        assert here.rotator.refusals() == {"OTHER": {"orders": "never"}}, "what nobody holds with them is left alone"
        assert users.told[-1] == ("PASSWORD", "USER")


async def test_what_was_refused_holds_up_nothing_that_is_taken_without_it() -> None:
    async with world(KEY="key-1", OTHER="other-1") as here:
        users = Process(here, "users", "no such key")
        await users.start("KEY", "OTHER")
        await here.change(KEY="key-2")
        await here.until(lambda: here.said("not rotated"))
        await here.change(OTHER="other-2")
        await here.until(lambda: here.said("the secret 'OTHER' rotated"))
        assert users.uses == {"KEY": "key-1", "OTHER": "other-2"}
        assert list(here.rotator.refusals()) == ["KEY"]


async def test_what_is_refused_together_too_stays_refused() -> None:
    async with world(USER="user-1", PASSWORD="password-1") as here:
        users = Fitting(here, "users")
        await users.start("USER", "PASSWORD")
        await here.change(PASSWORD="password-2")
        await here.until(lambda: here.said("not rotated"))
        (result,) = await by_command(here, "PASSWORD")
        assert (result.result, len(here.said("not rotated"))) == ("refused", 2), "nothing else was refused that could fit"
        await here.change(USER="user-3")
        await here.until(lambda: len(here.said("not rotated")) == 4)
        assert users.uses == {"USER": "user-1", "PASSWORD": "password-1"}
        assert list(here.rotator.refusals()) == ["PASSWORD", "USER"]


async def test_changes_that_come_meanwhile_are_one_rotation_afterwards() -> None:
    async with world(KEY="value-0") as here:
        held = asyncio.Event()
        users = Process(here, "users", held)
        await users.start("KEY")
        await here.change(KEY="value-1")
        await here.until(lambda: users.told)
        for number in range(2, 20):
            await here.change(KEY=f"value-{number}")
            await asyncio.sleep(0)
        held.set()
        await here.until(lambda: users.uses == {"KEY": "value-19"})
        assert len(users.told) == 2


async def test_a_value_that_changes_while_it_is_read_for_the_first_time_is_rotated() -> None:
    class Slow(MemorySecrets):
        held: asyncio.Event | None = None

        async def get(self, name: str) -> str | None:
            value = await super().get(name)
            if self.held is not None:
                held, self.held = self.held, None
                await held.wait()
            return value

    here = World()
    here.source = slow = Slow({"KEY": "old-value"})
    await here.sources.open()
    here.sources.watch(here.rotator.look)
    slow.held = held = asyncio.Event()
    users = Process(here, "users")
    starting = asyncio.create_task(users.start("KEY"))
    await here.until(lambda: slow.held is None)
    await here.change(KEY="new-value")
    before = here.sources.changes
    await here.until(lambda: here.sources.changes > before)
    held.set()
    await starting
    assert users.uses == {"KEY": "old-value"}
    await here.until(lambda: users.uses == {"KEY": "new-value"})
    await here.rotator.close()
    await here.sources.close()


async def test_a_source_that_fails_changes_nothing_and_is_named() -> None:
    class Failing(MemorySecrets):
        broken = False

        async def get(self, name: str) -> str | None:
            if self.broken:
                raise SecretError("the server is down")
            return await super().get(name)

    here = World()
    here.source = Failing({"A": "a-value", "B": "b-value"})
    await here.sources.open()
    here.sources.watch(here.rotator.look)
    users = Process(here, "users")
    await users.start("A", "B")
    here.source.broken = True
    results = await by_command(here)
    assert [(one.name, one.result, one.why) for one in results] == [
        (name, "failed", "[secrets.memory]: the server is down") for name in ("A", "B")
    ]
    assert here.said("the secrets 'A', 'B' could not be read, what was known before stays in use: [secrets.memory]: the server is down")
    assert users.told == []
    await here.rotator.close()
    await here.sources.close()


async def test_the_end_of_the_orchestrator_withdraws_what_is_under_way() -> None:
    async with world(KEY="old-value") as here:
        users, store = Process(here, "users", asyncio.Event()), Stores(here)
        for one in (users, store):
            await one.start("KEY")
        await here.change(KEY="new-value")
        asked = asyncio.create_task(here.rotator.rotate())
        queued = asyncio.create_task(here.rotator.rotate(["KEY"]))
        await here.until(lambda: users.told)
        await here.rotator.close()
        for waiting in (asked, queued):
            with pytest.raises(SecretError, match="the orchestrator is stopping"):
                await waiting
        assert store.open == {"KEY": "old-value"}
        assert here.desk.ledger.value("KEY") == "old-value"
        here.rotator.look(None)
        with pytest.raises(SecretError, match="the orchestrator is stopping"):
            await here.rotator.rotate()


async def test_the_value_in_use_stays_hidden_however_many_others_were_refused() -> None:
    async with world(KEY="the-old-value") as here:
        users = Process(here, "users", *["no", "success"] * 40)
        await users.start("KEY")
        while (refused := here.rotator.refused) < 30:
            await here.change(KEY=f"a-new-value-{refused:02d}")
            await here.until(lambda refused=refused: here.rotator.refused > refused)  # type: ignore[misc]
        assert users.uses == {"KEY": "the-old-value"}
        assert redact("in use: the-old-value") == "in use: [REDACTED]"
