import asyncio
import logging

import pytest

from pywatt_core.errors import SecretError, StorageError
from pywatt_core.redaction import Secret
from pywatt_core.services.rotation import Rotation, Subscriber

KEY = {"KEY": Secret("the-value-afterwards", name="KEY")}


class Opened:
    """Something that was opened with `KEY`, and writes down what happens to it."""

    def __init__(self, events, label="databases.main", names=("KEY",), *, refuses=None, gate=None):
        self.events, self.label, self.names, self.refuses, self.gate = events, label, names, refuses, gate

    def concerned(self, values):
        return any(name in values for name in self.names)

    async def prepare(self, values):
        self.events.append(f"prepare {self.label}")
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.events.append(f"cancelled {self.label}")
            raise
        if self.refuses is not None:
            raise self.refuses
        return self

    def commit(self):
        self.events.append(f"commit {self.label}")

    def abandon(self):
        self.events.append(f"abandon {self.label}")


class Listener:
    """A subscriber's function that writes down what it was told."""

    def __init__(self, events, label="one", *, fails=(), gate=None, before="the-value-before"):
        self.events, self.label, self.fails, self.gate = events, label, list(fails), gate
        self.__qualname__ = label
        self.subscriber = Subscriber(["KEY"], self, {"KEY": Secret(before, name="KEY")} if before else {})

    async def __call__(self, name, secret):
        self.events.append(f"tell {self.label} {secret.expose_secret().rpartition('-')[2]}")
        if self.gate is not None:
            await self.gate.wait()
        if self.fails and (error := self.fails.pop(0)):
            raise error


def rotation_of(*members):
    rotation = Rotation()
    for one in members:
        if isinstance(one, Opened):
            rotation.join(one)
        else:
            rotation.subscribe(one.subscriber)
    return rotation


async def change(rotation, events, values=KEY, limit=5.0):
    async def obtain():
        events.append("obtain")
        return values

    await rotation.run(obtain, lambda committed: events.append(f"use {', '.join(committed)}"), limit)


async def settled(rotation):
    """The next change has its turn: the one before has been taken back."""
    async with asyncio.timeout(10):
        await rotation._turn.acquire()
    rotation._turn.release()


async def test_everybody_is_ready_before_anything_is_used():
    events: list[str] = []
    await change(rotation_of(Opened(events), Listener(events), Listener(events, "two")), events)
    assert events == [
        "obtain",
        "prepare databases.main",
        "tell one afterwards",
        "tell two afterwards",
        "commit databases.main",
        "use KEY",
    ]


async def test_who_is_not_concerned_is_left_alone():
    events: list[str] = []
    other = Listener(events)
    other.subscriber.names = frozenset(["OTHER"])
    await change(rotation_of(Opened(events, names=("OTHER",)), other), events)
    assert events == ["obtain", "use KEY"]


async def test_a_subscriber_that_knows_the_value_is_not_told_again():
    events: list[str] = []
    rotation = rotation_of(Listener(events))
    await change(rotation, events)
    await change(rotation, events)
    assert events.count("tell one afterwards") == 1


async def test_who_has_left_is_neither_asked_nor_told():
    events: list[str] = []
    rotation = Rotation()
    leave = [rotation.join(Opened(events)), rotation.subscribe(Listener(events).subscriber)]
    for one in [*leave, *leave]:
        one()
    assert not rotation.concerns(KEY)
    await change(rotation, events)
    assert events == ["obtain", "use KEY"]


async def test_a_participant_that_refuses_makes_it_void_and_the_others_are_closed_again():
    events: list[str] = []
    gate = asyncio.Event()
    rotation = rotation_of(
        Opened(events, "caches.main"),
        Opened(events, "databases.slow", gate=gate),
        Opened(events, "databases.main", refuses=StorageError("password authentication failed")),
        Listener(events),
    )
    with pytest.raises(SecretError, match=r"^databases\.main: password authentication failed$") as caught:
        await change(rotation, events)
    assert isinstance(caught.value.__cause__, StorageError)
    assert "abandon caches.main" in events
    assert "cancelled databases.slow" in events
    assert not any(event.startswith(("commit", "tell", "use")) for event in events)


