"""The orchestrator's own figures on its page of metrics. They are taken when the page is written; nothing is counted for them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pywatt_core.telemetry.series import escape_label, number

from .states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .hub import Hub
    from .instance import Status
    from .rotation import Rotator
    from .supervisor import Supervisor


def lines_of(supervisor: Supervisor, hub: Hub, rotator: Rotator) -> Callable[[], Iterable[str]]:
    """What to hand to `Metrics.collector`."""

    def lines() -> Iterable[str]:
        yield from instance_lines(supervisor.status())
        broker = hub.broker
        yield from _family("messages_routed_total", "counter", "Messages and replies carried between modules.", {"": broker.routed})
        yield from _family("requests_pending", "gauge", "Requests between modules whose reply has not come.", {"": broker.pending})
        yield from _family("messages_waiting", "gauge", "Messages for modules that are not ready yet.", {"": broker.waiting})
        yield from rotation_lines(rotator)

    return lines


def instance_lines(instances: list[Status]) -> Iterable[str]:
    """How many instances are in each state, and how each one is."""
    counts = Counter(one.state for one in instances)
    yield from _family(
        "instances", "gauge", "Instances of modules by state.", {f'state="{state.value}"': counts[state.value] for state in State}
    )
    labels = [(f'module="{escape_label(one.module)}",module_id="{escape_label(one.instance)}"', one) for one in instances]
    yield from _family(
        "instance_ready", "gauge", "1 while the instance is ready.", {label: one.state == State.READY.value for label, one in labels}
    )
    yield from _family(
        "instance_restarts_total", "counter", "Starts that nobody asked for.", {label: one.restarts for label, one in labels}
    )
    yield from _family(
        "instance_uptime_seconds", "gauge", "Since the present process was started.", {label: one.uptime or 0.0 for label, one in labels}
    )


def rotation_lines(rotator: Rotator) -> Iterable[str]:
    """How often secrets were rotated, and how many keep a value although the source has another one."""
    outcomes: dict[str, float] = {'outcome="done"': rotator.done, 'outcome="refused"': rotator.refused}
    yield from _family("secret_rotations_total", "counter", "Rotations of secrets by their outcome.", outcomes)
    yield from _family("secrets_refused", "gauge", "Secrets whose new value was refused.", {"": len(rotator.refusals())})


def _family(name: str, kind: str, help: str, samples: dict[str, float]) -> Iterable[str]:
    yield f"# HELP pywatt_{name} {help}"
    yield f"# TYPE pywatt_{name} {kind}"
    for label, value in samples.items():
        yield f"pywatt_{name}{{{label}}} {number(value)}" if label else f"pywatt_{name} {number(value)}"
