"""Versions of secrets differ where values do, and tell nothing else."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.services.secret_versions import version_of

ANY = st.text(st.characters(), max_size=20)


@given(st.tuples(ANY, ANY), st.tuples(ANY, ANY))
def test_two_have_one_version_only_if_they_are_the_same(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (version_of(*one) == version_of(*other)) == (one == other)


def test_a_name_and_a_value_are_not_run_together() -> None:
    assert version_of("A", "BC") != version_of("AB", "C")


def test_surrogates_have_versions_too() -> None:
    assert version_of("\ud800", "\udcff") != version_of("\ud800", "\udcfe")


def test_no_other_process_has_the_same_version() -> None:
    """Whoever sees one cannot try what the value may be."""
    program = "from pywatt_core.services.secret_versions import version_of; print(version_of('A', 'b'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert len(done.stdout.strip()) == 16
    assert done.stdout.strip() != version_of("A", "b")
