"""When a worker is started again."""

from __future__ import annotations

from holdfast.gateway.workers_restarts import LONGEST_S, MOST_YOUNG, YOUNG_S, Restarts


def test_who_dies_young_is_waited_for_ever_longer() -> None:
    restarts = Restarts()
    pauses = [restarts.died(lived_s=0.1) for _ in range(100)]
    assert pauses[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert pauses[-1] == LONGEST_S


def test_who_lived_is_replaced_at_once_and_begins_anew() -> None:
    restarts = Restarts()
    for _ in range(3):
        restarts.died(lived_s=YOUNG_S - 0.001)
    assert restarts.died(lived_s=YOUNG_S) == 0.0
    assert restarts.died(lived_s=0.0) == 0.5


def test_it_is_hopeless_after_so_many_in_a_row() -> None:
    restarts = Restarts()
    for _ in range(MOST_YOUNG - 1):
        restarts.died(lived_s=0.0)
    assert not restarts.hopeless
    restarts.died(lived_s=0.0)
    assert restarts.hopeless
    restarts.died(lived_s=YOUNG_S)
    assert not restarts.hopeless
