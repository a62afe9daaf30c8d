import asyncio
import copy
import inspect
import pickle
import threading
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

import pytest

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.held import Blocking
from pywatt_core.interfaces import Authenticator, Cache, Database, Row
from pywatt_core.redaction import Secret
from pywatt_core.replaceable import MOST_OLD, Replaceable


class Store:
    """Enough of a database to see which one is used, and what is under way on it."""

    dialect = "sqlite"

    def __init__(self, value, events):
        self.value, self.events = value, events
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False

    async def execute(self, sql, params=()):
        """Run one statement."""
        await self.gate.wait()
        if self.closed:
            raise StorageError("the database is closed")
        return self.value

    async def fetch_all(self, sql, params=(), *, into=None):
        return [self.value]

    async def fetch_one(self, sql, params=(), *, into=None):
        return Row(value=self.value)

    async def fetch_value(self, sql, params=()):
        return self.value

    async def iterate(self, sql, params=()):
        try:
            for number in range(3):
                if self.closed:
                    raise StorageError("the database is closed")
                yield f"{self.value}{number}"
        finally:
            self.events.append(f"iteration of {self.value} ended")

    def rows(self):
        """Beyond the interface: a plain method that returns an async iterator."""
        return self.iterate("")

    @asynccontextmanager
    async def transaction(self, *, isolation=None, read_only=False):
        if isolation == "none":
            raise StorageError("there is no such isolation")
        self.events.append(f"begin {self.value}")
        try:
            yield self
        except BaseException:
            self.events.append(f"rollback {self.value}")
            raise
        if self.closed:
            raise StorageError("the database is closed")
        self.events.append(f"commit {self.value}")

    async def ping(self):
        self.events.append(f"ping {self.value}")
        if "mute" in self.value:
            raise Unavailable("the server does not answer")

    def numbers(self):
        """Beyond the interface: an iterator that nobody but its user closes."""
        self.events.append("numbers begun")
        return Numbers(self.events)

    def connection(self):
        """Beyond the interface: awaited or entered, as with some pools."""
        return Connection(self)

    def version(self):
        return f"version of {self.value}"

    def later(self):
        return self.execute("later")

    @cached_property
    def pool(self):
        return [self.value]

    @staticmethod
    def kind():
        return "store"

    def __len__(self):
        return len(self.value)


class Numbers:
    def __init__(self, events):
        self.events = events

    def __aiter__(self):
        return self

    async def __anext__(self):
        return 1

    async def aclose(self):
        self.events.append("numbers closed")


class Connection:
    def __init__(self, store):
        self.store = store

    def __await__(self):
        return self.store.execute("").__await__()

    async def __aenter__(self):
        return self.store

    async def __aexit__(self, *_):
        pass


class Keeping(Store):
    """Another class of database, which can do more."""

    async def vacuum(self):
        return f"vacuumed {self.value}"


@asynccontextmanager
async def opened(events):
    """A store whose address is the secret ``URL``; ``stores`` are all that were opened."""
    stores = []

    @asynccontextmanager
    async def make(secret):
        value = await secret("URL")
        if "refused" in value:
            raise StorageError("password authentication failed")
        if "slow" in value:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)
                events.append(f"gave up {value}")
        store = (Keeping if "keeping" in value else Store)(value, events)
        stores.append(store)
        events.append(f"open {value}")
        try:
            yield store
        finally:
            store.closed = True
            events.append(f"close {value}")

    async def secret(_name):
        return "first"

    one: Any = Replaceable(make, "databases.main", interface=Database, drain=20.0)
    one.stores = stores
    await one.open(secret)
    try:
        yield one
    finally:
        await one.close()
        await until(lambda: all(store.closed for store in stores))


def on_a_store(test):
    """The test gets an open `replaceable`, and `events` where it wants them."""
    asked = inspect.signature(test).parameters
    others = [parameter for name, parameter in asked.items() if name not in ("replaceable", "events")]

    async def run(**fixtures):
        events: list[str] = []
        async with opened(events) as replaceable:
            own = {"replaceable": replaceable, "events": events}
            await test(**fixtures, **{name: value for name, value in own.items() if name in asked})

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    run.__signature__ = inspect.Signature(others)  # type: ignore[attr-defined]
    return run


async def exchange(replaceable, value):
    (await replaceable.prepare({"URL": Secret(value)})).commit()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def behind(replaceable):
    return replaceable.face._behind.value


