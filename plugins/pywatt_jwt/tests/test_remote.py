"""Keys that a server publishes: kept, renewed, and never asked for more often than promised, whoever sends which tokens."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.errors import ConfigError, Unavailable
from pywatt_jwt import JwtAuthError, JwtConfig, JwtValidator, ProxyError
from pywatt_jwt.remote import FRESH, RemoteKeys, lifetime_of

from .key_server import KeyServer, compressed, cut_off, drip, endless, redirect, serving
from .making import NOW, Time, living, public_jwk, token_of


def validator(server: KeyServer, monotonic: Time, **options: Any) -> JwtValidator:
    options = {"jwks_url": f"{server.url}/keys", "fetch_timeout": 5.0, **options}
    return JwtValidator(JwtConfig(**options), clock=lambda: NOW, monotonic=monotonic)


def remote(checker: JwtValidator) -> RemoteKeys:
    assert checker._keyring is not None
    (source,) = checker._keyring._sources
    assert isinstance(source, RemoteKeys)
    return source


def token(kid: str | None = "first", number: int = 0, **claims: Any) -> str:
    return token_of(living(**claims), alg="RS256", header={"alg": "RS256", **({} if kid is None else {"kid": kid})}, number=number)


def settled(checker: JwtValidator) -> None:
    """No fetch is under way."""
    fetching = remote(checker)._fetching
    if fetching is not None:
        fetching.result(20)


# ── the usual ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_keys_are_fetched_once_and_then_used(server: KeyServer, monotonic: Time) -> None:
    checker = validator(server, monotonic)
    await checker.load()
    for _ in range(20):
        assert await checker.validate_async(token()) == living()
        assert checker.validate(token()) == living()
    assert server.asked == ["/keys"]


def test_the_first_token_fetches_them_where_nobody_has(server: KeyServer, monotonic: Time) -> None:
    checker = validator(server, monotonic)
    assert checker.validate(token()) == living()
    assert server.asked == ["/keys"]


async def test_all_who_wait_wait_for_the_same_fetch(server: KeyServer, monotonic: Time) -> None:
    server.gate.clear()
    checker = validator(server, monotonic)
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(checker.validate, token()) for _ in range(8)]
        tasks = [asyncio.ensure_future(checker.validate_async(token())) for _ in range(50)]
        await asyncio.sleep(0)
        for task in tasks[:20]:
            task.cancel()
        await asyncio.to_thread(server.wait_for, 1)
        server.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(wait, waiting, 20)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[:20])
    assert all(answer == living() for answer in answers[20:])
    assert all(one.result(0) == living() for one in waiting)
    assert server.asked == ["/keys"]


def test_one_validator_serves_several_loops(server: KeyServer, monotonic: Time) -> None:
    checker = validator(server, monotonic)
    for _ in range(3):
        assert asyncio.run(checker.validate_async(token())) == living()
    assert server.asked == ["/keys"]


# ── rotation ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_key_is_fetched_when_a_token_names_it(server: KeyServer, monotonic: Time) -> None:
    checker = validator(server, monotonic)
    checker.validate(token())
    server.publish(public_jwk("RSA", 1, kid="second"))
    monotonic.now += 31
    assert checker.validate(token("second", 1)) == living()
    with pytest.raises(JwtAuthError):  # what the server no longer publishes is no longer trusted
        checker.validate(token())
    assert server.asked == ["/keys"] * 2


def test_a_key_without_a_name_may_rotate_too(server: KeyServer, monotonic: Time) -> None:
    server.publish(public_jwk("RSA"))
    checker = validator(server, monotonic)
    checker.validate(token(None))
    server.publish(public_jwk("RSA", 1))
    with pytest.raises(JwtAuthError):
        checker.validate(token(None, 1))
    monotonic.now += 31
    assert checker.validate(token(None, 1)) == living()


def test_a_key_that_is_withdrawn_is_forgotten_with_the_signatures_that_it_made(server: KeyServer, monotonic: Time) -> None:
    checker = validator(server, monotonic)
    for _ in range(3):
        checker.validate(token())
    server.publish(public_jwk("RSA", 1, kid="first"))
    monotonic.now += 600
    checker.validate(token())  # still the old keys, and newer ones are on their way
    settled(checker)
    with pytest.raises(JwtAuthError, match="the signature does not hold"):
        checker.validate(token())
    assert checker.validate(token("first", 1)) == living()


def test_a_set_that_has_become_empty_is_believed(server: KeyServer, monotonic: Time, caplog: pytest.LogCaptureFixture) -> None:
    checker = validator(server, monotonic)
    checker.validate(token())
    server.publish()
    monotonic.now += 31
    with pytest.raises(JwtAuthError):
        checker.validate(token("other"))
    with pytest.raises(JwtAuthError):
        checker.validate(token())
    assert "publishes no key that can be used" in caplog.text


def test_the_same_keys_go_on_remembering(server: KeyServer, monotonic: Time) -> None:
    checker = validator(server, monotonic)
    checker.validate(token())
    before = remote(checker).current()
    monotonic.now += 600
    remote(checker).current()
    settled(checker)
    assert len(server.asked) == 2
    assert remote(checker).current() is before


# ── who attacks ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_of_keys_that_nobody_has_cause_no_storm(server: KeyServer, monotonic: Time) -> None:
    checker = validator(server, monotonic)
    checker.validate(token())
    for number in range(500):
        with pytest.raises(JwtAuthError):
            checker.validate(token(f"made up {number}"))
    assert len(server.asked) == 1
    for second in range(300):
        monotonic.now += 1
        with pytest.raises(JwtAuthError):
            checker.validate(token(f"made up again {second}"))
    assert 9 <= len(server.asked) <= 11


async def test_many_at_once_ask_once(server: KeyServer, monotonic: Time) -> None:
    checker = validator(server, monotonic)
    await checker.load()
    monotonic.now += 31
    server.gate.clear()
    tasks = [asyncio.ensure_future(checker.validate_async(token(f"made up {number}"))) for number in range(300)]
    await asyncio.to_thread(server.wait_for, 2)
    assert await checker.validate_async(token()) == living()  # who has a key that is known waits for nobody
    server.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, JwtAuthError) for answer in answers)
    assert len(server.asked) == 2


def test_a_signature_that_does_not_hold_with_a_known_name_asks_nobody(server: KeyServer, monotonic: Time) -> None:
    checker = validator(server, monotonic)
    checker.validate(token())
    for _ in range(10):
        monotonic.now += 31
        with pytest.raises(JwtAuthError):
            checker.validate(token("first", 1))
    settled(checker)
    assert len(server.asked) <= 2  # the one that renews them


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"cache-control": "max-age=300"}, 300),
        ({"cache-control": "public, MAX-AGE = 300, must-revalidate"}, 300),
        ({"cache-control": 'max-age="300"'}, 300),
        ({"cache-control": "max-age=300", "age": "100"}, 200),
        ({"cache-control": "max-age=300", "age": "1000"}, 0),
        ({"cache-control": "max-age=300", "age": "-5"}, 300),
        ({"cache-control": "max-age=300", "age": "soon"}, 300),
        ({"cache-control": "no-store"}, 0),
        ({"cache-control": "no-cache, max-age=300"}, 0),
        ({"cache-control": "max-age=-5"}, None),
        ({"cache-control": "max-age=1e9"}, None),
        ({"cache-control": "max-age=99999999999999999999"}, None),
        ({"cache-control": "s-max-age=5"}, None),
        ({"cache-control": "stale-while-revalidate=5"}, None),
    ],
)
def test_what_a_server_says_about_its_keys_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert lifetime_of(headers) == seconds


@pytest.mark.parametrize(
    ("control", "lifetime"), [("max-age=5", FRESH[0]), ("no-store", FRESH[0]), ("max-age=3600", 3600), ("max-age=9999999", FRESH[1])]
)
def test_keys_are_renewed_before_they_are_old_within_bounds(server: KeyServer, monotonic: Time, control: str, lifetime: float) -> None:
    server.headers["cache-control"] = control
    checker = validator(server, monotonic)
    checker.validate(token())
    begun = monotonic.now
    monotonic.now = begun + lifetime * 0.69
    checker.validate(token())
    assert remote(checker)._fetching is None
    assert len(server.asked) == 1
    monotonic.now = begun + lifetime * 0.81
    assert checker.validate(token()) == living()  # at once, with the old ones
    settled(checker)
    assert len(server.asked) == 2


def test_while_the_server_is_away_the_keys_stay_in_use_for_so_long(
    server: KeyServer, monotonic: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    checker = validator(server, monotonic, stale=10_000, jwks_lifetime=600)
    begun = monotonic.now
    checker.validate(token())
    server.status = 503
    while monotonic.now < begun + 10_500:
        monotonic.now += 100
        assert checker.validate(token()) == living()
        settled(checker)
    complaints = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(complaints) == 1
    assert "answered 503; the keys from before stay in use" in complaints[0].getMessage()
    monotonic.now = begun + 10_700
    with pytest.raises(ProxyError, match="answered 503") as caught:
        checker.validate(token())
    assert isinstance(caught.value, Unavailable)
    server.status = 200
    monotonic.now += 31
    assert checker.validate(token()) == living()
    assert "keys can be fetched again" in caplog.text


def test_a_server_that_is_away_is_asked_every_so_often(server: KeyServer, monotonic: Time) -> None:
    server.status = 500
    checker = validator(server, monotonic)
    for _ in range(300):
        with pytest.raises(ProxyError):
            checker.validate(token())
        settled(checker)
        monotonic.now += 1
    assert 9 <= len(server.asked) <= 11


async def test_at_start_a_server_that_is_away_is_a_warning(server: KeyServer, monotonic: Time, caplog: pytest.LogCaptureFixture) -> None:
    server.status = 404
    checker = validator(server, monotonic)
    await checker.load()
    assert "jwks_url: http://127.0.0.1" in caplog.text
    assert "answered 404; no token can be checked" in caplog.text
    with pytest.raises(ProxyError, match="answered 404"):
        await checker.validate_async(token())
    server.status = 200
    monotonic.now += 31
    assert await checker.validate_async(token()) == living()


# ── what comes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        (drip, "did not come within 0.5 s"),
        (redirect, "redirects, which is refused"),
        (compressed, "in an encoding that nobody asked for"),
        (endless, "more than 262144 bytes"),
        (cut_off, "cannot be reached: RemoteProtocolError"),
        ("", "did not give a JWK Set"),
        ("[]", "did not give a JWK Set"),
        ("<html>login</html>", "did not give a JWK Set"),
        ({"keys": 5}, "is not a JWK Set"),
        (b"\xff\xfe", "what is not UTF-8"),
        ('{"keys":[],"keys":[]}', "says a member twice"),
        ({"keys": [{}] * 101}, "at most 100 keys"),
        ({"keys": [], "deep": json.loads("[" * 60 + "]" * 60)}, "JSON cannot be read"),
    ],
)
def test_an_answer_that_is_no_good_changes_nothing(server: KeyServer, monotonic: Time, page: Any, complaint: str) -> None:
    checker = validator(server, monotonic, fetch_timeout=0.5 if page is drip else 5.0)
    checker.validate(token())
    server.pages["/keys"] = page
    server.pages["/other"] = {"keys": [public_jwk("RSA", 1, kid="second")]}
    monotonic.now += 31
    with pytest.raises(JwtAuthError):
        checker.validate(token("second", 1))
    settled(checker)
    assert complaint in remote(checker)._failure
    assert "/other" not in server.asked
    assert checker.validate(token()) == living()


def test_a_key_that_may_not_be_published_is_passed_over(server: KeyServer, monotonic: Time) -> None:
    from .making import key_of, part

    shared = {"kty": "oct", "kid": "shared", "k": part("x" * 64)}
    private = key_of("RSA", 1).as_dict(private=True, kid="private")
    server.publish(shared, private, public_jwk("RSA", kid="first"))
    checker = validator(server, monotonic)
    assert checker.validate(token())
    for one in (token_of(living(), header={"alg": "HS256", "kid": "shared"}), token("private", 1)):
        with pytest.raises(JwtAuthError):
            checker.validate(one)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "127.9.9.9", "::1", "localhost"])
def test_this_machine_is_asked_directly(monotonic: Time, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with serving() as proxy, serving("127.0.0.1" if address == "localhost" else address) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        url = server.url.replace("127.0.0.1", address)
        assert validator(server, monotonic, jwks_url=f"{url}/keys").validate(token())
        assert proxy.asked == []


def test_other_machines_are_asked_as_the_environment_says(server: KeyServer, monotonic: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    checker = validator(server, monotonic, jwks_url="http://id.example/keys", allow_http=True)
    with pytest.raises(ProxyError, match="id.example/keys answered 404"):
        checker.validate(token())
    assert server.asked == ["http://id.example/keys"]


@pytest.mark.parametrize("proxy", ["gopher://user:qz7@127.0.0.1", "http://user:qz7/xw9@127.0.0.1", "://"])
def test_a_proxy_that_cannot_be_used_is_told(
    monotonic: Time, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    checker = JwtValidator(JwtConfig(jwks_url="https://id.example/keys"), monotonic=monotonic)
    with pytest.raises(ProxyError, match="https://id.example/keys cannot be fetched: the proxy that the environment names cannot be used"):
        checker.validate(token())
    assert "qz7" not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_name_that_takes_long_to_look_up_does_not_hold_up_the_refusal(monotonic: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    found, looked_up = threading.Event(), socket.getaddrinfo

    def slowly(host: Any, *arguments: Any, **more: Any) -> Any:
        found.wait(60)
        return looked_up("127.0.0.1", *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    try:
        checker = JwtValidator(JwtConfig(jwks_url="https://id.example/keys", fetch_timeout=0.2), monotonic=monotonic)
        fetch = remote(checker).refetch()
        assert fetch is not None
        fetch.result(30)
        assert remote(checker)._failure == "they did not come within 0.2 s"
    finally:
        found.set()


@pytest.mark.parametrize(("text", "complaint"), [(None, "No such file"), ("no certificate", "ca_cert cannot be read as certificates")])
def test_authorities_that_cannot_be_read_are_told_at_once(tmp_path: Path, text: str | None, complaint: str) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(ConfigError, match=f"{complaint}.*ca.pem"):
        JwtValidator(JwtConfig(jwks_url="https://id.example/keys", ca_cert="ca.pem"), folder=tmp_path)


def test_what_may_not_be_published_is_a_warning(server: KeyServer, monotonic: Time, caplog: pytest.LogCaptureFixture) -> None:
    server.publish({"kty": "oct", "k": "canary"}, {"kty": "AKP"}, public_jwk("RSA", kid="first"))
    validator(server, monotonic).validate(token())
    assert "jwks_url, key 1, has a symmetric key: only public ones may stand there; it is passed over" in caplog.text
    assert "key 2" not in caplog.text
    assert "canary" not in caplog.text


def test_nobody_listens(monotonic: Time) -> None:
    with serving() as gone:
        pass
    with pytest.raises(ProxyError, match="cannot be reached: ConnectError"):
        validator(gone, monotonic).validate(token())


def test_an_address_is_shown_without_what_stands_behind_its_question_mark(server: KeyServer, monotonic: Time) -> None:
    checker = validator(server, monotonic, jwks_url=f"{server.url}/nowhere?token=canary")
    with pytest.raises(ProxyError) as caught:
        checker.validate(token())
    assert server.asked == ["/nowhere?token=canary"]
    assert "canary" not in str(caught.value)
    assert f"{server.url}/nowhere answered 404" in str(caught.value)


def test_keys_of_the_configuration_do_not_wait_for_those_of_a_server(server: KeyServer, monotonic: Time) -> None:
    server.status = 503
    checker = validator(server, monotonic, secret_key="a key that stands in the configuration")
    from joserfc.jwk import OctKey

    own = token_of(living(), key=OctKey.import_key("a key that stands in the configuration"))
    assert checker.validate(own) == living()
    with pytest.raises(ProxyError):  # it may be good: nobody can tell now
        checker.validate(token())
    server.status = 200
    monotonic.now += 31
    assert checker.validate(token()) == living()
    assert checker.validate(own) == living()
    assert checker._keyring is not None
    assert checker._keyring.current() is checker._keyring.current()


def test_no_thread_stays(server: KeyServer, monotonic: Time) -> None:
    checker = validator(server, monotonic)
    checker.validate(token())
    for thread in [one for one in threading.enumerate() if one.name.startswith("keys of ")]:
        thread.join(20)
        assert not thread.is_alive()
