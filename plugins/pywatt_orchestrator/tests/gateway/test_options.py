"""Options: what is refused before anything starts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.config.sections import check_section
from pywatt_orchestrator.gateway import GatewayOptions


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"port": -1}, "port is -1; a TCP port is 0 to 65535"),
        ({"port": 65536}, "port is 65536"),
        ({"tls_cert": Path("c.pem")}, "tls_key is missing: TLS needs both"),
        ({"tls_key": Path("k.pem")}, "tls_cert is missing: TLS needs both"),
        ({"max_headers": 0}, "max_headers is 0; it must be at least 1"),
        ({"head_timeout": 0}, "head_timeout is 0; a time limit must be above 0"),
        ({"idle_timeout": float("nan")}, "idle_timeout is nan"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        GatewayOptions(**values)


def test_options_come_from_a_configuration() -> None:
    values = {"port": 8080, "tls_cert": "a.pem", "tls_key": "b.pem", "idle_timeout": 5}
    options, problems = check_section(values, GatewayOptions, "gateway", lambda path: "pywatt.toml")
    assert options is not None and not problems
    assert options.port == 8080 and options.tls_cert == Path("a.pem") and options.shortest_timeout() == 4.0
    options, problems = check_section({"port": 70000}, GatewayOptions, "gateway", lambda path: "pywatt.toml")
    assert options is None and "port is 70000" in str(problems[0])


def test_every_option_is_documented_with_its_default() -> None:
    page = (Path(__file__).parents[4] / "docs/reference/gateway.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", page.partition("## Options")[2], re.MULTILINE))
    written = {field.name: "" if field.default is None else f"`{json.dumps(field.default)}`" for field in fields(GatewayOptions)}
    assert {name: value.strip() for name, value in rows.items()} == written


def test_checking_options_loads_no_server() -> None:
    program = "import sys, pywatt_orchestrator.gateway.options; print([m for m in ('asyncio', 'httptools', 'ssl') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
