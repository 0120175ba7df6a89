"""The fault table is whole: a fault, or an error with a name, that has no row is a gap in what we say about ourselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.fault_rows import DOWN, TABLE

from holdfast.chaos import FAULTS, parse
from holdfast.chaos.faults.status import Status
from holdfast.chaos.wire.errors import NAMED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.chaos.faults import FaultSettings


def _played() -> Iterator[tuple[str, str, FaultSettings]]:
    """Name, mode and settings of every fault in every row."""
    for row in (*TABLE, *DOWN):
        if row.script == "refused":  # no provider at all
            continue
        for step in parse(row.script).steps:
            for fault, settings in step.faults:
                for mode in row.modes:
                    yield fault.name, mode, settings


def test_every_fault_has_a_row_in_each_mode_that_it_can_spoil() -> None:
    played = {(name, mode) for name, mode, _ in _played()}
    possible = {(fault.name, "plain") for fault in FAULTS.values() if fault.plain}
    possible |= {(fault.name, "stream") for fault in FAULTS.values() if fault.stream}
    assert possible - played == set()


def test_every_named_error_has_a_row_in_both_modes() -> None:
    played = {(each.error, mode) for _, mode, each in _played() if isinstance(each, Status)}
    assert {(name, mode) for name in NAMED for mode in ("plain", "stream")} - played == set()
