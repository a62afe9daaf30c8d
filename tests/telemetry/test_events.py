"""One event, one line: whatever was logged, it is bounded, readable and cannot forge another event."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.redaction import Redactor
from pywatt_core.telemetry import JsonFormatter, TextFormatter, context, events

ATTACKS = [
    "line\nfeed", "carriage\r\nreturn", "\x1b[2J\x1b[31mred", "\x9b31m", "\u202etxet\u202c", "\u2066x\u2069", "a\u2028b\u2029c", "nul\x00",
    "\x85next", "\x7f", "\ufeff", "\u200b\u200d", '"}\n{"level":"ERROR","fields":{"message":"forged"}}', "\ud800 lone",
    "back\\slash \"quote\"", "a\tb",
    "\n2026-11-20 00:00:00.000 ERROR forged: line",
]  # fmt: skip


def record(
    message: Any = "hello", *args: Any, level: int = logging.INFO, name: str = "users.db", exc_info: Any = None, **extra: Any
) -> logging.LogRecord:
    made = logging.LogRecord(name, level, "/src/users.py", 7, message, args, exc_info)
    made.created = 1795154137.123456
    for key, value in extra.items():
        setattr(made, key, value)
    return made


def event(formatter: logging.Formatter, made: logging.LogRecord) -> dict[str, Any]:
    line = formatter.format(made)
    assert "\n" not in line and "\r" not in line
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def raised(error: BaseException) -> Any:
    try:
        raise error
    except BaseException:
        return sys.exc_info()


def test_an_event_has_the_shape_that_the_rust_sdk_writes() -> None:
    with context(request_id="r1", trace_id="t1", span_id="s1"):
        line = JsonFormatter("users.1").format(record("%d rows", 3, table="entries"))
    assert line == (
        '{"timestamp":"2026-11-20T05:55:37.123456Z","level":"INFO","fields":{"message":"3 rows","table":"entries"},"target":"users.db",'
        '"module_id":"users.1","request_id":"r1","trace_id":"t1","span_id":"s1"}'
    )
    assert JsonFormatter().format(record()) == (
        '{"timestamp":"2026-11-20T05:55:37.123456Z","level":"INFO","fields":{"message":"hello"},"target":"users.db"}'
    )


@pytest.mark.parametrize(
    ("number", "name"), [(5, "TRACE"), (1, "TRACE"), (10, "DEBUG"), (20, "INFO"), (25, "INFO"), (30, "WARN"), (40, "ERROR"), (50, "ERROR")]
)
def test_levels_have_the_names_of_the_rust_sdk(number: int, name: str) -> None:
    assert event(JsonFormatter(), record(level=number))["level"] == name


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_in_a_message_stays_inside_one_json_line(attack: str) -> None:
    made = record("%s", attack, name=attack, exc_info=raised(ValueError(attack)), field=attack, **{attack.replace("\n", ""): 1})
    line = JsonFormatter(attack).format(made)
    assert re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", line) is None
    parsed = json.loads(line)
    assert parsed["fields"]["message"] == attack.encode("utf-8", "backslashreplace").decode()
    assert parsed["level"] == "INFO"


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_in_a_message_cannot_forge_a_line_of_text(attack: str) -> None:
    text = TextFormatter(attack).format(record("%s", attack, name=attack, exc_info=raised(ValueError(attack)), field=attack))
    first, *rest = text.splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO  ", first)
    assert all(line.startswith("    ") for line in rest)
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800]", text) is None


@given(st.text(), st.text(), st.dictionaries(st.text(min_size=1), st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.none())))
@settings(max_examples=200, deadline=None)
def test_every_event_is_one_line_that_parses(message: str, name: str, extra: dict[str, Any]) -> None:
    made = record("%s", message, name=name, extra=extra)
    parsed = event(JsonFormatter(), made)
    assert parsed["fields"]["message"] == message.encode("utf-8", "backslashreplace").decode()
    assert TextFormatter().format(made).count("\n") == 0


def test_an_exception_is_a_field_with_its_chain() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise RuntimeError("outer") from error
    except RuntimeError:
        made = record("failed", exc_info=sys.exc_info())
    shown = event(JsonFormatter(), made)["fields"]["exception"]
    assert shown.startswith("Traceback (most recent call last):") and shown.endswith("RuntimeError: outer")
    assert "KeyError: 'inner'" in shown and "The above exception was the direct cause" in shown
    assert "exception" not in event(JsonFormatter(), record("nothing", exc_info=(None, None, None)))["fields"]


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_what_cannot_be_shown_is_named_and_never_raises() -> None:
    fields = event(JsonFormatter(), record("%s", Hostile(), item=Hostile(), exc_info=raised(HostileError())))["fields"]
    assert fields["message"] == "'%s' with the arguments <tuple, whose repr raises RuntimeError>"
    assert fields["logging_error"] == "the arguments do not fit the message (RuntimeError), users.py:7"
    assert fields["item"] == "<Hostile, whose repr raises RuntimeError>"
    assert "HostileError" in fields["exception"]
    wrong = event(JsonFormatter(), record("%d items", "three"))["fields"]
    assert wrong["message"] == "'%d items' with the arguments ('three',)"
    assert wrong["logging_error"] == "the arguments do not fit the message (TypeError), users.py:7"


def test_extra_values_keep_their_kind_where_json_has_it() -> None:
    extra = {"n": 3, "f": 1.5, "b": True, "none": None, "list": [1, "a", None], "map": {"k": {"deep": (1, 2)}, 7: "seven"}}
    fields = event(JsonFormatter(), record(**extra))["fields"]
    assert fields == {"message": "hello", **extra, "map": {"k": {"deep": [1, 2]}, "7": "seven"}}
    odd = event(JsonFormatter(), record(raw=b"\x00x", obj=Ellipsis, huge=10**5000, nan=float("nan"), set={1}))["fields"]
    assert odd["raw"] == "b'\\x00x'" and odd["obj"] == "Ellipsis" and odd["nan"] is None and odd["set"] == [1]
    assert isinstance(odd["huge"], str) and len(odd["huge"]) < 9000


def test_an_extra_field_does_not_replace_the_message() -> None:
    made = record("the message", exception="mine", exc_info=raised(ValueError("text")))
    made.__dict__["logging_error"] = "x"
    fields = event(JsonFormatter(), made)["fields"]
    assert fields["message"] == "the message" and fields["exception"].endswith("ValueError: text")


def test_size_is_bounded_and_the_cut_is_said() -> None:
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    loop: dict[str, Any] = {}
    loop["self"] = loop
    made = record(
        "x" * 1_000_000, text="y" * 1_000_000, items=list(range(1000)), deep=deep, loop=loop, mapping={str(n): n for n in range(1000)}
    )
    line = JsonFormatter().format(made)
    fields = json.loads(line)["fields"]
    assert len(line) < 200_000
    assert fields["message"] == "x" * events.MESSAGE_LIMIT + "… [cut: 1000000 characters in all]"
    assert fields["items"][-2:] == [63, "… 936 more"] and fields["mapping"]["…"] == "936 more"
    many = event(JsonFormatter(), record(**{f"field{n}": n for n in range(1000)}))["fields"]
    assert len(many) <= events.FIELDS_LIMIT + 1 and many["fields_left_out"] == 1000 - (events.FIELDS_LIMIT - 1)


def test_the_end_of_a_long_traceback_is_kept() -> None:
    fields = event(JsonFormatter(), record(exc_info=raised(ValueError("start " + "z" * 500_000 + " finish"))))["fields"]
    assert fields["exception"].startswith("Traceback") and fields["exception"].endswith(" finish")
    assert "characters in all]" in fields["exception"] and len(fields["exception"]) < 70_000


@pytest.mark.parametrize("shift", range(0, 60, 3))
def test_a_cut_leaves_no_piece_of_a_secret(fresh_redactor: Redactor, shift: int) -> None:
    secret = "the-secret-that-is-cut-in-two-by-a-limit"
    fresh_redactor.register(secret)
    padding = "." * (events.MESSAGE_LIMIT - shift)
    fields = event(JsonFormatter(), record(padding + secret + "." * 50_000))["fields"]
    assert not any(secret[at : at + 5] in fields["message"] for at in range(len(secret) - 5))
    kept = events.TRACEBACK_LIMIT * 3 // 4
    text = events.shortened("." * 200_000 + secret + "." * (kept - shift), kept, kept)
    assert not any(secret[at : at + 5] in text for at in range(len(secret) - 5))


def test_a_cut_leaves_no_piece_where_redaction_has_made_the_text_shorter(fresh_redactor: Redactor) -> None:
    secret = "a-secret-longer-than-what-replaces-it"
    fresh_redactor.register(secret)
    for limit in range(200, 240):
        text = events.shortened(secret * 50, limit, limit)
        assert set(text.partition("…")[0]) <= set("[REDACTED]"), text
        assert set(text.partition("in all] ")[2]) <= set("[REDACTED]"), text


@pytest.mark.parametrize("size", [0, 20_000, 100_000])
@pytest.mark.parametrize("joint", ["\x1b[0m", "'\n    '", "\n"])
def test_a_secret_that_colours_or_line_ends_cut_is_hidden_in_each_part_of_an_event(fresh_redactor: Redactor, joint: str, size: int) -> None:
    fresh_redactor.register("canary-in-the-mine")
    cut = f"it is canary-{joint}in-the-mine" + "\nand so on" * (size // 10)
    fields = event(JsonFormatter(), record(cut, exc_info=raised(ValueError(cut)), text=cut, deep={"list": [cut]}))["fields"]
    assert str(fields).count("[REDACTED]") == 4
    assert not re.search("canary|mine", str(fields))
    assert TextFormatter().format(record("%s", cut, other=cut)).count("[REDACTED]") == 2


def test_numbers_keys_and_generated_fields_keep_the_line_valid(fresh_redactor: Redactor) -> None:
    fresh_redactor.register("123456")
    fresh_redactor.register("7")
    fresh_redactor.register("2026")
    fresh_redactor.register("INFO")
    fields = event(JsonFormatter(), record(number=123456, other=9912345699, short=7, ok=True, map={"123456": 1.0}))
    assert fields["fields"] == {
        "message": "hello",
        "number": "[REDACTED]",
        "other": "99[REDACTED]99",
        "short": "[REDACTED]",
        "ok": True,
        "map": {"[REDACTED]": 1.0},
    }
    assert fields["timestamp"].startswith("2026-") and fields["level"] == "INFO"


@pytest.mark.parametrize("secret", ["message", "fields", '"},"target":"', '{"type":"service_account","key":"abc"}', "hello", "users.db"])
def test_a_secret_that_looks_like_the_line_itself_leaves_it_valid(fresh_redactor: Redactor, secret: str) -> None:
    fresh_redactor.register(secret)
    line = JsonFormatter("users").format(record(ok=True, creds={"type": "service_account", "key": "abc"}))
    json.loads(line)
    assert secret not in line.partition('"level":"INFO",')[2]


def test_a_short_secret_after_an_escape_is_seen(fresh_redactor: Redactor) -> None:
    fresh_redactor.register("pin")
    assert event(JsonFormatter(), record("new\npin\tpin spinning"))["fields"]["message"] == "new\n[REDACTED]\t[REDACTED] spinning"


def test_a_line_of_text_is_for_people() -> None:
    with context(request_id="r1", trace_id="t1"):
        text = TextFormatter("users").format(
            record("%d rows", 3, table="entries", note="two words", map={"a": 1}, exc_info=raised(ValueError("bad")))
        )
    first, second, *_, last = text.splitlines()
    assert first.endswith(' INFO  users.db: 3 rows table=entries note="two words" map={"a":1} request=r1 trace=t1')
    assert second == "    Traceback (most recent call last):" and last == "    ValueError: bad"
    assert "\x1b[33mWARN \x1b[0m" in TextFormatter(colour=True).format(record(level=logging.WARNING))
    assert TextFormatter("users").format(record(name="root")).endswith(" users: hello")
