import asyncio

import pytest

from pywatt_core import redaction
from pywatt_core.errors import SecretError, SecretNotFound
from pywatt_core.services.secrets import SecretClient, SecretMode, fetch_from


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


def secrets_from(*vaults):
    return SecretClient(fetch_from([(f"vault {number}", vault) for number, vault in enumerate(vaults, 1)]))


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


@pytest.mark.parametrize("change", ["rotated", "set"])
async def test_an_answer_that_is_overtaken_by_a_change_is_not_kept(change):
    vault = Vault(KEY="value-before")
    vault.gate.clear()
    secrets = secrets_from(vault)
    asking = asyncio.create_task(secrets.get("KEY"))
    await asyncio.sleep(0)
    if change == "rotated":
        assert (await secrets.rotated(["KEY"], "r1")).status == "success"
    else:
        secrets.put("KEY", "value-after")
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