async def test_a_participant_that_is_ready_while_another_refuses_is_closed_again():
    events: list[str] = []
    gate = asyncio.Event()

    class Stubborn(Opened):
        async def prepare(self, values):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return self  # it was just done

    rotation = rotation_of(Stubborn(events, "caches.main"), Opened(events, refuses=StorageError("no"), gate=gate))
    gate.set()
    with pytest.raises(SecretError, match="no"):
        await change(rotation, events)
    assert "abandon caches.main" in events


async def test_the_first_subscriber_hears_the_old_value_again_when_the_second_refuses():
    events: list[str] = []
    rotation = rotation_of(
        Opened(events), Listener(events), Listener(events, "two"), Listener(events, "three", fails=[SecretError("not this one")])
    )
    with pytest.raises(SecretError, match=r"^the subscriber three: not this one$"):
        await change(rotation, events)
    assert events == [
        "obtain",
        "prepare databases.main",
        "tell one afterwards",
        "tell two afterwards",
        "tell three afterwards",
        "abandon databases.main",
        "tell two before",
        "tell one before",
    ]
    events.clear()
    await change(rotation, events)
    assert [event for event in events if event.startswith("tell")] == [
        "tell one afterwards",
        "tell two afterwards",
        "tell three afterwards",
    ]


async def test_one_that_does_not_take_the_old_value_back_does_not_keep_the_others_from_it(caplog):
    events: list[str] = []
    rotation = rotation_of(
        Listener(events), Listener(events, "two", fails=[None, RuntimeError("stuck")]), Listener(events, "three", fails=[SecretError("no")])
    )
    with pytest.raises(SecretError, match="the subscriber three: no"):
        await change(rotation, events)
    assert events[-2:] == ["tell two before", "tell one before"]
    assert "the subscriber two does not take the old value back: RuntimeError: stuck" in caplog.text
    assert "Traceback" in caplog.text, "a fault in somebody's function needs one"


async def test_one_that_ends_the_process_refuses_like_any_other(caplog):
    events: list[str] = []
    rotation = rotation_of(Listener(events, fails=[None, SystemExit("gone")]), Listener(events, "two", fails=[SystemExit(3)]))
    with pytest.raises(SecretError, match="^the subscriber two: SystemExit: 3$"):
        await change(rotation, events)
    assert events == ["obtain", "tell one afterwards", "tell two afterwards", "tell one before"]
    assert "the subscriber one does not take the old value back: SystemExit: gone" in caplog.text


async def test_who_subscribed_before_the_first_value_came_knows_that_one():
    events: list[str] = []
    first = Listener(events, before="")
    rotation = rotation_of(first, Listener(events, "two", fails=[SecretError("no")]))
    for name in ("KEY", "OTHER"):
        rotation.delivered(name, Secret("the-value-before"))
    with pytest.raises(SecretError):
        await change(rotation, events)
    assert events[-1] == "tell one before"
    assert list(first.subscriber.told) == ["KEY"]


async def test_who_never_knew_a_value_is_not_told_one_that_is_made_up(caplog):
    events: list[str] = []
    first = Listener(events, before="")
    rotation = rotation_of(first, Listener(events, "two", fails=[SecretError("no")]))
    with caplog.at_level(logging.WARNING), pytest.raises(SecretError):
        await change(rotation, events)
    assert events == ["obtain", "tell one afterwards", "tell two afterwards"]
    assert "what it knew before is not known" in caplog.text
    assert first.subscriber.told == {}


@pytest.mark.parametrize("slow", ["obtain", "participant", "subscriber"])
async def test_what_takes_too_long_is_taken_back_and_named(slow):
    events: list[str] = []
    gate = asyncio.Event()
    rotation = rotation_of(
        Opened(events, gate=gate if slow == "participant" else None),
        Listener(events),
        Listener(events, "two", gate=gate if slow == "subscriber" else None),
    )

    async def obtain():
        if slow == "obtain":
            await gate.wait()
        return KEY

    said = {
        "obtain": "the new values are being read",
        "participant": "databases.main is not open yet",
        "subscriber": "the subscriber two has not returned",
    }
    with pytest.raises(SecretError, match=rf"^not done after 0\.1 s: {said[slow]}$"):
        await rotation.run(obtain, lambda _values: events.append("use"), 0.2)
    gate.set()
    await settled(rotation)
    assert "use" not in events
    assert {
        "obtain": [],
        "participant": ["prepare databases.main", "cancelled databases.main"],
        # how far the second one came is not known, so that it is told as well
        "subscriber": ["tell one afterwards", "tell two afterwards", "abandon databases.main", "tell two before", "tell one before"],
    }[slow] == events[-5 if slow == "subscriber" else 0 :]


