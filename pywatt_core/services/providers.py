"""Services that modules offer to each other, as the module's own code sees them (protocol 10.6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..protocol.values import ProviderInfo, ServiceType

CAPABILITIES: Final = "capabilities"
"""The member of a provider's metadata that lists what it can do, separated by commas: the wire has no other place for it."""


@dataclass(frozen=True, kw_only=True)
class ServiceProvider:
    """A service that a module offers. `address` is free text: ``host:port``, a URL, or ``module:endpoint``.

    Found ones have `provider_id`, `module_id` and `is_healthy` too: whether the process behind it is ready and responds.
    """

    service_type: ServiceType
    name: str
    address: str
    version: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()
    provider_id: str = ""
    module_id: str = ""
    is_healthy: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "service_type", service_type_of(self.service_type))
        object.__setattr__(self, "capabilities", frozenset(self.capabilities))
        object.__setattr__(self, "metadata", dict(self.metadata))

    def check(self) -> None:
        """Raises `ValueError` where it cannot be offered."""
        for name in ("name", "address"):
            if not getattr(self, name).strip():
                raise ValueError(f"a provider has no {name}: what others find it by cannot be empty")
        for capability in self.capabilities:
            if not capability or "," in capability or capability != capability.strip():
                raise ValueError(f"a capability is a word without commas, not {capability!r}")
        if CAPABILITIES in self.metadata:
            raise ValueError(f"the metadata {CAPABILITIES!r} is where capabilities travel: name them as capabilities")
        for key, value in self.metadata.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise ValueError(f"metadata is made of texts, and {key!r} is {value!r}")

    def matches(self, metadata: Mapping[str, str] | None = None, capabilities: Iterable[str] = ()) -> bool:
        """Whether it has all of this metadata, value for value, and all of these capabilities."""
        wanted = {capabilities} if isinstance(capabilities, str) else set(capabilities)
        return wanted <= self.capabilities and (metadata or {}).items() <= dict(self.metadata).items()

    @classmethod
    def found(cls, info: ProviderInfo) -> ServiceProvider:
        """From the wire's form."""
        metadata = dict(info.metadata)
        listed = metadata.pop(CAPABILITIES, "").split(",")
        return cls(
            service_type=info.service_type,
            name=info.name,
            address=info.address,
            version=info.version,
            metadata=metadata,
            capabilities=frozenset(one.strip() for one in listed if one.strip()),
            provider_id=info.provider_id,
            module_id=info.module_id,
            is_healthy=info.is_healthy,
        )

    @property
    def wire_metadata(self) -> dict[str, str] | None:
        """What is sent: the metadata with the capabilities in it."""
        listed = {CAPABILITIES: ",".join(sorted(self.capabilities))} if self.capabilities else {}
        return {**self.metadata, **listed} or None


class ServiceProviderBuilder:
    """Builds a `ServiceProvider` step by step: ``ServiceProviderBuilder(kind, "main", "db:5432").version("15").build()``."""

    def __init__(self, service_type: ServiceType | str, name: str, address: str) -> None:
        self._parts: dict[str, Any] = {"service_type": service_type, "name": name, "address": address}
        self._metadata: dict[str, str] = {}
        self._capabilities: set[str] = set()

    def version(self, version: str) -> ServiceProviderBuilder:
        """Its version, free text."""
        self._parts["version"] = version
        return self

    def metadata(self, key: str, value: str) -> ServiceProviderBuilder:
        """One more thing to know about it."""
        self._metadata[key] = value
        return self

    def capability(self, *names: str) -> ServiceProviderBuilder:
        """One more thing that it can do, or several."""
        self._capabilities.update(names)
        return self

    def build(self) -> ServiceProvider:
        """The provider. Raises `ValueError` where a part makes no sense."""
        provider = ServiceProvider(**self._parts, metadata=self._metadata, capabilities=frozenset(self._capabilities))
        provider.check()
        return provider


def service_type_of(kind: ServiceType | str) -> ServiceType:
    """A service type, or the custom one of this name; ``"database"``, ``"cache"`` and ``"jwt"`` are the wire's own in any case."""
    if isinstance(kind, ServiceType):
        return kind
    if not isinstance(kind, str) or not kind:
        raise TypeError(f"a service type is a ServiceType or a name, not {kind!r}")
    try:
        return ServiceType.parse(kind)
    except ValueError:
        return ServiceType.custom(kind)