@on_a_store
async def test_a_call_goes_to_the_one_that_is_current_when_it_begins_and_the_old_one_waits_for_it(replaceable, events):
    face, first = replaceable.face, replaceable.stores[0]
    first.gate.clear()
    under_way = asyncio.create_task(face.execute("slow"))
    await asyncio.sleep(0)
    await exchange(replaceable, "second")
    assert await face.execute("next") == "second"
    assert (replaceable.old, first.closed) == (1, False)
    first.gate.set()
    assert await under_way == "first"
    await until(lambda: first.closed)
    assert replaceable.old == 0


@on_a_store
async def test_an_old_one_that_nobody_uses_is_closed_at_once(replaceable, events):
    await exchange(replaceable, "second")
    await until(lambda: "close first" in events)
    assert events == ["open first", "open second", "ping second", "close first"]


@on_a_store
async def test_a_transaction_stays_where_it_began_and_ends_there(replaceable, events):
    async with replaceable.face.transaction() as transaction:
        await exchange(replaceable, "second")
        assert await transaction.execute("inside") == "first"
        assert await replaceable.face.execute("outside") == "second"
        assert not replaceable.stores[0].closed
    await until(lambda: "close first" in events)
    assert events.index("commit first") < events.index("close first")


@on_a_store
async def test_a_transaction_that_fails_is_rolled_back_and_counted(replaceable, events):
    with pytest.raises(ValueError, match="mine"):
        async with replaceable.face.transaction():
            raise ValueError("mine")
    assert replaceable.face._behind.under_way == 0
    assert events[-1] == "rollback first"
    with pytest.raises(StorageError, match="no such isolation"):
        async with replaceable.face.transaction(isolation="none"):
            pass
    assert replaceable.face._behind.under_way == 0


@on_a_store
async def test_a_transaction_that_was_made_before_the_exchange_begins_on_the_new_one(replaceable, events):
    made = replaceable.face.transaction()
    await exchange(replaceable, "second")
    await until(lambda: "close first" in events)
    async with made as transaction:
        assert await transaction.execute("") == "second"
    assert replaceable.face._behind.under_way == 0


@on_a_store
async def test_a_transaction_decorates_a_function_as_before(replaceable, events):
    @replaceable.face.transaction()
    async def work():
        return await replaceable.face.execute("")

    assert [await work(), await work()] == ["first", "first"]
    assert events.count("commit first") == 2


@pytest.mark.parametrize("method", ["iterate", "rows"])
@on_a_store
async def test_an_iteration_is_waited_for_whether_it_is_exhausted_closed_or_dropped(replaceable, events, method):
    def begin():
        items = getattr(replaceable.face, method)
        return items("SELECT") if method == "iterate" else items()

    async for item in begin():
        assert item.startswith("first")
        if item == "first0":
            await exchange(replaceable, "second")
            assert not replaceable.stores[0].closed
    await until(lambda: replaceable.stores[0].closed)
    items = begin()
    assert await anext(items) == "second0"
    await exchange(replaceable, "third")
    await items.aclose()
    await until(lambda: replaceable.stores[1].closed)
    items = begin()
    assert await anext(items) == "third0"
    await exchange(replaceable, "fourth")
    del items
    await until(lambda: replaceable.stores[2].closed)
    assert [event for event in events if event.startswith("iteration")] == [
        f"iteration of {name} ended" for name in ("first", "second", "third")
    ]


@on_a_store
async def test_an_iterator_that_is_no_generator_is_made_once_and_closed_too(replaceable, events):
    async for _number in replaceable.face.numbers():
        break
    await until(lambda: "numbers closed" in events)
    assert replaceable.face._behind.under_way == 0
    assert events.count("numbers begun") == 1


@on_a_store
async def test_an_iteration_that_was_made_before_the_exchange_begins_on_the_new_one(replaceable, events):
    made, numbers = replaceable.face.iterate(""), replaceable.face.numbers()
    await exchange(replaceable, "second")
    await until(lambda: "close first" in events)
    assert await anext(made) == "second0"
    assert await anext(numbers) == 1
    assert events.count("numbers closed") == 1, "the one that was made first is not used"
    assert replaceable.face._behind.under_way == 2
    await made.aclose()
    await numbers.aclose()
    assert replaceable.face._behind.under_way == 0


