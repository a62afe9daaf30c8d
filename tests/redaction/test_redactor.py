"""Whatever is registered is found, in every form, wherever it stands; whatever is not stays as it was."""

from __future__ import annotations

import hashlib
import re
import reprlib
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.redaction import REPLACEMENT, Redactor
from pywatt_core.redaction.forms import forms_of
from pywatt_core.redaction.redactor import KEPT_PER_NAME, KEPT_UNNAMED, KEPT_WEAK
from pywatt_core.redaction.search import KEY_LONGEST, KEY_SHARED, TOKEN_BELOW, Form

CHARACTERS = st.one_of(st.sampled_from("abcdAB019 +/=_-%\\\"'\n\t<&:@é€"), st.characters(codec="utf-8"))
VALUES = st.text(CHARACTERS, min_size=1, max_size=24)


def redactor_of(*values: str | bytes) -> Redactor:
    redactor = Redactor()
    for value in values:
        redactor.register(value)
    return redactor


def occurrences(text: str, form: str) -> list[tuple[int, int]]:
    """Every occurrence, overlapping ones too, by the plainest means."""
    found = []
    at = text.find(form)
    while at >= 0:
        found.append((at, at + len(form)))
        at = text.find(form, at + 1)
    return found


def is_word(text: str, start: int, end: int) -> bool:
    def goes_on(one: int, other: int) -> bool:
        return 0 <= one < len(text) and 0 <= other < len(text) and all(re.match(r"\w", text[at]) for at in (one, other))

    return not goes_on(start - 1, start) and not goes_on(end - 1, end)


@st.composite
def values_and_text(draw: st.DrawFn) -> tuple[list[str], str]:
    """Secrets, and a text made of noise, of their forms, and of pieces of them that overlap or stop short."""
    values = draw(st.lists(VALUES, min_size=1, max_size=5))
    forms = [form.text for value in values for form in forms_of(value)] or values
    whole = st.sampled_from(forms)
    piece = st.builds(lambda form, a, b: form[min(a, b) : max(a, b)], whole, st.integers(0, 24), st.integers(0, 24))
    parts = draw(st.lists(st.one_of(whole, piece, st.text(CHARACTERS, max_size=6)), max_size=8))
    return values, "".join(parts)


@given(values_and_text())
@settings(max_examples=150, deadline=None)
def test_no_form_of_any_secret_survives(case: tuple[list[str], str]) -> None:
    values, text = case
    clean = redactor_of(*values).redact(text)
    replaced = occurrences(clean, REPLACEMENT)
    for value in values:
        for form in forms_of(value):
            for start, end in occurrences(clean, form.text):
                if len(form.text) < TOKEN_BELOW and not is_word(clean, start, end):
                    continue
                assert any(start <= last and first <= end for first, last in replaced), (form.text, clean)


@given(values_and_text())
@settings(max_examples=150, deadline=None)
def test_what_no_secret_covers_is_unchanged(case: tuple[list[str], str]) -> None:
    values, text = case
    covered = bytearray(len(text))
    for value in values:
        for form in forms_of(value):
            for start, end in occurrences(text, form.text):
                if len(form.text) >= TOKEN_BELOW or is_word(text, start, end):
                    first, last = max(0, start - form.before), min(len(text), end + form.after)
                    covered[first:last] = b"\1" * (last - first)
    spans = redactor_of(*values).spans(text)
    for at, mark in enumerate(covered):
        if not mark:
            assert not any(start <= at < end for start, end in spans), text[at]
    if not any(covered):
        assert redactor_of(*values).redact(text) == text


@given(st.lists(VALUES, min_size=2, max_size=6, unique=True), st.data())
@settings(max_examples=100, deadline=None)
def test_the_order_and_time_of_registering_do_not_matter(values: list[str], data: st.DataObject) -> None:
    text = data.draw(values_and_text().map(lambda case: case[1])) + "".join(values)
    at_once = redactor_of(*values)
    step_by_step = Redactor()
    for value in data.draw(st.permutations(values)):
        step_by_step.redact(text)
        step_by_step.register(value)
    assert step_by_step.redact(text) == at_once.redact(text)


