"""A module without an orchestrator: from a terminal, from a unit with a socket, with the environment's secrets."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pywatt_core.testing import fetch
from pywatt_core.transports.tcp import bind_tcp

SMALL = Path(__file__).parent / "modules" / "small.py"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PYWATT", "LISTEN_"))}


@contextlib.asynccontextmanager
async def alone(*, environ=None, cwd=None, **arguments):
    """``python small.py`` with standard input closed; yields the process, its lines so far, and the address it serves."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SMALL),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**CLEAN, "PYWATT__MODULE__LISTEN": "127.0.0.1:0", **(environ or {})},
        cwd=cwd,
        **arguments,
    )
    lines: list[str] = []
    address = None
    try:
        async with asyncio.timeout(30):
            while address is None and (line := await process.stderr.readline()):
                lines.append(line.decode())
                found = re.search(r"serving.*address\W+(\S+?)[\"'\s]", line.decode() + " ")
                address = found[1] if found else None
        yield process, lines, address
    finally:
        if process.returncode is None:
            process.kill()
        rest = await process.stderr.read()
        lines.append(rest.decode())
        await process.wait()


async def test_it_serves_on_its_own_and_stops_at_ctrl_c(tmp_path):
    async with alone(cwd=tmp_path) as (process, lines, address):
        assert address, lines
        assert (await fetch(address, "GET", "/hello?name=ada")).text == "hello ada"
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert "Traceback" not in "".join(lines)


async def test_standard_output_stays_the_users(tmp_path):
    async with alone(cwd=tmp_path) as (process, _lines, address):
        await fetch(address, "GET", "/hello")
        process.send_signal(signal.SIGTERM)
        stdout = await process.stdout.read()
        assert await process.wait() == 0
    assert b"written to descriptor 1 while importing" in stdout
    assert b"a print while serving" in stdout


async def test_secrets_come_from_the_environment_and_then_from_the_env_file(tmp_path):
    (tmp_path / "pywatt.toml").write_text("[module]\ndrain = 1\n")
    (tmp_path / ".env").write_text("SECOND=from-the-env-file\nFIRST=shadowed\n")
    async with alone(cwd=tmp_path, environ={"SMALL_SECRETS": "FIRST SECOND", "FIRST": "from-the-environment"}) as (
        _process,
        lines,
        address,
    ):
        assert address, lines
        about = (await fetch(address, "GET", "/about")).json()
        assert about["user_state"]["secrets"] == ["from-the-environment", "from-the-env-file"]


async def test_a_missing_secret_says_where_to_put_it(tmp_path):
    async with alone(cwd=tmp_path, environ={"SMALL_SECRETS": "NOWHERE"}) as (process, lines, _address):
        assert await process.wait() == 5
    assert "no source knows the secret 'NOWHERE'" in "".join(lines)
    assert "Traceback" not in "".join(lines)


async def test_the_configuration_file_beside_the_module_counts(tmp_path):
    (tmp_path / "pywatt.toml").write_text('[databases.main]\nuse = "sqlite"\npath = "here.db"\n')
    async with alone(cwd=tmp_path) as (_process, lines, address):
        assert address, lines
        assert (await fetch(address, "POST", "/count")).json() == {"hits": 1}
    assert (tmp_path / "here.db").exists()


async def test_a_port_in_use_is_named_and_ends_with_4(tmp_path):
    with bind_tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        async with alone(cwd=tmp_path, environ={"PYWATT__MODULE__LISTEN": f"127.0.0.1:{port}"}) as (process, lines, _address):
            assert await process.wait() == 4
    assert f"127.0.0.1:{port} is in use" in "".join(lines)


@pytest.mark.parametrize("family", ["tcp", "unix"])
async def test_systemd_hands_over_a_socket(family, tmp_path):
    if family == "tcp":
        listener = bind_tcp("127.0.0.1", 0)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    else:
        address = str(tmp_path / "unit.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen()
    # Between fork and exec, as systemd does it: descriptor 3, and LISTEN_PID naming the new process.
    starter = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
        "os.execv(sys.executable, [sys.executable, sys.argv[2]])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        starter,
        str(listener.fileno()),
        str(SMALL),
        env=CLEAN,
        cwd=tmp_path,
        pass_fds=[listener.fileno()],
        stderr=subprocess.PIPE,
    )
    try:
        assert (await fetch(address, "GET", "/hello?name=unit")).text == "hello unit"
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        listener.close()