async def test_one_that_cannot_be_interrupted_is_not_waited_for_and_nothing_is_used_when_it_returns():
    events: list[str] = []
    gate = asyncio.Event()

    async def stubborn(_name, secret):
        events.append(f"tell {secret.expose_secret().rpartition('-')[2]}")
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                events.append("it goes on")

    rotation = Rotation()
    rotation.join(Opened(events))
    rotation.subscribe(Subscriber(["KEY"], stubborn, {"KEY": Secret("the-value-before")}))
    with pytest.raises(SecretError, match="not done after"):
        await change(rotation, events, limit=0.2)
    with pytest.raises(SecretError, match="an earlier change of secrets is still under way"):
        await change(rotation, events, limit=0.2)
    gate.set()
    await settled(rotation)
    assert events == ["obtain", "prepare databases.main", "tell afterwards", "it goes on", "abandon databases.main", "tell before"]


async def test_a_change_that_is_called_off_is_taken_back():
    events: list[str] = []
    gate = asyncio.Event()
    rotation = rotation_of(Opened(events), Listener(events), Listener(events, "two", gate=gate))
    changing = asyncio.create_task(change(rotation, events))
    while "tell two afterwards" not in events:
        await asyncio.sleep(0)
    gate.set()
    changing.cancel()
    await asyncio.wait({changing})
    assert changing.cancelled()
    await settled(rotation)
    assert events[-3:] == ["abandon databases.main", "tell two before", "tell one before"]


async def test_one_change_at_a_time_in_the_order_in_which_they_came():
    events: list[str] = []
    gate = asyncio.Event()
    rotation = rotation_of(Listener(events, gate=gate))
    values = [{"KEY": Secret(f"value-{number}")} for number in range(3)]
    changing = [asyncio.create_task(change(rotation, events, one)) for one in values]
    while "tell one 0" not in events:
        await asyncio.sleep(0)
    assert events == ["obtain", "tell one 0"]
    gate.set()
    await asyncio.gather(*changing)
    assert [event for event in events if event.startswith("tell")] == ["tell one 0", "tell one 1", "tell one 2"]


async def test_a_subscriber_cannot_begin_another_change_and_what_it_started_can_once_this_one_is_over():
    rotation = Rotation()
    later: list[asyncio.Task[None]] = []
    go_on = asyncio.Event()
    events: list[str] = []

    async def after():
        await go_on.wait()
        await change(rotation, events, {"OTHER": Secret("another-value")})

    async def changes(_name, _secret):
        later.append(asyncio.create_task(after()))
        await change(rotation, events, {"OTHER": Secret("another-value")})

    rotation.subscribe(Subscriber(["KEY"], changes, {}))
    with pytest.raises(SecretError, match="whoever takes part in a change of secrets cannot begin another one"):
        await change(rotation, events)
    await settled(rotation)
    go_on.set()
    await later[0]
    assert events[-1] == "use OTHER"


async def test_what_a_subscriber_started_may_change_secrets_when_the_change_was_made():
    rotation = Rotation()
    later: list[asyncio.Task[None]] = []
    go_on = asyncio.Event()
    events: list[str] = []

    async def after():
        await go_on.wait()
        await change(rotation, events, {"OTHER": Secret("another-value")})

    rotation.subscribe(Subscriber(["KEY"], lambda _name, _secret: later.append(asyncio.create_task(after())), {}))
    await change(rotation, events)
    go_on.set()
    await later[0]
    assert events[-1] == "use OTHER"


async def test_what_reading_the_values_raises_passes_and_the_next_change_works():
    events: list[str] = []
    rotation = rotation_of(Listener(events))

    async def obtain():
        raise SecretError("the file cannot be read")

    with pytest.raises(SecretError, match=r"^the file cannot be read$"):
        await rotation.run(obtain, lambda _values: None)
    await change(rotation, events)
    assert events[-1] == "use KEY"


async def test_errors_say_nothing_of_values():
    events: list[str] = []
    rotation = rotation_of(Listener(events, fails=[ValueError("cannot parse the-value-afterwards")]))
    with pytest.raises(SecretError, match=r"^the subscriber one: ValueError: cannot parse \[REDACTED\]$"):
        await change(rotation, events, {"KEY": Secret("the-value-afterwards", name="KEY")})
