"""Secrets as values: what holds one never shows it by itself, and creating one registers it for redaction."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from ..errors import SecretError
from .redactor import register

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
U = TypeVar("U")

SHOWN = "Secret([REDACTED])"


class _Hidden:
    """What both kinds of secret have in common: nothing about the value can be seen without asking for it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return SHOWN

    def __str__(self) -> str:
        return SHOWN

    def __format__(self, spec: str) -> str:
        return SHOWN

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a secret cannot be changed")

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled: pass its name and read it again where it is needed")


class Secret(_Hidden):
    """Text that shows itself only through `expose_secret`. Creating one registers the text for redaction.

    `name` says what the secret is called: of each name the newest 16 values stay registered, see `Redactor.register`.
    Equality takes the same time wherever two secrets differ; a secret never equals a plain string.
    """

    __slots__ = ("__weakref__", "_text")

    _text: str

    def __init__(self, value: str, *, name: str = "") -> None:
        if not isinstance(value, str):
            raise TypeError(f"a secret holds text, not {type(value).__name__}")
        register(value, name=name)
        object.__setattr__(self, "_text", value)

    def expose_secret(self) -> str:
        """The text itself: for the one place that has to send it on, and never for a message or a log."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return _same(self._text, other._text)

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: Callable[[Any], Any]) -> dict[str, Any]:
        """Pydantic reads text or a `Secret`, and writes ``Secret([REDACTED])``."""
        return {
            "type": "function-plain",
            "function": {"type": "no-info", "function": _from_setting},
            "serialization": {"type": "to-string"},
        }

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Any]:
        return {"type": "string", "format": "password", "writeOnly": True}


def _same(one: str, other: str) -> bool:
    """Equality in a time that tells nothing about where two texts differ. The library behind it is loaded at the first use."""
    import hmac

    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _from_setting(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(value)
    raise ValueError(f"expected text, got {type(value).__name__}")


class TypedSecret(_Hidden, Generic[T]):
    """A secret that was parsed: its text is registered for redaction, its value shows itself only through `expose_secret`."""

    __slots__ = ("__weakref__", "_value")

    _value: T

    def __init__(self, value: T, *, text: str | None = None, name: str = "") -> None:
        register(str(value) if text is None else text, name=name)
        object.__setattr__(self, "_value", value)

    @classmethod
    def parse(cls, text: str | Secret, kind: type[T] | Callable[[str], T], *, name: str = "", lenient: bool = False) -> TypedSecret[T]:
        """Read `text` as `kind`: ``str``, ``bool``, ``int``, ``float``, or any function of the text (protocol 9.4).

        Strict by default: ``true`` and ``false``; an optional sign and decimal digits; no spaces, no underscores. With
        `lenient`, surrounding spaces and ``yes no on off 1 0`` are read too. Raises `SecretError`, which names the secret
        and never holds its value.
        """
        plain = text.expose_secret() if isinstance(text, Secret) else text
        register(plain, name=name)
        return cls(_parse(plain, kind, name or "the secret", lenient), text=plain, name=name)

    def expose_secret(self) -> T:
        """The value itself."""
        return self._value

    def map(self, change: Callable[[T], U]) -> TypedSecret[U]:
        """Another secret, made from this one's value."""
        return TypedSecret(change(self._value))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TypedSecret):
            return NotImplemented
        mine, theirs = self._value, other._value
        if isinstance(mine, str) and isinstance(theirs, str):
            return _same(mine, theirs)
        return bool(mine == theirs)

    def __hash__(self) -> int:
        return hash((TypedSecret, self._value))


_INTEGER = r"[+-]?[0-9]+"
_FLOAT = r"(?i:[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity|nan))"
_STRICT = {"true": True, "false": False}
_LENIENT = {**_STRICT, "yes": True, "on": True, "1": True, "no": False, "off": False, "0": False}


def _parse(text: str, kind: Any, name: str, lenient: bool) -> Any:
    wanted = "a value that its parser accepts"
    if lenient:
        text = text.strip()
    try:
        if kind is str:
            return text
        if kind is bool:
            wanted = "true or false" if not lenient else "one of true false yes no on off 1 0"
            return (_LENIENT if lenient else _STRICT)[text.lower() if lenient else text]
        if kind is int:
            wanted = "an integer: an optional sign and decimal digits"
            return int(_exactly(_INTEGER, text))
        if kind is float:
            wanted = "a number: decimal digits with an optional sign, point and exponent, or inf or nan"
            return float(_exactly(_FLOAT, text))
        return kind(text)
    except Exception as error:
        reason = type(error).__name__ if kind not in (bool, int, float) else ""
    raise SecretError(f"{name} is not {wanted}" + (f" ({reason})" if reason else ""))


def _exactly(pattern: str, text: str) -> str:
    if re.fullmatch(pattern, text) is None:
        raise ValueError
    return text
