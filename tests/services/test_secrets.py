import asyncio
import pickle

import pytest

from pywatt_core import redaction
from pywatt_core.access import SecretInfo
from pywatt_core.errors import SecretError, SecretNotFound
from pywatt_core.redaction import Secret, redact
from pywatt_core.redaction.redactor import KEPT_PER_NAME
from pywatt_core.services.secret_chain import SecretChain
from pywatt_core.services.secrets import SecretClient, SecretMode


class Vault:
    """A source that counts how often it is asked and may be made to wait."""

    def __init__(self, **values):
        self.values = values
        self.asked = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, name):
        self.asked.append(name)
        await self.gate.wait()
        return self.values.get(name)


def refuses(_name, _secret):
    raise SecretError("not this one")


def secrets_from(*vaults):
    return SecretClient(SecretChain([(f"vault {number}", vault) for number, vault in enumerate(vaults, 1)]))


async def test_callers_that_ask_together_share_one_question():
    vault = Vault(KEY="a-value-to-share")
    vault.gate.clear()
    secrets = secrets_from(vault)
    asking = [asyncio.create_task(secrets.get("KEY")) for _ in range(5)]
    await asyncio.sleep(0)
    vault.gate.set()
    values = {(await task).expose_secret() for task in asking}
    assert (values, vault.asked) == ({"a-value-to-share"}, ["KEY"])


async def test_one_impatient_caller_does_not_take_the_answer_from_the_others():
    vault = Vault(KEY="a-patient-value")
    vault.gate.clear()
    secrets = secrets_from(vault)
    impatient, patient = asyncio.create_task(secrets.get("KEY")), asyncio.create_task(secrets.get("KEY"))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait({impatient})
    vault.gate.set()
    assert (await patient).expose_secret() == "a-patient-value"


async def test_modes_say_where_a_value_may_come_from():
    vault = Vault(KEY="the-first-value")
    secrets = secrets_from(vault)
    with pytest.raises(SecretNotFound, match="the secret 'KEY' has not been delivered"):
        await secrets.get("KEY", SecretMode.CACHE_ONLY)
    assert (await secrets.get("KEY")).expose_secret() == "the-first-value"
    vault.values["KEY"] = "the-second-value"
    assert (await secrets.get("KEY")).expose_secret() == "the-first-value"
    assert (await secrets.get("KEY", SecretMode.CACHE_ONLY)).expose_secret() == "the-first-value"
    assert (await secrets.get("KEY", SecretMode.FORCE_REMOTE)).expose_secret() == "the-second-value"
    assert secrets["KEY"].expose_secret() == "the-second-value"


async def test_the_first_source_that_knows_a_name_wins_and_all_are_named_when_none_does():
    secrets = secrets_from(Vault(A="first-a-value"), Vault(A="second-a-value", B="second-b-value"))
    assert (await secrets.get("A")).expose_secret() == "first-a-value"
    assert (await secrets.get("B")).expose_secret() == "second-b-value"
    with pytest.raises(SecretNotFound, match=r"no source knows the secret 'C' \(asked: vault 1, vault 2\)"):
        await secrets.get("C")


async def test_a_failed_question_is_asked_again_next_time():
    vault = Vault()
    secrets = secrets_from(vault)
    with pytest.raises(SecretNotFound):
        await secrets.get("LATE")
    vault.values["LATE"] = "here-it-is-now"
    assert (await secrets.get("LATE")).expose_secret() == "here-it-is-now"


async def test_a_value_is_hidden_from_the_moment_it_arrives():
    secrets = secrets_from(Vault(KEY="hide-me-everywhere-1"))
    await secrets.get("KEY")
    secrets.put("OTHER", "hide-me-everywhere-2")
    assert "hide-me" not in redaction.redact("hide-me-everywhere-1 and hide-me-everywhere-2")
    assert "hide-me" not in repr(secrets)
    assert sorted(secrets) == ["KEY", "OTHER"]
    assert ("KEY" in secrets, "NOPE" in secrets, len(secrets)) == (True, False, 2)


async def test_reading_what_was_not_delivered_says_what_was():
    secrets = secrets_from(Vault())
    secrets.put("KEY", "some-value-here")
    with pytest.raises(SecretNotFound, match=r"'OTHER' has not been delivered \(delivered: KEY\); declare it with secrets=\['OTHER'\]"):
        secrets["OTHER"]


