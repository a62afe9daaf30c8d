"""What plugins do while a module runs: servers, handlers, lifespans, and the sections and commands that they bring."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.config import PluginSelection
from pywatt_core.errors import PluginError
from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Command, ServerOptions, TopSection
from pywatt_core.protocol.messages import Heartbeat, Shutdown
from pywatt_core.registry import Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Application:
    """What the plugins below serve."""


class Server:
    """All methods of the interface, none of which does anything."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    def routes(self) -> list[Any]:
        return []

    def add_route(self, path: str, handler: Any) -> bool:
        return True

    async def start(self, listener: Any) -> None: ...
    async def handle(self, request: Any) -> Any: ...
    async def drain(self, deadline: float) -> bool:
        return True

    async def close(self) -> None: ...


def serving(answer: Any) -> Any:
    class Plugin:
        @hookimpl
        def pywatt_make_server(self, app: object, options: ServerOptions) -> Any:
            return answer(app, options) if isinstance(app, Application) else None

    return Plugin()


def registry_of(**plugins: Any) -> Registry:
    registry = Registry(discover=False)
    for name, plugin in plugins.items():
        assert registry.add(plugin, name=name, distribution=f"pywatt-{name}").broken == ""
    return registry


OPTIONS = ServerOptions(state=None, prefix="/v1")


def test_the_plugin_that_recognises_the_application_serves_it() -> None:
    registry = registry_of(one=serving(lambda app, options: None), two=serving(lambda app, options: Server(options.prefix)))
    server = registry.make_server(Application(), OPTIONS)
    assert isinstance(server, Server)
    assert server.prefix == "/v1"


def test_two_plugins_that_recognise_it_are_named_and_framework_decides() -> None:
    first, second = Server(), Server()
    registry = registry_of(one=serving(lambda *_: first), two=serving(lambda *_: second))
    with pytest.raises(PluginError) as caught:
        registry.make_server(Application(), OPTIONS)
    assert str(caught.value) == (
        "the plugin 'one' of pywatt-one and the plugin 'two' of pywatt-two both serve an application of type "
        f"{Application.__module__}.Application; say framework='one' or framework='two' in @pywatt_module, or "
        'disable one: [plugins] disable = ["one"] or [plugins] disable = ["two"]'
    )
    assert registry.make_server(Application(), OPTIONS, framework="two") is second
    assert registry.make_server(Application(), OPTIONS, framework="pywatt-one") is first


def test_an_application_that_nobody_serves_says_what_is_there_and_what_to_install() -> None:
    with pytest.raises(PluginError) as caught:
        registry_of(one=serving(lambda *_: None)).make_server(object(), OPTIONS)
    assert str(caught.value) == (
        "no plugin serves an application of type builtins.object; installed server plugins: pywatt-one:one. "
        "PyWatt serves FastAPI and Starlette (pip install pywatt-fastapi) and Flask (pip install pywatt-flask)"
    )
    with pytest.raises(PluginError, match="returned nothing: return the application"):
        registry_of().make_server(None, OPTIONS)


def test_an_application_of_a_known_framework_names_the_one_distribution() -> None:
    from flask import Flask

    class Mine(Flask):
        """Somebody's own subclass, in a module of another name."""

    with pytest.raises(PluginError, match="installed server plugins: none. Install it: pip install pywatt-flask$"):
        registry_of().make_server(Mine("x"), OPTIONS)


def test_the_plugin_that_would_serve_it_is_named_where_it_is_broken(fake_site: Any) -> None:
    from flask import Flask

    fake_site.install("pywatt-flask", "raise OSError('no disk')", module="fake_flask_plugin", name="flask")
    with pytest.raises(PluginError, match=r"It would be the plugin 'flask' of pywatt-flask 1.0, which is broken: raised OSError: no disk"):
        Registry(path=[str(fake_site.folder)]).make_server(Flask("x"), OPTIONS)
    selection = PluginSelection(disable=("flask",))
    with pytest.raises(PluginError, match=r"which is disabled: named under \[plugins\] disable"):
        Registry(selection, path=[str(fake_site.folder)]).make_server(Flask("x"), OPTIONS)
    with pytest.raises(PluginError, match="framework='flask' asks for the plugin 'flask' of pywatt-flask 1.0, which is broken"):
        Registry(path=[str(fake_site.folder)]).make_server(Flask("x"), OPTIONS, framework="flask")


def test_a_framework_that_no_plugin_has_is_refused() -> None:
    with pytest.raises(PluginError, match="framework='quart' names no server plugin; installed server plugins: pywatt-one:one"):
        registry_of(one=serving(lambda *_: Server())).make_server(Application(), OPTIONS, framework="quart")


