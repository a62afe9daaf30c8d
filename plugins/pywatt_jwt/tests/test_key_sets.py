"""Which keys there are now: fixed ones, those of a file that changes in every way that files change, and all together."""

from __future__ import annotations

import json
import logging
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.errors import ConfigError
from pywatt_jwt import JwtAuthError, JwtConfig, JwtValidator, ProxyError
from pywatt_jwt.key_sets import LARGEST_FILE, FileKeys, FixedKeys, Keyring, KeySet, Source, fixed_keys
from pywatt_jwt.keys import Key, read_keys

from .making import NOW, SECRET, Time, key_of, living, private_pem, public_jwk, public_pem, token_of


def keys(*kinds: str, **more: Any) -> list[Key]:
    return [key for number, kind in enumerate(kinds) for key in read_keys(json.dumps(public_jwk(kind, number, **more)), "key", ())]


# ── a set ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_candidates_are_those_of_the_name_and_the_algorithm() -> None:
    first, second = keys("RSA", "RSA", kid="a")
    (unnamed,) = keys("P-256")
    found = KeySet([first, second, unnamed])
    assert list(found.candidates("a", "RS256")) == [first, second]
    assert list(found.candidates("b", "ES256")) == [unnamed]
    assert list(found.candidates("a", "ES256")) == []
    assert list(found.candidates("b", "RS256")) == []
    assert list(found.candidates(None, "RS256")) == [first, second]
    assert list(found.candidates(None, "ES256")) == [unnamed]
    assert found.knows("a")
    assert not found.knows("b")


def test_what_is_remembered_is_bounded_and_the_newest() -> None:
    found = KeySet((), remembered=100)
    for number in range(10_000):
        found.remember(b"%d" % number)
        assert found.remembers(b"%d" % number)
        assert len(found._younger) + len(found._older) <= 100
    assert all(found.remembers(b"%d" % number) for number in range(9_951, 10_000))
    assert not found.remembers(b"0")


def test_what_comes_again_stays() -> None:
    found = KeySet((), remembered=10)
    found.remember(b"often")
    for number in range(100):
        found.remember(b"%d" % number)
        assert found.remembers(b"often")


@pytest.mark.parametrize("remembered", [0, 1])
def test_nothing_is_remembered_where_nothing_may_be(remembered: int) -> None:
    found = KeySet((), remembered=remembered)
    found.remember(b"a")
    assert not found.remembers(b"a")


# ── a file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def file_validator(path: Path, monotonic: Time, **more: Any) -> JwtValidator:
    return JwtValidator(JwtConfig(jwks_file=path.name, **more), clock=lambda: NOW, monotonic=monotonic, folder=path.parent)


def accepts(checker: JwtValidator, number: int) -> bool:
    try:
        checker.validate(token_of(living(), alg="ES256", number=number))
    except JwtAuthError:
        return False
    return True


