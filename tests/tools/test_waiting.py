"""Waiting asks until the answer is yes, and not for ever."""

import pytest

from tools import waiting
from tools.waiting import until


async def test_it_asks_functions_and_coroutine_functions_until_they_say_yes():
    asked = []

    def thrice():
        asked.append("function")
        return len(asked) == 3

    async def five_times():
        asked.append("coroutine function")
        return len(asked) == 5

    await until(thrice)
    await until(five_times)
    assert asked == ["function"] * 3 + ["coroutine function"] * 2


async def test_what_never_comes_is_a_timeout(monkeypatch):
    monkeypatch.setattr(waiting, "DEADLINE", 0.01)
    with pytest.raises(TimeoutError):
        await until(lambda: False)
