import pytest

from pywatt_core.definition import TAKES, Definition, outcome, refuse_unknown
from pywatt_core.module import Module, pywatt_module
from pywatt_core.protocol.messages import AnnouncedEndpoint


def build(state):
    return "the application"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"secrets": "API_KEY"}, r"secrets= is a list of names, for example secrets=\['API_KEY'\]"),
        ({"secrets": ["A", 1]}, "secrets= is a list of names"),
        ({"secrets": 5}, r"secrets= is a list of names, for example secrets=\['API_KEY'\], not 5"),
        ({"secrets": {"A": "hunter22"}}, r"secrets= is a list of names, .*, not an instance of dict"),
        ({"secrets": [""]}, r"secrets= is a list of names, .*, not \[''\]"),
        ({"rotate": 1}, "rotate= is True or False, not 1"),
        ({"endpoints": ["/x"]}, r"endpoints= is a list of AnnouncedEndpoint\(path=…, methods=\[…\]\), .*, not \['/x'\]"),
        ({"endpoints": AnnouncedEndpoint(path="/x", methods=["GET"])}, "endpoints= is a list .*, not an instance of AnnouncedEndpoint"),
        ({"endpoints": "/x"}, "endpoints= is a list .*, not '/x'"),
        ({"health": "health"}, "health= is a path that begins with '/', .*, not 'health'"),
        ({"health": 5}, "health= is a path that begins with '/', .*, not 5"),
        ({"health": "/h\nx"}, r"health= is a path that begins with '/', without blanks or parameters, or None for none, not '/h\\nx'"),
        ({"health": "/h?x"}, "health= is a path"),
        ({"health": "/{h}"}, "health= is a path"),
        ({"metrics": "metrics"}, "metrics= is True, False or a path"),
        ({"metrics": 5}, "metrics= is True, False or a path that begins with '/', .*, not 5"),
        ({"metrics": None}, "metrics= is True, False or a path .*, not None"),
        ({"metrics": "/health"}, "health= and metrics= are two paths, not '/health' both"),
        ({"metrics": True, "health": "/metrics"}, "health= and metrics= are two paths, not '/metrics' both"),
        ({"version": 1}, "version= is one path segment such as 'v1', or None, not 1"),
        ({"version": "{x}"}, "version= is one path segment such as 'v1', or None, not '{x}'"),
        ({"version": ".."}, "version= is one path segment"),
        ({"version": ""}, "version= is one path segment"),
        ({"state_builder": 5}, r"state_builder= is a function that takes \(init, secrets\), or None, not 5"),
        ({"config": 5}, "config= is a mapping with the tables of pywatt.toml, or None, not 5"),
        ({"config": [{"password": "hunter22"}]}, r"config= is a mapping .*, not \[an instance of dict\]"),
        ({"framework": 5}, "framework= is the name of a server plugin such as 'fastapi', or None, not 5"),
        ({"bind_http": "no"}, "bind_http= is True or False, not 'no'"),
        ({"specific_port": "8000"}, "specific_port= is a port from 0 to 65535, or None, not '8000'"),
        ({"specific_port": True}, "specific_port= is a port from 0 to 65535, or None, not True"),
        ({"listen_addr": 5}, r"listen_addr= is HOST, HOST:PORT, \[IPv6\]:PORT or the path of a Unix socket, or None, not 5"),
        ({"listen_addr": " "}, "listen_addr= is HOST"),
        ({"version": "/"}, "version= is one path segment such as 'v1'"),
        ({"version": "a/b"}, "version= is one path segment"),
        ({"specific_port": 70000}, "specific_port= is a port from 0 to 65535, or None, not 70000"),
        ({"bind_http": False, "specific_port": 80}, "bind_http=False serves no port"),
        ({"build": "no function"}, "made from a function"),
    ],
)
def test_an_impossible_argument_is_named(arguments, message):
    with pytest.raises(TypeError, match=message):
        Definition(**{"build": build, **arguments})


def test_what_an_argument_takes_is_taken():
    Definition(
        build=build,
        secrets=("A", "B"),
        rotate=True,
        endpoints=[AnnouncedEndpoint(path="/x", methods=["GET"])],
        health="/health/live-now",
        metrics="/metrics/",
        version="/v1.0/",
        state_builder=lambda init, secrets: None,
        config={"module": {}},
        framework="fastapi",
        bind_http=True,
        specific_port=0,
        listen_addr="[::1]:0",
    )
    Definition(build=build, health=None, metrics=False, endpoints=None, bind_http=False)


def test_every_argument_of_the_decorator_is_checked():
    assert set(TAKES) == set(Definition.__struct_fields__) - {"build", "name", "receivers"}


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
