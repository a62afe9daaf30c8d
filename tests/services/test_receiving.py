"""How a user's function is called: its parameters by name and annotation."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec
import pytest

from pywatt_core import AppState, Arrival
from pywatt_core.protocol.payloads import read_payload, write_bare
from pywatt_core.services.arrivals import Misfit
from pywatt_core.services.receiving import WORKERS, Receiver
from pywatt_core.services.turns import depth

if TYPE_CHECKING:
    import pywatt_core as hidden
    from pywatt_core import Module as Unseen

STATE: Any = AppState.__new__(AppState)


class Order(msgspec.Struct):
    id: int


class Point(TypedDict):
    x: int


def arrived(value: Any) -> Arrival:
    return Arrival("them", "1", read_payload(write_bare(value)))


async def call(function: Callable[..., Any], value: Any = 1) -> Any:
    return await Receiver(function, AppState)(arrived(value), STATE)


async def test_nothing_the_payload_the_state_and_the_message_in_any_order() -> None:
    message = arrived({"id": 7})

    def all_of_it(state: AppState[Any], message: Arrival, order: Order) -> Any:
        return state, message, order

    assert await Receiver(all_of_it, AppState)(message, STATE) == (STATE, message, Order(7))
    assert await call(lambda: "nothing") == "nothing"
    assert await call(lambda anything: anything) == 1
    assert await call(lambda payload, state: (payload, state)) == (1, STATE)
    assert (await call(lambda message: message)).source == "them"


async def test_names_count_only_where_the_annotation_says_nothing_else() -> None:
    def odd(message: Order, state: Point, s: AppState[int]) -> Any:
        raise AssertionError

    def odd_names(message: Order, state: Arrival) -> Any:
        return message, type(state)

    assert await call(odd_names, {"id": 1}) == (Order(1), Arrival)
    with pytest.raises(TypeError, match="'state' is one too many"):
        Receiver(odd, AppState)


async def test_annotations_of_every_kind_are_read() -> None:
    async def annotated(value: Annotated[int, msgspec.Meta(ge=3)]) -> int:
        return value

    assert await call(annotated, 3) == 3
    with pytest.raises(Misfit, match=">= 3"):
        await call(annotated, 2)

    def union(value: Order | int | None) -> Any:
        return value

    assert [await call(union, value) for value in ({"id": 1}, 2, None)] == [Order(1), 2, None]

    def anything(value: object) -> Any:
        return value

    assert await call(anything, [1]) == [1]


async def test_keywords_defaults_and_the_rest() -> None:
    def keywords(payload: int, *, state: Any, message: Any) -> Any:
        return payload, state is STATE, message.source

    def defaults(payload: int, verbose: bool = True, *rest: int, **more: int) -> Any:
        return payload, verbose, rest, more

    assert await call(keywords) == (1, True, "them")
    assert await call(defaults) == (1, True, (), {})


async def test_methods_partials_and_objects_are_functions_too() -> None:
    class Shop:
        async def place(self, order: Order, state: Any) -> Any:
            return order.id, state is STATE

        async def __call__(self, order: Order) -> Any:
            return order

    def partial(prefix: str, order: Order) -> str:
        return f"{prefix}{order.id}"

    assert await call(Shop().place, {"id": 7}) == (7, True)
    assert await call(Shop(), {"id": 7}) == Order(7)
    assert await call(functools.partial(partial, "n"), {"id": 7}) == "n7"

    async def inner(order: Order) -> Any:
        return order

    @functools.wraps(inner)
    def wrapped(*arguments: Any) -> Any:
        return inner(*arguments)

    assert await call(wrapped, {"id": 7}) == Order(7), "what a plain function returns is awaited where it has to be"


async def test_a_name_that_only_a_type_checker_sees_is_enough_for_the_state_and_not_for_a_payload() -> None:
    def state_of(app: hidden.AppState[Any]) -> Any:
        return app

    def message_of(it: hidden.Arrival) -> Any:
        return it.source

    def unknown(payload: Unseen) -> Any: ...

    assert await call(state_of) is STATE
    assert await call(message_of) == "them"
    with pytest.raises(TypeError, match=r"unknown\(\): the type 'Unseen' of 'payload' is not known where the function is defined"):
        Receiver(unknown, AppState)


async def test_a_misfit_names_the_field_and_the_function_is_not_called() -> None:
    def never(order: Order) -> None:
        raise AssertionError

    with pytest.raises(Misfit, match=r"\$\.id"):
        await call(never, {"id": "x"})


async def test_what_waited_for_a_thread_in_vain_leaves_nothing_behind() -> None:
    """Functions that hang take all threads; each further call would otherwise stay queued, with its payload, for good."""

    class Weakly:
        pass

    go, busy, called = threading.Event(), threading.Semaphore(0), []

    def hang(payload: Any) -> None:
        busy.release()
        go.wait(60)

    def quick(payload: Any, state: Any) -> int:
        called.append(payload)
        return 1

    hanging = [asyncio.create_task(call(hang)) for _ in range(WORKERS)]
    try:
        for _ in range(WORKERS):
            assert await asyncio.to_thread(busy.acquire, timeout=20)
        for task in hanging:
            task.cancel()  # nobody waits for them any more; their threads are taken all the same
        await asyncio.wait(hanging)

        argument = Weakly()
        kept = weakref.ref(argument)
        late = asyncio.create_task(Receiver(quick)(arrived(1), argument))
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.wait([late])
        del argument, late
        gc.collect()
        assert kept() is None
        token = depth.set(1)  # what is asked for by those that hold the threads has threads of its own
        assert await asyncio.wait_for(call(quick, 3), 20) == 1
        depth.reset(token)
        assert called == [3]
        called.clear()
        waits = asyncio.create_task(call(quick, 2))
        await asyncio.sleep(0)
        assert not called
    finally:
        go.set()
    assert await asyncio.wait_for(waits, 20) == 1
    assert called == [2], "the turn of the others came back when their functions returned"
