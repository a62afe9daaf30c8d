"""Orders: each asks the stock first, and is published once it stands. The journal can be sent to the archive as a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, HTTPException

from pywatt_core import AppState, RemoteError, pywatt_module


@dataclass
class Order:
    article: str
    quantity: int


@dataclass
class Reservation:
    article: str
    left: int


taken: list[Order] = []


@pywatt_module(metrics=True)
def orders(state: AppState[None]) -> FastAPI:
    app = FastAPI(title="orders")

    @app.post("/orders", status_code=201)
    async def place(order: Order) -> Reservation:
        try:
            reservation: Reservation = await state.send_request("stock:reserve", order, response_type=Reservation, timeout=5)
        except RemoteError as error:
            status = 409 if error.code == "sold_out" else 503
            raise HTTPException(status, str(error)) from error
        taken.append(order)
        await state.publish("orders.created", order)
        return reservation

    @app.post("/journal")
    async def send_journal() -> dict[str, Any]:
        async with state.open_stream("archive:store", content_type="text/csv", properties={"name": "journal.csv"}) as stream:
            for order in taken:
                await stream.write(f"{order.article},{order.quantity}\n".encode())
        return {"lines": len(taken)}

    return app


@orders.on("ordered")
async def ordered(article: str) -> int:
    """How many of an article have been ordered so far."""
    return sum(order.quantity for order in taken if order.article == article)


if __name__ == "__main__":
    orders.run()
