"""The mailer: hears of every order, whoever publishes it, and knows none of the other modules."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from pywatt_core import AppState, pywatt_module


@dataclass
class Order:
    article: str
    quantity: int


mails: list[str] = []


@pywatt_module
def mailer(state: AppState[None]) -> FastAPI:
    app = FastAPI(title="mailer")

    @app.get("/mails")
    async def list_mails() -> list[str]:
        return mails

    return app


@mailer.on_topic("orders.*")
async def confirm(order: Order) -> None:
    mails.append(f"Thank you for ordering {order.quantity} {order.article}.")


if __name__ == "__main__":
    mailer.run()