def written(path: Path, *numbers: int) -> None:
    """The file is replaced as a whole."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"keys": [public_jwk("P-256", number, kid=str(number)) for number in numbers]}))
    os.replace(beside, path)


def test_a_file_is_read_anew_when_it_has_changed(tmp_path: Path, monotonic: Time) -> None:
    path = tmp_path / "keys.json"
    written(path, 0)
    checker = file_validator(path, monotonic)
    assert (accepts(checker, 0), accepts(checker, 1)) == (True, False)
    written(path, 1)
    assert (accepts(checker, 0), accepts(checker, 1)) == (True, False)  # it is looked at once a second
    monotonic.now += 1
    assert (accepts(checker, 0), accepts(checker, 1)) == (False, True)


def test_every_way_in_which_a_file_changes_is_seen(tmp_path: Path, monotonic: Time) -> None:
    path = tmp_path / "keys.json"
    written(path, 0)
    checker = file_validator(path, monotonic)
    path.write_text(public_pem("P-256", 1))  # written over, and PEM by now
    monotonic.now += 1
    assert accepts(checker, 1)
    path.unlink()
    monotonic.now += 1
    assert accepts(checker, 1)  # gone: the last good ones stay
    written(path, 2)
    monotonic.now += 1
    assert (accepts(checker, 1), accepts(checker, 2)) == (False, True)
    mount = tmp_path / "..2026"
    mount.mkdir()
    written(mount / "keys.json", 3)
    (tmp_path / "..data").symlink_to("..2026")
    path.unlink()
    path.symlink_to("..data/keys.json")  # as container platforms mount it
    monotonic.now += 1
    assert accepts(checker, 3)
    later = tmp_path / "..2027"
    later.mkdir()
    written(later / "keys.json", 4)
    (tmp_path / "..data.new").symlink_to("..2027")
    os.replace(tmp_path / "..data.new", tmp_path / "..data")
    monotonic.now += 1
    assert (accepts(checker, 3), accepts(checker, 4)) == (False, True)


def test_a_file_that_is_half_written_is_read_again_until_it_is_whole(
    tmp_path: Path, monotonic: Time, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.json"
    written(path, 0)
    checker = file_validator(path, monotonic)
    whole = json.dumps({"keys": [public_jwk("P-256", 1, kid="1")]})
    for end in range(0, len(whole), 10):
        path.write_text(whole[:end])
        for _ in range(3):
            monotonic.now += 1
            assert accepts(checker, 0)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) <= 2  # not one for each look
    assert "the keys from before stay in use" in caplog.text
    path.write_text(whole)
    monotonic.now += 1
    assert (accepts(checker, 0), accepts(checker, 1)) == (False, True)


def test_a_file_that_could_not_be_read_is_read_again_though_it_has_not_changed(
    tmp_path: Path, monotonic: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    written(path, 0)
    checker = file_validator(path, monotonic)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(FileKeys, "_read", fails)
        written(path, 1)
        monotonic.now += 1
        assert accepts(checker, 0)
    monotonic.now += 1
    assert (accepts(checker, 0), accepts(checker, 1)) == (False, True)


def fails(keys: FileKeys) -> KeySet:
    raise ConfigError("jwks_file cannot be read: Too many open files")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "is neither PEM nor a JWK"),
        (b"\xff", "is not UTF-8"),
        (b" " * (LARGEST_FILE + 1), f"longer than {LARGEST_FILE} bytes"),
        (b'{"keys":[{"kty":"RSA"}]}', "key 1, has a JWK that cannot be read"),
    ],
)
def test_a_file_that_is_no_good_at_start_is_told_with_its_path(tmp_path: Path, monotonic: Time, data: bytes, complaint: str) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=complaint) as caught:
        file_validator(path, monotonic)
    assert str(path) in str(caught.value)
    assert str(caught.value).startswith("jwks_file ")


def test_a_folder_is_no_file(tmp_path: Path, monotonic: Time) -> None:
    with pytest.raises(ConfigError, match="jwks_file cannot be read: Is a directory"):
        FileKeys(tmp_path, "jwks_file", (), poll=1, remembered=0, clock=monotonic)


def test_a_file_may_hold_keys_of_hmac_that_do_not_sign_here(tmp_path: Path, monotonic: Time) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [key_of("oct").as_dict(kid="a", alg="HS512")]}))
    checker = file_validator(path, monotonic)
    assert checker.validate(token_of(living(), header={"alg": "HS512", "kid": "a"}, alg="HS512"))
    assert not fixed_keys(checker.config)


def test_many_threads_see_keys_that_belong_together(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    written(path, 0)
    checker = JwtValidator(JwtConfig(jwks_file=str(path), secret_key=SECRET, poll=1e-6), clock=lambda: NOW)
    ended = threading.Event()
    wrong: list[Any] = []

    def look() -> None:
        assert checker._keyring is not None
        while not ended.is_set():
            try:
                if len(checker._keyring.current().keys) != 2:
                    wrong.append("not both")
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 60):
        written(path, number % 5)
    ended.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    written(path, 6)
    assert (accepts(checker, 6), accepts(checker, 59 % 5)) == (True, False)


# ── all together ────────────────────────────────────────────────────────────────────────────────────────────────────


class Failing:
    """A source that has no keys yet."""

    def __init__(self) -> None:
        self.keys: KeySet | None = None
        self.future: Future[None] | None = None

    def current(self) -> KeySet:
        if self.keys is None:
            raise ProxyError("not yet")
        return self.keys

    def refetch(self) -> Future[None] | None:
        return self.future


def test_the_keys_of_all_sources_are_one_set_that_lasts_while_none_changes() -> None:
    failing = Failing()
    ring = Keyring([FixedKeys(KeySet(keys("RSA"))), failing], remembered=10)
    assert len(ring.current().keys) == 1
    assert str(ring.missing) == "not yet"
    failing.keys = KeySet(keys("P-256", "P-384"))
    whole = ring.current()
    assert [key.algorithms[0] for key in whole.keys] == ["RS256", "ES256", "ES384"]
    assert ring.missing is None
    assert ring.current() is whole
    failing.keys = KeySet(keys("P-256"))
    assert ring.current() is not whole


def test_without_any_key_the_reason_is_told() -> None:
    failing = Failing()
    both: list[list[Source]] = [[failing], [FixedKeys(KeySet(())), failing]]
    for sources in both:
        with pytest.raises(ProxyError, match="not yet"):
            Keyring(sources, remembered=0).current()


def test_what_is_waited_for_is_what_is_on_its_way() -> None:
    failing = Failing()
    ring = Keyring([FixedKeys(KeySet(())), failing], remembered=0)
    assert ring.refetches() == []
    failing.future = Future()
    assert ring.refetches() == [failing.future]


def test_the_keys_of_the_configuration_are_read_in_order_and_named() -> None:
    config = JwtConfig(
        secret_key=SECRET,
        private_key=private_pem("RSA"),
        key=json.dumps(key_of("P-256").as_dict(private=True, kid="own")),
        public_key=public_pem("Ed25519"),
        previous_keys=[SECRET + "old", public_pem("P-384")],
        kid="today",
    )
    found = fixed_keys(config)
    assert [(key.algorithms[0], key.kid, key.signs) for key in found] == [
        ("HS256", "today", True),
        ("RS256", "today", True),
        ("ES256", "today", True),
        ("Ed25519", None, False),
        ("HS256", None, False),
        ("HS256", "today", False),
        ("ES384", None, False),
        ("ES384", "today", False),
    ]
    assert SECRET not in repr(found)
