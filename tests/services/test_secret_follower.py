import asyncio
import logging
from contextlib import asynccontextmanager

from pywatt_core.errors import SecretError
from pywatt_core.services.secret_follower import follow
from pywatt_core.services.secrets import SecretClient


class Source:
    """A source whose changes the test tells."""

    def __init__(self, **values):
        self.values = values
        self.closed = False
        self.changed: asyncio.Queue[frozenset[str] | None] = asyncio.Queue()

    async def get(self, name):
        return self.values.get(name)

    async def changes(self):
        try:
            while (names := await self.changed.get()) is not None:
                yield names
        finally:
            self.closed = True

    def change(self, **values):
        self.values.update(values)
        self.changed.put_nowait(frozenset(values))


@asynccontextmanager
async def following(source, *names):
    """A client that follows `source` and has asked for `names`, and everything its subscriber was told."""
    client = SecretClient(source)
    for name in names:
        await client.get(name)
    told: list[str] = []

    def takes(_name, secret):
        told.append(secret.expose_secret())
        if "bad" in told[-1]:
            raise SecretError("not this one")

    client.subscribe(names, takes)
    task = asyncio.create_task(follow(client, source.changes(), pause=0.01))
    try:
        yield client, told, task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_changes_is_used():
    source = Source(KEY="value-0")
    async with following(source, "KEY") as (client, told, _):
        for number in range(1, 4):
            source.change(KEY=f"value-{number}")
            await until(lambda number=number: client["KEY"].expose_secret() == f"value-{number}")
        assert told == ["value-1", "value-2", "value-3"]


async def test_what_nobody_asked_for_is_not_read():
    source = Source(KEY="value-0", OTHER="x")
    async with following(source, "KEY") as (client, _, _task):
        source.change(OTHER="y")
        source.change(KEY="value-1")
        await until(lambda: client["KEY"].expose_secret() == "value-1")
        assert "OTHER" not in client


async def test_what_is_refused_is_tried_again_and_told_once(caplog):
    source = Source(KEY="value-0")
    async with following(source, "KEY") as (client, told, _):
        with caplog.at_level(logging.INFO):
            source.change(KEY="a-bad-value")
            await until(lambda: told.count("a-bad-value") >= 3)
            source.values["KEY"] = "value-1"  # nobody tells of it: the next attempt finds it
            await until(lambda: client["KEY"].expose_secret() == "value-1")
    assert [record.message for record in caplog.records if "not used yet" in record.message] == [
        "changed secrets are not used yet: the subscriber following.<locals>.takes: not this one"
    ]


async def test_what_was_refused_and_what_changes_later_are_one_change():
    source = Source(ONE="one-0", TWO="two-0")
    async with following(source, "ONE", "TWO") as (client, told, _):
        source.change(ONE="a-bad-value")
        await until(lambda: "a-bad-value" in told)
        assert client["ONE"].expose_secret() == "one-0"
        source.values["ONE"] = "one-1"
        source.change(TWO="two-1")
        await until(lambda: client["TWO"].expose_secret() == "two-1")
        assert client["ONE"].expose_secret() == "one-1"


async def test_a_secret_that_is_taken_away_stays_in_use(caplog):
    source = Source(KEY="value-0")
    async with following(source, "KEY") as (client, _, _task):
        del source.values["KEY"]
        source.changed.put_nowait(frozenset(["KEY"]))
        await until(lambda: "changed secrets are not used yet" in caplog.text)
        assert client["KEY"].expose_secret() == "value-0"


async def test_what_is_used_is_not_asked_for_again():
    source = Source(ONE="one-0", TWO="two-0")
    async with following(source, "ONE", "TWO") as (client, _, _task):
        source.change(ONE="one-1")
        await until(lambda: client["ONE"].expose_secret() == "one-1")
        source.values["ONE"] = "one-2"  # which nobody tells
        source.change(TWO="two-1")
        await until(lambda: client["TWO"].expose_secret() == "two-1")
        assert client["ONE"].expose_secret() == "one-1"


class Changes:
    """An iterator that is no generator: nobody but its user closes it."""

    closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.Event().wait()

    async def aclose(self):
        self.closed = True


async def test_it_closes_what_it_is_given():
    changes = Changes()
    task = asyncio.create_task(follow(SecretClient(Source()), changes))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert changes.closed


async def test_it_ends_with_the_changes_or_when_it_is_called_off_and_closes_them():
    source = Source(KEY="value-0")
    async with following(source, "KEY") as (_, _told, task):
        source.changed.put_nowait(None)
        await asyncio.wait({task})
        assert task.exception() is None
    source = Source(KEY="value-0")
    async with following(source, "KEY"):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert source.closed
