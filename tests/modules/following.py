"""A module that runs alone and says what it uses whenever that changes; values are shown in reverse."""

import asyncio
import logging
import os
from typing import Any

from pywatt_core import AppState, HttpIpcRouter, Secret, pywatt_module

log = logging.getLogger("following")


@pywatt_module(secrets=["KEY"], rotate=True, state_builder=lambda _init, secrets: secrets, bind_http=False)
async def following(state: AppState[list[Secret]]) -> Any:
    async def tell() -> None:
        said = None
        while True:
            rows = await state.database.fetch_all("PRAGMA database_list")
            place, key = os.path.basename(rows[0]["file"]), state.user_state[0].expose_secret()
            using = f"using {place[::-1]} and {key[::-1]}"
            if using != said:
                log.warning("%s", using)
            said = using
            await asyncio.sleep(0.01)

    state.telling = asyncio.create_task(tell())  # type: ignore[attr-defined]
    return HttpIpcRouter()


if __name__ == "__main__":
    following.run()
