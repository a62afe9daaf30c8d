"""The other end of the control socket: finds the orchestrator that is meant, and asks it. Blocking, for commands."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pywatt_core.config import find_file
from pywatt_core.errors import ChannelClosed, ConfigError, RemoteError

from .control import Answer, Command, Done, Failure, peer_uid
from .runtime import CONTROL, Holder, running

if TYPE_CHECKING:
    from collections.abc import Iterator

_read_answer = msgspec.json.Decoder(Answer)


def find_running(project: str | None, *, start: Path | None = None) -> tuple[Path, Holder]:
    """The runtime folder and the holder of the orchestrator for `project` (a configuration file, its folder, or the file of
    `pywatt run`), or for the current folder. Raises `ConfigError` that says what does run, and where.
    """
    everything = list(running())
    if project is not None:
        wanted = str(Path(project).resolve())
        found = [entry for entry in everything if wanted in (entry[1].project, entry[1].root)]
    else:
        here = (start or Path.cwd()).resolve()
        file = find_file(here)
        found = [entry for entry in everything if file is not None and entry[1].project == str(file.resolve())]
        found = found or [entry for entry in everything if Path(entry[1].root) in (here, *here.parents)]
    if len(found) == 1:
        return found[0]
    others = "".join(
        f"\n  pywatt … --project {holder.project}    (pid {holder.pid}, pywatt {holder.command})" for _, holder in found or everything
    )
    if found:
        raise ConfigError(f"several orchestrators run here; say which one is meant:{others}")
    where = f"for {project}" if project is not None else "in this folder"
    raise ConfigError(f"no orchestrator runs {where}: `pywatt up` starts one.{f' Elsewhere:{others}' if others else ''}")


def ask(folder: Path, command: Command, *, timeout: float | None) -> Iterator[Answer]:
    """Every answer to one command; `timeout` is how many seconds may pass between two of them, None for ever.

    Raises `RemoteError` with what the orchestrator says is wrong, `ChannelClosed` where it went away, and `ConfigError`
    where the socket belongs to somebody else.
    """
    path = folder / CONTROL
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        connection.connect(str(path))
    except OSError as error:
        raise ChannelClosed(
            f"the orchestrator does not listen on {path} ({error.strerror or error}); is it just starting or stopping?", executed="no"
        ) from error
    with connection, connection.makefile("rb") as lines:
        if peer_uid(connection) not in (None, 0, os.getuid()):
            raise ConfigError(f"{path} is held by a process of another user")
        try:
            connection.sendall(msgspec.json.encode(command) + b"\n")
            for line in lines:
                answer = _read_answer.decode(line)
                if isinstance(answer, Failure):
                    raise RemoteError(answer.text)
                if isinstance(answer, Done):
                    return
                yield answer
        except TimeoutError:
            raise ChannelClosed(f"the orchestrator has said nothing for {timeout:g} s") from None
        except (OSError, msgspec.MsgspecError) as error:
            raise ChannelClosed(f"the orchestrator went away: {error}") from error
    raise ChannelClosed("the orchestrator went away before it had answered")
