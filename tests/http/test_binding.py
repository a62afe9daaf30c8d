"""What a handler is called with, whatever kind of callable it is."""

import asyncio
import functools
from typing import TYPE_CHECKING

import pytest

from pywatt_core.http.binding import bind
from pywatt_core.http.failures import InvalidRequest

if TYPE_CHECKING:
    from somewhere import Unknown


async def call(handler, names=(), **params):
    return await bind(handler, names)("the request", "the state", params)


class Object:
    async def __call__(self, request, state):
        return ["object", request, state]

    async def method(self, state):
        return ["method", state]


async def partly(first, request):
    return [first, request]


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        (Object(), ["object", "the request", "the state"]),
        (Object().method, ["method", "the state"]),
        (functools.partial(partly, "first"), ["first", "the request"]),
        (lambda anything: ["lambda", anything], ["lambda", "the request"]),
        (lambda *more, **other: ["loose", more, other], ["loose", (), {}]),
        (lambda request, /, state: ["positional", request, state], ["positional", "the request", "the state"]),
    ],
)
async def test_any_callable_is_a_handler(handler, found):
    assert await call(handler) == found


async def test_a_plain_function_that_returns_a_coroutine_is_waited_for():
    assert await call(lambda request: asyncio.sleep(0, "later")) == "later"


async def test_an_annotation_that_only_a_type_checker_knows_is_no_obstacle():
    async def handler(request: "Unknown", id: int):
        return id

    assert await call(handler, ("id",), id="7") == "7", "without its types a parameter stays text"


@pytest.mark.parametrize(("kind", "text", "value"), [(int, "7", 7), (float, "1.5", 1.5), (bool, "true", True), (str, "7", "7")])
async def test_values_are_converted_by_their_annotation(kind, text, value):
    async def handler(id):
        return id

    handler.__annotations__["id"] = kind
    assert await call(handler, ("id",), id=text) == value


async def test_a_value_that_does_not_fit_is_named_and_not_shown():
    async def handler(id: int):
        return id

    with pytest.raises(InvalidRequest, match="^Invalid request: the parameter 'id' of the path is no int$"):
        await call(handler, ("id",), id="canary")


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="its path has no parameters"):
        bind(lambda request, other: None, ())
    with pytest.raises(TypeError):
        bind(5, ())
