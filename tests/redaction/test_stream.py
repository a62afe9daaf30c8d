"""However a text is cut into pieces, the stream hides what the redactor hides in the whole."""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.redaction import RedactedStream, Redactor
from pywatt_core.redaction.forms import forms_of
from pywatt_core.redaction.stream import BEGUN_FROM, SPARE

CHARACTERS = st.one_of(st.sampled_from("abAB01 +/=_-%\\\"'\n\t&é€"), st.characters(codec="utf-8"))


def redactor_of(*values: str) -> Redactor:
    redactor = Redactor()
    for value in values:
        redactor.register(value)
    return redactor


def without_neighbours(redactor: Redactor) -> Redactor:
    """The base64 digit before a form carries a few bits of it at most. One that was passed on in an earlier piece is gone."""
    redactor._forms = {value: tuple(form._replace(before=False) for form in forms) for value, forms in redactor._forms.items()}
    return redactor


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


@st.composite
def values_and_pieces(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    values = draw(st.lists(st.text(CHARACTERS, min_size=1, max_size=14), min_size=1, max_size=4))
    forms = [form.text for value in values for form in forms_of(value)] or values
    whole = st.sampled_from(forms)
    part = st.builds(lambda form, a, b: form[min(a, b) : max(a, b)], whole, st.integers(0, 20), st.integers(0, 20))
    parts = draw(st.lists(st.one_of(whole, part, st.text(CHARACTERS, max_size=4)), max_size=8))
    text = "".join(parts)
    cuts = draw(st.one_of(st.lists(st.integers(0, 400), max_size=12), st.just(list(range(len(text))))))
    return values, pieces(text, cuts)


@given(values_and_pieces())
@settings(max_examples=300, deadline=None)
def test_a_stream_hides_what_is_hidden_in_the_whole(case: tuple[list[str], list[str]]) -> None:
    values, cut = case
    redactor = without_neighbours(redactor_of(*values))
    stream = RedactedStream(redactor)
    text = "".join(cut)
    passed = "".join(map(stream.feed, cut)) + stream.feed("\x00")
    assert passed + stream.rest() == redactor.redact(text + "\x00")
    assert not stream.waiting


@given(values_and_pieces())
@settings(max_examples=150, deadline=None)
def test_what_waits_is_bounded_and_what_has_passed_holds_no_secret(case: tuple[list[str], list[str]]) -> None:
    values, cut = case
    redactor = redactor_of(*values)
    stream = RedactedStream(redactor)
    passed = ""
    for piece in cut:
        passed += stream.feed(piece)
        assert len(stream._held) <= 2 * redactor.longest + SPARE
        assert redactor.redact(passed + "\x00") == passed + "\x00" or redactor.has_tokens


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("form", ["raw", "base64", "hexadecimal"])
def test_a_secret_in_small_pieces_is_hidden(size: int, form: str) -> None:
    secret = "correct-horse-battery"
    written = {"raw": secret, "base64": base64.b64encode(b"x" + secret.encode() + b"y").decode(), "hexadecimal": secret.encode().hex()}[
        form
    ]
    text = f"the password is {written}, they say\n"
    stream = RedactedStream(redactor_of(secret))
    passed = "".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size))
    assert passed.startswith("the password is ") and passed.endswith(", they say\n")
    assert "[REDACTED]" in passed and len(passed) <= len("the password is [REDACTED], they say\n") + 4


def test_only_what_may_be_a_secret_waits() -> None:
    stream = RedactedStream(redactor_of("canary-1", "canary-22"))
    assert stream.feed("no secret here") == "no secret here"
    assert stream.feed("continue? [y/n] ") == "continue? [y/n] "
    assert stream.feed("a can") == "a "
    assert stream.feed("did answer") == "candid answer"
    assert stream.feed("canary-2") == ""
    assert stream.feed("3 canary-1") == "canary-23 "
    assert stream.feed("\n") == "[REDACTED]\n"
    assert not stream.waiting and stream.rest() == ""


def test_a_whole_line_waits_only_for_a_secret_of_several_lines() -> None:
    one = RedactedStream(redactor_of("canary-1"))
    assert one.feed("x canary-\n") == "x canary-\n"
    several = RedactedStream(redactor_of("abc\ndefg\nhij"))
    assert several.feed("log\nabc\n") == "log\n"
    assert several.feed("defg\n") == ""
    assert several.feed("hij\nmore\n") == "[REDACTED]\nmore\n"
    assert several.feed("abc\ndef\n") == "abc\ndef\n"


def test_a_short_secret_is_a_word_across_pieces() -> None:
    stream = RedactedStream(redactor_of("pin"))
    assert [stream.feed(piece) for piece in ("s", "pin", " ", "pin", "s ", "p", "i", "n")] == ["s", "", "pin ", "", "pins ", "", "", ""]
    assert stream.rest() == "[REDACTED]"


