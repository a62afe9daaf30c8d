import asyncio
import inspect
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from pywatt_core.errors import RequestTimeout, StorageError
from pywatt_core.held import Blocking, Deferred, Held
from pywatt_core.interfaces import Cache, Context, Database
from pywatt_core.registry import Registry
from pywatt_core.services.secrets import SecretClient


@dataclass
class Found:
    x: int


class Store:
    """Enough of a database to see who calls it and when."""

    dialect = "sqlite"

    def __init__(self):
        self.calls = []

    async def execute(self, sql, params=()):
        self.calls.append((sql, params))
        return 3

    async def never(self):
        await asyncio.Event().wait()

    async def iterate(self, sql, params=()):
        try:
            for number in range(10):
                yield number
        finally:
            self.calls.append("closed")

    @asynccontextmanager
    async def transaction(self, *, isolation=None, read_only=False):
        self.calls.append(("begin", asyncio.current_task()))
        try:
            yield self
        except BaseException as error:
            self.calls.append(("rollback", asyncio.current_task()))
            raise error
        self.calls.append(("commit", asyncio.current_task()))


def holding(store, events):
    @asynccontextmanager
    async def make():
        events.append(("enter", asyncio.current_task()))
        yield store
        events.append(("leave", asyncio.current_task()))

    return Held(make, "a store")


async def test_it_is_entered_once_however_many_ask_and_left_by_the_task_that_entered():
    events: list[Any] = []
    held = holding(Store(), events)
    first, second = await asyncio.gather(held.value(), held.value())
    assert first is second
    await held.close()
    await held.close()
    assert [name for name, _task in events] == ["enter", "leave"]
    assert events[0][1] is events[1][1]
    assert events[0][1] is not asyncio.current_task()


async def test_a_failed_opening_reaches_everybody_and_the_next_call_tries_again():
    attempts = []

    @asynccontextmanager
    async def make():
        attempts.append(1)
        if len(attempts) == 1:
            raise StorageError("refused")
        yield "open"

    held = Held(make, "a store")
    results = await asyncio.gather(held.value(), held.value(), return_exceptions=True)
    assert [str(error) for error in results] == ["refused", "refused"]
    assert await held.value() == "open"
    await held.close()


async def test_closing_what_was_never_opened_opens_nothing():
    events: list[Any] = []
    await holding(Store(), events).close()
    assert events == []


async def test_a_caller_that_is_cancelled_does_not_close_it_for_the_others():
    entered, go_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def make():
        entered.set()
        await go_on.wait()
        yield "open"

    held = Held(make, "slow")
    impatient = asyncio.create_task(held.value())
    patient = asyncio.create_task(held.value())
    await entered.wait()
    impatient.cancel()
    await asyncio.wait({impatient})
    go_on.set()
    assert await patient == "open"
    await held.close()


async def test_a_deferred_resource_opens_itself_at_the_first_operation_of_any_kind():
    for use in ("call", "enter", "iterate"):
        events: list[Any] = []
        store = Store()
        held = holding(store, events)
        database: Any = Deferred(held, Database)
        assert events == []
        if use == "call":
            assert await database.execute("x", (1,)) == 3
            assert store.calls == [("x", (1,))]
        elif use == "enter":
            async with database.transaction() as transaction:
                assert transaction is store
        else:
            assert [item async for item in database.iterate("x")] == list(range(10))
        assert [name for name, _task in events] == ["enter"]
        await held.close()


@pytest.mark.parametrize("interface", [Database, Cache])
def test_a_deferred_resource_knows_how_each_operation_is_called(interface: type):
    deferred: Any = Deferred(holding(Store(), []), interface)
    blocks = {"transaction", "lock"}
    operations = {name for name in dir(interface) if not name.startswith("_") and not isinstance(getattr(interface, name), property)}
    assert blocks & operations and {"fetch_one", "get"} & operations
    for name in operations - blocks - {"iterate"}:
        outcome = getattr(deferred, name)()
        assert inspect.iscoroutine(outcome), name
        outcome.close()


async def test_a_deferred_database_gives_rows(tmp_path):
    _, provider, options = Registry().claim("databases", "sqlite")
    held = Held(lambda: provider.open(options(), Context(module_id="test", section="databases.main", folder=tmp_path)), "main")
    database: Any = Deferred(held, Database)
    assert await database.fetch_one("SELECT 1 AS x") == {"x": 1}
    assert await database.fetch_all("SELECT 1 AS x", (), into=Found) == [Found(1)]
    face = facing(database)
    assert (await asyncio.to_thread(face.fetch_one, "SELECT ? AS x", (2,))).x == 2
    await held.close()


async def test_a_deferred_resource_knows_its_interface_alone():
    database: Any = Deferred(holding(Store(), []), Database)
    with pytest.raises(AttributeError, match="Database has no 'fetch_al'"):
        _ = database.fetch_al
    with pytest.raises(StorageError, match="'dialect' is known once the database is open"):
        _ = database.dialect


