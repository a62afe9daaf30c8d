"""Secrets that change in real modules: under an orchestrator, alone, and under one that is not PyWatt's."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pywatt_core.protocol.messages import Rotated, RotationAck, Secret
from pywatt_core.testing import ModuleRunner
from pywatt_core.transports.link import new_id

ROTATING = Path(__file__).parent / "modules" / "rotating.py"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PYWATT", "LISTEN_", "SECRET_"))}


async def answer(module, path):
    return (await module.orchestrator.http("GET", path)).json()["data"]


def main_at(name="PLACE"):
    return {"databases": {"main": {"use": "sqlite", "path": f"secret:{name}"}}}


async def test_everything_in_a_module_has_the_new_value_when_the_rotation_is_acknowledged(tmp_path):
    secrets = {"KEY": "key-before", "PLACE": str(tmp_path / "before.db")}
    async with ModuleRunner(ROTATING, config=main_at(), secrets=secrets, env={"ROTATING_SECRETS": "KEY"}) as module:
        assert await answer(module, "/place") == "before.db"
        acknowledgement = await module.orchestrator.rotate({"KEY": "key-after", "PLACE": str(tmp_path / "after.db")})
        assert (acknowledgement.status, acknowledgement.message) == ("success", None)
        assert await answer(module, "/place") == "after.db"
        assert (await answer(module, "/values"))["KEY"] == "key-after"
        assert await answer(module, "/given") == ["key-after"], "with rotate=True, what state_builder was given stays current"
        assert await answer(module, "/told") == [["KEY", "key-after"]]
        assert "key-after" not in module.stderr


@pytest.mark.parametrize("wrong", ["a value that a subscriber refuses", "a place that cannot be opened", "a secret that is gone"])
async def test_one_refusal_leaves_everything_as_it_was(tmp_path, wrong):
    secrets = {"KEY": "key-before", "OTHER": "other-before", "PLACE": str(tmp_path / "before.db")}
    async with ModuleRunner(ROTATING, config=main_at(), secrets=secrets, env={"ROTATING_SECRETS": "KEY OTHER"}) as module:
        values = {"KEY": "key-after", "OTHER": "other-after", "PLACE": str(tmp_path / "after.db")}
        gone = wrong == "a secret that is gone"
        if wrong == "a value that a subscriber refuses":
            values["OTHER"], said = "bad-value-of-other", "the subscriber told: [REDACTED] cannot be used"
        elif gone:
            module.orchestrator.secrets.clear()
            values, said = {"KEY": "key-after"}, "the orchestrator refused the secret 'OTHER': unknown secret"
        else:
            values["PLACE"], said = str(tmp_path), "databases.main: "
        module.orchestrator.secrets.update(values)
        acknowledgement = await rotate(module, ["KEY", "OTHER", *values])
        assert (acknowledgement.status, said in acknowledgement.message) == ("error", True), acknowledgement.message
        assert await answer(module, "/place") == "before.db"
        assert await answer(module, "/values") == secrets
        assert await answer(module, "/given") == ["key-before", "other-before"]
        expected = [["KEY", "key-after"], ["KEY", "key-before"]] if wrong == "a value that a subscriber refuses" else []
        assert await answer(module, "/told") == expected
        module.orchestrator.secrets.update({**secrets, "KEY": "key-at-last"})
        assert (await rotate(module, list(secrets))).status == "success"
        assert await answer(module, "/given") == ["key-at-last", "other-before"]
        assert "bad-value-of-other" not in module.stderr


async def rotate(module, names):
    """What `FakeOrchestrator.rotate` does, whatever the values of these secrets are now."""
    answer = await module.orchestrator.link.request(Rotated(keys=list(names), rotation_id=new_id()), timeout=20)
    assert isinstance(answer, RotationAck)
    return answer


async def test_without_rotate_the_values_that_were_handed_out_stay_and_everything_else_follows(tmp_path):
    env = {"ROTATING_SECRETS": "KEY", "ROTATING_NOT": "1"}
    async with ModuleRunner(
        ROTATING, config=main_at(), secrets={"KEY": "key-before", "PLACE": str(tmp_path / "before.db")}, env=env
    ) as module:
        acknowledgement = await module.orchestrator.rotate({"KEY": "key-after", "PLACE": str(tmp_path / "after.db")})
        assert acknowledgement.status == "success"
        assert await answer(module, "/given") == ["key-before"]
        assert (await answer(module, "/values"))["KEY"] == "key-after"
        assert await answer(module, "/place") == "after.db"


async def test_a_rotation_that_comes_while_the_module_starts_is_carried_out_when_it_has(tmp_path):
    secrets = {"KEY": "key-before", "PLACE": str(tmp_path / "before.db")}
    async with ModuleRunner(ROTATING, config=main_at(), secrets=secrets, env={"ROTATING_SECRETS": "KEY"}, announce=False) as module:
        orchestrator = module.orchestrator
        orchestrator.secrets["PLACE"] = str(tmp_path / "after.db")
        assert (await rotate(module, ["PLACE"])).status == "success"
        await orchestrator.announced()
        assert await answer(module, "/place") == "after.db"


async def test_a_value_that_is_pushed_reaches_whoever_depends_on_it(tmp_path):
    secrets = {"KEY": "key-before", "PLACE": str(tmp_path / "before.db")}
    async with ModuleRunner(ROTATING, config=main_at(), secrets=secrets, env={"ROTATING_SECRETS": "KEY"}) as module:
        await module.orchestrator.send(Secret(name="PLACE", value=str(tmp_path / "after.db")))
        async with asyncio.timeout(20):
            while await answer(module, "/place") != "after.db":
                await asyncio.sleep(0.02)
        await module.orchestrator.send(Secret(name="KEY", value="bad-value-that-is-pushed"))
        await module.until(lambda: "a pushed secret is not used" in module.stderr)
        assert (await answer(module, "/values"))["KEY"] == "key-before"


# ── alone ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def alone(folder, **environ):
    """The module without an orchestrator. `said(text)` waits for a line of its log."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROTATING.with_name("following.py")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**CLEAN, "PYWATT_STANDALONE": "1", "PYWATT__MODULE__LOG_FORMAT": "json", **environ},
        cwd=folder,
    )
    lines: list[str] = []

    async def said(text):
        async with asyncio.timeout(30):
            while not any(text in line for line in lines):
                line = await process.stderr.readline()
                assert line, "".join(lines)
                lines.append(line.decode())
        found = next(line for line in lines if text in line)
        del lines[: lines.index(found) + 1]
        return found

    try:
        yield process, said
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.stderr.read()
        await process.wait()


