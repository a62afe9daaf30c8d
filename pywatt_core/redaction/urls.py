"""Where a URL holds a password."""

from __future__ import annotations


def url_password(text: str) -> str | None:
    """The password as written in ``scheme://user:password@host``, None where there is none."""
    scheme, separator, rest = text.partition("://")
    if not separator or not scheme.replace("+", "").replace("-", "").replace(".", "").isalnum():
        return None
    user, at, _ = rest.partition("/")[0].rpartition("@")
    password = user.partition(":")[2]
    return password if at and password else None
