"""Find the servers that tests and benchmarks run against; fetch those that this machine lacks.

``python -m tools.test_servers fetch [NAME …]`` looks at the variable that names a binary (``PYWATT_NGINX``), at PATH, and at
the private cache; what is in none of them is fetched with ``apt-get download`` and unpacked with ``dpkg -x`` into the
cache. Nothing is installed into the system, no service is started, and root is not needed. ``… path NAME`` prints where one is.

The cache is a folder that every user may traverse, outside any home, because servers started by root run as ``nobody``.
``PYWATT_TEST_CACHE`` names another one. ``PYWATT_TEST_REQUIRE=1`` makes a missing server a failure instead of a skipped test.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE = 300
"""Seconds that one run of apt-get or dpkg may take."""

VERSION = {"memcached": "-V", "postgres": "-V", "initdb": "-V"}
"""What makes a program say its version and end, where that is not ``-v``."""

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where servers live that an ordinary user's PATH does not show."""

SYSTEM_LISTS = Path("/var/lib/apt/lists")
"""Where the machine keeps the lists of packages; images without them are common."""

LIBRARY_FOLDERS = ("lib", "lib/*-linux-*", "usr/lib", "usr/lib/*-linux-*")
"""Where packages keep the libraries that the loader looks for."""


class Missing(Exception):
    """A server is not on this machine and could not be fetched; the text says why and which variable to set."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server: the packages that may hold it, the first that does wins, and where in them its binary stands."""

    packages: tuple[str, ...]
    pattern: str
    companions: tuple[str, ...] = ()
    """Programs beside the binary that are needed too."""

    @property
    def binary(self) -> str:
        return self.pattern.rpartition("/")[2]


SERVERS = {
    "mariadbd": Server(packages=("mariadb-server-core", "mariadb-server-core-10.11"), pattern="usr/sbin/mariadbd"),
    "memcached": Server(packages=("memcached",), pattern="usr/bin/memcached"),
    "nats-server": Server(packages=("nats-server",), pattern="usr/*bin/nats-server"),
    "nginx": Server(packages=("nginx", "nginx-core", "nginx-light"), pattern="usr/sbin/nginx"),
    "postgres": Server(
        packages=("postgresql-15", "postgresql-16", "postgresql-17", "postgresql-18", "postgresql-14"),
        pattern="usr/lib/postgresql/*/bin/postgres",
        companions=("initdb",),
    ),
    "redis-server": Server(packages=("redis-server",), pattern="usr/bin/redis-server"),
    "wrk": Server(packages=("wrk",), pattern="usr/bin/wrk"),
}


def variable(name: str) -> str:
    """The environment variable that names the binary of the server `name`."""
    return f"PYWATT_{name.upper().replace('-', '_')}"


def required() -> bool:
    """Whether a missing server is a failure."""
    return os.environ.get("PYWATT_TEST_REQUIRE") == "1"


def find(name: str) -> Path | None:
    """The binary of the server `name` on this machine, without fetching. Raises `Missing` where its variable names no program."""
    named = os.environ.get(variable(name))
    if named:
        if not os.access(named, os.X_OK) or not Path(named).is_file():
            raise Missing(f"{variable(name)} names {named}, which is not a program that this user may run")
        return Path(named)
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS])
    on_path = shutil.which(SERVERS[name].binary, path=path)
    if on_path:
        return Path(on_path)
    wrapper = cache_folder() / "bin" / SERVERS[name].binary
    return wrapper if wrapper.exists() else None


def obtain(name: str) -> Path:
    """The binary of the server `name`, fetched where need be. Raises `Missing`."""
    found = find(name)
    if found is not None:
        return found
    with locked_cache() as cache:
        wrapper = cache / "bin" / SERVERS[name].binary
        return wrapper if wrapper.exists() else fetch(name, cache)


def root_of(name: str) -> Path:
    """What ``/`` is for the files that came with the server `name`: the system's own, or the folder that it was unpacked into."""
    found = find(name)
    return cache_folder() / name if found is not None and found.is_relative_to(cache_folder()) else Path("/")


def companion(name: str, program: str) -> Path:
    """A program that came with the server `name`. Raises `Missing` where there is none."""
    beside = obtain(name).resolve().parent / program
    if beside.exists():
        return beside
    raise Missing(f"{program} is not beside {beside.parent / SERVERS[name].binary}: set {variable(name)} to one that has it")


def cache_folder() -> Path:
    """The cache of this user and of this release of the operating system; it need not exist."""
    top = os.environ.get("PYWATT_TEST_CACHE") or f"/var/tmp/pywatt-test-servers-{os.getuid()}"
    return Path(top) / release()


def release() -> str:
    """The operating system's release and the machine's kind, for example ``debian-12-x86_64``: libraries fit only the same."""
    try:
        about = platform.freedesktop_os_release()
    except OSError:
        about = {}
    return "-".join([about.get("ID", sys.platform), about.get("VERSION_ID", "unknown"), platform.machine()])


