"""Reports on Flask: the same tokens, in synchronous views."""

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from pywatt_core import AppState, pywatt_module
from pywatt_jwt.flask import claims, jwt_required, require


@pywatt_module()
def reports(state: AppState[None]) -> Flask:
    app = Flask("reports")

    @app.get("/mine")
    @jwt_required()
    def mine() -> ResponseReturnValue:
        return jsonify(report=f"what {claims()['sub']} has read")

    @app.get("/all")
    @require("admin")
    def everybody() -> ResponseReturnValue:
        return jsonify(report="what everybody has read")

    @app.get("/catalogue")
    def catalogue() -> ResponseReturnValue:
        return jsonify(["all", "mine"])

    return app


if __name__ == "__main__":
    reports.run()
