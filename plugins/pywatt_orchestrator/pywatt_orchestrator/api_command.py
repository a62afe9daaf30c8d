"""`pywatt token`."""

from __future__ import annotations

import json

import rich_click as click

from .commands import ANSWER_TIMEOUT, json_option, project_option


@click.command()
@json_option
@project_option
def token(as_json: bool, project: str | None) -> int:
    """Print the token that opens the control API, which `http = "owner"` in [control] switches on.

    The orchestrator tells it to your user alone. It changes with each start, unless [control] names a secret.

    \b
    Examples:
        curl -H "Authorization: Bearer $(pywatt token)" http://127.0.0.1:8000/_pywatt/api/modules
        pywatt token --json
    """
    from .client import ask, find_running
    from .control import Token, TokenLine

    folder, _holder = find_running(project)
    for answer in ask(folder, Token(), timeout=ANSWER_TIMEOUT):
        if isinstance(answer, TokenLine):
            print(json.dumps({"url": answer.url, "token": answer.token}) if as_json else answer.token)
    return 0
