"""The tables of functions that receive, as decorators fill them."""

from __future__ import annotations

from typing import Any

import pytest

from pywatt_core.services.receivers import Receivers


@pytest.mark.parametrize("name", ["", "__mine__", "a:b", "a b", "a\n", 5, None])
def test_a_name_that_nobody_could_ask_for_is_refused(name: Any) -> None:
    receivers = Receivers()
    for decorator, what in ((receivers.on, "endpoint"), (receivers.on_source, "module"), (receivers.on_stream, "stream")):
        with pytest.raises(TypeError, match=f"the name of the {what} is a text without blanks and colons, not beginning with '__'"):
            decorator(name)
    assert not receivers.answering


def test_a_decorator_without_its_name_says_what_is_missing() -> None:
    def function() -> None: ...

    with pytest.raises(TypeError, match=": the name comes first, and the function below it$"):
        Receivers().on(function)  # type: ignore[arg-type]


def test_a_name_has_one_function() -> None:
    receivers = Receivers()

    @receivers.on("a")
    def first() -> None: ...

    with pytest.raises(TypeError, match="two functions receive the endpoint 'a': .*first and .*second"):

        @receivers.on("a")
        def second() -> None: ...

    assert list(receivers.endpoints) == ["a"]
