"""What a process hangs on, as it tells it."""

from __future__ import annotations

import asyncio

from holdfast.gateway.degraded import WEAKER
from holdfast.gateway.dependencies import Dependencies, Look


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall_ns(self) -> int:
        return 0


def made() -> tuple[Clock, list[Look], Dependencies]:
    clock, stands = Clock(), [Look(ok=True)]
    found = Dependencies(clock)
    found.add("redis", lambda: stands[0])
    return clock, stands, found


def test_since_when_it_stands_so_is_remembered() -> None:
    clock, stands, found = made()
    clock.now += 5
    (here,) = found
    assert (here.name, here.ok, here.since_s, here.reason, here.weaker) == ("redis", True, 5.0, None, ())
    stands[0] = Look(ok=False, reason="it doesn't answer")
    (lost,) = found
    assert (lost.ok, lost.since_s, lost.reason) == (False, 0.0, "it doesn't answer")
    assert lost.weaker == WEAKER["redis"]
    clock.now += 2
    assert [each.since_s for each in found] == [2.0]
    stands[0] = Look(ok=True)
    assert [(each.ok, each.since_s, each.weaker) for each in found] == [(True, 0.0, ())]


def test_who_knows_it_better_is_believed() -> None:
    clock, stands, found = made()
    clock.now += 5
    stands[0] = Look(ok=False, reason="gone", since_s=4.25)
    assert [each.since_s for each in found] == [4.25]


def test_it_looks_by_itself_so_that_a_loss_is_dated_before_anybody_asks() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock, stands, found = made()
        seen = asyncio.Event()

        def look() -> Look:
            seen.set()
            return stands[0]

        found.add("redis", look)
        stands[0] = Look(ok=False, reason="gone")
        seen.clear()
        found.watch(loop)
        clock.now += 3
        assert seen.is_set()
        assert [each.since_s for each in found] == [3.0]
        found.close()
        found.close()

    asyncio.run(main())
