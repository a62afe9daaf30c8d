"""The text of a vault: what it is, and everything that it may not be."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import SecretError
from pywatt_core.testing import assert_no_secret_in
from pywatt_vault import document
from pywatt_vault.document import Entry, Header, Scrypt, parse, read_base64, render, seal_line, write_base64

HEADER = Header(write_base64(b"i" * 16), b"s" * 32, write_base64(b"k" * 16))
ENTRIES = {
    "B_SECOND": Entry("2-0123abcd", "2026-01-02T03:04:05Z", b"sealed bytes of the second"),
    "A.dotted": Entry("1-89abcdef", "2025-12-31T23:59:59Z", b"sealed bytes of the first"),
}
TEXT = render(HEADER, ENTRIES) + seal_line(b"m" * 32)
ASCII = st.characters(codec="ascii")
names = st.from_regex(re.compile(document.NAME), fullmatch=True, alphabet=ASCII)
entries = st.builds(
    Entry,
    st.from_regex(r"[0-9]{1,9}-[0-9a-f]{8}", fullmatch=True, alphabet=ASCII),
    st.datetimes().map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0")),
    st.binary(min_size=1, max_size=100),
)


def wrong(text: str | bytes) -> str:
    """What is said about this text."""
    with pytest.raises(SecretError) as raised:
        parse(text.encode() if isinstance(text, str) else text, "x.vault")
    assert_no_secret_in(str(raised.value), secrets=["sealed bytes of the first", "m" * 32])
    return str(raised.value)


def test_what_was_written_is_read() -> None:
    found = parse(TEXT.encode(), "x.vault")
    assert (found.header, dict(found.entries), found.mac) == (HEADER, ENTRIES, b"m" * 32)
    assert found.signed + seal_line(b"m" * 32).encode() == TEXT.encode()


def test_a_passphrase_brings_its_cost() -> None:
    header = HEADER._replace(scrypt=Scrypt(18, 8, 2))
    assert parse((render(header, {}) + seal_line(b"m" * 32)).encode(), "x.vault").header == header


@given(st.dictionaries(names, entries, max_size=5))
def test_any_secrets_come_back(secrets: dict[str, Entry]) -> None:
    text = render(HEADER, secrets) + seal_line(b"\xff" * 32)
    assert dict(parse(text.encode(), "x.vault").entries) == secrets


@given(st.binary(max_size=300))
def test_rubbish_is_refused_with_the_name_of_the_file(data: bytes) -> None:
    assert wrong(data).startswith("x.vault:")


@given(st.data())
def test_a_vault_with_a_piece_replaced_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(TEXT)))
    end = data.draw(st.integers(start, len(TEXT)))
    changed = TEXT[:start].encode() + data.draw(st.binary(max_size=20)) + TEXT[end:].encode()
    try:
        parse(changed, "x.vault")
    except SecretError as error:
        assert str(error).startswith("x.vault:")


def test_it_is_toml_with_a_line_for_each_secret_in_order() -> None:
    table = tomllib.loads(TEXT)
    assert list(table["secrets"]) == ["A.dotted", "B_SECOND"]
    assert table["secrets"]["B_SECOND"]["version"] == "2-0123abcd"
    assert table["vault"]["version"] == 1
    assert sum("value = " in line for line in TEXT.splitlines()) == 2


def test_lines_as_git_writes_them_on_windows_are_read() -> None:
    found = parse(TEXT.replace("\n", "\r\n").encode(), "x.vault")
    assert found.signed == parse(TEXT.encode(), "x.vault").signed


def test_one_other_end_of_line_is_a_change() -> None:
    assert "changed by hand or damaged" in wrong(TEXT.replace("[vault]\n", "[vault]\r\n", 1))


@pytest.mark.parametrize(
    ("mark", "line"),
    [("<<<<<<< HEAD", 12), ("=======", 12), (">>>>>>> feature", 12), ("||||||| base", 12)],
)
def test_marks_of_a_merge_are_named_with_a_way_out(mark: str, line: int) -> None:
    lines = TEXT.split("\n")
    said = wrong("\n".join([*lines[: line - 1], mark, *lines[line - 1 :]]))
    assert said == (
        f"x.vault:{line}: a merge was not finished: both sides changed the vault, and texts cannot be merged under a seal. Take one "
        "side whole (git checkout --ours, or --theirs), then set again what the other side had changed"
    )


@pytest.mark.parametrize("length", range(0, len(TEXT), 7))
def test_a_vault_that_was_cut_short_is_refused(length: int) -> None:
    wrong(TEXT[:length])


@pytest.mark.parametrize("text", [TEXT[:-1], TEXT + "\n", TEXT + "more\n", TEXT + TEXT, "\n" + TEXT, TEXT.replace("[seal]\n", "")])
def test_too_little_or_too_much_is_refused(text: str) -> None:
    assert re.match(r"x\.vault(:\d+)?: .*(changed by hand or damaged|cut short)", wrong(text))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version = 1\n", "version = 2\n", "x.vault:5: says format 2, and this pywatt-vault reads format 1"),
        ("version = 1\n", "version = x\n", "x.vault:5: is not version, which belongs here"),
        ("[vault]", "[vaults]", "x.vault:4: is not [vault], which belongs here"),
        ("[secrets]", "[other]", "is not [secrets], which belongs here"),
        ("B_SECOND", "A.dotted", "is not a sealed secret"),
        ("B_SECOND = ", '"A.dotted" = ', "x.vault:12: has A.dotted for a second time"),
        ("B_SECOND", "1_BAD", "x.vault:12: is not a sealed secret"),
        ("B_SECOND", "x" * 129, "x.vault:12: is not a sealed secret"),
        ("2-0123abcd", "2-0123ABCD", "x.vault:12: is not a sealed secret"),
        ("2026-01-02T", "2026-01-02 ", "x.vault:12: is not a sealed secret"),
        ('id = "', 'id = "A', "x.vault:6: is not the id of a vault"),
        ('key = "', 'key = "AAAA', "x.vault:8: is not the key of a vault"),
        ('mac = "', 'mac = "A', "is not the seal that belongs here"),
        ("[seal]\n", "\n[seal]\n", "is not [seal], which belongs here"),
    ],
)
def test_what_does_not_belong_is_told_with_its_line(old: str, new: str, said: str) -> None:
    assert old in TEXT
    assert said in wrong(TEXT.replace(old, new, 1))


@pytest.mark.parametrize(
    "cost", ["ln=14,r=8,p=1", "ln=20,r=8,p=1", "ln=99,r=8,p=1", "ln=17,r=99,p=1", "ln=17,r=8,p=0", "ln=17,r=8,p=5", "ln=19,r=8,p=2"]
)
def test_a_cost_that_would_stop_the_reader_or_help_a_guesser_is_refused(cost: str) -> None:
    text = render(HEADER._replace(scrypt=Scrypt()), {}).replace("ln=17,r=8,p=1", cost)
    assert "x.vault:9: asks for a cost that no vault has" in wrong(text + seal_line(b"m" * 32))


def test_a_vault_has_a_largest_size_and_number_of_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "ENTRY_LIMIT", 1)
    assert "is one more than the 1 secrets that a vault may have" in wrong(TEXT)
    assert "larger than a vault may be (16 MiB)" in wrong(b"#" * (document.TEXT_LIMIT + 1))


def test_other_bytes_than_ascii_are_told_with_their_line() -> None:
    assert wrong(TEXT.replace("[secrets]", "[sécrets]")).startswith("x.vault:10: not a vault, or damaged: other bytes than ASCII")


@given(st.binary(max_size=50))
def test_base64_comes_back(data: bytes) -> None:
    assert read_base64(write_base64(data)) == data


@pytest.mark.parametrize("text", ["A", "AB", "AA=", "AA==", "A+A/", "A A", "AAAAA", "ÄAAA"])
def test_base64_has_one_spelling(text: str) -> None:
    with pytest.raises(ValueError, match="not|only ASCII"):
        read_base64(text)