@contextmanager
def locked_cache() -> Iterator[Path]:
    """The cache, made if need be, for this process alone. Raises `Missing` where somebody else could have written to it."""
    cache = cache_folder()
    top = cache.parent
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o755)
        about = top.lstat()
    except OSError as error:
        raise Missing(f"the cache {top} cannot be made: {error.strerror}; PYWATT_TEST_CACHE names another folder") from error
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise Missing(f"the cache {top} is not a folder that only this user may write to; PYWATT_TEST_CACHE names another one")
    for folder in (top, cache):
        folder.chmod(0o755)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def fetch(name: str, cache: Path) -> Path:
    """Download and unpack the server `name`, and return the wrapper that runs it with its own libraries. Raises `Missing`."""
    reasons = []
    for package in SERVERS[name].packages:
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            try:
                unpacked = unpack(download(package, Path(scratch), cache), Path(scratch) / "unpacked")
                return put_in_place(name, unpacked, cache)
            except Missing as error:
                reasons.append(f"{package}: {error}")
    raise Missing(f"{name} is not on PATH and could not be fetched ({'; '.join(reasons)}): set {variable(name)} to its binary")


def download(package: str, folder: Path, cache: Path) -> list[Path]:
    """The package and what it depends on and this machine lacks, as files in `folder`. Raises `Missing`."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Missing("this machine has no apt-get and dpkg")
    if any(SYSTEM_LISTS.glob("*_Packages*")):
        wanted = resolve(package)
        try:
            apt("download", *wanted, folder=folder)
        except Missing:  # the machine's lists are so old that the archive has moved on
            download_with_own_lists(package, folder, cache)
    else:
        download_with_own_lists(package, folder, cache)
    return sorted(folder.glob("*.deb"))


def download_with_own_lists(package: str, folder: Path, cache: Path) -> None:
    """Download with lists fetched into the cache, for machines without or with old ones. Raises `Missing`."""
    lists = own_lists(cache)
    apt("download", *resolve(package, lists), options=lists, folder=folder)


def resolve(package: str, options: tuple[str, ...] = ()) -> list[str]:
    """``name=version`` of everything that installing `package` would bring."""
    listed = apt("install", "--print-uris", "--reinstall", "--no-install-recommends", "-y", package, options=options)
    names = re.findall(r"^'[^']*' (\S+)_(\S+)_\w+\.deb ", listed, re.MULTILINE)
    if not names:
        raise Missing("apt-get knows no file of it")
    return [f"{found}={unquote(version)}" for found, version in names]


def own_lists(cache: Path) -> tuple[str, ...]:
    """Fetch the archive's lists into the cache; the options that use them. Raises `Missing`."""
    lists, archives = cache / "lists", cache / "archives"
    for folder in (lists, archives):
        (folder / "partial").mkdir(parents=True, exist_ok=True)
    options = ("-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={archives}")
    apt("update", options=options)
    return options


def apt(*arguments: str, options: tuple[str, ...] = (), folder: Path | None = None) -> str:
    """Run ``apt-get`` in `folder` and return what it prints. Raises `Missing` with its last line."""
    return output(["apt-get", "-qq", "-o", "Debug::NoLocking=1", *options, *arguments], folder)


def unpack(packages: list[Path], folder: Path) -> Path:
    """Unpack `packages` into `folder`. Raises `Missing`."""
    folder.mkdir()
    for package in packages:
        output(["dpkg", "-x", str(package), str(folder)])
    return folder


def output(command: list[str], folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from error
    if done.returncode:
        raise Missing((done.stderr.strip() or done.stdout.strip() or f"{command[0]} ended with {done.returncode}").splitlines()[-1])
    return done.stdout


def put_in_place(name: str, unpacked: Path, cache: Path) -> Path:
    """Move the unpacked files to their place and write the wrapper. Raises `Missing` where the binary is absent or does not load."""
    server = SERVERS[name]
    if not any(path.is_file() for path in unpacked.glob(server.pattern)):
        raise Missing(f"the package holds no {server.pattern}")
    home = cache / name
    if home.exists():
        shutil.rmtree(home)
    unpacked.rename(home)
    home.chmod(0o755)
    binary = sorted(home.glob(server.pattern))[-1]
    folders = sorted({str(library.parent) for folder in LIBRARY_FOLDERS for library in home.glob(f"{folder}/*.so*")})
    for program in server.companions:
        wrap(binary.parent / program, folders, cache)
    return wrap(binary, folders, cache)


def wrap(binary: Path, folders: list[str], cache: Path) -> Path:
    """Write the wrapper that runs `binary` with the libraries in `folders`. Raises `Missing` where it does not start."""
    wrapper = cache / "bin" / binary.name
    wrapper.parent.mkdir(exist_ok=True)
    draft = wrapper.with_suffix(".draft")
    libraries = f'export LD_LIBRARY_PATH="{":".join(folders)}"\n' if folders else ""
    draft.write_text(f'#!/bin/sh\n{libraries}exec "{binary}" "$@"\n', encoding="utf-8")
    draft.chmod(0o755)
    loaded = subprocess.run(
        [draft, VERSION.get(binary.name, "-v")], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    if loaded.returncode in {126, 127}:
        draft.unlink()
        raise Missing(f"{binary} does not start: {loaded.stderr.strip()}")
    draft.replace(wrapper)
    return wrapper


def main(arguments: list[str]) -> int:
    verb, *names = arguments or ["fetch"]
    unknown = [name for name in names if name not in SERVERS]
    if verb not in {"fetch", "path"} or unknown or (verb == "path" and len(names) != 1):
        print(f"usage: test_servers fetch [NAME ...] | path NAME; the names are {', '.join(SERVERS)}", file=sys.stderr)
        return 2
    missing = False
    for name in names or SERVERS:
        try:
            path = obtain(name)
            print(path if verb == "path" else f"{name}: {path}", flush=True)
        except Missing as error:
            missing = True
            print(f"{name}: {error}", file=sys.stderr)
    return 1 if missing and (required() or verb == "path") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
