"""The stock, on Flask: a plain function answers the orders, and asks them back through ``state.sync``."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from pywatt_core import AppState, RemoteError, pywatt_module


@dataclass
class Order:
    article: str
    quantity: int


@dataclass
class Reservation:
    article: str
    left: int


delivered = {"tea": 10, "milk": 2}


@pywatt_module
def stock(state: AppState[None]) -> Flask:
    app = Flask("stock")

    @app.get("/articles")
    def articles() -> ResponseReturnValue:
        return jsonify(delivered)

    return app


@stock.on("reserve")
def reserve(order: Order, state: AppState[None]) -> Reservation:
    """Answer one order. What has been ordered, this one included, is the orders' to know, so that they are asked."""
    ordered: int = state.sync.send_request("orders:ordered", order.article, response_type=int)
    left = delivered.get(order.article, 0) - ordered
    if left < 0:
        raise RemoteError(f"there is not enough {order.article}", code="sold_out")
    return Reservation(order.article, left)


if __name__ == "__main__":
    stock.run()
