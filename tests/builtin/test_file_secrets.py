"""Files as sources of secrets: what is read, what is refused, and that no error shows what stands in them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.builtin.file_secrets import LONGEST, content, open_dotenv, open_file, open_to_read, parse_table
from pywatt_core.builtin.secret_options import DotenvOptions, FileOptions
from pywatt_core.config import check_section
from pywatt_core.errors import ConfigError, SecretError
from pywatt_core.interfaces import Context
from pywatt_core.testing import assert_no_secret_in
from pywatt_core.testing.contracts import SecretSourceContract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pywatt_core.testing.contracts.secret_source import OpenWith, Replace

POLL = 0.02


def context(folder: Path) -> Context:
    return Context(module_id="test", section="secrets.test", folder=folder)


def as_dotenv(secrets: Mapping[str, str]) -> str:
    escaped = {name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r") for name, value in secrets.items()}
    return "".join(f'{name}="{value}"\n' for name, value in escaped.items())


def as_table(secrets: Mapping[str, str]) -> str:
    return "".join(f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in secrets.items())


def write(file: Path, text: str) -> None:
    """In its place, as an editor does that keeps the file."""
    file.touch(0o600)
    file.write_text(text, encoding="utf-8")


def rename(file: Path, text: str) -> None:
    """Beside it and moved there, as tools do that are careful."""
    write(file.with_name("new"), text)
    file.with_name("new").replace(file)


def recreate(file: Path, text: str) -> None:
    """Deleted and written anew."""
    file.unlink(missing_ok=True)
    write(file, text)


def relink(file: Path, text: str) -> None:
    """A link that leads to another file each time."""
    target = file.with_name(f"{file.name}.{sum(1 for _ in file.parent.iterdir())}")
    write(target, text)
    file.with_name("link").symlink_to(target.name)
    file.with_name("link").replace(file)


class Dotenv(SecretSourceContract):
    lists = watches = True
    write = staticmethod(write)

    @pytest.fixture
    def open_with(self, tmp_path: Path) -> OpenWith:
        def opened(secrets: Mapping[str, str]) -> Any:
            type(self).write(tmp_path / ".env", as_dotenv(secrets))
            return open_dotenv(DotenvOptions(poll=POLL), context(tmp_path))

        return opened

    @pytest.fixture
    def replace(self, tmp_path: Path) -> Replace:
        return lambda _source, secrets: type(self).write(tmp_path / ".env", as_dotenv(secrets))


class TestDotenv(Dotenv):
    """Written in its place."""


class TestDotenvRecreated(Dotenv):
    write = staticmethod(recreate)


class File(SecretSourceContract):
    lists = watches = True
    write = staticmethod(write)

    @pytest.fixture
    def open_with(self, tmp_path: Path) -> OpenWith:
        def opened(secrets: Mapping[str, str]) -> Any:
            type(self).write(tmp_path / "secrets.toml", as_table(secrets))
            return open_file(FileOptions(path="secrets.toml", poll=POLL), context(tmp_path))

        return opened

    @pytest.fixture
    def replace(self, tmp_path: Path) -> Replace:
        return lambda _source, secrets: type(self).write(tmp_path / "secrets.toml", as_table(secrets))


class TestFile(File):
    """Written in its place."""


class TestFileRenamed(File):
    write = staticmethod(rename)


class TestFileRelinked(File):
    write = staticmethod(relink)


async def opened(manager: Any) -> Any:
    async with manager as source:
        return source


async def test_a_file_that_is_not_there_is_empty_only_where_that_is_allowed(tmp_path: Path) -> None:
    for source in (
        await opened(open_dotenv(DotenvOptions(required=False), context(tmp_path))),
        await opened(open_file(FileOptions(path="gone.toml", required=False), context(tmp_path))),
    ):
        assert await source.get("ANY") is None
        assert await source.names() == frozenset()
    with pytest.raises(SecretError, match=r"/\.env: there is no such file of secrets"):
        await opened(open_dotenv(DotenvOptions(), context(tmp_path)))
    with pytest.raises(SecretError, match=r"/gone\.toml: there is no such file of secrets"):
        await opened(open_file(FileOptions(path="gone.toml"), context(tmp_path)))


async def test_a_path_is_relative_to_the_folder_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.env").write_text("A=b")
    source = await opened(open_dotenv(DotenvOptions(path="sub/x.env"), context(tmp_path)))
    assert await source.get("A") == "b"
    assert source.place("A") == str(tmp_path / "sub" / "x.env")
    absolute = await opened(open_dotenv(DotenvOptions(path=str(tmp_path / "sub" / "x.env")), context(tmp_path / "elsewhere")))
    assert await absolute.get("A") == "b"


async def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secrets.toml"
    file.write_text('A = "b"\n')
    file.chmod(0o640)
    with pytest.raises(SecretError, match=r"others may read it \(mode 640\): chmod 600 .*, or set any_mode = true"):
        await opened(open_file(FileOptions(path="secrets.toml"), context(tmp_path)))
    source = await opened(open_file(FileOptions(path="secrets.toml", any_mode=True), context(tmp_path)))
    assert await source.get("A") == "b"


@pytest.mark.parametrize(
    ("content", "error", "complaint"),
    [
        (b"A = file-canary\n", ConfigError, r"secrets.toml:1: not valid TOML. A file of secrets is a flat table"),
        (b'A = "x"\nB = "file-canary\n', ConfigError, r"secrets.toml:2: not valid TOML"),
        (b'A = """\nfile-canary', ConfigError, r"secrets.toml:2: not valid TOML"),
        (b'A = "file-canary"\nA = "file-canary"\n', ConfigError, r"secrets.toml:2: not valid TOML"),
        (b'\n[table]\nA = "file-canary"\n', ConfigError, r"secrets.toml:2: table is not text"),
        (b'X = "file-canary"\n[[table]]\nA = "file-canary"\n', ConfigError, r"secrets.toml:\d: table is not text"),
        (b'X = "file-canary"\n\nA.b = "file-canary"\n', ConfigError, r"secrets.toml:3: A is not text"),
        (b'X = "file-canary"\nA = 5\n', ConfigError, r"secrets.toml:2: A is not text"),
        (b'"A\\n" = 5\n', ConfigError, r"secrets.toml:1: 'A\\n' is not text"),
        (b"A = " + b"1" * 5000, ConfigError, r"secrets.toml:\d: not valid TOML"),
        (b"A = " + b"[" * 5000, ConfigError, r"secrets.toml:1: not valid TOML"),
        (b'A = "x"\nB = "\xff-file-canary"\n', SecretError, r"secrets.toml:2: not UTF-8"),
        (b'A = "file-canary"\n#' + b"x" * LONGEST, SecretError, rf"secrets.toml: has more than {LONGEST} bytes"),
    ],
)
async def test_a_file_of_another_form_is_refused_without_its_values(
    tmp_path: Path, content: bytes, error: type[Exception], complaint: str
) -> None:
    (tmp_path / "secrets.toml").write_bytes(content)
    (tmp_path / "secrets.toml").chmod(0o600)
    content = b""
    with pytest.raises(error, match=complaint) as caught:
        await opened(open_file(FileOptions(path="secrets.toml"), context(tmp_path)))
    assert_no_secret_in(caught.value, secrets="file-canary")


