"""The life of one module instance as a table: which state follows which event. Nothing else decides about states."""

from __future__ import annotations

import enum


class State(enum.Enum):
    """What an instance is doing, as `pywatt ps` prints it."""

    STOPPED = "stopped"
    """Not running, and nothing is going to start it but a person."""
    STARTING = "starting"
    """Waiting for what it depends on, or spawned and not announced yet."""
    ANNOUNCED = "announced"
    """It announced itself; its address or its health path does not answer yet."""
    READY = "ready"
    """Announced, the address accepts and the health path, where one is announced, answers 2xx."""
    STOPPING = "stopping"
    """Told to end; its process still runs."""
    BACKOFF = "backoff"
    """It ended unasked and starts again in a while."""
    FAILED = "failed"
    """It ended and is not restarted: `why` says what has to change first."""


class Event(enum.Enum):
    """What happens to an instance."""

    START = "start"
    """Somebody, or the end of a wait, wants it to run."""
    ANNOUNCE = "announce"
    PROBED = "probed"
    """Everything that ready means holds."""
    STOP = "stop"
    """Somebody wants it to end."""
    EXIT_AGAIN = "exit, to be restarted"
    EXIT_DONE = "exit, done"
    EXIT_FAILED = "exit, for good"


S, E = State, Event

TRANSITIONS: dict[tuple[State, Event], State] = {
    (S.STOPPED, E.START): S.STARTING,
    (S.FAILED, E.START): S.STARTING,
    (S.BACKOFF, E.START): S.STARTING,
    (S.STARTING, E.ANNOUNCE): S.ANNOUNCED,
    (S.ANNOUNCED, E.PROBED): S.READY,
    # Ending unasked, from every state with a process.
    (S.STARTING, E.EXIT_AGAIN): S.BACKOFF,
    (S.ANNOUNCED, E.EXIT_AGAIN): S.BACKOFF,
    (S.READY, E.EXIT_AGAIN): S.BACKOFF,
    (S.STARTING, E.EXIT_FAILED): S.FAILED,
    (S.ANNOUNCED, E.EXIT_FAILED): S.FAILED,
    (S.READY, E.EXIT_FAILED): S.FAILED,
    (S.STARTING, E.EXIT_DONE): S.STOPPED,
    (S.ANNOUNCED, E.EXIT_DONE): S.STOPPED,
    (S.READY, E.EXIT_DONE): S.STOPPED,
    # Being ended. A process that is told to end is done when it is gone, whatever its exit code says.
    (S.STARTING, E.STOP): S.STOPPING,
    (S.ANNOUNCED, E.STOP): S.STOPPING,
    (S.READY, E.STOP): S.STOPPING,
    (S.STOPPING, E.EXIT_DONE): S.STOPPED,
    (S.BACKOFF, E.STOP): S.STOPPED,
    (S.FAILED, E.STOP): S.STOPPED,
    (S.STOPPED, E.STOP): S.STOPPED,
}


def following(state: State, event: Event) -> State:
    """The state after `event`. Raises `RuntimeError` for an event that cannot happen in `state`: a bug of the caller's."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise RuntimeError(f"{event.value!r} cannot happen to an instance that is {state.value!r}") from None