async def test_a_rotation_is_acknowledged_after_the_subscribers_have_the_new_value():
    vault = Vault(KEY="value-before", REST="value-of-the-rest")
    secrets = secrets_from(vault)
    await secrets.get("KEY")
    told = []

    async def changed(name, secret):
        await asyncio.sleep(0)
        told.append((name, secret.expose_secret()))

    secrets.subscribe(["KEY"], changed)
    vault.values["KEY"] = "value-after"
    acknowledgement = await secrets.rotated(["KEY", "REST"], "r1")
    assert (acknowledgement.rotation_id, acknowledgement.status) == ("r1", "success")
    assert told == [("KEY", "value-after")]
    assert vault.asked == ["KEY", "KEY"], "a secret that nobody subscribed to is fetched when it is next needed"


async def test_a_rotation_is_acknowledged_once_and_an_empty_one_at_once():
    secrets = secrets_from(Vault())
    assert (await secrets.rotated([], "r1")).status == "success"
    assert await secrets.rotated([], "r1") is None


async def test_a_rotation_whose_callback_or_fetch_fails_is_acknowledged_as_an_error_without_the_value():
    vault = Vault(KEY="value-that-stays-hidden")
    secrets = secrets_from(vault)

    def fails(_name, secret):
        raise SecretError(f"cannot use {secret.expose_secret()}")

    secrets.subscribe(["KEY"], fails)
    acknowledgement = await secrets.rotated(["KEY"], "r1")
    assert acknowledgement.status == "error"
    assert acknowledgement.message.startswith("the subscriber ")
    assert acknowledgement.message.endswith("fails: cannot use [REDACTED]")
    assert "value-that-stays-hidden" not in acknowledgement.message
    vault.values.clear()
    acknowledgement = await secrets.rotated(["KEY"], "r2")
    assert (acknowledgement.status, "no source knows the secret 'KEY'" in acknowledgement.message) == ("error", True)


async def test_only_so_many_rotations_are_remembered():
    secrets = secrets_from(Vault())
    for number in range(1100):
        assert await secrets.rotated([], f"r{number}") is not None
    assert await secrets.rotated([], "r1099") is None
    assert await secrets.rotated([], "r0") is not None


@pytest.mark.parametrize("change", ["rotated", "set", "changed"])
async def test_an_answer_that_is_overtaken_by_a_change_is_not_kept(change):
    vault = Vault(KEY="value-before")
    vault.gate.clear()
    secrets = secrets_from(vault)
    asking = asyncio.create_task(secrets.get("KEY"))
    await asyncio.sleep(0)
    if change == "rotated":
        assert (await secrets.rotated(["KEY"], "r1")).status == "success"
    elif change == "set":
        secrets.put("KEY", "value-after")
    else:
        await secrets.change({"KEY": "value-after"})
    vault.values["KEY"] = "value-before"
    vault.gate.set()
    assert (await asking).expose_secret() == "value-before"
    vault.values["KEY"] = "value-after"
    assert (await secrets.get("KEY")).expose_secret() == "value-after"


async def test_what_was_delivered_can_be_read_during_and_after_a_rotation_that_nobody_subscribed_to():
    vault = Vault(KEY="value-before")
    secrets = secrets_from(vault)
    await secrets.get("KEY")
    vault.values["KEY"] = "value-after"
    vault.gate.clear()
    rotating = asyncio.create_task(secrets.rotated(["KEY"], "r1"))
    await asyncio.sleep(0)
    assert secrets["KEY"].expose_secret() == "value-before"
    vault.gate.set()
    assert (await rotating).status == "success"
    assert secrets["KEY"].expose_secret() == "value-after"


async def test_what_is_gone_is_forgotten_unless_somebody_depends_on_it():
    vault = Vault(KEY="value-before", NEEDED="value-that-is-needed")
    secrets = secrets_from(vault)
    await secrets.get("KEY")
    await secrets.get("NEEDED")
    secrets.keep(["NEEDED"])
    del vault.values["KEY"]
    assert (await secrets.rotated(["KEY"], "r1")).status == "success"
    with pytest.raises(SecretNotFound):
        secrets["KEY"]
    del vault.values["NEEDED"]
    acknowledgement = await secrets.rotated(["NEEDED"], "r2")
    assert (acknowledgement.status, "no source knows the secret 'NEEDED'" in acknowledgement.message) == ("error", True)
    assert secrets["NEEDED"].expose_secret() == "value-that-is-needed"


