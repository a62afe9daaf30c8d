"""A Flask module that gives its secret away in each way of `leaky_ways`."""

from typing import Any

from flask import Flask
from leaky_ways import WAYS, failed  # type: ignore[import-not-found]

from pywatt_core import AppState, pywatt_module


@pywatt_module(secrets=["CANARY"], metrics=True)
def leaky_flask(state: AppState[Any]) -> Flask:
    app = Flask(__name__)

    def value() -> str:
        return str(state.sync.get_secret("CANARY").expose_secret())

    @app.get("/leak/<name>")
    def leak(name: str) -> str:
        WAYS[name](value())
        return name

    @app.get("/raise")
    def raising() -> str:
        raise failed(value())

    return app


@leaky_flask.on("fails")
def fails(payload: dict[str, str]) -> str:
    raise failed(payload["password"])


if __name__ == "__main__":
    leaky_flask.run()
