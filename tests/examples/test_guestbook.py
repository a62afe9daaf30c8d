"""The main job, as a user sees it: `pywatt up` on the guestbook, through the front door, from start to Ctrl-C."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pywatt_core.testing import fetch


@pytest.fixture
def guestbook(example_of):
    return example_of("guestbook")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_two_applications_answer_behind_one_front_door_and_leave_nothing_behind(guestbook):
    async with guestbook.running() as up:
        assert (await up.get("/guestbook/entries")).json() == []
        written = await fetch(up.door, "POST", "/guestbook/entries", json_body={"name": "Ada", "message": "Hello"})
        assert written.status == 201
        entry = written.json()
        assert (await up.get("/guestbook/entries")).json() == [entry]
        assert (await up.get(f"/guestbook/entries/{entry['id']}")).json() == entry
        assert (await up.get("/guestbook/entries/unknown")).status == 404
        assert (await fetch(up.door, "POST", "/guestbook/entries", json_body={"name": ""})).status == 422

        greeting = (await up.get("/greeter/hello/ada")).json()
        assert greeting == {"greeting": "Hello, ada!", "signed": True, "signature": "Secret([REDACTED])"}

        index = await up.get("/", headers={"accept": "text/html"})
        assert "/guestbook/entries" in index.text
        assert "/greeter/hello/{name}" in index.text

        refused = await fetch(up.door, "DELETE", "/guestbook/entries")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
        assert (await up.get("/guestbook/nowhere")).status == 404
        assert (await up.get("/guestbook/health")).status == 404, "health stays inside"

        pids = up.processes()
        assert await up.interrupt() == 0
        assert not [pid for pid in pids.values() if alive(pid)]
        assert not list(Path(up.environ["XDG_RUNTIME_DIR"]).rglob("*.sock"))
        assert "violets-are-blue" not in up.output
        assert "Traceback" not in up.output


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def database(request):
    """The line of ``pywatt.toml`` that names a database, and where it is: an empty one on a real server."""
    if request.param == "sqlite":
        return 'main = { use = "sqlite", path = "elsewhere/book.db" }', ""
    line = f'main = {{ use = "{request.param}", url = "secret:DATABASE_URL" }}'
    if request.param == "postgres":
        port = request.getfixturevalue("postgres_server").port
        asyncio.run(make_postgres_database(port))
        return line, f"postgresql://pywatt:let-me-in@127.0.0.1:{port}/guestbook"
    port = request.getfixturevalue("mariadb_server").port
    asyncio.run(make_mariadb_database(port))
    return line, f"mysql://pywatt:let-me-in@127.0.0.1:{port}/guestbook"


async def make_postgres_database(port):
    import asyncpg

    connection = await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="postgres")
    await connection.execute("CREATE DATABASE guestbook")
    await connection.close()


async def make_mariadb_database(port):
    import asyncmy

    connection = await asyncmy.connect(host="127.0.0.1", port=port, user="pywatt", password="let-me-in")
    async with connection.cursor() as cursor:
        await cursor.execute("CREATE DATABASE guestbook CHARACTER SET utf8mb4")
    await connection.ensure_closed()


async def test_the_same_program_runs_on_three_databases_by_changing_one_line(database, guestbook):
    line, url = database
    file = guestbook.folder / "pywatt.toml"
    lines = file.read_text().splitlines()
    (place,) = [number for number, text in enumerate(lines) if text.startswith("main = ")]
    lines[place] = line
    file.write_text("\n".join(lines) + "\n")
    if url:
        guestbook.environ["DATABASE_URL"] = url
    async with guestbook.running() as up:
        assert (await up.get("/guestbook/entries")).json() == []
        texts = ["Hello", "Grüße, 世界 😀", "'; DROP TABLE entries; --", "100 % sure? :name"]
        entries = [
            (await fetch(up.door, "POST", "/guestbook/entries", json_body={"name": "Ada", "message": text})).json() for text in texts
        ]
        assert [entry["message"] for entry in entries] == texts
        assert (await up.get("/guestbook/entries")).json() == entries
        assert (await up.get(f"/guestbook/entries/{entries[1]['id']}")).json() == entries[1]
        assert (await up.get("/guestbook/entries/unknown")).status == 404
        assert await up.interrupt() == 0
        assert "let-me-in" not in up.output
        assert "Traceback" not in up.output
    guestbook.output = ""
    async with guestbook.running() as up:
        assert (await up.get("/guestbook/entries")).json() == entries


@pytest.mark.parametrize("victim", ["guestbook", "greeter"])
async def test_a_module_that_is_killed_is_replaced_while_the_other_serves_on(guestbook, victim):
    async with guestbook.running() as up:
        await fetch(up.door, "POST", "/guestbook/entries", json_body={"name": "Ada", "message": "Hello"})
        before = up.processes()
        os.kill(before[victim], signal.SIGKILL)
        other = "/greeter/hello/ada" if victim == "guestbook" else "/guestbook/entries"
        assert (await up.get(other)).status == 200
        path = "/guestbook/entries" if victim == "guestbook" else "/greeter/hello/ada"
        await up.until(lambda: up.ready().count(victim) == 2)
        assert (await up.get(path)).status == 200
        if victim == "guestbook":
            assert len((await up.get(path)).json()) == 1
        after = up.processes()
        assert after[victim] != before[victim]
        assert {name: pid for name, pid in after.items() if name != victim} == {name: pid for name, pid in before.items() if name != victim}


async def test_the_tools_beside_it_work(guestbook):
    async with guestbook.running() as up:
        table = up.pywatt("ps")
        assert table.returncode == 0, table.stderr
        assert "guestbook" in table.stdout
        assert "ready" in table.stdout
        before = up.processes()["greeter"]
        done = await asyncio.to_thread(up.pywatt, "restart", "greeter")
        assert done.returncode == 0, done.stderr
        assert up.processes()["greeter"] != before
        assert (await up.get("/greeter/hello/ada")).status == 200
        logs = await asyncio.to_thread(up.pywatt, "logs", "guestbook")
        assert "serving" in logs.stdout
        stopped = await asyncio.to_thread(up.pywatt, "stop")
        assert stopped.returncode == 0, stopped.stderr
        async with asyncio.timeout(guestbook.deadline):
            assert await up.process.wait() == 0


async def test_each_module_runs_alone_too(guestbook):
    for name, path, words in (("guestbook", "/entries", "[]"), ("greeter", "/hello/ada", "Hello, ada!")):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            f"{name}.py",
            cwd=guestbook.folder,
            env={
                **guestbook.clean,
                "PYWATT__MODULE__LISTEN": str(guestbook.folder / "alone.sock"),
                "PYWATT__DATABASES__MAIN__USE": "sqlite",
            },
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(guestbook.deadline):
                while line := await process.stderr.readline():
                    if b"serving" in line:
                        break
                assert words in (await fetch(str(guestbook.folder / "alone.sock"), "GET", path)).text
                process.terminate()
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
