"""The policies against a slow model of each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.builtin.eviction import POLICIES
from pywatt_core.errors import StorageError


class Model:
    """Every key with the time of its coming, the time of its last use and the number of its uses."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[int, int, int]] = {}
        self.time = 0

    def step(self, key: str, removes: bool) -> str:
        self.time += 1
        if removes:
            self.keys.pop(key, None)
            return "removed"
        came, _, uses = self.keys.get(key, (self.time, 0, 0))
        self.keys[key] = (came, self.time, uses + 1)
        return "added" if uses == 0 else "used"

    def victim(self, policy: str) -> str:
        if policy == "fifo":
            return min(self.keys, key=lambda key: self.keys[key][0])
        if policy == "lru":
            return min(self.keys, key=lambda key: self.keys[key][1])
        if policy == "mru":
            return max(self.keys, key=lambda key: self.keys[key][1])
        return min(self.keys, key=lambda key: (self.keys[key][2], self.keys[key][1]))


@pytest.mark.parametrize("policy", ["lru", "lfu", "fifo", "mru"])
@given(steps=st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from([False, False, False, True]))))
def test_the_victim_is_the_models(policy: str, steps: list[tuple[str, bool]]) -> None:
    eviction, model = POLICIES[policy](), Model()
    for key, removes in steps:
        known = key in model.keys
        done = model.step(key, removes)
        if done != "removed" or known:
            getattr(eviction, done)(key)
        if model.keys:
            assert eviction.victim() == model.victim(policy)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans())))
def test_a_random_victim_is_a_key_that_is_there(steps: list[tuple[str, bool]]) -> None:
    eviction, model = POLICIES["random"](), Model()
    for key, removes in steps:
        known = key in model.keys
        done = model.step(key, removes)
        if done != "removed" or known:
            getattr(eviction, done)(key)
        if model.keys:
            assert eviction.victim() in model.keys


def test_no_policy_gives_up_nothing() -> None:
    eviction = POLICIES["none"]()
    eviction.added("a")
    with pytest.raises(StorageError, match="max_items or max_bytes"):
        eviction.victim()
