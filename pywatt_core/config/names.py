"""The names of sections that the core knows; light, because everything that looks at a configuration needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("databases", "caches", "channels", "serializers", "auth", "secrets")
"""Top-level tables whose entries are named sections, each opened by the provider that its ``use`` names."""


CORE = ("module", "plugins", *KINDS)
"""Top-level tables that belong to the core; all others belong to plugins."""

DEFAULT_SECRETS: Mapping[str, Mapping[str, Any]] = {"env": {}, "dotenv": {"required": False}}
"""Without ``[secrets.*]``: the environment, then ``.env`` beside the file."""

INHERITED_SECRETS = "SECRET_PROVIDER_CHAIN"
"""The variable that chooses another chain, where nothing is configured; see `inherited_secrets`."""


OWN_OPTIONS: Mapping[str, Mapping[str, str]] = {"caches": {"serializer": "What turns values of the application's types into bytes."}}
"""Options of a section that the core reads itself, whichever provider it uses, beside ``use``: kind to name to meaning. All are text."""


def implied_use(kind: str, name: str) -> str | None:
    """The provider of a section without ``use``: ``[channels.tcp]``, ``[secrets.env]``, ``[serializers.cbor]`` are named after theirs."""
    return name if kind in ("channels", "serializers", "secrets") else None
