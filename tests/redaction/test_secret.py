"""A secret shows itself only to who asks for it."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import traceback
from typing import Any

import msgspec
import pytest

from pywatt_core.errors import SecretError
from pywatt_core.redaction import Secret, TypedSecret, redact

VALUE = "correct-horse-battery"


@pytest.mark.parametrize("secret", [Secret(VALUE), TypedSecret.parse(VALUE, str)], ids=["Secret", "TypedSecret"])
def test_no_usual_way_of_showing_a_value_shows_a_secret(secret: Any) -> None:
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>40}", "%s %r" % (secret, secret), repr([secret]), repr({"k": secret})]  # noqa: UP031
    assert all("Secret([REDACTED])" in text for text in shown)
    assert not any(VALUE in text for text in shown)
    assert secret.expose_secret() == VALUE


@pytest.mark.parametrize("secret", [Secret(VALUE), TypedSecret.parse("12345", int)], ids=["Secret", "TypedSecret"])
def test_a_secret_is_not_pickled_and_a_copy_is_itself(secret: Any) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="a secret cannot be pickled: pass its name and read it again where it is needed"):
            pickle.dumps(secret, protocol)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_a_secret_is_no_sequence_and_no_json() -> None:
    secret: Any = Secret(VALUE)
    for action in (iter, len, list, lambda value: value[0], lambda value: value + "", json.dumps, msgspec.json.encode, vars):
        with pytest.raises(TypeError):
            action(secret)


def test_a_secret_cannot_be_changed() -> None:
    secret: Any = Secret(VALUE)
    with pytest.raises(AttributeError, match="a secret cannot be changed"):
        secret._text = "other"
    with pytest.raises(AttributeError, match="a secret cannot be changed"):
        del secret._text


def test_secrets_are_equal_where_their_texts_are() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret(VALUE + "x")
    assert Secret(VALUE) != VALUE
    assert Secret("ümläut \ud800") == Secret("ümläut \ud800")
    assert len({Secret(VALUE), Secret(VALUE)}) == 1
    assert Secret(VALUE) and not Secret("")
    assert TypedSecret.parse("42", int) == TypedSecret.parse("42", int) != TypedSecret.parse("43", int)
    assert TypedSecret.parse("a-text", str) == TypedSecret.parse("a-text", str)
    assert len({TypedSecret.parse("42", int), TypedSecret.parse("42", int)}) == 1


def test_creating_a_secret_registers_it() -> None:
    Secret("created-and-hidden", name="TEST_CREATED")
    TypedSecret.parse("987654321", int, name="TEST_NUMBER")
    assert redact("created-and-hidden 987654321") == "[REDACTED] [REDACTED]"
    assert redact(json.dumps({"n": TypedSecret.parse("555000111", int).expose_secret()})) == '{"n": [REDACTED]}'


def test_a_secret_holds_text_only() -> None:
    with pytest.raises(TypeError, match="a secret holds text, not bytes"):
        Secret(b"bytes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("true", bool, True),
        ("false", bool, False),
        ("0", int, 0),
        ("-17", int, -17),
        ("+007", int, 7),
        ("123456789012345678901234567890", int, 123456789012345678901234567890),
        ("1.5", float, 1.5),
        ("-.5e3", float, -500.0),
        ("2.", float, 2.0),
        ("inf", float, math.inf),
        ("-Infinity", float, -math.inf),
        (" verbatim ", str, " verbatim "),
        ("[1, 2]", json.loads, [1, 2]),
    ],
)
def test_a_typed_secret_is_read_as_the_rust_sdk_reads_it(text: str, kind: Any, value: object) -> None:
    assert TypedSecret.parse(text, kind).expose_secret() == value


def test_not_a_number_is_a_number_here() -> None:
    assert math.isnan(TypedSecret.parse("NaN", float).expose_secret())


WRONG = [
    ("True", bool),
    ("yes", bool),
    ("1", bool),
    (" 12345678", int),
    ("12_345_678", int),
    ("12345678.0", int),
    ("٤٢٤٢٤٢٤٢", int),
    ("", int),
    ("9" * 5000, int),
    ("1_000.5", float),
    ("12345678 ", float),
    ("0x12345678", float),
    ("{not json 12345", json.loads),
]


@pytest.mark.parametrize(("text", "kind"), WRONG)
def test_a_typed_secret_that_cannot_be_read_names_itself_and_not_its_value(text: str, kind: Any) -> None:
    with pytest.raises(SecretError) as caught:
        TypedSecret.parse(text, kind, name="DB_PORT")
    report = "".join(traceback.format_exception(caught.value))
    assert "DB_PORT is not " in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert not text or len(text) < 4 or text not in report


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [("YES", bool, True), (" off ", bool, False), ("1", bool, True), (" 42 ", int, 42), (" 1e3\n", float, 1000.0)],
)
def test_lenient_reading_takes_what_people_write(text: str, kind: Any, value: object) -> None:
    assert TypedSecret.parse(text, kind, lenient=True).expose_secret() == value


def test_a_secret_made_from_another_is_hidden_too() -> None:
    made = TypedSecret.parse("mapped-secret-value", str).map(str.upper)
    assert made.expose_secret() == "MAPPED-SECRET-VALUE"
    assert redact("MAPPED-SECRET-VALUE") == "[REDACTED]"
    assert TypedSecret.parse(Secret("4242424242"), int).expose_secret() == 4242424242


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    host: str = "localhost"
    password: Secret


def test_a_dataclass_with_a_secret_does_not_show_it() -> None:
    options = Options(password=Secret("from-a-file-secret"))
    assert "from-a-file-secret" not in repr(options)
    assert dataclasses.asdict(options)["password"] is options.password


def test_pydantic_reads_secrets_and_describes_them() -> None:
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(Options)
    assert adapter.validate_python({"password": "pydantic-secret"}).password.expose_secret() == "pydantic-secret"
    assert (
        adapter.dump_json(adapter.validate_python({"password": "pydantic-secret"}))
        == b'{"host":"localhost","password":"Secret([REDACTED])"}'
    )
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python({"password": ["a list"]})
    assert "expected text, got list" in str(caught.value)
    assert adapter.json_schema()["properties"]["password"] == {
        "type": "string",
        "format": "password",
        "writeOnly": True,
        "title": "Password",
    }


def test_an_empty_text_hides_nothing_of_what_was_read_from_it():
    empty = TypedSecret.parse("", lambda text: text.split(","), name="LIST")
    assert (empty.expose_secret(), redact("the list ['']")) == ([""], "the list ['']")
