"""Forecasts that take long to make: computed once however many ask, kept for a minute, counted, and published by one at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import FastAPI, HTTPException

from pywatt_core import AppState, RequestTimeout, pywatt_module


@dataclass
class Forecast:
    city: str
    degrees: int


@pywatt_module()
def forecasts(state: AppState[None]) -> FastAPI:
    app = FastAPI(title="Forecasts")

    async def calculate(city: str) -> Forecast:
        await state.cache.increment("calculations")
        await asyncio.sleep(0.3)  # the model runs
        return Forecast(city, sum(city.encode()) % 40)

    @app.get("/forecast/{city}")
    async def forecast(city: str) -> Forecast:
        # Of all who ask for a city at once, in every process that uses the cache, one calculates.
        return await state.typed_cache().get_or_set(f"forecast:{city}", lambda: calculate(city), Forecast, ttl=60)

    @app.delete("/forecast/{city}", status_code=204)
    async def forget(city: str) -> None:
        await state.cache.delete(f"forecast:{city}")

    @app.get("/figures")
    async def figures() -> dict[str, int]:
        return {"calculations": int(await state.cache.get("calculations") or 0)}

    @app.post("/bulletin")
    async def publish() -> dict[str, int]:
        try:
            async with state.cache.lock("bulletin", ttl=10, wait=0) as lock:
                await asyncio.sleep(0.3)  # it is written, with the token, so that a later one is never overwritten by an earlier
                return {"token": lock.token}
        except RequestTimeout as error:
            raise HTTPException(409, "somebody publishes one at the moment") from error

    return app


if __name__ == "__main__":
    forecasts.run()
