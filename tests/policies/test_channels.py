"""Capabilities and preferences, in the JSON shapes of the reference, and the simple rule between them."""

from __future__ import annotations

import msgspec
import pytest

from pywatt_core.policies.channels import ChannelCapabilities, ChannelPreferences, ChannelType, TargetLocation, recommend

TCP, IPC, STDIO = ChannelType.TCP, ChannelType.IPC, ChannelType.STDIO


@pytest.mark.parametrize(
    ("capabilities", "able", "size"),
    [
        (ChannelCapabilities(), "false", "null"),
        (ChannelCapabilities.tcp_standard(), "true", "67108864"),
        (ChannelCapabilities.ipc_standard(), "true", "134217728"),
        (ChannelCapabilities.high_performance(), "true", "1073741824"),
    ],
)
def test_the_capabilities_of_the_reference(capabilities: ChannelCapabilities, able: str, size: str) -> None:
    members = ",".join(f'"{member}":{able}' for member in ("file_transfer", "streaming", "batching", "compression"))
    text = f'{{"module_messaging":true,"http_proxy":true,"service_calls":true,{members},"max_message_size":{size}}}'
    assert msgspec.json.encode(capabilities).decode() == text
    assert msgspec.json.decode(text, type=ChannelCapabilities) == capabilities


@pytest.mark.parametrize(
    ("name", "row"),
    [("default", "TTTTT"), ("tcp_only", "TFFTF"), ("ipc_only", "FTTFF"), ("prefer_ipc", "TTTFT"), ("prefer_tcp", "TTFTT")],
)
def test_the_preferences_of_the_reference(name: str, row: str) -> None:
    members = ("use_tcp", "use_ipc", "prefer_ipc_for_local", "prefer_tcp_for_remote", "enable_fallback")
    text = "{" + ",".join(f'"{member}":{"true" if letter == "T" else "false"}' for member, letter in zip(members, row, strict=True)) + "}"
    preferences = ChannelPreferences.preset(name)
    assert msgspec.json.encode(preferences).decode() == text
    assert msgspec.json.decode(text, type=ChannelPreferences) == preferences


def test_a_preference_that_nobody_knows_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="default, tcp_only, ipc_only, prefer_ipc, prefer_tcp, not 'udp'"):
        ChannelPreferences.preset("udp")


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("users", True),
        ("", True),
        ("localhost:80", True),
        ("127.0.0.1:80", True),
        ("unix:///a", True),
        ("10.0.0.1:80", False),
        ("[::1]:80", False),
    ],
)
def test_where_a_target_is(target: str, local: bool) -> None:
    assert TargetLocation.of(target) is (TargetLocation.LOCAL if local else TargetLocation.REMOTE)


@pytest.mark.parametrize(
    ("target", "present", "preference", "found"),
    [
        ("users", {TCP, IPC, STDIO}, "default", IPC),
        ("users", {TCP, STDIO}, "default", TCP),
        ("users", {STDIO}, "default", STDIO),
        ("users", {TCP, IPC}, "prefer_tcp", TCP),
        ("users", {TCP, IPC}, "tcp_only", TCP),
        ("users", {IPC}, "tcp_only", None),
        ("10.0.0.1:80", {TCP, IPC}, "default", TCP),
        ("10.0.0.1:80", {IPC, STDIO}, "default", IPC),
        ("10.0.0.1:80", {IPC}, "tcp_only", None),
        ("10.0.0.1:80", {TCP, IPC}, "prefer_ipc", TCP),
        ("10.0.0.1:80", {TCP, IPC}, "ipc_only", IPC),
        ("users", {TCP}, "ipc_only", None),
        ("users", set(), "default", None),
    ],
)
def test_the_simple_rule_of_the_reference(target: str, present: set[ChannelType], preference: str, found: ChannelType | None) -> None:
    assert recommend(target, present, ChannelPreferences.preset(preference)) is found


def test_a_channel_s_name_tells_its_kind() -> None:
    assert [ChannelType.of(name) for name in ("tcp", "unix", "stdio", "nats")] == [TCP, IPC, STDIO, ChannelType.OTHER]