def write(folder, *lines):
    """As an editor does: a new file in the old one's place."""
    (folder / ".env.new").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / ".env.new").rename(folder / ".env")


def using(place, key):
    """What the module says, which is no secret in reverse."""
    return f"using {place[::-1]} and {key[::-1]}"


CONFIG = """
[secrets.dotenv]
poll = 0.02

[databases.main]
use = "sqlite"
path = "secret:PLACE"
"""


async def test_a_module_that_runs_alone_follows_its_sources(tmp_path):
    (tmp_path / "pywatt.toml").write_text(CONFIG, encoding="utf-8")
    write(tmp_path, "KEY=key-before", "PLACE=before.db")
    async with alone(tmp_path) as (process, said):
        await said(using("before.db", "key-before"))
        write(tmp_path, "KEY=key-after", "PLACE=after.db")
        await said(using("after.db", "key-after"))
        write(tmp_path, "KEY=key-at-last", f"PLACE={tmp_path}")  # a folder is no database
        refused = await said("changed secrets are not used yet: databases.main: ")
        assert "key-at-last" not in refused
        write(tmp_path, "KEY=key-at-last", "PLACE=last.db")
        await said(using("last.db", "key-at-last"))
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_what_was_refused_is_tried_again_by_itself(tmp_path):
    """The server learns of a new password after the module."""
    (tmp_path / "pywatt.toml").write_text(CONFIG, encoding="utf-8")
    write(tmp_path, "KEY=key-before", "PLACE=before.db")
    place = tmp_path / "later.db"
    place.mkdir()
    async with alone(tmp_path) as (_process, said):
        await said(using("before.db", "key-before"))
        write(tmp_path, "KEY=key-after", "PLACE=later.db")
        await said("changed secrets are not used yet: databases.main: ")
        place.rmdir()
        await said(using("later.db", "key-after"))


