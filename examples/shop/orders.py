"""Orders: each asks the stock first, and is published once it stands. The journal can be sent to the archive as a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, HTTPException

from pywatt_core import AppState, ChannelClosed, RemoteError, RequestTimeout, pywatt_module


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
        taken.append(order)  # before the stock is asked: of two who want the last piece at once, it counts both
        try:
            reservation: Reservation = await state.send_request("stock:reserve", order, response_type=Reservation, timeout=5)
        except (RemoteError, RequestTimeout, ChannelClosed) as error:
            taken[:] = [other for other in taken if other is not order]
            status = 409 if isinstance(error, RemoteError) and error.code == "sold_out" else 503
            raise HTTPException(status, str(error)) from error
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
    """How many of an article have been ordered so far, those included that the stock has not answered yet."""
    return sum(order.quantity for order in taken if order.article == article)


if __name__ == "__main__":
    orders.run()
