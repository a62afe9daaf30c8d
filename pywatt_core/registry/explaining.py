"""What is said when a name stands for nothing, or for two things: what is there, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .discovery import normalised
from .kinds import DISTRIBUTIONS, FRAMEWORKS, KINDS

if TYPE_CHECKING:
    from ..interfaces import Provider
    from .plugins import Plugin
    from .registry import Registry


def two_claim(kind: str, name: str, claims: list[tuple[Plugin, Provider[Any]]]) -> str:
    first, second = claims[0][0], claims[1][0]
    return f"{first.label} and {second.label} both provide the {KINDS[kind].noun} {name!r}; {disable_one(first, second)}"


def two_serve(app: object, first: Plugin, second: Plugin) -> str:
    choice = f"say framework={first.name!r} or framework={second.name!r} in @pywatt_module"
    return f"{first.label} and {second.label} both serve {_type_name(app)}; {choice}, or {disable_one(first, second)}"


def disable_one(first: Plugin, second: Plugin) -> str:
    """How to end a conflict; built-ins stay, and one name cannot tell two plugins apart."""
    if first.name == second.name and not first.builtin:
        return f"uninstall {first.distribution} or {second.distribution}"
    names = [plugin.name for plugin in (first, second) if not plugin.builtin]
    return "disable one: " + " or ".join(f'[plugins] disable = ["{name}"]' for name in names)


def nobody_provides(registry: Registry, kind: str, name: str) -> str:
    noun = KINDS[kind].noun
    for plugin in registry.plugins:
        if (plugin.disabled or plugin.broken) and name in (plugin.name, plugin.distribution.removeprefix("pywatt-")):
            return f"the {noun} {name!r} would come from {_why_not(plugin)}"
    installed = sorted(registry.providers(kind))
    text = f"unknown {noun} provider {name!r}; installed: {', '.join(installed) or 'none'}"
    from ..config.problems import nearest

    elsewhere = DISTRIBUTIONS[kind]
    guess = nearest(name, [*installed, *elsewhere])
    others = [other for other in KINDS if name in DISTRIBUTIONS[other] or name in registry.providers(other)]
    if name in elsewhere:
        text += f". Install it: pip install {elsewhere[name]}"
    elif others:
        text += f". {name!r} is for " + " and ".join(f"[{KINDS[other].section}.NAME]" for other in others)
    elif guess is not None:
        text += f". Did you mean {guess!r}?" + ("" if guess in installed else f" (pip install {elsewhere[guess]})")
    else:
        text += f". Install the distribution that provides it, perhaps: pip install pywatt-{name}"
    return text + _broken(registry)


def no_such_framework(registry: Registry, framework: str) -> str:
    for plugin in registry.plugins:
        if framework in (plugin.name, plugin.distribution) and (plugin.disabled or plugin.broken):
            return f"framework={framework!r} asks for {_why_not(plugin)}"
    return f"framework={framework!r} names no server plugin; {_servers(registry)}"


def nobody_serves(registry: Registry, app: object) -> str:
    text = f"no plugin serves {_type_name(app)}; {_servers(registry)}"
    if app is None:
        return f"{text}. The decorated function returned nothing: return the application"
    roots = [base.__module__.partition(".")[0] for base in type(app).__mro__]
    wanted = next((FRAMEWORKS[root] for root in roots if root in FRAMEWORKS), None)
    for plugin in registry.plugins:
        if normalised(plugin.distribution) == wanted and (plugin.broken or plugin.disabled):
            return f"{text}. It would be {_why_not(plugin)}"
    if wanted is not None:
        return f"{text}. Install it: pip install {wanted}" + (
            "" if "pywatt_core" not in roots else "; or do without a port: bind_http=False"
        )
    return (
        f"{text}. PyWatt serves FastAPI and Starlette (pip install pywatt-fastapi) and Flask (pip install pywatt-flask){_broken(registry)}"
    )


def _why_not(plugin: Plugin) -> str:
    return f"{plugin.label}, which is " + (f"disabled: {plugin.disabled}" if plugin.disabled else f"broken: {plugin.broken}")


def _servers(registry: Registry) -> str:
    names = [plugin.identity for plugin in registry.implementing("pywatt_make_server") if not plugin.builtin]
    return f"installed server plugins: {', '.join(names) or 'none'}"


def _broken(registry: Registry) -> str:
    broken = [f"{plugin.identity} {plugin.broken}" for plugin in registry.plugins if plugin.broken]
    return f". Broken plugins, which may be what is missing: {'; '.join(broken)}" if broken else ""


def _type_name(app: object) -> str:
    kind = type(app)
    return f"an application of type {kind.__module__}.{kind.__qualname__}"
