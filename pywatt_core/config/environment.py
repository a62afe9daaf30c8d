"""``PYWATT__DATABASES__MAIN__DSN``: the environment as a source, read by pydantic-settings and only where such a variable is set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .merging import Layer, Text
from .merging import Path as Keys
from .problems import Problem

PREFIX = "PYWATT__"
DELIMITER = "__"
ENVIRONMENT = "environment"
"""What this source is called."""


def environment_layer(environ: Mapping[str, str]) -> tuple[Layer | None, list[Problem]]:
    """The variables that begin with ``PYWATT__`` as a source; None where there is none, and then pydantic stays unimported."""
    ours = {name: value for name, value in environ.items() if name.upper().startswith(PREFIX)}
    if not ours:
        return None, []
    problems, paths = [], {}
    for name in sorted(ours):
        path = tuple(name[len(PREFIX) :].lower().split(DELIMITER))
        if all(path):
            paths[path] = name
        else:
            problems.append(
                Problem("", f"the environment variable {name} has an empty part", "environment", f"Write {PREFIX}SECTION__NAME__OPTION")
            )
    data = _explode({DELIMITER.join(path): ours[name] for path, name in paths.items()})
    for top, value in data.items():
        if not isinstance(value, Mapping):
            name = paths[(top,)]
            problems.append(Problem(top, "is a table", f"environment {name}", f"Write {name}__KEY=value, or give {name} a JSON object"))
    data = {top: value for top, value in data.items() if isinstance(value, Mapping)}

    def locate(path: Keys) -> str | None:
        for end in range(len(path), 0, -1):
            if path[:end] in paths:
                return f"environment {paths[path[:end]]}"
        below = next((name for known, name in paths.items() if known[: len(path)] == path), None)
        return below and f"environment {below}"

    return Layer(ENVIRONMENT, data, locate), problems


def misspelt(environ: Mapping[str, str], sections: tuple[str, ...]) -> list[str]:
    """Warnings about variables that miss only an underscore: ``PYWATT_DATABASES__MAIN__DSN``."""
    found = []
    for name in sorted(environ):
        upper = name.upper()
        if not upper.startswith("PYWATT_") or upper.startswith(PREFIX):
            continue
        section = upper.removeprefix("PYWATT_").lower()
        for known in sections:
            if section.startswith(f"{known}_") and section != f"{known}_id":
                rest = name[len(f"PYWATT_{known}_") :].lstrip("_")
                found.append(f"the environment variable {name} is not read; did you mean {PREFIX}{known.upper()}{DELIMITER}{rest}?")
    return found


def _explode(variables: Mapping[str, str]) -> dict[str, Any]:
    """Nested tables from ``databases__main__dsn``: pydantic-settings' own rules, values kept as `Text` until their type is known."""
    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

    class Environment(BaseSettings):
        model_config = SettingsConfigDict(env_nested_delimiter=DELIMITER, extra="ignore")

    class Source(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            return {name: Text(value) for name, value in variables.items()}

        def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
            return value  # JSON is decoded once the option's type is known

    source = Source(Environment)
    exploded: dict[str, Any] = {}
    field = FieldInfo(annotation=dict[str, Any])
    for top in sorted({name.partition(DELIMITER)[0] for name in variables}):
        nested = source.explode_env_vars(top, field, source.env_vars)
        whole = variables.get(top)
        exploded[top] = _whole_table(whole, nested) if whole is not None else nested
    return exploded


def _whole_table(text: str, nested: dict[str, Any]) -> Any:
    """``PYWATT__DATABASES='{"main": {…}}'``: a table given as JSON, with the single variables laid over it."""
    import json

    try:
        table = json.loads(text)
    except ValueError:
        return Text(text)
    if not isinstance(table, dict):
        return Text(text)
    return _over(table, nested)


def _over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in above.items():
        old = below.get(key)
        below[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return below
