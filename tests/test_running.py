import os
import socket

import pytest

from pywatt_core.errors import BootstrapError, ConfigError, PluginError, RemoteProtocolError, SecretNotFound, ServerError, Unavailable
from pywatt_core.lifecycle import Step
from pywatt_core.running import exit_code, is_orchestrated, report


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PYWATT_STANDALONE": "1", "PYWATT_MODULE_ID": "m"}, False),
        ({"PYWATT_STANDALONE": "0", "LISTEN_PID": str(os.getpid())}, True),
        ({"LISTEN_PID": str(os.getpid()), "PYWATT_MODULE_ID": "m"}, False),
        ({"LISTEN_PID": "1", "PYWATT_MODULE_ID": "m"}, True),
        ({"PYWATT_MODULE_ID": "m"}, True),
    ],
)
def test_who_decides_about_the_mode_comes_in_a_fixed_order(environ, expected):
    assert is_orchestrated(environ) is expected


@pytest.mark.parametrize(("kind", "expected"), [("pipe", True), ("socket", True), ("null", False)])
def test_without_a_word_a_pipe_or_socket_on_standard_input_means_an_orchestrator(kind, expected):
    saved = os.dup(0)
    ours, theirs = socket.socketpair() if kind == "socket" else (None, None)
    if kind == "pipe":
        source, other = os.pipe()
    elif kind == "socket":
        source, other = ours.detach(), theirs.detach()
    else:
        source, other = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(source, 0)
        assert is_orchestrated({}) is expected
    finally:
        os.dup2(saved, 0)
        for fd in (saved, source, other):
            os.close(fd)


def test_an_impossible_mode_is_a_configuration_error():
    with pytest.raises(ConfigError, match="PYWATT_STANDALONE='2': it is 0 or 1"):
        is_orchestrated({"PYWATT_STANDALONE": "2"})


@pytest.mark.parametrize(
    ("step", "error", "code"),
    [
        (Step.INIT, BootstrapError("x"), 3),
        (Step.INIT, RemoteProtocolError("x"), 3),
        (Step.CONFIG, ConfigError("x"), 2),
        (Step.PLUGINS, ConfigError("x"), 2),
        (Step.PLUGINS, PluginError("x"), 4),
        (Step.STATE, SecretNotFound("x"), 5),
        (Step.STATE, Unavailable("x"), 5),
        (Step.STATE, PluginError("x"), 5),
        (Step.APPLICATION, ValueError("x"), 1),
        (Step.SERVER, ServerError("x"), 4),
        (Step.SERVER, OSError("x"), 4),
        (Step.SERVE, RuntimeError("x"), 1),
    ],
)
def test_the_exit_code_is_the_steps_and_configuration_is_always_2(step, error, code):
    assert exit_code(step, error) == code


def test_a_person_reads_the_text_and_its_causes_but_no_traceback(capsys):
    try:
        try:
            raise ConnectionRefusedError("nobody listens")
        except OSError as cause:
            raise Unavailable("the database is not there") from cause
    except Unavailable as error:
        assert report(Step.STATE, error, json=False) == 5
    assert capsys.readouterr().err == "error: the database is not there ← ConnectionRefusedError: nobody listens\n"


def test_a_fault_that_nobody_foresaw_shows_its_traceback(capsys):
    try:
        raise ZeroDivisionError("on purpose")
    except ZeroDivisionError as error:
        assert report(Step.APPLICATION, error, json=False) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "test_running.py" in shown
