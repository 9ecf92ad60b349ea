"""How the gateway's own tasks end."""

from __future__ import annotations

import asyncio

from engine.serving.listener import ended


def test_a_task_that_swallows_a_cancellation_ends_all_the_same() -> None:
    async def deaf() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    async def failed() -> None:
        raise OSError("the disk")

    async def main() -> list[BaseException]:
        tasks = [asyncio.ensure_future(each) for each in (deaf(), failed())]
        await asyncio.sleep(0)
        return await asyncio.wait_for(ended(tasks), 20)

    [error] = asyncio.run(main())
    assert str(error) == "the disk"