async def test_a_rotation_is_not_acknowledged_before_a_slow_subscriber_is_done_and_is_invisible_until_then():
    vault = Vault(KEY="value-before")
    secrets = secrets_from(vault)
    await secrets.get("KEY")
    gate, begun, seen = asyncio.Event(), asyncio.Event(), []

    async def slow(name, secret):
        seen.append((secrets[name].expose_secret(), (await secrets.get(name)).expose_secret(), secret.expose_secret()))
        begun.set()
        await gate.wait()

    secrets.subscribe(["KEY"], slow)
    vault.values["KEY"] = "value-after"
    rotating = asyncio.create_task(secrets.rotated(["KEY"], "r1"))
    await begun.wait()
    assert seen == [("value-before", "value-before", "value-after")]
    assert not rotating.done()
    assert (await secrets.get("KEY", SecretMode.CACHE_THEN_REMOTE)).expose_secret() == "value-before"
    gate.set()
    assert (await rotating).status == "success"
    assert secrets["KEY"].expose_secret() == "value-after"


async def test_whoever_asks_the_source_during_a_rotation_brings_nobody_else_the_new_value():
    vault = Vault(KEY="value-before")
    secrets = secrets_from(vault)
    await secrets.get("KEY")
    gate, begun = asyncio.Event(), asyncio.Event()

    async def refuses(_name, _secret):
        begun.set()
        await gate.wait()
        raise SecretError("not this one")

    secrets.subscribe(["KEY"], refuses)
    vault.values["KEY"] = "value-after"
    rotating = asyncio.create_task(secrets.rotated(["KEY"], "r1"))
    await begun.wait()
    assert (await secrets.get("KEY", SecretMode.FORCE_REMOTE)).expose_secret() == "value-after"
    assert secrets["KEY"].expose_secret() == "value-before"
    gate.set()
    assert (await rotating).status == "error"
    assert secrets["KEY"].expose_secret() == "value-before"


async def test_one_refusal_keeps_every_value_of_the_rotation():
    vault = Vault(ONE="one-before", TWO="two-before")
    secrets = secrets_from(vault)
    await asyncio.gather(secrets.get("ONE"), secrets.get("TWO"))

    secrets.subscribe(["TWO"], refuses)
    vault.values.update(ONE="one-after", TWO="two-after")
    assert (await secrets.rotated(["ONE", "TWO"], "r1")).status == "error"
    assert [secrets[name].expose_secret() for name in ("ONE", "TWO")] == ["one-before", "two-before"]
    assert await secrets.rotated(["ONE", "TWO"], "r1") is None, "refused or not, an id counts once"


async def test_a_fault_of_a_subscriber_is_told_with_its_traceback_and_without_the_value(caplog):
    vault = Vault(KEY="value-before")
    secrets = secrets_from(vault)
    await secrets.get("KEY")

    def faulty(_name, secret):
        raise ZeroDivisionError(secret.expose_secret())

    secrets.subscribe(["KEY"], faulty)
    vault.values["KEY"] = "value-that-nobody-sees"
    acknowledgement = await secrets.rotated(["KEY"], "r1")
    assert acknowledgement.message.endswith("faulty: ZeroDivisionError: [REDACTED]")
    assert "in faulty" in caplog.text


async def test_who_does_not_want_to_be_told_any_more_is_not():
    vault = Vault(KEY="value-before")
    secrets = secrets_from(vault)
    await secrets.get("KEY")
    told = []
    leave = secrets.subscribe(["KEY"], lambda name, secret: told.append(name))
    leave()
    vault.values["KEY"] = "value-after"
    assert (await secrets.rotated(["KEY"], "r1")).status == "success"
    assert (told, secrets["KEY"].expose_secret()) == ([], "value-after")


async def test_who_subscribed_before_the_first_value_came_is_told_that_one_again_when_another_is_refused():
    vault = Vault(KEY="value-before")
    secrets = secrets_from(vault)
    told = []
    secrets.subscribe(["KEY"], lambda name, secret: told.append(secret.expose_secret()))
    assert (await secrets.get("KEY")).expose_secret() == "value-before"

    secrets.subscribe(["KEY"], refuses)
    vault.values["KEY"] = "value-after"
    assert (await secrets.rotated(["KEY"], "r1")).status == "error"
    assert told == ["value-after", "value-before"]


