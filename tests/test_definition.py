import pytest

from pywatt_core.definition import Definition, outcome, refuse_unknown
from pywatt_core.module import Module, pywatt_module


def build(state):
    return "the application"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"secrets": "API_KEY"}, r"secrets= is a list of names, for example secrets=\['API_KEY'\]"),
        ({"secrets": ["A", 1]}, "secrets= is a list of names"),
        ({"health": "health"}, "health= is a path that begins with '/', not 'health'"),
        ({"metrics": "metrics"}, "metrics= is a path"),
        ({"version": "/"}, "version= is one path segment such as 'v1'"),
        ({"version": "a/b"}, "version= is one path segment"),
        ({"specific_port": 70000}, "specific_port= is a port from 0 to 65535, not 70000"),
        ({"bind_http": False, "specific_port": 80}, "bind_http=False serves no port"),
        ({"build": "no function"}, "made from a function"),
    ],
)
def test_an_impossible_argument_is_named(arguments, message):
    with pytest.raises(TypeError, match=message):
        Definition(**{"build": build, **arguments})


def test_an_unknown_argument_suggests_the_nearest():
    with pytest.raises(TypeError, match=r"no argument 'secret'; did you mean secrets=\?"):
        refuse_unknown({"secret": []})
    with pytest.raises(TypeError, match=r"no argument 'enable_telemetry_everywhere'; it takes secrets, rotate"):
        refuse_unknown({"enable_telemetry_everywhere": True})


def test_the_prefix_and_the_metrics_path_come_from_short_forms():
    assert Definition(build=build, version="v1").prefix == "/v1"
    assert Definition(build=build, version="/v1/").prefix == "/v1"
    assert Definition(build=build).prefix == ""
    assert Definition(build=build, metrics=True).metrics_path == "/metrics"
    assert Definition(build=build, metrics="/numbers").metrics_path == "/numbers"
    assert Definition(build=build).metrics_path is None


async def test_an_outcome_may_be_plain_or_awaited():
    async def later():
        return 2

    assert await outcome(1) == 1
    assert await outcome(later()) == 2


def test_the_decorator_works_bare_and_with_arguments_and_runs_nothing():
    called = []

    @pywatt_module
    def bare(state):
        """Documented."""
        called.append(state)
        return "app"

    @pywatt_module(secrets=["A"], version="v2")
    def configured(state):
        called.append(state)
        return "app"

    assert isinstance(bare, Module)
    assert isinstance(configured, Module)
    assert called == []
    assert bare.__doc__ == "Documented."
    assert bare.definition.name == "test_definition"
    assert (list(configured.definition.secrets), configured.definition.version) == (["A"], "v2")
    assert bare("a state") == "app"
    assert called == ["a state"]


def test_the_decorator_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match=r"no argument 'helth'; did you mean health=\?"):
        pywatt_module(helth="/up")
    with pytest.raises(TypeError, match="keyword arguments only"):
        pywatt_module(["API_KEY"])
