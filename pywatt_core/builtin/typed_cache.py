"""Values of the application's own types in a cache that keeps bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..errors import RemoteProtocolError, StorageError
from ..services.caching import called

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ..interfaces import Cache, Serializer

T = TypeVar("T")


class TypedCache:
    """`cache`, its values turned into bytes and back by `serializer`: JSON, MessagePack or CBOR, never pickle.

    A type that is asked for checks and converts what was stored; a value that does not fit is a `StorageError` that names
    the key and the field. Everything that has nothing to do with values is the cache's own: ``typed.cache.delete(key)``.
    """

    def __init__(self, cache: Cache, serializer: Serializer) -> None:
        self.cache = cache
        self.serializer = serializer

    @overload
    async def get(self, key: str) -> Any: ...
    @overload
    async def get(self, key: str, type: type[T]) -> T | None: ...

    async def get(self, key: str, type: Any = object) -> Any:
        """The value, None where there is none."""
        stored = await self.cache.get(key)
        return None if stored is None else self._read(key, stored, type)

    @overload
    async def get_many(self, keys: Sequence[str]) -> dict[str, Any]: ...
    @overload
    async def get_many(self, keys: Sequence[str], type: type[T]) -> dict[str, T]: ...

    async def get_many(self, keys: Sequence[str], type: Any = object) -> dict[str, Any]:
        """Only the keys that were found."""
        return {key: self._read(key, stored, type) for key, stored in (await self.cache.get_many(keys)).items()}

    async def set(self, key: str, value: object, *, ttl: float | None = None) -> None:
        """Store a value for `ttl` seconds, or the cache's default."""
        await self.cache.set(key, self._written(key, value), ttl=ttl)

    async def set_many(self, items: Mapping[str, object], *, ttl: float | None = None) -> None:
        """Store all of them, or none where one cannot be turned into bytes."""
        await self.cache.set_many({key: self._written(key, value) for key, value in items.items()}, ttl=ttl)

    async def set_nx(self, key: str, value: object, *, ttl: float | None = None) -> bool:
        """Store only where the key is absent; tell whether it was stored."""
        return await self.cache.set_nx(key, self._written(key, value), ttl=ttl)

    @overload
    async def get_set(self, key: str, value: object) -> Any: ...
    @overload
    async def get_set(self, key: str, value: object, type: type[T]) -> T | None: ...

    async def get_set(self, key: str, value: object, type: Any = object) -> Any:
        """Replace and return what was there."""
        stored = await self.cache.get_set(key, self._written(key, value))
        return None if stored is None else self._read(key, stored, type)

    @overload
    async def get_or_set(
        self, key: str, make: Callable[[], Awaitable[object] | object], *, ttl: float | None = None, timeout: float = 30.0
    ) -> Any: ...
    @overload
    async def get_or_set(
        self, key: str, make: Callable[[], Awaitable[T] | T], type: type[T], *, ttl: float | None = None, timeout: float = 30.0
    ) -> T: ...

    async def get_or_set(
        self, key: str, make: Callable[[], Any], type: Any = object, *, ttl: float | None = None, timeout: float = 30.0
    ) -> Any:
        """What is there, or what `make` gives, stored; one of many who ask at once calls it. See `Cache.get_or_set`.

        The one who called it gets the value as it will be read later, too.
        """

        async def made() -> bytes:
            return self._written(key, await called(make))

        return self._read(key, await self.cache.get_or_set(key, made, ttl=ttl, timeout=timeout), type)

    def _written(self, key: str, value: object) -> bytes:
        try:
            return self.serializer.encode(value)
        except TypeError as error:
            raise StorageError(f"the value for {key!r} cannot be cached: {error}") from error

    def _read(self, key: str, stored: bytes, type: Any) -> Any:
        try:
            return self.serializer.decode(stored, Any if type is object else type)
        except RemoteProtocolError as error:
            raise StorageError(f"the value cached under {key!r} cannot be read: {error}") from error

    def __repr__(self) -> str:
        return f"TypedCache({self.cache!r}, {self.serializer.format!r})"
