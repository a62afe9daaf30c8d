"""What an application's URL map contains, as it is announced (protocol 2.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pywatt_core.http import AUTH_MARK, literal_path, under
from pywatt_core.protocol.messages import AnnouncedEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from werkzeug.routing import Rule

    from .applications import Application

ALL_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PARAMETER = re.compile(r"<(?:(?P<converter>[a-zA-Z_][a-zA-Z0-9_]*)(?:\((?P<arguments>.*?)\))?:)?(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)>")


def announced(application: Application, prefix: str) -> list[AnnouncedEndpoint]:
    """Every rule below `prefix`, in the order of the map, each path and method once; hosts and subdomains make no difference."""
    methods_of: dict[tuple[str, str | None], list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for path, methods, auth in _walk(application):
        whole = under(prefix, path)
        fresh = [method for method in methods if (whole, method) not in seen]
        seen.update((whole, method) for method in fresh)
        if fresh:
            methods_of.setdefault((whole, auth), []).extend(fresh)
    return [AnnouncedEndpoint(path=path, methods=methods, auth=auth) for (path, auth), methods in methods_of.items()]


def has_literal(application: Application, path: str) -> bool:
    """Whether the user has `path`: a rule of exactly this path, or a dispatcher's mount at or above it."""
    if any(path == mount or path.startswith(mount + "/") for mount in application.mounts if mount):
        return True
    wanted = literal_path(path)
    return any(literal_path(rule.rule) == wanted for rule in application.flask.url_map.iter_rules())


def _walk(application: Application) -> Iterator[tuple[str, Sequence[str], str | None]]:
    for mount in application.mounts:
        yield mount + "/{*rest}", ALL_METHODS, None
    for rule in application.flask.url_map.iter_rules():
        if not rule.build_only:
            yield template(rule), _methods(rule), _auth(application, rule)


def _methods(rule: Rule) -> Sequence[str]:
    """Upper case; without HEAD where GET opens it, without OPTIONS where anything else is there."""
    methods = rule.methods
    if rule.websocket:
        return ("GET",)
    if methods is None:
        return ALL_METHODS
    order = (*ALL_METHODS, *sorted(methods.difference(ALL_METHODS)))
    kept = [method for method in order if method in methods and not (method == "HEAD" and "GET" in methods)]
    return [method for method in kept if method != "OPTIONS"] or kept


def template(rule: Rule) -> str:
    """Werkzeug's rule as it is announced: ``{name}`` is one whole segment, ``{*name}`` all that is left.

    A segment that is only partly a parameter becomes one whole, and what stands behind a remainder is part of it: the
    announced path then admits more than the application's own map, never less.
    """
    assert rule.map is not None
    written = rule.rule
    segments: list[str] = []
    names: list[str] = []
    literal = ""
    end = 0

    def finish() -> None:
        nonlocal names, literal
        segments.append(f"{{{'_'.join(names)}}}" if names else literal)
        names, literal = [], ""

    def take(text: str) -> None:
        nonlocal literal
        first, *others = text.split("/")
        literal += first
        for other in others:
            finish()
            literal = other

    for parameter in PARAMETER.finditer(written):
        take(written[end : parameter.start()])
        end = parameter.end()
        converter = rule.map.converters[parameter["converter"] or "default"]
        if not converter.part_isolating:
            return "/".join([*segments, f"{{*{parameter['name']}}}"])
        names.append(parameter["name"])
    take(written[end:])
    finish()
    return "/".join(segments)


def _auth(application: Application, rule: Rule) -> str | None:
    mark = getattr(application.flask.view_functions.get(rule.endpoint), AUTH_MARK, None)
    return mark if isinstance(mark, str) else None
