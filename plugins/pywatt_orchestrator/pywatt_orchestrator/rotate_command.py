"""`pywatt rotate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from .commands import WORK_TIMEOUT, json_option, project_option, refuse_windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .rotation import Result


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
@project_option
def rotate(names: Sequence[str], as_json: bool, project: str | None) -> int:
    """Read the secret sources again, and have every module use the new values of the secrets NAME, or of all of them.

    All that use a secret take the new value, or none does: where one refuses, the value before stays in use everywhere. A
    value that was refused is tried again. Files that change are noticed without this command.

    Exit code 1 where a secret was not rotated although it has another value, or is in no source.

    
    Examples:
        pywatt rotate
        pywatt rotate DATABASE_URL API_KEY
        pywatt rotate --json
    """
    refuse_windows()
    from .client import ask, find_running
    from .control import Rotate, RotatedLine

    folder, _holder = find_running(project)
    results = [answer.result for answer in ask(folder, Rotate(tuple(names)), timeout=WORK_TIMEOUT) if isinstance(answer, RotatedLine)]
    if as_json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(results), indent=2).decode())
    else:
        for line in rotation_lines(results):
            print(line)
    return 0 if all(result.result in ("rotated", "unchanged", "unused") for result in results) else 1


def rotation_lines(results: Sequence[Result]) -> Iterator[str]:
    """What became of each secret, for a person."""
    if not results:
        yield "no module has been given a secret"
    for one in results:
        users = ", ".join(one.used_by)
        match one.result:
            case "rotated":
                yield f"{one.name}: rotated, {users or 'nobody uses it any more'}"
            case "unchanged":
                yield f"{one.name}: has the value that is in use, {users}"
            case "unused":
                yield f"{one.name}: nobody uses it"
            case "refused":
                yield f"{one.name}: not rotated, the value before stays in use"
                yield from (f"    {module_id}: {reason}" for module_id, reason in one.reasons.items())
            case "missing" | "failed":
                yield f"{one.name}: {one.why}{f'; {users} keep what they have' if users else ''}"