async def test_nobody_depends_on_what_the_last_subscriber_has_left():
    vault = Vault(KEY="value-before")
    secrets = secrets_from(vault)
    leave = [secrets.subscribe(["KEY"], lambda _name, _secret: None) for _ in range(2)]
    await secrets.get("KEY")
    del vault.values["KEY"]
    leave[0]()
    leave[0]()
    assert (await secrets.rotated(["KEY"], "r1")).status == "error", "there is another one"
    leave[1]()
    assert (await secrets.rotated(["KEY"], "r2")).status == "success"
    assert "KEY" not in secrets


async def test_what_is_gone_is_still_there_after_a_refusal():
    vault = Vault(KEY="value-before", OTHER="other-value")
    secrets = secrets_from(vault)
    await asyncio.gather(secrets.get("KEY"), secrets.get("OTHER"))

    leave = secrets.subscribe(["KEY"], refuses)
    vault.values = {"KEY": "value-after"}
    assert (await secrets.rotated(["KEY", "OTHER"], "r1")).status == "error"
    assert secrets["OTHER"].expose_secret() == "other-value"
    leave()
    assert (await secrets.rotated(["KEY", "OTHER"], "r2")).status == "success"
    assert list(secrets) == ["KEY"]


async def test_the_value_in_use_stays_hidden_however_many_others_were_refused():
    address = "postgres://app:pass-in-use@db/app"
    secrets = secrets_from(vault := Vault(ADDRESS=address))
    await secrets.get("ADDRESS")

    secrets.subscribe(["ADDRESS"], refuses)
    for number in range(KEPT_PER_NAME + 4):
        vault.values["ADDRESS"] = f"postgres://app:wrong-{number}-pass@db/app"
        assert (await secrets.rotated(["ADDRESS"], f"r{number}")).status == "error"
    assert redact(f"{address} pass-in-use") == "[REDACTED] [REDACTED]"


async def test_what_did_not_change_is_not_said_to_have_changed(caplog):
    caplog.set_level("INFO")
    vault = Vault(KEY="value-before", OTHER="other-value")
    secrets = secrets_from(vault)
    await asyncio.gather(secrets.get("KEY"), secrets.get("OTHER"))
    assert (await secrets.rotated(["KEY", "OTHER"], "r1")).status == "success"
    assert "secrets changed" not in caplog.messages
    vault.values["KEY"] = "value-after"
    assert (await secrets.rotated(["KEY", "OTHER"], "r2")).status == "success"
    assert [record.names for record in caplog.records if record.message == "secrets changed"] == [["KEY"]]


async def test_one_name_is_a_name_and_a_subscriber_is_a_function():
    vault = Vault(KEY="value-before")
    secrets = secrets_from(vault)
    told = []
    secrets.subscribe("KEY", lambda name, secret: told.append(name))
    assert (await secrets.rotated(["K", "KEY"], "r1")).status == "success"
    assert told == ["KEY"]
    with pytest.raises(TypeError, match="a subscriber is a function"):
        secrets.subscribe(["KEY"], None)


# ── values whose time is over ───────────────────────────────────────────────────────────────────────────────────────


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Lost(Vault):
    """A source that cannot be reached at times."""

    lost = False

    async def get(self, name):
        if self.lost:
            self.asked.append(name)
            raise SecretError("the vault cannot be reached")
        return await super().get(name)


async def test_a_value_whose_time_is_over_is_asked_for_anew():
    clock, vault = Clock(), Vault(KEY="value-before")
    secrets = SecretClient(vault, ttl=900.0, clock=clock)
    await secrets.get("KEY")
    vault.values["KEY"] = "value-after"
    clock.now = 899.0
    assert (await secrets.get("KEY")).expose_secret() == "value-before"
    clock.now = 900.0
    assert (await secrets.get("KEY", SecretMode.CACHE_ONLY)).expose_secret() == "value-before"
    assert (await secrets.get("KEY")).expose_secret() == "value-after"
    assert vault.asked == ["KEY", "KEY"]