@on_a_store
async def test_what_can_be_awaited_or_entered_can_be_both_and_counts(replaceable):
    face, first = replaceable.face, replaceable.stores[0]
    async with face.connection() as store:
        assert (store, face._behind.under_way) == (first, 1)
    first.gate.clear()
    waiting = asyncio.ensure_future(face.connection())
    await asyncio.sleep(0)
    assert face._behind.under_way == 1
    first.gate.set()
    assert (await waiting, face._behind.under_way) == ("first", 0)
    assert not inspect.isawaitable(face.transaction())


@on_a_store
async def test_a_call_that_fails_or_is_cancelled_is_over(replaceable):
    face = replaceable.face
    replaceable.stores[0].gate.clear()
    waiting = asyncio.create_task(face.execute(""))
    later = asyncio.create_task(face.later())
    await asyncio.sleep(0)
    assert face._behind.under_way == 2
    waiting.cancel()
    later.cancel()
    await asyncio.wait({waiting, later})
    assert face._behind.under_way == 0
    with pytest.raises(TypeError):
        await face.execute()
    assert face._behind.under_way == 0


@on_a_store
async def test_what_is_still_under_way_when_its_time_is_over_is_cut_off_with_a_word(replaceable, events, caplog):
    replaceable._drain = 0.05
    replaceable.stores[0].gate.clear()
    under_way = asyncio.create_task(replaceable.face.execute(""))
    await asyncio.sleep(0)
    await exchange(replaceable, "second")
    await until(lambda: "close first" in events)
    replaceable.stores[0].gate.set()
    with pytest.raises(StorageError, match="the database is closed"):
        await under_way
    assert "what was replaced is closed although it is still used" in caplog.text


@on_a_store
async def test_closing_waits_for_nobody_and_leaves_nothing(replaceable, events):
    replaceable._drain = 1e6
    replaceable.stores[0].gate.clear()
    under_way = asyncio.create_task(replaceable.face.execute(""))
    await asyncio.sleep(0)
    await exchange(replaceable, "second")
    prepared = await replaceable.prepare({"URL": Secret("third")})
    await replaceable.close()
    assert {"close first", "close second"} <= set(events)
    prepared.commit()  # too late: nobody would ever close it
    await until(lambda: "close third" in events)
    replaceable.stores[0].gate.set()
    await asyncio.wait({under_way})


@pytest.mark.parametrize(
    ("value", "said", "left"),
    [
        ("refused", "password authentication failed", []),
        ("mute", "the server does not answer", ["open mute", "ping mute", "close mute"]),
    ],
)
@on_a_store
async def test_one_that_does_not_open_or_gives_no_sign_of_life_is_refused(replaceable, events, value, said, left):
    with pytest.raises(StorageError, match=said):
        await replaceable.prepare({"URL": Secret(value)})
    await until(lambda: events == ["open first", *left])
    assert await replaceable.face.execute("") == "first"


@on_a_store
async def test_a_preparation_that_is_called_off_leaves_nothing_open(replaceable, events):
    preparing = asyncio.create_task(replaceable.prepare({"URL": Secret("slow")}))
    await asyncio.sleep(0.01)
    preparing.cancel()
    await asyncio.wait({preparing})
    prepared = await replaceable.prepare({"URL": Secret("second")})
    prepared.abandon()
    await until(lambda: "close second" in events)
    assert await replaceable.face.execute("") == "first"
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "holds databases.main"][1:])


@on_a_store
async def test_closing_waits_for_a_preparation_that_was_called_off(replaceable, events):
    preparing = asyncio.create_task(replaceable.prepare({"URL": Secret("slow")}))
    await asyncio.sleep(0.01)
    preparing.cancel()
    await asyncio.wait({preparing})
    await replaceable.close()
    assert sorted(events) == ["close first", "gave up slow", "open first"]


@on_a_store
async def test_it_is_concerned_by_values_that_differ_from_those_it_was_opened_with(replaceable):
    assert not replaceable.concerned({"URL": Secret("first"), "OTHER": Secret("x")})
    assert replaceable.concerned({"URL": Secret("")})
    await exchange(replaceable, "second")
    assert replaceable.concerned({"URL": Secret("first")})
    assert not replaceable.concerned({"URL": Secret("second")})
    await exchange(replaceable, "")
    assert await replaceable.face.execute("") == "", "an empty secret is one"