def test_a_plugin_that_fails_stops_nobody_else_and_is_named_where_nobody_else_serves() -> None:
    def fail(*_: object) -> None:
        raise ValueError("cannot")

    working = Server()
    assert registry_of(one=serving(fail), two=serving(lambda *_: working)).make_server(Application(), OPTIONS) is working
    with pytest.raises(PluginError, match="the plugin 'one' of pywatt-one raised ValueError: cannot in pywatt_make_server") as caught:
        registry_of(one=serving(fail)).make_server(Application(), OPTIONS)
    assert isinstance(caught.value.__cause__, PluginError)


def test_a_server_that_lacks_methods_is_the_plugins_fault() -> None:
    with pytest.raises(
        PluginError, match="the plugin 'one' of pywatt-one returned a str that lacks add_route, close, drain, handle, routes, start"
    ):
        registry_of(one=serving(lambda *_: "server")).make_server(Application(), OPTIONS)


def handling(mapping: Any) -> Any:
    class Plugin:
        @hookimpl
        def pywatt_register_handlers(self, state: Any) -> Any:
            return mapping(state) if callable(mapping) else mapping

    return Plugin()


async def nothing(_message: Any) -> None: ...


def test_handlers_of_plugins_stand_beside_the_cores_own() -> None:
    handlers = registry_of(one=handling({Shutdown: nothing})).handlers(state=None)
    assert handlers[Shutdown] is nothing
    assert Heartbeat in handlers


@pytest.mark.parametrize(
    ("mapping", "complaint"),
    [
        (
            {Heartbeat: nothing},
            r"the plugin 'builtin' of pywatt-core and the plugin 'one' of pywatt-one both handle Heartbeat; disable one",
        ),
        ([Heartbeat], "returned a list from pywatt_register_handlers, not a mapping"),
        ({"heartbeat": nothing}, "maps message types to functions, not 'heartbeat'"),
        ({Shutdown: None}, "maps message types to functions"),
        (lambda state: state.missing, "raised AttributeError"),
    ],
)
def test_handlers_that_cannot_be_used_are_refused(mapping: Any, complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint):
        registry_of(one=handling(mapping)).handlers(state=None)


async def test_lifespans_are_given_in_order_and_none_is_left_out() -> None:
    entered = []

    def living(name: str) -> Any:
        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            entered.append(name)
            yield

        class Plugin:
            @hookimpl
            def pywatt_lifespan(self, state: Any) -> Any:
                return lifespan() if state else None

        return Plugin()

    registry = registry_of(one=living("one"), two=living("two"))
    assert registry.lifespans(state=False) == []
    for lifespan in registry.lifespans(state=True):
        async with lifespan:
            pass
    assert entered == ["one", "two"]


def test_a_lifespan_that_is_none_is_the_plugins_fault() -> None:
    class Plugin:
        @hookimpl
        def pywatt_lifespan(self, state: Any) -> Any:
            return 5

    with pytest.raises(PluginError, match="returned an int from pywatt_lifespan, not an async context manager or None"):
        registry_of(one=Plugin()).lifespans(state=None)


def test_hooks_that_are_coroutine_functions_are_refused_and_warn_of_nothing_else(recwarn: pytest.WarningsRecorder) -> None:
    class Plugin:
        @hookimpl
        async def pywatt_make_server(self, app: object, options: ServerOptions) -> Any: ...

        @hookimpl
        async def pywatt_register_handlers(self, state: Any) -> Any: ...

        @hookimpl
        async def pywatt_lifespan(self, state: Any) -> Any: ...

    registry = registry_of(one=Plugin())
    with pytest.raises(PluginError, match="the plugin 'one' of pywatt-one: pywatt_make_server is a coroutine function: hooks are plain"):
        registry.make_server(Application(), OPTIONS)
    with pytest.raises(PluginError, match="pywatt_register_handlers is a coroutine function"):
        registry.handlers(state=None)
    with pytest.raises(PluginError, match="pywatt_lifespan is a coroutine function"):
        registry.lifespans(state=None)
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


def test_of_two_commands_or_sections_with_one_name_the_first_counts_and_a_warning_says_so() -> None:
    def bringing(target: str) -> Any:
        class Plugin:
            @hookimpl
            def pywatt_register_commands(self) -> list[Command]:
                return [Command("up", "Start.", target)]

            @hookimpl
            def pywatt_register_sections(self) -> list[TopSection]:
                return [TopSection("extra", target)]

        return Plugin()

    registry = registry_of(one=bringing("one:x"), two=bringing("two:x"))
    assert registry.commands()["up"].target == "one:x"
    assert registry.sections()["extra"].options == "one:x"
    assert registry.warnings == [
        f"the plugin 'one' of pywatt-one and the plugin 'two' of pywatt-two both register {name!r} in {hook}; the first counts"
        for name, hook in (("up", "pywatt_register_commands"), ("extra", "pywatt_register_sections"))
    ]
    with pytest.raises(
        PluginError, match="the plugin 'one' of pywatt-one raised ModuleNotFoundError: No module named 'one' while one:x was imported"
    ):
        registry.section_options(registry.sections()["extra"])
