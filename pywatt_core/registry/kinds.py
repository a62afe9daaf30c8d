"""The kinds of provider: which hook registers each, which interface it opens, and where it comes from when it is missing."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, NamedTuple

from ..interfaces import Authenticator, Cache, Channel, Database, Provider, SecretSource, Serializer

NAME = r"[a-z][a-z0-9]*([_-][a-z0-9]+)*"


class Kind(NamedTuple):
    hook: str
    interface: type
    noun: str
    section: str
    """The top-level table whose entries use such providers; empty where no configuration names them."""


KINDS: dict[str, Kind] = {
    "databases": Kind("pywatt_register_databases", Database, "database", "databases"),
    "caches": Kind("pywatt_register_caches", Cache, "cache", "caches"),
    "secrets": Kind("pywatt_register_secret_sources", SecretSource, "secret source", "secrets"),
    "serializers": Kind("pywatt_register_serializers", Serializer, "serializer", "serializers"),
    "channels": Kind("pywatt_register_channels", Channel, "channel", "channels"),
    "auth": Kind("pywatt_register_authenticators", Authenticator, "authenticator", "auth"),
}

DISTRIBUTIONS = {
    "databases": {
        "sqlite": "pywatt-sqlite",
        "postgres": "pywatt-postgres",
        "postgresql": "pywatt-postgres",
        "mysql": "pywatt-mysql",
        "mariadb": "pywatt-mysql",
    },
    "caches": {"redis": "pywatt-redis", "memcached": "pywatt-memcached"},
    "secrets": {"vault": "pywatt-vault"},
    "serializers": {"msgpack": "pywatt-msgpack", "cbor": "pywatt-cbor"},
    "channels": {},
    "auth": {"jwt": "pywatt-jwt"},
}
"""Which distribution brings a provider of a kind that is not installed."""

FRAMEWORKS = {"fastapi": "pywatt-fastapi", "starlette": "pywatt-fastapi", "flask": "pywatt-flask", "pywatt_core": "pywatt-fastapi"}
"""Which distribution serves the applications of a package."""


def wrong_provider(value: Any) -> str:
    """What is wrong with an answer of a collecting hook that registers providers; empty where nothing is."""
    if not isinstance(value, Provider):
        return f"returned a list that holds {described(value)}, not only Provider(name, Options, open)"
    if not isinstance(value.name, str) or not re.fullmatch(NAME, value.name):
        return f"returned a provider whose name is {value.name!r}: names are lower case letters, digits, '_' and '-'"
    for part, example in (("options", "Options"), ("open", "open_it")):
        said = getattr(value, part)
        if isinstance(said, str) and re.fullmatch(r"\w+(\.\w+)*:\w+", said) is None:
            return f"returned the provider {value.name!r}, whose {part} is {said!r}, which is not of the form 'package.module:{example}'"
    if not isinstance(value.options, str) and (wrong := wrong_options(value.name, value.options)):
        return wrong
    return "" if isinstance(value.open, str) else wrong_open(value.name, value.open)


def wrong_open(provider: str, open_: Any) -> str:
    """What is wrong with a provider's `open`; empty where nothing is."""
    return "" if callable(open_) else f"returned the provider {provider!r}, whose open is {described(open_)}, not a function"


def wrong_options(provider: str, options: Any) -> str:
    """What is wrong with the class of a provider's options; empty where nothing is."""
    if not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        return f"returned the provider {provider!r}, whose options are {described(options)}, not a dataclass"
    parameters = getattr(options, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen or not all(one.kw_only for one in dataclasses.fields(options) if one.init):
        return f"returned the provider {provider!r}, whose options are not declared with @dataclass(frozen=True, kw_only=True)"
    return ""


def wrong_instance(kind: type) -> Any:
    """A check that every answer is a `kind`."""
    return lambda value: "" if isinstance(value, kind) else f"returned a list that holds {described(value)}, not only {kind.__name__}"


def missing_methods(value: object, interface: type) -> list[str]:
    """The public names of an interface that an object lacks."""
    names = {name for base in interface.__mro__ if base.__module__ == interface.__module__ for name in vars(base)}
    return sorted(name for name in names if not name.startswith("_") and not hasattr(type(value), name) and not hasattr(value, name))


def described(value: object) -> str:
    """An object by its type: ``nothing``, ``an int``, ``the class Options``."""
    if value is None or isinstance(value, type):
        return "nothing" if value is None else f"the class {value.__name__}"
    name = type(value).__name__
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"
