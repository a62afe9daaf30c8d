"""The modules of examples/shop call each other, stream and publish, through real processes."""

import asyncio
import hashlib
import os
import signal

import pytest


@pytest.fixture
def shop(example_of):
    return example_of("shop")


async def until(up, path, expected):
    """Ask until the answer is there: what is published or streamed arrives after the call that set it off."""
    async with asyncio.timeout(up.deadline):
        while (answer := await up.get(path)).status != 200 or answer.json() != expected:
            await asyncio.sleep(0.05)


async def test_two_modules_call_each_other(shop):
    async with shop.running() as up:
        for left in (7, 4):
            placed = await up.post("/orders/orders", json_body={"article": "tea", "quantity": 3})
            assert (placed.status, placed.json()) == (201, {"article": "tea", "left": left})
        refused = await up.post("/orders/orders", json_body={"article": "milk", "quantity": 3})
        assert (refused.status, refused.json()) == (409, {"detail": "there is not enough milk"})
        assert "Traceback" not in up.output


async def test_what_is_there_once_is_never_sold_twice(shop):
    async with shop.running() as up:
        order = {"article": "milk", "quantity": 2}
        placed = await asyncio.gather(*(up.post("/orders/orders", json_body=order) for _ in range(20)))
        assert {answer.status for answer in placed} <= {201, 409}
        assert [answer.status for answer in placed].count(201) <= 1
        assert "Traceback" not in up.output


async def test_one_publishes_and_one_that_knows_nothing_of_it_hears(shop):
    async with shop.running() as up:
        await up.post("/orders/orders", json_body={"article": "tea", "quantity": 2})
        await until(up, "/mailer/mails", ["Thank you for ordering 2 tea."])


async def test_one_streams_a_file_to_another(shop):
    async with shop.running() as up:
        for quantity in (1, 2):
            await up.post("/orders/orders", json_body={"article": "tea", "quantity": quantity})
        assert (await up.post("/orders/journal")).json() == {"lines": 2}
        content = b"tea,1\ntea,2\n"
        await until(
            up,
            "/archive/files/journal.csv",
            {"name": "journal.csv", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()},
        )
        assert (shop.folder / ".pywatt" / "archive" / "journal.csv").read_bytes() == content


async def test_who_asks_a_module_that_is_just_being_restarted_waits_for_it(shop):
    async with shop.running() as up:
        os.kill(up.processes()["stock"], signal.SIGKILL)
        placed = await up.post("/orders/orders", json_body={"article": "tea", "quantity": 1})
        # The order either waited for the new process, or the old one had it in its hands: nobody knows then what it did.
        assert placed.status in (201, 503)
        await up.until(lambda: up.ready().count("stock") == 2)
        assert (await up.post("/orders/orders", json_body={"article": "tea", "quantity": 1})).status == 201