@on_a_store
async def test_only_so_many_old_ones_wait_for_their_last_call(replaceable):
    waiting = []
    for number in range(MOST_OLD):
        behind(replaceable).gate.clear()
        waiting.append(asyncio.create_task(replaceable.face.execute("")))
        await asyncio.sleep(0)
        await exchange(replaceable, f"number {number}")
    with pytest.raises(Unavailable, match=f"{MOST_OLD} that were replaced are still being used"):
        await replaceable.prepare({"URL": Secret("one more")})
    for store in replaceable.stores:
        store.gate.set()
    assert len(await asyncio.gather(*waiting)) == MOST_OLD
    await until(lambda: replaceable.old == 0)


# ── the face ────────────────────────────────────────────────────────────────────────────────────────────────────────


@on_a_store
async def test_a_face_has_everything_that_the_thing_behind_it_has(replaceable):
    face = replaceable.face
    assert isinstance(face, Database)
    assert not isinstance(face, Cache | Authenticator)
    assert (face.dialect, face.version(), face.kind(), face.pool, len(face)) == ("sqlite", "version of first", "store", ["first"], 5)
    assert await face.fetch_one("") == {"value": "first"}
    assert face.events is replaceable.stores[0].events
    assert "gate" in dir(face)
    assert repr(face) == repr(replaceable.stores[0])
    assert inspect.iscoroutinefunction(face.execute)
    assert (face.execute.__name__, face.execute.__doc__) == ("execute", "Run one statement.")
    assert inspect.signature(face.execute) == inspect.signature(replaceable.stores[0].execute)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        face.nothing_of_the_kind
    with pytest.raises(AttributeError):
        face.mine = 1
    assert not hasattr(face, "__aenter__")


@on_a_store
async def test_members_of_every_public_protocol_are_there_for_static_looks_too(replaceable):
    """What newer Pythons ask in isinstance() with a Protocol."""
    for name in ("dialect", "execute", "fetch_all", "fetch_one", "fetch_value", "iterate", "transaction", "ping"):
        assert inspect.getattr_static(replaceable.face, name, None) is not None


@on_a_store
async def test_a_face_takes_the_shape_of_what_comes_behind_it(replaceable):
    face = replaceable.face
    assert not hasattr(face, "vacuum")
    await exchange(replaceable, "keeping")
    assert replaceable.face is face
    assert await face.vacuum() == "vacuumed keeping"
    assert inspect.getattr_static(face, "vacuum", None) is not None, "its calls are counted like all others"
    await exchange(replaceable, "third")
    assert not hasattr(face, "vacuum")


@on_a_store
async def test_a_face_is_not_copied_and_not_pickled(replaceable):
    assert copy.copy(replaceable.face) is copy.deepcopy(replaceable.face) is replaceable.face
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(replaceable.face)


@on_a_store
async def test_a_method_that_was_taken_off_the_face_goes_on_after_an_exchange(replaceable):
    execute = replaceable.face.execute
    await exchange(replaceable, "second")
    assert await execute("") == "second"


@on_a_store
async def test_threads_use_a_face_as_they_use_any_database(replaceable, events):
    class State:
        database = replaceable.face

    sync = Blocking(State(), asyncio.get_running_loop(), threading.get_ident(), 10.0)

    def work():
        first = sync.database.execute("x")
        with sync.database.transaction() as transaction:
            inside = transaction.execute("x")
        return first, inside, list(sync.database.iterate("")), sync.database.version()

    assert await asyncio.to_thread(work) == ("first", "first", ["first0", "first1", "first2"], "version of first")
    await exchange(replaceable, "second")
    assert (await asyncio.to_thread(work))[0] == "second"
    await until(lambda: replaceable.old == 0)


async def test_a_lock_counts_as_long_as_it_is_held_and_shows_what_it_can():
    class Lock:
        token = 7

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            pass

    class Locking:
        def lock(self, key, *, ttl=30.0, wait=10.0):
            return Lock()

    @asynccontextmanager
    async def make(secret):
        yield Locking()

    one: Replaceable = Replaceable(make, "caches.main", interface=Cache)
    face = await one.open(None)  # type: ignore[arg-type]
    lock = face.lock("key")
    assert lock.token == 7
    async with lock as held:
        assert (held.token, face._behind.under_way) == (7, 1)
    assert face._behind.under_way == 0
    await one.close()