def test_the_last_digit_of_base64_is_hidden_when_it_comes_later() -> None:
    secret = "correct horse battery staple and some mo"
    digits = base64.b64encode(f"x{secret}tail".encode()).decode()
    whole = (1 + len(secret)) * 8 // 6
    stream = RedactedStream(redactor_of(secret))
    assert stream.feed(digits[:whole]) == digits[:1]
    assert stream.feed(digits[whole:] + "\n") == f"[REDACTED]{digits[whole + 1 :]}\n"


def test_what_was_begun_and_never_finished_is_hidden_at_the_end() -> None:
    secret = "0123456789abcdef"
    for length in range(1, len(secret)):
        stream = RedactedStream(redactor_of(secret))
        assert stream.feed("at the end " + secret[:length]) == "at the end "
        assert stream.rest() == ("[REDACTED]" if length >= BEGUN_FROM else secret[:length])


def test_secrets_that_overlap_without_end_do_not_make_it_wait_without_end() -> None:
    redactor = redactor_of("aaaaaa")
    stream = RedactedStream(redactor)
    passed = "".join(stream.feed("a") for _ in range(5000))
    assert passed == "[REDACTED]"
    assert stream.feed("b a") == "b "
    assert stream.feed("aaaaa ") == "[REDACTED] "


def test_a_value_that_is_registered_later_is_hidden_from_then_on() -> None:
    redactor = Redactor()
    stream = RedactedStream(redactor)
    assert stream.feed("a late-secret") == "a late-secret"
    redactor.register("late-secret")
    assert stream.feed(" late-") == " "
    assert stream.feed("secret.") == "[REDACTED]."


# ── what has to be seen before more comes ───────────────────────────────────────────────────────────────────────────


@given(values_and_pieces(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_what_is_settled_piece_by_piece_shows_no_secret_and_changes_nothing_else(case: tuple[list[str], list[str]], soon: bool) -> None:
    values, cut = case
    redactor = without_neighbours(redactor_of(*values))
    stream = RedactedStream(redactor)
    passed = ""
    for piece in [*cut, "\x00"]:
        passed += stream.feed(piece) + stream.settle(soon=soon)
        assert soon or not stream.waiting
    passed += stream.rest()
    text = "".join(cut) + "\x00"
    hidden = redactor.redact(text)
    if soon and (hidden == text or redactor.shortest < 4):
        assert passed == hidden
    if not redactor.has_tokens:
        assert hidden == text or not any(form.text in passed for value in values for form in forms_of(value)), passed


def test_a_prompt_that_ends_like_a_secret_begins_is_shown_and_the_rest_of_a_secret_is_not() -> None:
    stream = RedactedStream(redactor_of("canary-in-the-mine"))
    assert [stream.feed("50% can"), stream.settle(soon=True), stream.settle(soon=True)] == ["50% ", "can", ""]
    assert not stream.waiting
    assert [stream.feed("did? "), stream.settle(soon=True)] == ["did? ", ""]
    assert [stream.feed("can"), stream.settle(soon=True), stream.feed("ary-in-the-mine"), stream.settle(soon=True)] == [
        "",
        "can",
        "",
        "[REDACTED]",
    ]
    assert stream.feed(".") == "."
    assert [stream.feed("canar"), stream.settle(soon=True), stream.settle()] == ["", "", "canar"]
    assert [stream.feed("y-"), stream.settle(), stream.feed("in"), stream.settle()] == ["", "y-", "", "[REDACTED]"]
    assert [stream.feed("-the-"), stream.settle(), stream.feed("mine x")] == ["", "", " x"]


def test_of_a_short_secret_a_quarter_is_shown_at_most_where_more_may_come_soon() -> None:
    stream = RedactedStream(redactor_of("hunter2!"))
    assert [stream.feed("hu"), stream.settle(soon=True), stream.feed("n"), stream.settle(soon=True)] == ["", "hu", "", ""]
    assert [stream.feed("ter2"), stream.settle(), stream.feed("! it is")] == ["", "nter2", "[REDACTED] it is"]
    words = RedactedStream(redactor_of("pin"))
    assert [words.feed("a p"), words.settle(soon=True), words.feed("in"), words.settle(soon=True)] == ["a ", "", "", ""]
    assert [words.settle(), words.feed("s")] == ["[REDACTED]", "s"]


def test_a_secret_that_is_complete_is_replaced_at_once_though_a_longer_one_may_come() -> None:
    stream = RedactedStream(redactor_of("canary-1", "canary-123"))
    assert [stream.feed("a canary-1"), stream.settle(soon=True)] == ["a ", "[REDACTED]"]
    assert [stream.feed("2"), stream.settle(soon=True), stream.feed("3"), stream.feed(" b")] == ["", "", "", " b"]
    assert [stream.feed("canary-1"), stream.settle(soon=True), stream.feed("4 b")] == ["", "[REDACTED]", "4 b"]


def test_half_a_character_of_utf_8_is_not_shown() -> None:
    stream = RedactedStream(redactor_of("grün-canary"))
    data = "a grün-canary".encode().decode("latin-1")
    assert [stream.feed(data[:5]), stream.settle(soon=True), stream.feed(data[5:]), stream.settle(soon=True)] == [
        "a ",
        "",
        "",
        "[REDACTED]",
    ]
