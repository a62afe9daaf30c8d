"""The cryptography: what opens, what does not, and a fixed example that says the format has not changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import SecretError
from pywatt_vault import sealing
from pywatt_vault.document import Header, Scrypt, write_base64
from pywatt_vault.sealing import BLOCK, NONCE, Broken, Sealing, stretched

MASTER = bytes(range(32))
ID, SALT = write_base64(b"the vault's id.."), b"the salt of the vault, 32 bytes."
BOUND = {"name": "NAME", "version": "1-00000000", "changed": "2026-01-02T03:04:05Z"}

KEY_ID = "NqkZri7pZNp05Yiu2eTReQ"
MAC = "613e6490a50efbc1c779d4bde6659877b4d08115dd6d21acfd5af2a1798b17ad"
SEALED = (
    "b51c3d47de787e5edef6ac27cc2fba32ba21ae943e307d5419ab43e157e2aef1b071cd236126522fddf9b884c4b0b96d6fc7"
    "700cb50163429c081feeb7bef59c6ff0bde2292381a58f328be09b49f28f4ef1962b40b7980f517875e5"
)
STRETCHED = "bd8428ff1d403119c3460f058457a096f6220b00b8e6ffed6374104343b5f7ec"


def sealing_of(master: bytes = MASTER, id: str = ID, salt: bytes = SALT) -> Sealing:
    return Sealing(master, id=id, salt=salt)


@given(st.binary(max_size=300))
def test_what_was_sealed_opens(value: bytes) -> None:
    assert sealing_of().open(sealing_of().seal(value, **BOUND), **BOUND) == value


@pytest.mark.parametrize("length", [0, 1, 62, 63, 64, 65, 127, 128])
def test_the_length_shows_no_more_than_a_multiple_of_64(length: int) -> None:
    sealed = sealing_of().seal(b"\x80" * length, **BOUND)
    assert (len(sealed) - NONCE - 16) % BLOCK == 0
    assert len(sealed) - NONCE - 16 == (length // BLOCK + 1) * BLOCK
    assert sealing_of().open(sealed, **BOUND) == b"\x80" * length


@pytest.mark.parametrize("part", ["name", "version", "changed"])
def test_a_sealed_value_belongs_to_its_name_version_and_time(part: str) -> None:
    sealed = sealing_of().seal(b"value", **BOUND)
    with pytest.raises(Broken):
        sealing_of().open(sealed, **{**BOUND, part: BOUND[part] + "x"})


def test_parts_that_are_the_same_text_together_are_not_the_same() -> None:
    sealed = sealing_of().seal(b"value", name="AB", version="C", changed="D")
    with pytest.raises(Broken):
        sealing_of().open(sealed, name="A", version="BC", changed="D")


@pytest.mark.parametrize(
    "other",
    [{"master": bytes(32)}, {"id": write_base64(b"another vault id")}, {"salt": b"x" * 32}],
    ids=["key", "vault", "salt"],
)
def test_a_sealed_value_belongs_to_its_key_vault_and_salt(other: dict[str, Any]) -> None:
    sealed = sealing_of().seal(b"value", **BOUND)
    with pytest.raises(Broken):
        sealing_of(**other).open(sealed, **BOUND)
    assert sealing_of(**other).key_id != sealing_of().key_id
    assert sealing_of(**other).mac(b"text") != sealing_of().mac(b"text")


def test_no_bit_of_a_sealed_value_can_be_changed() -> None:
    sealed = sealing_of().seal(b"value", **BOUND)
    for at in range(len(sealed)):
        for bit in range(8):
            with pytest.raises(Broken):
                sealing_of().open(sealed[:at] + bytes([sealed[at] ^ 1 << bit]) + sealed[at + 1 :], **BOUND)


@pytest.mark.parametrize("length", range(30))
def test_a_sealed_value_that_is_too_short_is_broken(length: int) -> None:
    with pytest.raises(Broken):
        sealing_of().open(b"x" * length, **BOUND)


def test_what_was_padded_otherwise_is_broken() -> None:
    one = sealing_of()
    nonce = b"n" * NONCE
    for padded in (b"", b"\0" * 64, b"value without a mark"):
        with pytest.raises(Broken):
            one.open(nonce + one._entries.encrypt(nonce, padded, one._bound(**BOUND)), **BOUND)


def test_the_same_value_is_sealed_otherwise_each_time() -> None:
    assert len({sealing_of().seal(b"value", **BOUND) for _ in range(100)}) == 100


def test_nothing_is_shown() -> None:
    assert repr(sealing_of()) == f"Sealing({sealing_of().key_id})"


def test_the_header_names_the_key_that_fits() -> None:
    header = Header(ID, SALT, sealing_of().key_id)
    assert Sealing.of(MASTER, header).fits(header)
    assert not Sealing.of(bytes(32), header).fits(header)


def test_the_format_is_the_one_that_older_vaults_have() -> None:
    one = sealing_of()
    assert one.key_id == KEY_ID
    assert one.mac(b"the text").hex() == MAC
    assert one.open(bytes.fromhex(SEALED), **BOUND) == b"a value from before"
    assert stretched("correct horse battery staple", SALT, Scrypt(15, 8, 1)).hex() == STRETCHED


def test_the_keys_are_those_of_rfc_5869() -> None:
    import hmac

    def derived(purpose: bytes) -> bytes:
        parts = (b"pywatt-vault 1", purpose, ID.encode())
        info = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(hmac.digest(SALT, MASTER, "sha256"), info + b"\x01", "sha256")

    assert sealing_of().key_id == write_base64(derived(b"key id")[:16])
    assert sealing_of().mac(b"text") == hmac.digest(derived(b"seal"), b"text", "sha256")


def test_a_passphrase_is_the_same_however_its_letters_are_composed() -> None:
    cost = Scrypt(15, 8, 1)
    assert stretched("Schl\u00fcssel f\u00fcr alle", SALT, cost) == stretched("Schlu\u0308ssel fu\u0308r alle", SALT, cost)


def test_a_passphrase_of_a_variable_that_is_not_utf8_is_one_too() -> None:
    assert len(stretched("pass\udcffphrase", SALT, Scrypt(15, 8, 1))) == 32


def test_a_cost_that_no_vault_has_is_not_paid() -> None:
    with pytest.raises(ValueError, match="a cost that no vault has"):
        stretched("correct horse battery staple", SALT, Scrypt(30, 8, 1))


def test_too_little_memory_is_told_with_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(**options: object) -> object:
        raise MemoryError

    monkeypatch.setattr(sealing, "ScryptDerivation", starved)
    with pytest.raises(SecretError, match="not enough memory to make a key of the passphrase: 128 MiB are needed"):
        stretched("correct horse battery staple", SALT, Scrypt())