@pytest.mark.parametrize(
    ("values", "text", "expected"),
    [
        (["abcd1234", "1234wxyz"], "-abcd1234wxyz-", "-[REDACTED]-"),
        (["abcd", "abcdefgh"], "abcdefgh", "[REDACTED]"),
        (["abcdefgh", "cdef"], "xabcdefghx cdef", "x[REDACTED]x [REDACTED]"),
        (["aaaa"], "baaaaaaab", "b[REDACTED]b"),
        (["abcd", "efgh"], "abcdefgh", "[REDACTED][REDACTED]"),
    ],
)
def test_the_union_of_overlapping_matches_is_hidden(values: list[str], text: str, expected: str) -> None:
    assert redactor_of(*values).redact(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pin ab1 entered", "pin [REDACTED] entered"),
        ("ab1", "[REDACTED]"),
        ("xab1 ab1x _ab1 ab1_", "xab1 ab1x _ab1 ab1_"),
        ("(ab1)=ab1,ab1", "([REDACTED])=[REDACTED],[REDACTED]"),
    ],
)
def test_a_short_secret_is_hidden_only_where_it_stands_alone(text: str, expected: str) -> None:
    assert redactor_of("ab1").redact(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it is canary-sin...", "it is [REDACTED]..."),
        ("it is canary-sings-in-the-mi…", "it is [REDACTED]…"),
        ("it is canary-sings-in-the-mi…".encode().decode("latin-1"), "it is [REDACTED]…".encode().decode("latin-1")),
        ("'canary-sings'+10", "'[REDACTED]'+10"),
        (reprlib.repr("canary-sings-in-the-mine"), "'canary-sings-in-the-mine'"),
        ("'canary-sin...n-the-mine'", "'[REDACTED]...[REDACTED]'"),
        ("canary-...", "canary-..."),
        ("canary-singing...", "canary-singing..."),
        ("Y2FuYXJ5LXNpb..., 63616e6172792d...", "[REDACTED]..., [REDACTED]..."),
        ("loading... done…", "loading... done…"),
        ("db://app:hun...", "db://app:hun..."),
        ("db://application:hun...", "[REDACTED]..."),
        ("canary-sings-..., canary-sings-in-the-mine", "[REDACTED]..., [REDACTED]"),
    ],
)
def test_what_an_ellipsis_has_shortened_is_hidden(text: str, expected: str) -> None:
    redactor = redactor_of("canary-sings-in-the-mine", "db://app:hunter2secret@host", "db://application:hunter2secret@host")
    assert redactor.redact(text) == expected.replace("canary-sings-in-the-mine", "[REDACTED]")
    assert redactor.redact(f"{text} x") == expected.replace("canary-sings-in-the-mine", "[REDACTED]") + " x"


def test_short_secrets_of_any_characters_stand_alone() -> None:
    secrets = ["a1", "7", "é9", "+1", "a-b", "-x", "x.", "::"]
    redactor = redactor_of(*secrets)
    assert redactor.redact("a1 7 é9 77 a17 é9x") == "[REDACTED] [REDACTED] [REDACTED] 77 a17 é9x"
    assert (
        redactor.redact("2+1=+12 a-b xa-b (-x) y-x x. ::")
        == "2[REDACTED]=+12 [REDACTED] xa-b ([REDACTED]) y[REDACTED] [REDACTED] [REDACTED]"
    )
    assert redactor.redact("nothing 12 a b") == "nothing 12 a b"


def test_many_short_secrets_are_looked_for_in_one_pass() -> None:
    redactor = redactor_of(*(f"{number:03d}" for number in range(1000)))
    redactor.redact("")
    assert redactor._state.odd_tokens is None
    words = redactor._state.words
    assert words is not None and len(words.pattern) < 50
    assert redactor.redact("a 042 b 0425 c") == "a [REDACTED] b 0425 c"


def test_reprs_that_shorten_show_nothing_of_a_long_secret() -> None:
    secret = "".join(map(chr, range(0x41, 0x7B))) * 3
    clean = redactor_of(secret).redact(reprlib.repr(secret) + reprlib.repr({"k": [secret]}))
    assert clean.count("[REDACTED]...[REDACTED]") == 2 and "ABC" not in clean and "xyz" not in clean


def test_a_text_full_of_ellipses_takes_no_time_to_speak_of() -> None:
    redactor = redactor_of("." * 40 + "x", "canary-sings-in-the-mine")
    text = "canary-si... " * 20_000 + "." * 100_000
    assert redactor.redact(text).startswith("[REDACTED]... [REDACTED]... ")


@pytest.mark.parametrize("value", ["", " ", "\n\t ", b"", "        "])
def test_an_empty_or_blank_value_hides_nothing(value: str | bytes) -> None:
    assert redactor_of(value).redact("a  b        c\n\t ") == "a  b        c\n\t "


@pytest.mark.parametrize("value", ["true", "False", "null", "None", "YES", "off"])
def test_words_that_every_log_holds_are_not_hidden(value: str) -> None:
    assert redactor_of(value).redact(f"{value} construed {value}") == f"{value} construed {value}"


