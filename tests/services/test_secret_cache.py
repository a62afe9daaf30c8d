from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.redaction import Secret
from pywatt_core.services.secret_cache import RETRY, SecretCache


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_value_is_fresh_until_its_time_is_over_and_readable_afterwards():
    clock = Clock()
    cache = SecretCache(ttl=10.0, clock=clock)
    cache.put("KEY", Secret("value"))
    clock.now += 9.9
    assert cache.is_fresh("KEY")
    clock.now += 0.1
    assert not cache.is_fresh("KEY")
    assert cache.get("KEY") == Secret("value")
    assert cache.age("KEY") == 10.0
    assert cache.age("OTHER") == float("inf")


def test_without_a_limit_a_value_stays_fresh():
    clock = Clock()
    cache = SecretCache(clock=clock)
    cache.put("KEY", Secret("value"))
    clock.now += 1e9
    assert cache.is_fresh("KEY")
    assert not cache.is_fresh("OTHER")


def test_what_is_used_on_is_asked_for_again_after_a_while_and_gets_no_younger():
    clock = Clock()
    cache = SecretCache(ttl=900.0, clock=clock)
    cache.put("KEY", Secret("value"))
    clock.now += 1000.0
    cache.use_on("KEY")
    clock.now += RETRY - 1
    assert cache.is_fresh("KEY")
    clock.now += 1
    assert not cache.is_fresh("KEY")
    assert cache.age("KEY") == 1000.0 + RETRY


def test_a_short_limit_is_also_the_pause():
    clock = Clock()
    cache = SecretCache(ttl=2.0, clock=clock)
    cache.put("KEY", Secret("value"))
    clock.now += 5.0
    cache.use_on("KEY")
    clock.now += 2.0
    assert not cache.is_fresh("KEY")


names = st.sampled_from([f"S{number}" for number in range(8)])


@given(
    size=st.integers(0, 4),
    steps=st.lists(st.tuples(st.sampled_from(["put", "get", "keep", "let go", "forget"]), names), max_size=60),
)
def test_what_is_kept_stays_and_of_the_others_those_that_were_used_last(size, steps):
    cache = SecretCache(size)
    values: dict[str, Secret] = {}
    kept: list[str] = []
    used: list[str] = []  # the loose ones, the one that was used last at the end
    for number, (step, name) in enumerate(steps):
        if step == "put":
            values[name] = Secret(f"value-{number}")
            cache.put(name, values[name])
            if name not in kept:
                used = [*(one for one in used if one != name), name]
        elif step == "get":
            assert cache.get(name) == values.get(name)
            if name in used:
                used = [*(one for one in used if one != name), name]
        elif step == "keep":
            cache.keep([name])
            kept.append(name)
            used = [one for one in used if one != name]
        elif step == "let go":
            if name in kept:
                cache.let_go([name])
                kept.remove(name)
                if name not in kept and name in values:
                    used.append(name)
        else:
            cache.forget(name)
            values.pop(name, None)
            used = [one for one in used if one != name]
        while len(used) > size:
            del values[used.pop(0)]
        assert list(cache) == sorted(values)
        assert (len(cache), cache.is_kept(name)) == (len(values), name in kept)
        assert all(one in cache for one in values)
