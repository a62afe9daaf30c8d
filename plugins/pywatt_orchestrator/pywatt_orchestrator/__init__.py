"""Runs modules: `pywatt run`, `pywatt up`, a supervisor and one HTTP front door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Command, TopSection

if TYPE_CHECKING:
    from collections.abc import Iterable


@hookimpl
def pywatt_register_commands() -> Iterable[Command]:
    """The commands that start modules and talk to a running orchestrator."""
    commands = "pywatt_orchestrator.commands"
    return [
        Command("run", "Run one module: FILE.py or FILE.py:NAME, on a front door of its own.", f"{commands}:run"),
        Command("up", "Run the modules of pywatt.toml behind one front door.", f"{commands}:up"),
        Command("ps", "List running modules: pid, state, restarts, address.", f"{commands}:ps"),
        Command("stop", "Stop one module, or the orchestrator and all of them.", f"{commands}:stop"),
        Command("restart", "Restart a module; requests wait meanwhile instead of being refused.", f"{commands}:restart"),
        Command("rotate", "Have modules use the new values of secrets, all of them or none.", "pywatt_orchestrator.rotate_command:rotate"),
        Command("logs", "Show what a module has logged.", f"{commands}:logs"),
        Command("token", "Print what opens the control API.", "pywatt_orchestrator.api_command:token"),
    ]


@hookimpl
def pywatt_register_sections() -> Iterable[TopSection]:
    """``[gateway]``, ``[registration]``, ``[services.NAME]``; ``[modules.NAME]`` has tables that are laid over the top-level ones."""
    return [
        TopSection("gateway", "pywatt_orchestrator.gateway.options:GatewayOptions", check="pywatt_orchestrator.services:check_gateway"),
        TopSection("control", "pywatt_orchestrator.api:ControlOptions"),
        TopSection("channel_listener", "pywatt_orchestrator.settings:ChannelListener"),
        TopSection("registration", "pywatt_orchestrator.registration:RegistrationOptions"),
        TopSection(
            "services", "pywatt_orchestrator.services:ServiceSettings", named=True, check="pywatt_orchestrator.services:check_services"
        ),
        TopSection(
            "modules",
            "pywatt_orchestrator.settings:ModuleSettings",
            named=True,
            overlays=True,
            secrets="secrets",
            check="pywatt_orchestrator.project:read_project",
        ),
    ]