def test_a_long_secret_is_compared_to_its_end() -> None:
    head = "0123456789" * 6
    redactor = redactor_of(head + "left", head + "right" * 9)
    assert redactor.redact(f"{head}left {head}middle {head}{'right' * 9}") == f"[REDACTED] {head}middle [REDACTED]"


def test_bytes_are_redacted_whatever_their_encoding() -> None:
    redactor = redactor_of("grün€paß")
    data = b"\xff\xfe " + "grün€paß".encode() + b" \x80"
    assert redactor.redact_bytes(data) == b"\xff\xfe [REDACTED] \x80"
    assert redactor_of(b"\xff\x00key\xfe").redact_bytes(b"a\xff\x00key\xfeb") == b"a[REDACTED]b"
    assert "key" not in redactor_of(b"\xff\x00key\xfe").redact(repr({"k": b"\xff\x00key\xfe"}))


def test_only_text_and_bytes_are_registered() -> None:
    with pytest.raises(TypeError, match="only text and bytes can be registered for redaction, not int"):
        Redactor().register(12345678)  # type: ignore[arg-type]


def test_the_newest_values_of_a_name_stay_registered() -> None:
    redactor = Redactor()
    redactor.register("kept for ever", name="other")
    values = [f"value-{number:05d}-of-a-rotation" for number in range(1000)]
    for value in values:
        redactor.register(value, name="DB_PASSWORD")
        assert redactor.redact(f"<{value}>") == "<[REDACTED]>"
    assert [redactor.redact(value) for value in values[-KEPT_PER_NAME:]] == [REPLACEMENT] * KEPT_PER_NAME
    assert redactor.redact("kept for ever") == REPLACEMENT
    held = len(redactor._forms)
    assert held == KEPT_PER_NAME + 1
    assert sum(len(tier.values) for tier in redactor._state.tiers) <= 3 * held


def test_a_value_with_two_names_stays_while_one_of_them_keeps_it() -> None:
    redactor = Redactor()
    redactor.register("shared-value", name="stable")
    redactor.register("shared-value", name="rotating")
    for number in range(KEPT_PER_NAME + 5):
        redactor.register(f"rotating-{number}-value", name="rotating")
    assert redactor.redact("shared-value") == REPLACEMENT


def test_values_without_a_name_are_bounded_too() -> None:
    redactor = Redactor()
    for number in range(KEPT_UNNAMED + 10):
        redactor.register(f"{number:05d}")
    assert redactor.redact("00000 04105") == "00000 [REDACTED]"
    assert len(redactor._forms) == KEPT_UNNAMED


def test_registering_one_by_one_between_searches_builds_little() -> None:
    redactor = Redactor()
    built = []
    original = redactor._refresh

    def counting(state):  # type: ignore[no-untyped-def]
        before = {id(tier) for tier in state.tiers}
        new = original(state)
        built.append(sum(len(tier.values) for tier in new.tiers if id(tier) not in before))
        return new

    redactor._refresh = counting  # type: ignore[method-assign]
    for number in range(500):
        redactor.register(f"secret-{number:05d}", name=str(number))
        redactor.redact("a line")
    assert len(built) == 500
    assert sum(built) < 500 * 12, "each value may be built into about log2(500) automata"
    assert len(redactor._state.automata) <= 10


def test_what_is_known_is_not_gone_through_again_for_each_new_value() -> None:
    class Counting(dict[str | bytes, tuple[Form, ...]]):
        looked_at = 0

        def __getitem__(self, value: str | bytes) -> tuple[Form, ...]:
            Counting.looked_at += 1
            return super().__getitem__(value)

        def values(self) -> Any:
            Counting.looked_at += len(self)
            return super().values()

        def copy(self) -> Counting:
            return Counting(self)

    redactor = Redactor()
    redactor._forms = Counting()
    for number in range(500):
        redactor.register(f"secret-{number:05d}", name=str(number))
        redactor.redact("a line")
    assert Counting.looked_at < 500 * 12, "each value may be built into about log2(500) automata"


def test_secrets_that_begin_alike_are_told_apart_by_few_comparisons() -> None:
    begins = "postgresql+asyncpg://application:"
    secrets = [f"{begins}password-{number:05d}@db" for number in range(500)]
    redactor = redactor_of(*secrets)
    redactor.redact("")
    (automaton,) = redactor._state.automata
    shared = sorted(len(forms) for size, forms in automaton.values() if size < KEY_LONGEST)
    assert shared[-1] <= KEY_SHARED
    assert all(redactor.redact(f"<{secret}>") == "<[REDACTED]>" for secret in secrets)
    assert all(redactor.redact(f"<{secret.encode().hex()}>") == "<[REDACTED]>" for secret in secrets)
    assert redactor.redact(f"{begins}nobody@db") == f"{begins}nobody@db"
    assert redactor.unfinished(f"at {begins}password-00") == 3
    assert redactor.redact(f"{begins}passw... {begins}pass") == f"[REDACTED]... {begins}pass"