@pytest.mark.parametrize(
    "line", ["file-canary", "A='file-canary", 'A="file-canary', "A='x' file-canary", "A=file-canary\0", "=file-canary"]
)
async def test_a_dotenv_file_of_another_form_is_refused_without_its_values(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"B=file-canary\n{line}\n")
    line = ""
    with pytest.raises(SecretError, match=r"/\.env:2: the line") as caught:
        await opened(open_dotenv(DotenvOptions(), context(tmp_path)))
    assert_no_secret_in(caught.value, secrets="file-canary")


async def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    (tmp_path / "secrets.toml").write_bytes(b'\xef\xbb\xbfA = "b"\r\nC = "d"\r\n')
    (tmp_path / "secrets.toml").chmod(0o600)
    source = await opened(open_file(FileOptions(path="secrets.toml"), context(tmp_path)))
    assert (await source.get("A"), await source.get("C")) == ("b", "d")


async def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"cannot be read \(Is a directory\)"):
        await opened(open_file(FileOptions(path="."), context(tmp_path)))
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(SecretError, match="is no regular file, so it cannot be read more than once"):
        await opened(open_file(FileOptions(path="pipe"), context(tmp_path)))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SecretError, match=r"cannot be read \(Too many levels of symbolic links\)"):
        await opened(open_dotenv(DotenvOptions(path="loop"), context(tmp_path)))
    with pytest.raises(SecretError, match=r"cannot be read \(File name too long\)"):
        await opened(open_dotenv(DotenvOptions(path="x" * 1000), context(tmp_path)))


def test_what_was_read_before_an_error_is_not_in_it(tmp_path: Path) -> None:
    class Failing:
        """A file whose second part is on a bad block."""

        def __init__(self, file: Any) -> None:
            self.file, self.reads = file, 0

        def fileno(self) -> int:
            return int(self.file.fileno())

        def read(self, size: int) -> bytes:
            self.reads += 1
            if self.reads == 2:
                raise OSError(errno.EIO, "Input/output error")
            return bytes(self.file.read(size))

    (tmp_path / "file").write_text("block-canary")
    with open_to_read(tmp_path / "file") as file:
        failing: Any = Failing(file)
        with pytest.raises(SecretError, match=r"file: cannot be read \(Input/output error\)") as caught:
            content(failing, tmp_path / "file")
    assert_no_secret_in(caught.value, secrets="block-canary")


def test_what_is_told_of_the_options_is_checked() -> None:
    for poll in (0.0, -1.0, float("nan"), float("inf"), 1e9):
        _, problems = check_section({"poll": poll}, DotenvOptions, "secrets.dotenv", str)
        assert [problem.message for problem in problems] == [f"poll is {poll}: between 0.01 and 86400 seconds are possible"]


@given(st.text(max_size=60))
def test_any_text_is_a_table_or_is_refused_with_its_line(text: str) -> None:
    try:
        table = parse_table(text, "secrets.toml")
    except ConfigError as error:
        assert str(error).startswith("secrets.toml:")
    else:
        assert all(isinstance(value, str) for value in table.values())


NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,5}\Z")


@given(st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=12), max_size=4))
def test_whatever_is_written_as_toml_comes_back(values: dict[str, str]) -> None:
    assert parse_table(as_table(values), "secrets.toml") == values