async def test_it_stays_in_use_with_a_warning_while_its_source_cannot_be_reached(caplog):
    clock, vault = Clock(), Lost(KEY="value-before")
    secrets = SecretClient(vault, ttl=900.0, stale=3600.0, clock=clock)
    await secrets.get("KEY")
    vault.lost, clock.now = True, 1000.0
    assert (await secrets.get("KEY")).expose_secret() == "value-before"
    assert "its last value stays in use: the vault cannot be reached" in caplog.text
    assert (await secrets.get("KEY")).expose_secret() == "value-before"
    assert len(vault.asked) == 2, "a source that is lost is not asked by every request"
    clock.now += 31.0
    await secrets.get("KEY")
    assert len(vault.asked) == 3
    clock.now = 900.0 + 3600.0 + 31.0
    with pytest.raises(SecretError, match="the vault cannot be reached"):
        await secrets.get("KEY")
    vault.lost = False
    assert (await secrets.get("KEY")).expose_secret() == "value-before"


async def test_nothing_stands_in_for_a_value_that_was_asked_for_explicitly_or_that_is_gone():
    clock, vault = Clock(), Lost(KEY="value-before")
    secrets = SecretClient(vault, ttl=900.0, clock=clock)
    await secrets.get("KEY")
    vault.lost = True
    with pytest.raises(SecretError):
        await secrets.get("KEY", SecretMode.FORCE_REMOTE)
    vault.lost, clock.now = False, 1000.0
    vault.values.clear()
    with pytest.raises(SecretNotFound):
        await secrets.get("KEY")
    assert "KEY" not in secrets


async def test_another_value_that_is_found_that_way_goes_the_way_of_a_rotation():
    clock, vault = Clock(), Vault(KEY="value-before")
    secrets = SecretClient(vault, ttl=900.0, clock=clock)
    await secrets.get("KEY")
    told = []

    def takes(name, secret):
        told.append(secret.expose_secret())
        if "bad" in told[-1]:
            raise SecretError("not this one")

    secrets.subscribe(["KEY"], takes)
    vault.values["KEY"], clock.now = "value-after", 1000.0
    assert (await secrets.get("KEY")).expose_secret() == "value-after"
    vault.values["KEY"], clock.now = "a-bad-value", 2000.0
    assert (await secrets.get("KEY")).expose_secret() == "value-after"
    assert told == ["value-after", "a-bad-value"]
    with pytest.raises(SecretError, match="not this one"):
        await secrets.get("KEY", SecretMode.FORCE_REMOTE)


async def test_only_so_many_are_remembered_beside_those_that_somebody_depends_on():
    vault = Vault(**{f"K{number}": f"value-{number}" for number in range(10)})
    secrets = SecretClient(vault, size=3)
    secrets.subscribe(["K0"], lambda name, secret: None)
    for name in vault.values:
        await secrets.get(name)
    assert list(secrets) == ["K0", "K7", "K8", "K9"]


# ── the rest of the client ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_secret_is_read_as_a_type():
    secrets = secrets_from(Vault(PORT="8080", ON="yes", RATIO="0.5"))
    assert (await secrets.get_typed("PORT", int)).expose_secret() == 8080
    assert (await secrets.get_typed("ON", bool, lenient=True)).expose_secret() is True
    assert (await secrets.get_typed("RATIO", float)).expose_secret() == 0.5
    assert (await secrets.get_typed("PORT", lambda text: text.split("0"))).expose_secret() == ["8", "8", ""]
    with pytest.raises(SecretError, match="^ON is not true or false$"):
        await secrets.get_typed("ON", bool)
    assert "8080" not in repr(await secrets.get_typed("PORT", int))


class Kept(Vault):
    """A source that lists and can be set."""

    async def names(self):
        return set(self.values)

    async def describe(self, name):
        return SecretInfo(version=f"v{len(self.values[name])}", attributes={"owner": "ops"}) if name in self.values else None

    async def set(self, name, value):
        self.values[name] = value


async def test_a_source_that_can_is_asked_what_it_has():
    secrets = SecretClient(Kept(KEY="some-value"))
    secrets.put("OTHER", "another-value")
    assert sorted(await secrets.names()) == ["KEY", "OTHER"]
    assert await secrets.describe("KEY") == SecretInfo("v10", None, {"owner": "ops"})
    assert await secrets.describe("NOBODY") is None


async def test_of_one_that_cannot_there_is_what_was_delivered_and_a_version_of_it():
    secrets = SecretClient(Vault(KEY="some-value"))
    assert (await secrets.names(), await secrets.describe("KEY")) == (frozenset(), None)
    await secrets.get("KEY")
    assert await secrets.names() == {"KEY"}
    first = await secrets.describe("KEY")
    secrets.put("KEY", "another-value")
    second = await secrets.describe("KEY")
    assert first.version != second.version
    assert "value" not in first.version + second.version