def test_memory_for_a_secret_is_bounded() -> None:
    redactor = redactor_of(*(hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(200)))
    redactor.redact("")
    (automaton,) = redactor._state.automata
    assert automaton.get_stats()["total_size"] < 200 * 6_000


def test_several_automata_become_one_when_searches_have_paid_for_it() -> None:
    redactor = Redactor()
    for number in range(40):
        redactor.register(f"secret-{number:05d}")
        redactor.redact("a line")
    assert len(redactor._state.automata) > 1
    for _ in range(16 * 40 + 1):
        redactor.redact("a line")
    assert len(redactor._state.automata) == 1
    assert all(redactor.redact(f"secret-{number:05d}") == REPLACEMENT for number in range(40))


def test_a_value_is_hidden_in_every_thread_as_soon_as_register_has_returned() -> None:
    redactor = Redactor()
    leaks: list[str] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait(timeout=30)
        for turn in range(60):
            value = f"thread{number}-turn{turn}-secret"
            redactor.register(value, name=f"thread {number}" if turn % 2 else "")
            if value in redactor.redact(f"a line with {value} in it"):
                leaks.append(value)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    finally:
        sys.setswitchinterval(interval)
    assert leaks == []


def test_each_secret_that_cannot_be_hidden_everywhere_is_told_once_by_name() -> None:
    redactor = Redactor()
    told: list[tuple[str, str]] = []
    redactor.register("ab1", name="BEFORE")
    redactor.on_weak(lambda name, why: told.append((name, why)))
    for name, value in [
        ("PIN", "123"),
        ("PIN", "321"),
        ("PIN", "long enough"),
        ("FLAG", "true"),
        ("GOOD", "long enough"),
        ("", "x"),
        ("", "y"),
    ]:
        redactor.register(value, name=name)
    short = "is shorter than 4 characters: it is hidden only where it stands alone, as a word"
    assert told == [("BEFORE", short), ("PIN", short), ("FLAG", "is a word that every log holds: it is not hidden"), ("", short)]
    assert not any(value in text for _, text in told for value in ("ab1", "123", "321", "true"))
    again: list[str] = []
    redactor.on_weak(lambda name, why: again.append(name))
    redactor.register("no", name="LATER")
    assert again == ["LATER"] and len(told) == 4


def test_names_of_weak_secrets_are_bounded() -> None:
    redactor = Redactor()
    for number in range(KEPT_WEAK + 5):
        redactor.register("on", name=str(number))
    assert len(redactor._weak) == KEPT_WEAK


def test_what_is_registered_can_be_asked_for_by_tests() -> None:
    redactor = Redactor()
    assert redactor.idle and redactor.values() == []
    redactor.register("first-value", name="A")
    redactor.register(b"second-value")
    assert not redactor.idle and redactor.values() == [("A", "first-value"), ("", b"second-value")]


@pytest.mark.parametrize(
    ("values", "text", "expected"),
    [
        (["abcdefgh"], "x abc", 2),
        (["abcdefgh"], "x abcdefgh", 2),
        (["abcdefgh"], "x abcdefgx", 10),
        (["abcdefgh"], "abc abcdefg", 4),
        (["abcdefgh"], "abcdefg\n", 8),
        (["abcd\nefgh"], "x abcd\n", 2),
        (["0123456789" * 9], "x " + "0123456789" * 8, 2),
        (["0123456789" * 9], "x " + "0123456789" * 8 + "x", 83),
        (["pin"], "spi", 1),
        ([], "abc", 3),
    ],
)
def test_where_a_text_may_end_within_a_secret(values: list[str], text: str, expected: int) -> None:
    assert redactor_of(*values).unfinished(text) == expected


def test_a_process_without_secrets_does_not_load_the_automaton() -> None:
    program = (
        "import sys; from pywatt_core.redaction import redact, register; assert redact('text') == 'text'\n"
        "assert not {'ahocorasick', 'hmac', 'json', 'pywatt_core.redaction.forms'} & set(sys.modules)\n"
        "register('hunter2'); assert redact('a hunter2 b') == 'a [REDACTED] b'; assert 'ahocorasick' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
