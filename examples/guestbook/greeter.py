"""A greeter on Flask: synchronous views that use the module's asynchronous state through ``state.sync``."""

from __future__ import annotations

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from pywatt_core import AppState, pywatt_module


@pywatt_module(secrets=["GREETER_SIGNATURE"])
def greeter(state: AppState[None]) -> Flask:
    app = Flask("greeter")

    @app.get("/hello/<name>")
    def hello(name: str) -> ResponseReturnValue:
        signature = state.sync.get_secret("GREETER_SIGNATURE")
        # That the secret was delivered can be shown without showing it.
        return jsonify(greeting=f"Hello, {name}!", signed=bool(signature), signature=str(signature))

    return app


if __name__ == "__main__":
    greeter.run()