def facing(target, timeout=20.0):
    return Blocking(target, asyncio.get_running_loop(), threading.get_ident(), timeout)


async def test_blocking_calls_run_on_the_loop_and_return_their_value():
    store = Store()
    assert await asyncio.to_thread(facing(store).execute, "x", {"a": 1}) == 3
    assert store.calls == [("x", {"a": 1})]


async def test_blocking_calls_are_refused_on_the_loop_itself():
    with pytest.raises(RuntimeError, match=r"state.sync.execute\(\) would block the event loop: inside async code, await"):
        facing(Store()).execute("x")


async def test_a_blocking_call_that_takes_too_long_is_cancelled_and_says_how_to_wait_longer():
    with pytest.raises(RequestTimeout, match=r"never\(\) was not done within 0.05 s; use state.sync.within"):
        await asyncio.to_thread(facing(Store()).within(0.05).never)


async def test_a_timeout_raised_by_the_operation_itself_is_passed_on():
    class Slow:
        async def ask(self):
            raise TimeoutError("the server's own")

    with pytest.raises(TimeoutError, match="the server's own"):
        await asyncio.to_thread(facing(Slow()).ask)


async def test_a_blocking_transaction_is_entered_and_left_by_one_task_and_rolls_back_on_an_error():
    store = Store()

    def good():
        with facing_store.transaction() as transaction:
            transaction.execute("x")

    def bad():
        with facing_store.transaction():
            raise ValueError("mine")

    facing_store = facing(store)
    await asyncio.to_thread(good)
    begin, statement, commit = store.calls
    assert (begin[0], statement, commit[0]) == ("begin", ("x", ()), "commit")
    assert begin[1] is commit[1]
    store.calls.clear()
    with pytest.raises(ValueError, match="mine"):
        await asyncio.to_thread(bad)
    assert [name for name, _task in store.calls] == ["begin", "rollback"]


async def test_blocking_iteration_yields_everything_and_closes_when_left_early():
    store = Store()
    face = facing(store)
    assert await asyncio.to_thread(lambda: list(face.iterate("x"))) == list(range(10))

    def leave_early():
        items = face.iterate("x")
        first = next(items)
        items.close()
        return first

    store.calls.clear()
    assert await asyncio.to_thread(leave_early) == 0
    assert store.calls == ["closed"]


async def test_attributes_with_async_methods_are_wrapped_and_plain_values_are_not():
    class State:
        database = Deferred(holding(Store(), []), Database)
        databases = {"main": database}
        module_id = "users"
        user_state = Store()

    face = facing(State())
    assert face.module_id == "users"
    assert face.user_state is State.user_state, "what the user made is handed out as it is"
    assert isinstance(face.database, Blocking)
    assert await asyncio.to_thread(face.databases["main"].execute, "x") == 3


async def test_a_blocking_block_that_could_not_be_entered_in_time_is_never_entered_later():
    lock = asyncio.Lock()
    entered = []

    class Locked:
        @asynccontextmanager
        async def transaction(self):
            async with lock:
                entered.append(asyncio.current_task())
                yield self

    face = facing(Locked())

    def enter_in_vain():
        with face.within(0.05).transaction():
            raise AssertionError("not reached")

    await lock.acquire()
    with pytest.raises(RequestTimeout, match=r"transaction\(\) was not done within 0.05 s"):
        await asyncio.to_thread(enter_in_vain)
    lock.release()
    async with asyncio.timeout(20), Locked().transaction():
        assert len(entered) == 1
        while [task for task in asyncio.all_tasks() if task.get_name().startswith("holds")]:
            await asyncio.sleep(0)
    assert len(entered) == 1


async def test_a_resource_that_calls_exit_is_an_error_and_does_not_end_the_loop():
    @asynccontextmanager
    async def make():
        raise SystemExit(0)
        yield

    with pytest.raises(RuntimeError, match=r"a store called sys.exit\(0\)"):
        await Held(make, "a store").value()


async def test_secrets_are_read_by_name_through_the_blocking_face():
    async def fetch(name):
        return f"the value of {name}"

    class State:
        secrets = SecretClient(fetch)

    face = facing(State())
    assert (await asyncio.to_thread(face.secrets.get, "KEY")).expose_secret() == "the value of KEY"
    assert face.secrets["KEY"].expose_secret() == "the value of KEY"
    assert ("KEY" in face.secrets, "NOPE" in face.secrets, len(face.secrets), list(face.secrets)) == (True, False, 1, ["KEY"])
    assert "KEY" in repr(face.secrets)


async def test_an_iteration_that_is_dropped_on_the_loops_own_thread_is_closed_all_the_same():
    store = Store()
    face = facing(store)
    items = await asyncio.to_thread(lambda: face.iterate("x"))
    assert await asyncio.to_thread(next, items) == 0
    items.close()
    async with asyncio.timeout(20):
        while store.calls != ["closed"]:
            await asyncio.sleep(0.001)
