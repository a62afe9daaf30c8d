"""The caching example: one calculates however many ask, with each cache that the line in `pywatt.toml` may name."""

import asyncio
import re

import pytest

from pywatt_core.testing import fetch


@pytest.fixture(params=["file", "memory", "memcached", "redis"])
def caching(request, example_of):
    example = example_of("caching")
    section = f'use = "{request.param}"\n'
    if request.param == "file":
        section += 'path = ".pywatt/forecasts.db"\n'
    elif request.param != "memory":
        section += f"port = {request.getfixturevalue(f'{request.param}_server').port}\n"
    file = example.folder / "pywatt.toml"
    text, count = re.subn(r"(?s)(?<=caches\.main\]\n).*", section, file.read_text())
    assert count == 1
    if request.param == "memory":
        text = text.replace("instances = 2", "instances = 1")
    file.write_text(text)
    return example


async def test_one_calculates_for_all(caching):
    async with caching.running() as up:
        before = (await up.get("/forecasts/figures")).json()["calculations"]
        answers = await asyncio.gather(*[up.get("/forecasts/forecast/london") for _ in range(12)])
        assert [answer.json() for answer in answers] == [{"city": "london", "degrees": 10}] * 12
        assert (await up.get("/forecasts/forecast/london")).json()["city"] == "london"
        assert (await up.get("/forecasts/figures")).json() == {"calculations": before + 1}

        assert (await fetch(up.door, "DELETE", "/forecasts/forecast/london")).status == 204
        await up.get("/forecasts/forecast/london")
        assert (await up.get("/forecasts/figures")).json() == {"calculations": before + 2}

        bulletins = await asyncio.gather(*[up.post("/forecasts/bulletin") for _ in range(6)])
        published = [answer.json()["token"] for answer in bulletins if answer.status == 200]
        assert len(published) == 1
        assert {answer.status for answer in bulletins} == {200, 409}
        assert (await up.post("/forecasts/bulletin")).json()["token"] > published[0]
