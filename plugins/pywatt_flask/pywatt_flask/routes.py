"""What an application's URL map contains, as it is announced (protocol 2.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pywatt_core.errors import ConfigError
from pywatt_core.http import AUTH_MARK, BARE_MARK, literal_path, under
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


def refuse_bare(application: Application) -> None:
    """Raise `ConfigError` where a view is served without the decorator that was to guard it."""
    flask = application.flask
    bare = {endpoint for endpoint, view in flask.view_functions.items() if getattr(view, BARE_MARK, False)}
    rules = [rule.rule for rule in flask.url_map.iter_rules() if rule.endpoint in bare]
    if rules:
        raise ConfigError(
            f"{', '.join(rules)}: the decorator that asks for a token stands above the route's, which has taken the view without it. "
            'Put it below: @app.get("…") first, then @jwt_required()'
        )


def _walk(application: Application) -> Iterator[tuple[str, Sequence[str], str | None]]:
    for mount in application.mounts:
        yield mount, ALL_METHODS, None
        yield mount + "/{*rest}", ALL_METHODS, None
    for rule in application.flask.url_map.iter_rules():
        if not rule.build_only:
            auth = _auth(application, rule)
            yield template(rule), _methods(rule, guarded=auth is not None), auth


def _methods(rule: Rule, *, guarded: bool) -> Sequence[str]:
    """Upper case; without HEAD where GET opens it, without OPTIONS where anything else is there, unless a guarded view answers it."""
    methods = rule.methods
    if rule.websocket:
        return ("GET",)
    if methods is None:
        return ALL_METHODS
    order = (*ALL_METHODS, *sorted(methods.difference(ALL_METHODS)))
    kept = [method for method in order if method in methods and not (method == "HEAD" and "GET" in methods)]
    answers_options = guarded and getattr(rule, "provide_automatic_options", True) is False
    return [method for method in kept if method != "OPTIONS" or answers_options] or kept


def template(rule: Rule) -> str:
    """Werkzeug's rule as it is announced: ``{name}`` for what ends at a slash, ``{*name}`` for what does not.

    Behind a second remainder nothing is said: the first then stands for everything, which admits more, never less.
    """
    assert rule.map is not None
    converters = rule.map.converters
    text, end = "", 0
    remainder = False
    for parameter in PARAMETER.finditer(rule.rule):
        text += rule.rule[end : parameter.start()]
        end = parameter.end()
        whole_segment = converters[parameter["converter"] or "default"].part_isolating
        if remainder and not whole_segment:
            return text[: text.index("}", text.index("{*")) + 1]
        remainder = remainder or not whole_segment
        text += f"{{{'' if whole_segment else '*'}{parameter['name']}}}"
    return text + rule.rule[end:]


def _auth(application: Application, rule: Rule) -> str | None:
    mark = getattr(application.flask.view_functions.get(rule.endpoint), AUTH_MARK, None)
    return mark if isinstance(mark, str) else None
