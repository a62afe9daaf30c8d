"""`check_section`: every fault of a table at once, each with its path, its source and a way out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.config import Problem, Text, check_section, option_fields
from pywatt_core.errors import PluginError
from pywatt_core.redaction import Secret, redact

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class Pool:
    size: int = 5
    timeout: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Options:
    dsn: str
    password: Secret | None = None
    readers: int = 4
    mode: Literal["wal", "delete"] = "wal"
    folder: Path = Path()
    pool: Pool = field(default_factory=Pool)
    hosts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.readers < 1:
            raise ValueError(f"readers is {self.readers}: at least 1 is needed")


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    amount: Decimal


def origin(path: str) -> str:
    return f"pywatt.toml:{len(path)}"


def problems_of(**values: Any) -> list[Problem]:
    instance, problems = check_section(values, Options, "databases.main", origin)
    assert instance is None
    return problems


def test_a_sound_table_becomes_the_options() -> None:
    table = {"dsn": "x", "password": "hunter2!", "folder": "data", "pool": {"size": 2}, "hosts": ["a"]}
    options, problems = check_section(table, Options, "databases.main", origin)
    assert problems == []
    assert options is not None
    assert options.password is not None
    assert (options.dsn, options.folder, options.pool, options.hosts) == ("x", Path("data"), Pool(size=2), ["a"])
    assert options.password.expose_secret() == "hunter2!"


def test_all_faults_are_reported_at_once() -> None:
    found = problems_of(readers="four", mode="wall", pathh="x", pool={"size": "many", "timeout": None}, hosts=["a", 5])
    assert {problem.path: problem.message for problem in found} == {
        "databases.main.pathh": "unknown option",
        "databases.main": "the option 'dsn' is missing",
        "databases.main.readers": "the value should be a valid integer",
        "databases.main.mode": "the value should be 'wal' or 'delete'",
        "databases.main.pool.size": "the value should be a valid integer",
        "databases.main.pool.timeout": "the value should be a valid number",
        "databases.main.hosts[1]": "the value should be a valid string",
    }
    assert all(problem.source == origin(problem.path) for problem in found)


def test_an_unknown_option_suggests_the_nearest_and_lists_all() -> None:
    (problem,) = problems_of(dsn="x", raeders=3)
    assert problem.remedy == "Did you mean 'readers'? (known options: dsn, folder, hosts, mode, password, pool, readers)"


def test_an_unknown_option_of_a_table_inside_is_a_problem_too() -> None:
    (problem,) = problems_of(dsn="x", pool={"sice": 3, "timeout": 2.0})
    assert (problem.path, problem.message) == ("databases.main.pool.sice", "unknown option")
    assert problem.remedy == "Did you mean 'size'? (known options: size, timeout)"


def test_a_missing_option_says_the_line_to_add() -> None:
    (problem,) = problems_of()
    assert str(problem) == "databases.main (pywatt.toml:14): the option 'dsn' is missing. Add dsn = … to [databases.main]"


def test_what_the_options_themselves_refuse_is_a_problem() -> None:
    (problem,) = problems_of(dsn="x", readers=0)
    assert (problem.path, problem.message) == ("databases.main.readers", "readers is 0: at least 1 is needed")


@dataclass(frozen=True, kw_only=True)
class Strict:
    low: int = 1
    high: int = 9
    name: str = "x"
    size: int = 5

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("size is at least 1")
        if not self.name:
            raise ValueError("name is not empty")
        if self.low > self.high:
            raise ValueError("low is above high")


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        ({"size": 0, "name": "", "low": 10}, ["s.size", "s.name", "s.low"]),
        ({"size": 0, "unknown": 1}, ["s.unknown", "s.size"]),
        ({"size": 0, "name": 5}, ["s.name", "s.size"]),
        ({"low": 10, "high": "x"}, ["s.high"]),
        ({"high": 0}, ["s"]),
        ({"size": 0, "name": "secret:NAME"}, []),
    ],
    ids=["several", "beside an unknown one", "beside a wrong one", "about a wrong one", "about a default", "beside a reference"],
)
def test_what_the_options_refuse_is_told_of_each_option(values: dict[str, Any], paths: list[str]) -> None:
    instance, problems = check_section(values, Strict, "s", origin)
    assert instance is None
    assert [problem.path for problem in problems] == paths
    assert all(problem.source == origin(problem.path) for problem in problems)


@pytest.mark.parametrize("value", ["secret:", "secret:  ", ["a", "secret:"]])
def test_a_reference_without_a_name_is_a_problem_of_its_own(value: Any) -> None:
    table = {"dsn": "x", "hosts": value} if isinstance(value, list) else {"dsn": value}
    instance, (problem,) = check_section(table, Options, "databases.main", origin)
    assert instance is None
    assert (problem.message, problem.remedy) == ("refers to a secret without a name", 'Write "secret:NAME"')
    assert problem.path in ("databases.main.dsn", "databases.main.hosts[1]")


def test_keys_that_belong_to_somebody_else_are_left_in_peace() -> None:
    options, problems = check_section({"dsn": "x", "use": "sqlite"}, Options, "databases.main", ignore={"use"})
    assert problems == []
    assert options is not None


def test_no_report_repeats_the_value() -> None:
    found = problems_of(dsn=["hunter2-canary"], password={"a": "hunter2-canary"}, mode="hunter2-canary", readers="hunter2-canary")
    assert len(found) == 4
    assert "hunter2-canary" not in " ".join(map(str, found))


def test_a_secret_inside_a_refusal_is_hidden() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Picky:
        password: Secret

        def __post_init__(self) -> None:
            raise ValueError(f"bad password {self.password.expose_secret()}")

    _, (problem,) = check_section({"password": "correct-horse-battery"}, Picky, "databases.main", origin)
    assert "correct-horse-battery" not in str(problem)
    assert redact("correct-horse-battery") != "correct-horse-battery"


def test_what_is_missing_only_because_the_options_refused_it_is_no_problem_of_its_own() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Placed:
        url: str = ""
        host: str = ""

        def __post_init__(self) -> None:
            if self.url and "://" not in self.url:
                raise ValueError("url has to begin with one://")
            if not self.url and not self.host:
                raise ValueError("nothing is named: set host")

    assert [problem.path for problem in check_section({}, Placed, "s", origin)[1]] == ["s"]
    (problem,) = check_section({"url": "nonsense"}, Placed, "s", origin)[1]
    assert (problem.path, problem.message) == ("s.url", "url has to begin with one://")


@pytest.mark.parametrize("value", ["secret:PORT", ["secret:A", "b"], {"size": "secret:N"}])
def test_what_waits_for_a_secret_is_checked_later_and_the_rest_now(value: object) -> None:
    key = "readers" if isinstance(value, str) else "hosts" if isinstance(value, list) else "pool"
    assert check_section({"dsn": "x", key: value}, Options, "databases.main", origin) == (None, [])
    _, problems = check_section({"dsn": 5, key: value}, Options, "databases.main", origin)
    assert [problem.path for problem in problems] == ["databases.main.dsn"]


def test_a_resolved_secret_is_read_as_what_the_option_is() -> None:
    options, problems = check_section({"dsn": Text("123"), "readers": Text("7")}, Options, "databases.main", origin)
    assert problems == []
    assert options is not None
    assert (options.dsn, options.readers) == ("123", 7)
    assert type(options.dsn) is str


def test_text_of_a_file_is_not_read_as_a_number() -> None:
    (problem,) = problems_of(dsn="x", readers="7")
    assert problem.message == "the value should be a valid integer"


@pytest.mark.parametrize(
    ("kind", "complaint"), [(int, "have to be a dataclass"), (Unreadable, "cannot be read: name 'Decimal' is not defined")]
)
def test_options_that_cannot_be_read_are_the_plugins_fault(kind: type, complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint):
        option_fields(kind)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=5,
)


@given(st.dictionaries(st.one_of(st.sampled_from(sorted(option_fields(Options))), st.text(max_size=6)), JSON, max_size=5))
def test_whatever_the_table_holds_there_are_options_or_problems(table: dict[str, Any]) -> None:
    options, problems = check_section(table, Options, "databases.main", origin)
    assert (options is None) == bool(problems)
    assert all(problem.path.startswith("databases.main") for problem in problems)