async def test_every_missing_secret_is_told_at_once_with_who_wants_it_and_where_it_was_looked_for(tmp_path):
    (tmp_path / "pywatt.toml").write_text(CONFIG + '[caches.main]\nuse = "redis"\nurl = "secret:CACHE"\n', encoding="utf-8")
    write(tmp_path, "OTHER=1")
    async with alone(tmp_path) as (process, said):
        await said("error: 3 secrets are missing:")
        lines = [await said(f"  {name}, wanted by ") for name in ("KEY", "PLACE", "CACHE")]
        assert await process.wait() == 5
    expected = ("secrets=[…] of the module", "databases.main.path (pywatt.toml:7)", "caches.main.url (pywatt.toml:10)")
    for name, wanted_by, line in zip(("KEY", "PLACE", "CACHE"), expected, lines, strict=True):
        assert line.startswith(f"  {name}, wanted by {wanted_by}: no source knows the secret '{name}' (asked: dotenv: "), line
        assert str(tmp_path / ".env") in line


async def test_what_the_orchestrator_said_of_every_missing_secret_is_told_at_once():
    config = {**main_at(), "caches": {"main": {"use": "redis", "url": "secret:CACHE"}}}
    async with ModuleRunner(ROTATING, config=config, env={"ROTATING_SECRETS": "KEY"}, announce=False) as module:
        assert await module.ended() == 5
        assert "3 secrets are missing" in module.stderr
        for name in ("KEY", "PLACE", "CACHE"):
            assert f"the orchestrator refused the secret '{name}': unknown secret" in module.stderr


# ── under an orchestrator that is not PyWatt's ──────────────────────────────────────────────────────────────────────


async def test_a_module_with_sources_of_its_own_asks_them_in_their_order_and_the_orchestrator_among_them(tmp_path):
    (tmp_path / "pywatt.toml").write_text(CONFIG + '[secrets.theirs]\nuse = "orchestrator"\n', encoding="utf-8")
    write(tmp_path, "KEY=key-of-the-file", "PLACE=before.db")
    secrets = {"KEY": "key-of-the-orchestrator", "OTHER": "other-of-the-orchestrator"}
    env = {"ROTATING_SECRETS": "KEY OTHER"}
    async with ModuleRunner(ROTATING, secrets=secrets, env=env, cwd=tmp_path, pywatt=False) as module:
        assert await answer(module, "/given") == ["key-of-the-file", "other-of-the-orchestrator"]
        write(tmp_path, "KEY=key-of-the-file-afterwards", "PLACE=after.db")
        async with asyncio.timeout(20):
            while await answer(module, "/place") != "after.db":
                await asyncio.sleep(0.02)
        assert await answer(module, "/given") == ["key-of-the-file-afterwards", "other-of-the-orchestrator"]
        acknowledgement = await module.orchestrator.rotate({"OTHER": "other-afterwards"})
        assert acknowledgement.status == "success"
        assert await answer(module, "/given") == ["key-of-the-file-afterwards", "other-afterwards"]


async def test_a_file_without_sources_leaves_the_secrets_to_the_orchestrator(tmp_path):
    (tmp_path / "pywatt.toml").write_text("[module]\ndrain = 1\n", encoding="utf-8")
    write(tmp_path, "KEY=key-of-the-file")
    async with ModuleRunner(
        ROTATING, secrets={"KEY": "key-of-the-orchestrator"}, env={"ROTATING_SECRETS": "KEY"}, cwd=tmp_path, pywatt=False
    ) as module:
        assert await answer(module, "/given") == ["key-of-the-orchestrator"]