async def test_setting_stores_it_and_uses_it_here():
    source = Kept(KEY="value-before")
    secrets = SecretClient(source)
    await secrets.get("KEY")
    told = []

    def takes(_name, secret):
        told.append(secret.expose_secret())
        if "bad" in told[-1]:
            raise SecretError("not this one")

    secrets.subscribe(["KEY"], takes)
    await secrets.set("KEY", "value-after")
    assert (source.values, secrets["KEY"].expose_secret(), told) == ({"KEY": "value-after"}, "value-after", ["value-after"])
    with pytest.raises(SecretError, match="the secret 'KEY' is stored, and is not used here yet: the subscriber .*: not this one"):
        await secrets.set("KEY", "a-bad-value")
    assert (source.values["KEY"], secrets["KEY"].expose_secret()) == ("a-bad-value", "value-after")
    with pytest.raises(SecretError, match="the secret 'KEY' cannot be set from here"):
        await SecretClient(Vault()).set("KEY", "some-value")


async def test_a_pushed_value_that_is_refused_gives_way_to_the_one_before(caplog):
    secrets = SecretClient(Vault(KEY="value-before"))
    await secrets.get("KEY")

    await secrets.deliver("OTHER", "nobody-depends-on-it")
    assert secrets["OTHER"].expose_secret() == "nobody-depends-on-it"
    secrets.subscribe(["KEY"], refuses)
    await secrets.deliver("KEY", "value-after")
    assert secrets["KEY"].expose_secret() == "value-before"
    assert "a pushed secret is not used" in caplog.text


async def test_what_is_current_follows_and_shows_nothing():
    secrets = SecretClient(Vault(KEY="value-before"))
    with pytest.raises(SecretNotFound, match="'KEY' has not been delivered"):
        secrets.current("KEY")
    await secrets.get("KEY")
    current = secrets.current("KEY")
    assert (current.expose_secret(), current == Secret("value-before"), bool(current)) == ("value-before", True, True)
    secrets.put("KEY", "value-after")
    assert (current.expose_secret(), current == Secret("value-before")) == ("value-after", False)
    assert repr(current) == str(current) == "Secret([REDACTED])"
    assert isinstance(current, Secret)
    with pytest.raises(TypeError):
        hash(current)
    with pytest.raises(TypeError):
        pickle.dumps(current)


async def test_watching_gives_what_comes_into_use_and_only_the_newest_of_each():
    vault = Vault(KEY="value-0", OTHER="value-0", REST="value-0")
    secrets = SecretClient(vault)
    for name in vault.values:
        await secrets.get(name)
    watching = secrets.watch("KEY", "OTHER")
    for number in range(1, 4):
        vault.values = dict.fromkeys(vault.values, f"value-{number}")
        assert (await secrets.rotated(["KEY", "OTHER", "REST"], f"r{number}")).status == "success"
    seen = [await anext(watching), await anext(watching)]
    assert sorted((name, secret.expose_secret()) for name, secret in seen) == [("KEY", "value-3"), ("OTHER", "value-3")]
    waiting = asyncio.create_task(anext(watching, None))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert (await secrets.rotated(["KEY"], "r4")).status == "success", "the same value is no news"
    await asyncio.sleep(0)
    assert not waiting.done()
    await watching.aclose()
    assert await waiting is None
    everything = secrets.watch()
    secrets.put("NEW", "value")
    assert (await anext(everything))[0] == "NEW"
    both = [asyncio.create_task(anext(everything)) for _ in range(2)]
    await asyncio.sleep(0)
    for value in ("first", "second"):
        secrets.put("NEW", value)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    assert [(await one)[1].expose_secret() for one in both] == ["first", "second"], "each value is taken once"


async def test_a_change_of_several_is_one_change():
    secrets = SecretClient(Vault(ONE="one-before", TWO="two-before"))
    await asyncio.gather(secrets.get("ONE"), secrets.get("TWO"))
    seen = []
    secrets.subscribe(["TWO"], lambda name, secret: seen.append(secrets["ONE"].expose_secret()))
    await secrets.change({"ONE": "one-after", "TWO": "two-after"})
    assert (seen, secrets["ONE"].expose_secret(), secrets["TWO"].expose_secret()) == (["one-before"], "one-after", "two-after")
