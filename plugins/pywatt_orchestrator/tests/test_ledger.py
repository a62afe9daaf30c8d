"""Which value is in force, who holds what: single cases, and any order of events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pywatt_orchestrator.ledger import Ledger


class Process:
    """What a process really uses."""

    def __init__(self, module_id: str) -> None:
        self.module_id = module_id
        self.uses: dict[str, str] = {}


def test_the_first_value_that_is_handed_out_is_in_force_for_everybody() -> None:
    ledger, first, second = Ledger(), Process("first"), Process("second")
    assert ledger.value("KEY") is None
    assert ledger.give(first, "KEY", "one") == "one"
    assert ledger.give(second, "KEY", "two") == "one"
    assert ledger.value("KEY") == "one"
    assert ledger.holders("KEY") == [first, second]
    assert ledger.names == {"KEY"}


def test_an_empty_value_is_a_value() -> None:
    ledger, one = Ledger(), Process("one")
    assert ledger.give(one, "KEY", "") == ""
    assert ledger.value("KEY") == ""
    ledger.propose({"KEY": "more"})
    ledger.commit(["KEY"])
    ledger.propose({"KEY": ""})
    assert ledger.value("KEY") == ""


def test_a_secret_that_nobody_holds_any_more_is_forgotten() -> None:
    ledger, first, second = Ledger(), Process("first"), Process("second")
    for process in (first, second):
        ledger.give(process, "KEY", "one")
    ledger.gone(first)
    assert ledger.names == {"KEY"}
    ledger.gone(second)
    assert ledger.names == frozenset()
    ledger.gone(second)


def test_one_that_goes_while_a_value_is_proposed_leaves_nothing_behind() -> None:
    ledger, one = Ledger(), Process("one")
    ledger.give(one, "KEY", "one")
    ledger.propose({"KEY": "two"})
    ledger.gone(one)
    assert ledger.value("KEY") == "two"
    ledger.commit(["KEY"])
    assert ledger.names == frozenset()


def test_a_refused_value_is_not_proposed_again_unless_a_person_insists_or_the_source_changes() -> None:
    ledger, one = Ledger(), Process("one")
    ledger.give(one, "KEY", "old")
    assert ledger.wants("KEY", "new")
    assert ledger.propose({"KEY": "new"}) == {one: {"KEY"}}
    assert ledger.changes({"KEY": "new"}) == {"KEY": "old"}
    assert ledger.withdraw(["KEY"], {"one": "no"}) == {}
    assert (ledger.value("KEY"), repr(ledger.refused["KEY"])) == ("old", "Refusal(one)")
    assert not ledger.wants("KEY", "new")
    assert ledger.wants("KEY", "new", insist=True)
    assert ledger.wants("KEY", "newer")
    assert not ledger.wants("KEY", "old")
    assert ledger.refused == {}
    assert ledger.wants("KEY", "new")


def test_what_was_refused_stays_refused_when_the_processes_have_ended() -> None:
    ledger, one, other = Ledger(), Process("one"), Process("other")
    ledger.give(one, "KEY", "old")
    ledger.propose({"KEY": "new"})
    ledger.withdraw(["KEY"], {"one": "no"})
    ledger.gone(one)
    assert ledger.give(other, "KEY", "new") == "old"


def test_a_missing_secret_is_kept_by_who_has_it_and_given_to_nobody() -> None:
    ledger, one = Ledger(), Process("one")
    ledger.give(one, "KEY", "old")
    assert ledger.vanished("KEY")
    assert not ledger.vanished("KEY")
    assert ledger.value("KEY") is None
    assert ledger.holders("KEY") == [one]
    assert ledger.wants("KEY", "new")
    assert ledger.value("KEY") == "old"
    assert ledger.vanished("KEY")
    assert ledger.give(Process("other"), "KEY", "new") == "old"
    assert ledger.value("KEY") == "old"


def test_those_are_rotated_together_that_somebody_holds_together() -> None:
    ledger = Ledger()
    for module_id, names in (("one", "AB"), ("two", "BC"), ("three", "D"), ("four", "EX"), ("five", "FX")):
        process = Process(module_id)
        for name in names:
            ledger.give(process, name, "old")
    assert sorted(map(sorted, ledger.groups("ABCDEF"))) == [["A", "B", "C"], ["D"], ["E"], ["F"]]
    assert sorted(map(sorted, ledger.groups("AC"))) == [["A"], ["C"]]
    assert ledger.groups("") == []


def test_what_was_refused_is_found_beside_what_somebody_holds_with_it() -> None:
    ledger = Ledger()
    for module_id, names in (("one", "AB"), ("two", "BC"), ("three", "D")):
        process = Process(module_id)
        for name in names:
            ledger.give(process, name, "old")
    ledger.propose(dict.fromkeys("BD", "new"))
    ledger.withdraw("BD", {"one": "no"})
    found = {name: ledger.refused_beside([name]) for name in "ABCDX"}
    assert found == {"A": {"B"}, "B": set(), "C": {"B"}, "D": set(), "X": set()}


def test_what_is_wrong_is_said_of_who_refused_who_waits_and_who_is_lost() -> None:
    ledger, one, other, lost = Ledger(), Process("one"), Process("other"), Process("lost")
    for process in (one, other, lost):
        ledger.give(process, "KEY", "old-value")
    ledger.propose({"KEY": "new-value"})
    assert ledger.trouble("lost", lost) == ""
    ledger.withdraw(["KEY"], {"one": "no server takes it"})
    ledger.hold(lost, ["KEY"], known=False)
    assert ledger.trouble("one", one) == "it refused a new value of the secret 'KEY': no server takes it"
    assert ledger.trouble("other", other) == "the secret 'KEY' keeps its value, because one refused the new one"
    assert ledger.trouble("lost", lost).endswith("; it may not use the value in force of 'KEY': `pywatt rotate` tells it again")
    assert ledger.trouble("one", None) == "it refused a new value of the secret 'KEY': no server takes it"
    assert ledger.trouble("stranger", Process("stranger")) == ""
    assert "value" not in repr(ledger) + repr(ledger.refused)


NAMES = ("K", "L")
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 2), st.sampled_from(NAMES)),
        st.tuples(st.just("end"), st.integers(0, 2), st.just("")),
        st.tuples(st.just("change"), st.integers(0, 3), st.sampled_from(NAMES)),
        # Who refuses, as bits; who asks, and what, while the others decide.
        st.tuples(st.just("rotate"), st.integers(0, 7), st.tuples(st.integers(0, 2), st.sampled_from(("", *NAMES)))),
    ),
    max_size=30,
)


@given(EVENTS)
def test_after_any_events_everybody_uses_what_is_in_force(events: list[tuple[str, int, object]]) -> None:
    ledger = Ledger()
    processes = [Process(module_id) for module_id in "abc"]
    source = dict.fromkeys(NAMES, "0")

    def ask(process: Process, name: str) -> None:
        found = ledger.value(name)
        process.uses[name] = ledger.give(process, name, source[name] if found is None else found)

    for kind, number, what in events:
        if kind == "ask":
            ask(processes[number], str(what))
        elif kind == "end":
            ledger.gone(processes[number])
            processes[number] = Process("abc"[number])
        elif kind == "change":
            source[str(what)] = str(number)
        else:
            assert isinstance(what, tuple)
            wanted = {name for name in ledger.names if ledger.wants(name, source[name])}
            for group in ledger.groups(wanted):
                values = {name: source[name] for name in group}
                told = ledger.propose(values)
                if what[1]:
                    ask(processes[what[0]], what[1])  # one that comes in the midst of it
                refuses = {holder: bool(number & 1 << processes.index(holder)) for holder in told}  # type: ignore[arg-type]
                for holder, names in told.items():
                    assert isinstance(holder, Process)
                    if not refuses[holder]:
                        holder.uses.update((name, values[name]) for name in names)
                        ledger.hold(holder, names)
                reasons = {holder.module_id: "no" for holder in told if refuses[holder]}
                if not reasons:
                    ledger.commit(values)
                    continue
                astray = ledger.withdraw(values, reasons)
                for holder, names in {**told, **astray}.items():
                    assert isinstance(holder, Process)
                    for name in names & holder.uses.keys():
                        holder.uses[name] = ledger.give(holder, name, "")
                    ledger.hold(holder, names)
        for process in processes:
            for name, value in process.uses.items():
                assert value == ledger.value(name), (name, process.module_id)
            assert ledger.behind(process) == []
